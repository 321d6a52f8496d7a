"""Rows as they follow from the log, computed without touching a database.

``advance_video`` and ``advance_clip`` take one row one logged event further. Handlers, edits and the rebuild all go
through them, so a rebuilt row equals the one that was kept up to date, times included.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, TypeVar
from uuid import UUID

from contracts.events.base import ClipEvent, Event
from contracts.events.v1.clip import ClipCreated
from services.chassis.telemetry import trace_id
from services.review.domain import clip, video

EventT = TypeVar("EventT", bound=Event)


@dataclass(frozen=True)
class Logged:
    """One event of the log. ``recorded_at`` is when review took it in; all times of rows come from there."""

    id: UUID
    event: Event
    traceparent: str
    origin: Literal["received", "decided"]
    happened_at: datetime
    recorded_at: datetime

    @property
    def trace_id(self) -> str:
        """The trace that the event belongs to, in hex; empty if it has none."""
        return trace_id(self.traceparent)


@dataclass(frozen=True)
class VideoRow:
    """A video as review keeps it."""

    facts: video.Facts
    trace_id: str
    created_at: datetime
    state_since: datetime
    changed_at: datetime


@dataclass(frozen=True)
class ClipRow:
    """A clip as review keeps it. Without a birth it is not kept yet."""

    facts: clip.Facts
    traceparent: str
    created_at: datetime
    state_since: datetime
    changed_at: datetime

    @property
    def is_born(self) -> bool:
        """Whether the clip's range is known, so that it can be kept."""
        return self.facts.born is not None


def unheard_video(video_id: UUID, at: datetime) -> VideoRow:
    """The row of a video of which nothing was heard yet."""
    return VideoRow(video.Facts(video_id=video_id), "", at, at, at)


def advance_video(row: VideoRow, entry: Logged) -> VideoRow:
    """The row after one more event about the video."""
    facts, outcome = video.transition(row.facts, entry.event)
    trace_id = row.trace_id or entry.trace_id
    if facts == row.facts:
        return row if trace_id == row.trace_id else replace(row, trace_id=trace_id)
    since = entry.recorded_at if isinstance(outcome, video.Moved) else row.state_since
    return replace(row, facts=facts, trace_id=trace_id, state_since=since, changed_at=entry.recorded_at)


def advance_clip(row: ClipRow | None, entry: Logged) -> ClipRow:
    """The row after one more event about the clip; its trace and its age are those of its birth."""
    at = entry.recorded_at
    event = entry.event
    if not isinstance(event, ClipEvent):
        raise TypeError(f"{event.TYPE} is no event about a clip.")
    if row is None:
        row = ClipRow(clip.Facts(clip_id=event.clip_id, video_id=event.video_id), "", at, at, at)
    facts, outcome = clip.transition(row.facts, event)
    if facts == row.facts:
        return row
    since = at if isinstance(outcome, clip.Moved) else row.state_since
    after = replace(row, facts=facts, state_since=since, changed_at=at)
    if isinstance(event, ClipCreated) and not row.is_born:
        after = replace(after, created_at=at, traceparent=entry.traceparent)
    return after


def fold_clips(rows: dict[UUID, ClipRow], entries: Iterable[Logged]) -> dict[UUID, ClipRow]:
    """The rows after several events about clips."""
    after = dict(rows)
    for entry in entries:
        if isinstance(entry.event, ClipEvent):
            after[entry.event.clip_id] = advance_clip(after.get(entry.event.clip_id), entry)
    return after
