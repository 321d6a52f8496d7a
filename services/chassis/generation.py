"""Notices that the broker has lost its log.

The topic ``heaters-generation`` holds one record, written by whoever created the topics. As long as it is the same, what
was published is still there. When it changes, the relay publishes everything again from Postgres, and the consumers start
over in a group of their own; both are idempotent, so nothing is done twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from contracts.envelope import Undecodable, from_kafka
from contracts.events.v1.operations import BrokerStarted
from contracts.topics import GENERATION

if TYPE_CHECKING:
    from services.chassis.settings import ChassisSettings

log = logging.getLogger(__name__)
READ_TIMEOUT = 10.0


class GenerationWatch:
    """The broker's generation as last seen. ``changed`` is replaced by a new event after each change."""

    def __init__(self, settings: ChassisSettings) -> None:
        self._settings = settings
        self.current: UUID | None = None
        self.changed = asyncio.Event()

    async def known(self) -> UUID:
        """The generation, once one has been seen."""
        while self.current is None:
            await self.changed.wait()
        return self.current

    async def run(self, beat: Callable[[], None]) -> None:
        """Looks at the topic for ever, through lost connections."""
        while True:
            beat()
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._settings.kafka_bootstrap,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=self._settings.kafka_fetch_wait_ms,
                request_timeout_ms=10_000,
                consumer_timeout_ms=5_000,
            )
            try:
                # By timeout(), as in the bell: a wait_for would lose a cancellation that comes with the answer.
                async with asyncio.timeout(READ_TIMEOUT):
                    await consumer.start()
                partition = TopicPartition(GENERATION.name, 0)
                consumer.assign([partition])
                while True:
                    async with asyncio.timeout(READ_TIMEOUT):
                        generation = await _first(consumer, partition)
                    self._see(generation)
                    consumer.pause(partition)
                    beat()
                    await asyncio.sleep(self._settings.generation_interval.total_seconds())
                    consumer.resume(partition)
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("The broker's generation cannot be read; trying again.", extra={"reason": repr(error)})
                beat()
                await asyncio.sleep(0.25)
            finally:
                await consumer.stop()

    def _see(self, generation: UUID) -> None:
        if generation == self.current:
            return
        if self.current is not None:
            log.warning(
                "The broker has lost its log; everything is published again.", extra={"generation": str(generation)}
            )
        self.current = generation
        self.changed.set()
        self.changed = asyncio.Event()


async def _first(consumer: AIOKafkaConsumer, partition: TopicPartition) -> UUID:
    """The first record that decodes; others in the topic are not ours to read."""
    consumer.seek(partition, 0)
    while True:
        record = await consumer.getone(partition)
        try:
            event = from_kafka(record.value, record.headers).event
        except Undecodable:
            continue
        if isinstance(event, BrokerStarted):
            return event.generation
