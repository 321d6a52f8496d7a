"""Consumes events: one FastStream subscriber for all of a service's topics, one transaction for each message.

What a message can meet, and what becomes of it:

- it is no event, or its handler refuses it for good: a dead letter, and the partition goes on;
- the service has no handler for its type: it is passed over;
- it was handled before (its id is in the inbox): it is passed over;
- the database is away: the message waits where it is, with growing pauses, and keeps its place;
- otherwise it is handled, and the offset is committed after the transaction.

Handlers take milliseconds: they only write rows. Long work is done by the worker.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import traceback
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from opentelemetry.trace import SpanKind
from sqlalchemy import text

from contracts.envelope import Envelope, Undecodable, from_kafka
from contracts.errors import Permanent, Transient
from contracts.topics import TOPICS
from services.chassis import logs, metrics, telemetry
from services.chassis.bell import wait_for
from services.chassis.db import PASSING
from services.chassis.deadletter import dead_letter_of

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
AWAKE_AFTER_RING = 0.15
"""Seconds for which a consumer goes on fetching after somebody said that there is something."""
MARGIN = 0.01
"""Seconds that a fetch takes beyond the broker's wait."""
HANDLER_TRIES = 3
"""How often a handler that raises something unforeseen is tried before its message becomes a dead letter."""

_RECEIVE = text(
    "INSERT INTO inbox (event_id, type, received_at) VALUES (:id, :type, :now) ON CONFLICT (event_id) DO NOTHING RETURNING 1"
)
_WARDENS = {topic.name: topic.warden for topic in TOPICS}


class Consumer:
    """The consuming side of one service."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._heard = 0

    async def run(self, beat: Callable[[], None]) -> None:
        """Consumes for ever; starts over in a new group when the broker has lost its log."""
        runtime = self._runtime
        while True:
            beat()
            generation = await runtime.watch.known()
            changed = runtime.watch.changed
            broker, subscriber = self._broker(generation)
            try:
                await broker.start()
                log.info("Consuming.", extra={"topics": [topic.name for topic in runtime.stage.topics]})
                while not changed.is_set():
                    beat()
                    await _tell_lag(subscriber.consumer)
                    await self._rest(subscriber.consumer, changed)
            except (KafkaError, OSError) as error:
                log.warning("The broker cannot be reached; trying again.", extra={"reason": repr(error)[:300]})
                await asyncio.sleep(1)
            finally:
                await broker.stop()

    async def _rest(self, consumer: AIOKafkaConsumer, changed: asyncio.Event) -> None:
        """Lets a while pass. With dozing on, a consumer that hears nothing stops fetching until a relay rings or the time is up.

        A broker that cannot hold a fetch until data arrives would otherwise be asked for ever, many times a second.
        """
        runtime = self._runtime
        doze = runtime.settings.kafka_doze.total_seconds()
        if not doze:
            await wait_for(changed, runtime.settings.poll_interval.total_seconds())
            return
        published = runtime.bell.published
        rang = published.is_set()
        published.clear()
        heard = self._heard
        # Long enough for a fetch to come back: what arrives for a consumer at rest is kept from it until it wakes.
        await wait_for(published, AWAKE_AFTER_RING if rang else runtime.settings.kafka_fetch_wait_ms / 1000 + MARGIN)
        if published.is_set() or self._heard != heard or changed.is_set():
            return
        consumer.pause(*consumer.assignment())
        try:
            await wait_for(published, doze)
        finally:
            consumer.resume(*consumer.paused())

    def _broker(self, generation: UUID) -> tuple[KafkaBroker, Any]:
        runtime = self._runtime
        settings = runtime.settings
        broker = KafkaBroker(
            settings.kafka_bootstrap,
            client_id=f"heaters-{runtime.stage.name}",
            acks="all",
            allow_auto_create_topics=False,
            apply_types=False,
            graceful_timeout=30,
            logger=None,
        )

        async def receive(record: ConsumerRecord) -> None:
            await self.receive(record)

        subscriber = broker.subscriber(
            *[topic.name for topic in runtime.stage.topics],
            # A group of its own for each life of the broker's log: offsets of a lost log mean nothing in the next.
            group_id=f"{settings.kafka_group}-{runtime.stage.name}-{str(generation)[:8]}",
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.NACK_ON_ERROR,
            no_reply=True,
            parser=_keep_raw,
            decoder=_raw,
            fetch_max_wait_ms=settings.kafka_fetch_wait_ms,
            session_timeout_ms=settings.kafka_session_timeout_ms,
            heartbeat_interval_ms=min(3_000, settings.kafka_session_timeout_ms // 3),
            max_poll_interval_ms=600_000,
            consumer_timeout_ms=1_000,
        )
        subscriber(receive)
        return broker, subscriber

    async def receive(self, record: ConsumerRecord) -> None:
        """Takes one message to one of its ends, whatever it holds."""
        self._heard += 1
        pause = FIRST_PAUSE
        crashes = 0
        while True:
            try:
                await self._take(record)
                return
            except (Transient, *PASSING, TimeoutError) as error:
                log.warning("A message must wait.", extra={"reason": repr(error)[:300], **_position(record)})
            except Permanent as error:
                await self._bury(record, error.code, error.message)
                return
            except Exception as error:  # The edge: an unforeseen error must not stop the partition.
                crashes += 1
                log.exception("A handler failed.", extra=_position(record))
                if crashes >= HANDLER_TRIES:
                    frame = traceback.extract_tb(error.__traceback__)[-1]
                    await self._bury(
                        record,
                        "handler.failed",
                        f"The handler failed with {type(error).__name__}: {error} ({frame.name}, line {frame.lineno}). "
                        "Mend the handler, then replay the message.",
                    )
                    return
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _take(self, record: ConsumerRecord) -> None:
        runtime = self._runtime
        try:
            envelope = from_kafka(record.value, record.headers)
        except Undecodable as error:
            if _WARDENS[record.topic] == runtime.stage.name:
                await self._bury(record, error.code, error.message)
            return
        if isinstance(envelope.event, runtime.stage.heralds):
            runtime.announced.set()
        handler = runtime.stage.routes.handlers.get(type(envelope.event))
        if handler is None:
            return
        began = runtime.clock()
        hop = max(0.0, (began - envelope.time).total_seconds())
        with (
            telemetry.span(
                runtime.telemetry,
                f"accept {envelope.type}",
                parent=envelope.traceparent,
                kind=SpanKind.CONSUMER,
                attributes=_messaging(record, envelope, runtime.stage.name, hop),
            ),
            _about(envelope),
        ):
            async with runtime.transaction(cause=str(envelope.id), event_id=envelope.id) as ledger:
                received = await ledger.session.execute(
                    _RECEIVE, {"id": envelope.id, "type": envelope.type, "now": began}
                )
                if received.first() is None:
                    metrics.EVENTS_DUPLICATE.labels(envelope.type).inc()
                    return
                ledger.envelope = envelope
                await handler(envelope.event, ledger)
        metrics.EVENTS_ACCEPTED.labels(envelope.type).inc()
        metrics.HOP_SECONDS.labels(envelope.type).observe(hop)

    async def _bury(self, record: ConsumerRecord, code: str, reason: str) -> None:
        """Records a dead letter through the outbox, so that it survives whatever happens next."""
        runtime = self._runtime
        pause = FIRST_PAUSE
        generation = await runtime.watch.known()
        while True:
            try:
                async with runtime.transaction(cause="dead-letter") as ledger:
                    letter = dead_letter_of(record, generation, runtime.stage.name, code, reason, ledger.now)
                    await ledger.emit(letter)
                break
            except PASSING as error:
                log.warning("A dead letter must wait.", extra={"reason": repr(error)[:300], **_position(record)})
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
        metrics.DEAD_LETTERS.labels(code).inc()
        log.warning("A message became a dead letter.", extra={"code": code, "reason": reason, **_position(record)})


async def _keep_raw(record: Any, parse: Callable[[Any], Any]) -> Any:
    """FastStream decodes header values as text and drops a message where that fails; ours are read by the envelope."""
    message = await parse(dataclasses.replace(record, headers=()))
    message.raw_message = record
    return message


async def _raw(message: Any) -> Any:
    return message.raw_message


async def _tell_lag(consumer: AIOKafkaConsumer) -> None:
    """Notes how many messages lie unread in the partitions that this consumer has fetched from."""
    behind: dict[str, int] = defaultdict(int)
    for partition in consumer.assignment():
        if (end := consumer.highwater(partition)) is not None:
            behind[partition.topic] += max(0, end - await consumer.position(partition))
    for topic, count in behind.items():
        metrics.CONSUMER_LAG.labels(topic).set(count)


def _position(record: ConsumerRecord) -> dict[str, Any]:
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}


def _messaging(record: ConsumerRecord, envelope: Envelope, service: str, hop: float) -> dict[str, Any]:
    """Attributes by the OpenTelemetry semantic conventions for messaging."""
    ids = _ids(envelope)
    return {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": record.topic,
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
        "messaging.consumer.group.name": f"heaters-{service}",
        "messaging.message.id": str(envelope.id),
        "heaters.event_type": envelope.type,
        "heaters.hop_seconds": round(hop, 6),
        **{f"heaters.{name}": value for name, value in ids.items()},
    }


def _ids(envelope: Envelope) -> dict[str, str]:
    return {
        name: str(value)
        for name in ("video_id", "clip_id")
        if (value := getattr(envelope.event, name, None)) is not None
    }


class _about:  # noqa: N801 - reads as a statement: ``with _about(envelope)``.
    def __init__(self, envelope: Envelope) -> None:
        self._ids = _ids(envelope)

    def __enter__(self) -> None:
        self._token = logs.about.set({**logs.about.get(), **self._ids})

    def __exit__(self, *_: object) -> None:
        logs.about.reset(self._token)
