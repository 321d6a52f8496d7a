"""Wakes the relay, the worker and a dozing consumer when Postgres says that there is something to do.

One connection listens for the service's channels; a lost notification costs at most one poll interval.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import psycopg

from services.chassis.db import connect_options

if TYPE_CHECKING:
    from services.chassis.settings import ChassisSettings

log = logging.getLogger(__name__)
RECONNECT_SECONDS = 1.0
PUBLISHED = "heaters_published"
"""The channel on which every relay says that the broker has something new."""


class Bell:
    """An event for each table that rings: set when a row was written, cleared by whoever waits."""

    def __init__(self, settings: ChassisSettings, schema: str) -> None:
        self._url = settings.database_url.get_secret_value()
        self._schema = schema
        self.outbox = asyncio.Event()
        self.work = asyncio.Event()
        self.published = asyncio.Event()

    async def listen(self, beat: Callable[[], None], interval: float) -> None:
        """Listens for ever, through lost connections."""
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(
                    self._url, autocommit=True, options=connect_options(self._schema), connect_timeout=5
                )
            except psycopg.OperationalError:
                beat()
                await asyncio.sleep(RECONNECT_SECONDS)
                continue
            async with connection:
                with contextlib.suppress(psycopg.OperationalError):
                    await connection.execute(
                        f"LISTEN {self._schema}_outbox; LISTEN {self._schema}_work; LISTEN {PUBLISHED}"
                    )
                    rings = {
                        f"{self._schema}_outbox": self.outbox,
                        f"{self._schema}_work": self.work,
                        PUBLISHED: self.published,
                    }
                    for ring in rings.values():
                        ring.set()
                    while not connection.closed:
                        beat()
                        # Waited for by the loop itself: the driver would wake ten times a second to look.
                        await readable(connection.fileno(), interval)
                        async for notification in connection.notifies(timeout=0):
                            rings[notification.channel].set()
            log.warning("The database connection for notifications was lost; connecting again.")
            await asyncio.sleep(RECONNECT_SECONDS)


async def readable(descriptor: int, seconds: float) -> None:
    """Waits until a descriptor has something to read, or for the time."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await wait_for(ready, seconds)
    finally:
        loop.remove_reader(descriptor)


async def wait_for(event: asyncio.Event, seconds: float) -> None:
    """Waits for the event or the time, whichever comes first. Whoever is cancelled meanwhile is, even as the event comes."""
    # The library's own wait_for gives the event instead, in Python 3.11, and a loop told to stop goes on for ever.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def wait(event: asyncio.Event, seconds: float) -> None:
    """As ``wait_for``, and clears the event."""
    await wait_for(event, seconds)
    event.clear()
