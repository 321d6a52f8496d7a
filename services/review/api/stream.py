"""Live events for pages: server-sent events that a page can resume where it lost them.

One watcher looks for something new while anybody listens, and wakes the listeners; each then reads from its own place in
the log. A ``change`` names the video and clip that changed, so that the page asks for their present state; ``progress``
carries the latest word of running work and is not resumed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from contracts.errors import Transient
from services.review.api import views

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.15
HEARTBEAT_SECONDS = 15.0
PAGE = 500


class Feed:
    """Who listens, and the watcher that wakes them."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._most: int = runtime.settings.review_max_streams
        self._wakers: set[asyncio.Event] = set()
        self._watcher: asyncio.Task[None] | None = None

    def check_room(self) -> None:
        """Raises ``Transient`` when as many listen as may."""
        if len(self._wakers) >= self._most:
            raise Transient(
                "Too many pages listen already; close some or raise HEATERS_REVIEW_MAX_STREAMS.",
                code="review.too_many_streams",
            )

    def poke(self) -> None:
        """Wakes the listeners at once, after this process has changed something."""
        for waker in self._wakers:
            waker.set()

    async def listen(self, after: tuple[int, int] | None) -> AsyncIterator[str]:
        """Server-sent events from a position on, or from now on, for ever."""
        waker = asyncio.Event()
        self._wakers.add(waker)
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())
        told_progress = self._runtime.clock()
        try:
            while after is None:
                with contextlib.suppress(DBAPIError, OSError):
                    async with self._runtime.transaction() as ledger:
                        after = await views.log_head(ledger.session)
                if after is None:
                    await asyncio.sleep(1)
            yield f"retry: 1000\nid: {after[0]}-{after[1]}\nevent: hello\ndata: {{}}\n\n"
            while True:
                try:
                    text, after, told_progress, is_full = await self._news(after, told_progress)
                except (DBAPIError, OSError) as error:
                    log.warning("A stream must wait for the database.", extra={"reason": repr(error)[:200]})
                    await asyncio.sleep(1)
                    continue
                if text:
                    yield text
                if is_full:
                    continue
                try:
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        await waker.wait()
                except TimeoutError:
                    yield ": still here\n\n"
                waker.clear()
        finally:
            self._wakers.discard(waker)
            if not self._wakers and self._watcher is not None:
                self._watcher.cancel()
                self._watcher = None

    async def _news(self, after: tuple[int, int], since: datetime) -> tuple[str, tuple[int, int], datetime, bool]:
        async with self._runtime.transaction() as ledger:
            page = await views.log_page(ledger.session, after, None, PAGE)
            progress = await views.progress_since(ledger.session, since)
        parts = []
        for entry in page.events:
            data = {
                "type": entry.type,
                "video_id": str(entry.video_id) if entry.video_id else None,
                "clip_id": str(entry.clip_id) if entry.clip_id else None,
                "edit": entry.body.get("edit_id"),
                "by": entry.body.get("by"),
            }
            parts.append(f"id: {entry.position}\nevent: change\ndata: {json.dumps(data)}\n\n")
        for video_id, told in progress:
            body = json.dumps({"video_id": str(video_id), **told.model_dump(mode="json")})
            parts.append(f"event: progress\ndata: {body}\n\n")
            since = max(since, told.changed_at)
        if page.events:
            first, _, second = page.events[-1].position.partition("-")
            after = (int(first), int(second))
        return "".join(parts), after, since, len(page.events) == PAGE

    async def _watch(self) -> None:
        seen: tuple[tuple[int, int], datetime | None] | None = None
        while True:
            try:
                async with self._runtime.transaction() as ledger:
                    head = await views.log_head(ledger.session)
                    latest = await views.progress_head(ledger.session)
            except (DBAPIError, OSError):
                await asyncio.sleep(1)
                continue
            if (head, latest) != seen:
                seen = (head, latest)
                for waker in self._wakers:
                    waker.set()
            await asyncio.sleep(LOOK_SECONDS)
