"""What a running service is made of: settings, database, objects, telemetry, bell, generation, relay.

Handlers see a ``Ledger``, work functions a ``Desk``; loops and HTTP interfaces see a ``Runtime``. Making one connects to nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from contracts.envelope import KafkaMessage
from services.chassis import telemetry
from services.chassis.bell import Bell
from services.chassis.db import open_engine
from services.chassis.generation import GenerationWatch
from services.chassis.ledger import Ledger
from services.chassis.objects import ObjectStore, open_store
from services.chassis.pulse import Pulse
from services.chassis.relay import Relay
from services.chassis.settings import ChassisSettings
from services.chassis.stage import Stage


def utc_now() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)


@dataclass
class Runtime:
    """What a running service is made of. Handlers see a ``Ledger``; APIs and loops see this."""

    stage: Stage
    settings: Any
    engine: AsyncEngine
    objects: ObjectStore
    telemetry: telemetry.Telemetry
    bell: Bell
    watch: GenerationWatch
    clock: Callable[[], datetime] = utc_now
    pulse: Pulse = field(default_factory=Pulse)
    announced: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by a message that announces work of this service's."""
    relay: Relay = field(init=False)
    closing: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """What is to be closed when the service ends, in this order."""

    def __post_init__(self) -> None:
        self.relay = Relay(self.settings, self.stage.name, self.engine, self.bell, self.watch)

    async def close(self) -> None:
        """Ends what the service holds open."""
        for close in self.closing:
            await close()
        await self.engine.dispose()

    @contextlib.asynccontextmanager
    async def transaction(self, *, cause: str = "", event_id: UUID | None = None) -> AsyncIterator[Ledger]:
        """One transaction: committed when the block ends, rolled back when it raises.

        ``cause`` names what opened it; the ids of events emitted inside derive from it.
        """
        async with AsyncSession(self.engine, expire_on_commit=False) as session, session.begin():
            yield Ledger(
                session=session,
                now=self.clock(),
                source=self.stage.name,
                cause=cause,
                traceparent=telemetry.current(),
                event_id=event_id,
                telemetry=self.telemetry,
                settings=self.settings,
            )

    async def replay(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> None:
        """Publishes a message again exactly as it once came; ``Transient`` while there is no broker."""
        await self.relay.send_now(KafkaMessage(topic, key, value or b"", list(headers)))


def open_runtime(stage: Stage, settings: ChassisSettings) -> Runtime:
    """The parts of a service, none of them connected yet."""
    return Runtime(
        stage=stage,
        settings=settings,
        engine=open_engine(settings, stage.name),
        objects=open_store(settings),
        telemetry=telemetry.start(stage.name, settings),
        bell=Bell(settings, stage.name),
        watch=GenerationWatch(settings),
    )
