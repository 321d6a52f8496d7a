"""Forgets what nobody can need any more, so that a service's tables do not grow for ever.

Published outbox rows are kept as long as the topics keep their events: a broker that lost its log is refilled from them. The
inbox is kept twice as long, so that whatever is published again is recognised. Spans are kept for thirty days.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from contracts.topics import CLIPS, VIDEOS
from services.chassis.db import PASSING

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime

log = logging.getLogger(__name__)

INTERVAL = timedelta(hours=1)
KEPT_OUTBOX = max(topic.retention or timedelta() for topic in (VIDEOS, CLIPS))
KEPT_INBOX = 2 * KEPT_OUTBOX
KEPT_SPANS = timedelta(days=30)

_FORGET = (
    (text("DELETE FROM outbox WHERE published_at < :before"), KEPT_OUTBOX),
    (text("DELETE FROM inbox WHERE received_at < :before"), KEPT_INBOX),
    (text("DELETE FROM telemetry.span WHERE started_at < :before"), KEPT_SPANS),
)


async def keep_house(runtime: Runtime, beat: Callable[[], None]) -> None:
    """Tidies once an hour, for ever."""
    poll = runtime.settings.poll_interval.total_seconds()
    while True:
        try:
            await forget(runtime)
        except PASSING as error:
            log.warning("Housekeeping must wait.", extra={"reason": repr(error)[:200]})
        for _ in range(max(1, round(INTERVAL.total_seconds() / poll))):
            beat()
            await asyncio.sleep(poll)


async def forget(runtime: Runtime) -> int:
    """Deletes what is older than it is kept; how many rows."""
    rows = 0
    async with runtime.engine.begin() as connection:
        for statement, kept in _FORGET:
            rows += (await connection.execute(statement, {"before": runtime.clock() - kept})).rowcount
    return rows
