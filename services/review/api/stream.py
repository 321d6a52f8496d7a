"""Live events for pages: server-sent events that a page can resume where it lost them.

One watcher reads what is new, once for everybody who listens; a listener that resumes first reads what it has missed from
the log. A ``change`` names the video and clip that changed, so that the page asks for their present state; ``progress``
carries the latest word of running work and is not resumed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from contracts.errors import Transient
from services.review.api import views

if TYPE_CHECKING:
    from services.chassis.ledger import Ledger
    from services.chassis.runtime import Runtime
    from services.review.api.shapes import LogEntry

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.15
GATHER_SECONDS = 0.1
"""The least time between two looks, so that edits that come thick are told together."""
HEARTBEAT_SECONDS = 15.0
PAGE = 500
MOST_WAITING = 20_000
"""Messages that may wait for one listener. One that falls further behind is let go, and resumes by itself."""

Position = tuple[int, int]
Message = tuple[Position | None, str]
"""An event and its place in the log; progress has none."""


@dataclass(eq=False)
class _Listener:
    told: Position = (0, 0)
    waiting: deque[Message] = field(default_factory=deque)
    waker: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self) -> str:
        """What waits and has not been told yet."""
        self.waker.clear()
        texts = []
        while self.waiting:
            position, text = self.waiting.popleft()
            if position is None or position > self.told:
                texts.append(text)
                self.told = position or self.told
        return "".join(texts)


class Feed:
    """Who listens, and the watcher that tells them."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._most: int = runtime.settings.review_max_streams
        self._listeners: set[_Listener] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._poked = asyncio.Event()
        self._head: Position | None = None
        self._begun = asyncio.Event()

    def check_room(self) -> None:
        """Raises ``Transient`` when as many listen as may."""
        if len(self._listeners) >= self._most:
            raise Transient(
                "Too many pages listen already; close some or raise HEATERS_REVIEW_MAX_STREAMS.",
                code="review.too_many_streams",
            )

    def poke(self) -> None:
        """Has the watcher look at once, after this process has changed something."""
        self._poked.set()

    async def listen(self, after: Position | None) -> AsyncIterator[str]:
        """Server-sent events from a position on, or from now on, until the listener cannot keep up."""
        own = _Listener()
        self._listeners.add(own)
        if self._watcher is None or self._watcher.done():
            self._head = None
            self._begun.clear()
            self._watcher = asyncio.create_task(self._watch())
        try:
            await self._begun.wait()
            # All that the watcher has not read by now will wait for this listener.
            head = self._head or (0, 0)
            own.told = after or head
            yield f"retry: 1000\nid: {own.told[0]}-{own.told[1]}\nevent: hello\ndata: {{}}\n\n"
            while own.told < head:
                try:
                    async with self._runtime.transaction() as ledger:
                        missed = await _after(ledger, own.told)
                except (DBAPIError, OSError) as error:
                    log.warning("A stream must wait for the database.", extra={"reason": repr(error)[:200]})
                    await asyncio.sleep(1)
                    continue
                if not missed:
                    break
                own.told = missed[-1][0] or own.told
                yield "".join(text for _, text in missed)
            while own in self._listeners:
                if text := own.take():
                    yield text
                try:
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        await own.waker.wait()
                except TimeoutError:
                    yield ": still here\n\n"
        finally:
            self._listeners.discard(own)
            if not self._listeners and self._watcher is not None:
                self._watcher.cancel()
                self._watcher = None

    def _tell(self, messages: Iterable[Message]) -> None:
        told = tuple(messages)
        for listener in tuple(self._listeners):
            if len(listener.waiting) + len(told) > MOST_WAITING:
                self._listeners.discard(listener)
            listener.waiting.extend(told)
            listener.waker.set()

    async def _watch(self) -> None:
        since = self._runtime.clock()
        while True:
            try:
                self._poked.clear()
                async with self._runtime.transaction() as ledger:
                    if self._head is None:
                        self._head = await views.log_head(ledger.session)
                        self._begun.set()
                    entries, progress = await views.news_since(ledger.session, self._head, since, PAGE)
            except (DBAPIError, OSError) as error:
                log.warning("The live events must wait for the database.", extra={"reason": repr(error)[:200]})
                await asyncio.sleep(1)
                continue
            news: list[Message] = [_change(entry) for entry in entries]
            is_full = len(entries) == PAGE
            if news:
                self._head = news[-1][0]
            for video_id, told in progress:
                body = json.dumps({"video_id": str(video_id), **told.model_dump(mode="json")})
                news.append((None, f"event: progress\ndata: {body}\n\n"))
                since = max(since, told.changed_at)
            if news:
                self._tell(news)
            if not is_full:
                await asyncio.sleep(GATHER_SECONDS)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._poked.wait()


async def _after(ledger: Ledger, position: Position) -> list[Message]:
    page = await views.log_page(ledger.session, position, None, PAGE)
    return [_change(entry) for entry in page.events]


def _change(entry: LogEntry) -> Message:
    first, _, second = entry.position.partition("-")
    data = {
        "type": entry.type,
        "video_id": str(entry.video_id) if entry.video_id else None,
        "clip_id": str(entry.clip_id) if entry.clip_id else None,
        "edit": entry.body.get("edit_id"),
        "by": entry.body.get("by"),
    }
    text = f"id: {entry.position}\nevent: change\ndata: {json.dumps(data)}\n\n"
    return (int(first), int(second)), text
