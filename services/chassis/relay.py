"""Publishes outbox rows: in order per aggregate, at least once, by one relay per service at a time.

A bare aiokafka producer sends each row with the headers stored in it. Rows are marked rather than followed by number,
because numbers commit out of order. When the broker has lost its log, every row is published again.
Cost: one fsync in Postgres for a batch of up to 500 rows, and one round trip to the broker for each partition.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from contracts.catalog import BY_TYPE
from contracts.envelope import KafkaMessage
from contracts.errors import Transient
from services.chassis import metrics
from services.chassis.bell import PUBLISHED, Bell, wait
from services.chassis.db import PASSING
from services.chassis.generation import GenerationWatch

if TYPE_CHECKING:
    from services.chassis.settings import ChassisSettings

log = logging.getLogger(__name__)
BATCH = 500
RETRY_SECONDS = 1.0
GATHER_SECONDS = 0.2
"""How late a held event may be released: those that come due within it go out together."""

_DUE = text(f"""
    SELECT seq, type, key, payload, headers FROM outbox
    WHERE published_at IS NULL AND (release_at IS NULL OR release_at <= now())
        AND NOT EXISTS (
            SELECT 1 FROM outbox held
            WHERE held.published_at IS NULL AND held.release_at > now() AND held.seq < outbox.seq
                AND held.aggregateid = outbox.aggregateid AND held.aggregatetype = outbox.aggregatetype
        )
    ORDER BY seq LIMIT {BATCH}
""")  # noqa: S608 - the only interpolated value is a constant.
_PUBLISHED = text("UPDATE outbox SET published_at = now() WHERE seq = ANY(:seqs)")
_RING = text(f"SELECT pg_notify('{PUBLISHED}', '')")
_NEXT_RELEASE = text("SELECT extract(epoch FROM min(release_at) - now()) FROM outbox WHERE published_at IS NULL")
_GENERATION = text("SELECT generation FROM relay")
_KEEP_GENERATION = text(
    "INSERT INTO relay (generation) VALUES (:generation) ON CONFLICT (single) DO UPDATE SET generation = EXCLUDED.generation"
)
_AGAIN = text("UPDATE outbox SET published_at = NULL WHERE published_at IS NOT NULL")
_LOCK = text("SELECT pg_try_advisory_lock(:lock)")


class Relay:
    """The publisher of one service. ``send`` also publishes what needs no outbox, such as progress."""

    def __init__(
        self, settings: ChassisSettings, service: str, engine: AsyncEngine, bell: Bell, watch: GenerationWatch
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._bell = bell
        self._watch = watch
        self._lock = int.from_bytes(
            hashlib.sha256(f"heaters-relay-{service}".encode()).digest()[:8], "big", signed=True
        )
        self._producer: AIOKafkaProducer | None = None

    async def send(self, message: KafkaMessage) -> None:
        """Publishes one message now, or not at all while there is no broker."""
        if self._producer is not None:
            await self._producer.send(message.topic, message.value, message.key, headers=message.headers)

    async def send_now(self, message: KafkaMessage) -> None:
        """Publishes one message and waits for the broker's word; ``Transient`` while there is none."""
        if self._producer is None:
            raise Transient("There is no connection to the broker; try again in a moment.", code="broker.unavailable")
        try:
            await self._producer.send_and_wait(message.topic, message.value, message.key, headers=message.headers)
        except KafkaError as error:
            raise Transient(f"The broker did not take the message: {error}.", code="broker.unavailable") from error

    async def run(self, beat: Callable[[], None]) -> None:
        """Publishes for ever, through lost brokers and databases."""
        while True:
            beat()
            await self._watch.known()
            producer = AIOKafkaProducer(
                bootstrap_servers=self._settings.kafka_bootstrap, acks="all", linger_ms=0, request_timeout_ms=10_000
            )
            try:
                await producer.start()
                self._producer = producer
                async with self._engine.connect() as connection:
                    await self._relay(connection, producer, beat)
            except (KafkaError, *PASSING) as error:
                log.warning("Publishing was interrupted; trying again.", extra={"reason": repr(error)[:300]})
                await asyncio.sleep(RETRY_SECONDS)
            finally:
                self._producer = None
                await producer.stop()

    async def _relay(self, connection: AsyncConnection, producer: AIOKafkaProducer, beat: Callable[[], None]) -> None:
        poll = self._settings.poll_interval.total_seconds()
        while not (await connection.execute(_LOCK, {"lock": self._lock})).scalar_one():
            await connection.commit()
            beat()
            await asyncio.sleep(poll)
        # Nobody else writes the generation while the lock is held.
        followed = (await connection.execute(_GENERATION)).scalar_one_or_none()
        await connection.commit()
        try:
            while True:
                beat()
                if followed != (generation := await self._watch.known()):
                    await self._follow_generation(connection, followed, generation)
                    followed = generation
                if await self._publish_due(connection, producer) == BATCH:
                    continue
                release = (await connection.execute(_NEXT_RELEASE)).scalar_one()
                await connection.commit()
                seconds = poll if release is None else min(poll, max(GATHER_SECONDS, float(release)))
                await wait(self._bell.outbox, seconds)
        finally:
            # The lock belongs to the session, and pooled connections outlive this loop.
            await connection.invalidate()

    async def _follow_generation(self, connection: AsyncConnection, kept: UUID | None, generation: UUID) -> None:
        if kept is not None:
            again = await connection.execute(_AGAIN)
            log.warning("Publishing everything again.", extra={"rows": again.rowcount, "generation": str(generation)})
        await connection.execute(_KEEP_GENERATION, {"generation": generation})
        await connection.commit()

    async def _publish_due(self, connection: AsyncConnection, producer: AIOKafkaProducer) -> int:
        rows = (await connection.execute(_DUE)).all()
        if not rows:
            return 0
        sent = [
            await producer.send(
                BY_TYPE[row.type].topic.name,
                row.payload,
                row.key,
                headers=[(name, base64.b64decode(raw)) for name, raw in row.headers],
            )
            for row in rows
        ]
        results = await asyncio.gather(*sent, return_exceptions=True)
        seqs = [row.seq for row, result in zip(rows, results, strict=True) if not isinstance(result, BaseException)]
        await connection.execute(_PUBLISHED, {"seqs": seqs})
        await connection.execute(_RING)
        await connection.commit()
        metrics.EVENTS_PUBLISHED.inc(len(seqs))
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return len(rows)
