"""One service inside the test's own process, on real servers, and a producer of events to feed it."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from uuid import uuid4

import psutil

from contracts.envelope import to_kafka
from services.chassis import forks, migrations
from services.chassis.app import run_loops
from services.chassis.runtime import open_runtime
from services.chassis.worker import CHILD
from tests.support import wire


@contextlib.asynccontextmanager
async def running(stage, settings):
    """The stage with all its loops; stopped in order at the end."""
    await asyncio.to_thread(migrations.upgrade, settings.database_url.get_secret_value(), stage.name)
    runtime = open_runtime(stage, settings)
    await asyncio.to_thread(runtime.objects.ensure_bucket)
    stop = asyncio.Event()
    loops = asyncio.create_task(run_loops(runtime, stop))
    try:
        yield runtime
    finally:
        stop.set()
        await loops


async def publish(bootstrap: str, *events, event_ids=None, traceparent: str = "") -> None:
    """Publishes events as another service would."""
    async with wire.producer(bootstrap) as producer:
        for event, event_id in zip(events, event_ids or [uuid4() for _ in events], strict=True):
            now = datetime.now(UTC)
            message = to_kafka(event, event_id=event_id, source="test", time=now, traceparent=traceparent)
            await producer.send_and_wait(message.topic, message.value, message.key, headers=message.headers)


WARM = forks.__name__
"""The program that those are forked from which do a service's work."""


def at_work(service: int, program: str = CHILD) -> list[psutil.Process]:
    """The processes of a running service that do its work; or, by its program, the one from which they are forked."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(service).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if program in " ".join(process.cmdline()):
                    found.append(process)
    return found
