"""Wakes the relay and the worker when Postgres says that there is something to do.

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


class Bell:
    """An event for each table that rings: set when a row was written, cleared by whoever waits."""

    def __init__(self, settings: ChassisSettings, schema: str) -> None:
        self._url = settings.database_url.get_secret_value()
        self._schema = schema
        self.outbox = asyncio.Event()
        self.work = asyncio.Event()

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
                    await connection.execute(f"LISTEN {self._schema}_outbox; LISTEN {self._schema}_work")
                    self.outbox.set()
                    self.work.set()
                    while not connection.closed:
                        beat()
                        async for notification in connection.notifies(timeout=interval):
                            (self.outbox if notification.channel.endswith("_outbox") else self.work).set()
            log.warning("The database connection for notifications was lost; connecting again.")
            await asyncio.sleep(RECONNECT_SECONDS)


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Waits for the event or the time, whichever comes first, and clears the event."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    event.clear()
