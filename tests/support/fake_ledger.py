"""A ledger that only remembers. It runs the same suite as the real one (tests/component/test_ledgers.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from contracts.envelope import derived_id
from services.chassis.ledger import Ledger
from services.chassis.telemetry import trace_id


@dataclass(frozen=True)
class Asked:
    """One piece of work that a handler asked for."""

    kind: str
    order: Any
    key: str
    video_id: UUID
    clip_id: UUID | None = None
    batch: str | None = None
    traceparent: str = ""
    job: Any = None
    delay: timedelta = timedelta(0)


@dataclass
class FakeLedger:
    settings: Any = None
    event_id: UUID = field(default_factory=uuid4)
    traceparent: str = f"00-{'ab' * 16}-{'cd' * 8}-01"
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    source: str = "test"
    session: Any = None
    envelope: Any = None
    work: list[Asked] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    causes: list[str | None] = field(default_factory=list)
    cancelled: list[dict[str, Any]] = field(default_factory=list)
    _ids: set[UUID] = field(default_factory=set)

    @property
    def trace_id(self) -> str:
        return trace_id(self.traceparent)

    until_ended = Ledger.until_ended

    async def enqueue(
        self, job, order, *, key, video_id, clip_id=None, batch=None, traceparent=None, delay=timedelta(0)
    ) -> None:
        if all(asked.key != key for asked in self.work):
            context = traceparent or self.traceparent
            self.work.append(Asked(job.kind, order, key, video_id, clip_id, batch, context, job, delay))

    async def emit(self, event, *, cause=None, release_at=None, traceparent=None) -> UUID:
        event_id = derived_id("event", self.source, cause or str(self.event_id), event.TYPE, event.subject)
        if event_id not in self._ids:
            self._ids.add(event_id)
            self.events.append(event)
            self.causes.append(cause)
        return event_id

    async def keys_made(self, clip_id, *jobs) -> tuple[str, ...]:
        return ()

    async def cancel(self, *, video_id=None, clip_id=None, kinds=()) -> int:
        if video_id is None and clip_id is None:
            raise ValueError("cancel() wants a video or a clip")
        self.cancelled.append({"video_id": video_id, "clip_id": clip_id, "kinds": tuple(kinds)})
        gone = [
            asked
            for asked in self.work
            if (video_id is None or asked.video_id == video_id)
            and (clip_id is None or asked.clip_id == clip_id)
            and (not kinds or asked.kind in kinds)
        ]
        self.work = [asked for asked in self.work if asked not in gone]
        return len(gone)
