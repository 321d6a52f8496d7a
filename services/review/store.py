"""Review's tables: reading and writing rows inside the caller's transaction, and nothing else.

Whoever writes about a video holds that video's row lock (``lock_video``): edits and events of one video follow each other,
so that the order of the log is the order in which things were done.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.catalog import BY_TYPE
from contracts.events.base import ClipEvent
from contracts.events.v1.operations import DeadLetterRecorded, StageProgress
from contracts.values import spell_ratio
from services.chassis.db import Step, run_together
from services.review.domain import clip, video
from services.review.projection import ClipRow, Logged, VideoRow

ORDINAL_SHIFT = 26
"""Frame numbers stay below 2^26, so a video's ordinal shifted by this keeps the slots of videos apart."""

_LOG = text("""
    INSERT INTO event_log (id, type, video_id, clip_id, body, traceparent, origin, happened_at, recorded_at)
    VALUES (:id, :type, :video_id, :clip_id, cast(:body AS jsonb), :traceparent, :origin, :happened_at, :recorded_at)
    ON CONFLICT (id) DO NOTHING
""")
_LOG_COLUMNS = "seq, id, type, body, traceparent, origin, happened_at, recorded_at"
_LOG_OF_CLIPS = text(f"SELECT {_LOG_COLUMNS} FROM event_log WHERE clip_id = ANY(:ids) ORDER BY seq")  # noqa: S608
_LOG_OF_VIDEO = text(f"SELECT {_LOG_COLUMNS} FROM event_log WHERE video_id = :id ORDER BY seq")  # noqa: S608
_LOGGED_VIDEOS = text("SELECT DISTINCT video_id FROM event_log WHERE video_id IS NOT NULL")

_TOUCH_VIDEO = text("""
    INSERT INTO video (id, facts, state, title, tags, mastered, trace_id, created_at, state_since, changed_at)
    VALUES (:id, cast(:facts AS jsonb), 'new', '', '{}', false, '', :at, :at, :at)
    ON CONFLICT (id) DO NOTHING
""")
_LOCK_VIDEO = text("""
    SELECT id, ordinal, title, rate, profiles, EXISTS (SELECT FROM clip WHERE clip.video_id = video.id) AS has_clips
    FROM video WHERE id = :id FOR UPDATE
""")
_VIDEO = text("SELECT facts::text AS facts, trace_id, created_at, state_since, changed_at FROM video WHERE id = :id")
_SAVE_VIDEO = text("""
    UPDATE video SET facts = cast(:facts AS jsonb), state = :state, title = :title, source = cast(:source AS jsonb),
        tags = :tags, profiles = :profiles, frames = :frames, rate = :rate, duration = :duration, mastered = :mastered,
        duplicate_of = :duplicate_of, error = cast(:error AS jsonb), trace_id = :trace_id, created_at = :created_at,
        state_since = :state_since, changed_at = :changed_at
    WHERE id = :id
""")

_CLIPS = text("""
    SELECT id, facts::text AS facts, traceparent, created_at, state_since, changed_at
    FROM clip WHERE id = ANY(:ids) AND video_id = :video_id
""")
_SAVE_CLIP = text("""
    INSERT INTO clip (id, video_id, slot, start_frame, end_frame, occupies, facts, state, version, origin, parents, children,
        grouped_with, tags, note, confidence, approved_by, last_edit, is_virtual, manifest_key, error, traceparent, created_at,
        state_since, changed_at)
    VALUES (:id, :video_id, int8range(:slot_start, :slot_end), :start_frame, :end_frame, :occupies, cast(:facts AS jsonb),
        :state, :version, :origin, :parents, :children, :grouped_with, :tags, :note, :confidence, :approved_by, :last_edit,
        :is_virtual, :manifest_key, cast(:error AS jsonb), :traceparent, :created_at, :state_since, :changed_at)
    ON CONFLICT (id) DO UPDATE SET occupies = EXCLUDED.occupies, facts = EXCLUDED.facts, state = EXCLUDED.state,
        version = EXCLUDED.version, children = EXCLUDED.children, grouped_with = EXCLUDED.grouped_with,
        tags = EXCLUDED.tags, note = EXCLUDED.note,
        approved_by = EXCLUDED.approved_by, last_edit = EXCLUDED.last_edit, is_virtual = EXCLUDED.is_virtual,
        manifest_key = EXCLUDED.manifest_key, error = EXCLUDED.error, state_since = EXCLUDED.state_since,
        changed_at = EXCLUDED.changed_at
""")
_FORGET_CLIPS = text("DELETE FROM clip WHERE video_id = :id")

_SAVE_EDIT = text("""
    INSERT INTO edit (id, video_id, kind, by, command, clips, events, idempotency_key, made_at, release_at, redo_of)
    VALUES (:id, :video_id, :kind, :by, cast(:command AS jsonb), :clips, :events, :idempotency_key, :made_at, :release_at,
        :redo_of)
    ON CONFLICT (id) DO NOTHING
""")
_EDIT_COLUMNS = "id, video_id, kind, by, command, clips, events, idempotency_key, made_at, release_at, undone_by, redo_of, redone_by"
_EDIT = text(f"SELECT {_EDIT_COLUMNS} FROM edit WHERE id = :id")  # noqa: S608
_EDIT_BY_KEY = text(
    f"SELECT {_EDIT_COLUMNS} FROM edit WHERE video_id = :video_id AND idempotency_key = :key"  # noqa: S608
)
_UNDONE = text("UPDATE edit SET undone_by = :undo WHERE id = :id")
_REDONE = text("UPDATE edit SET redone_by = :redo WHERE id = :id")
_PENDING = text("""
    SELECT id FROM clip WHERE video_id = :video_id AND state = 'pending_review' AND occupies ORDER BY start_frame LIMIT :limit
""")

_SAVE_PROGRESS = text("""
    INSERT INTO progress (work_id, video_id, clip_id, stage, kind, body, changed_at)
    VALUES (:work_id, :video_id, :clip_id, :stage, :kind, cast(:body AS jsonb), :at)
    ON CONFLICT (work_id) DO UPDATE SET body = EXCLUDED.body, changed_at = EXCLUDED.changed_at
""")
_END_PROGRESS = text("""
    DELETE FROM progress WHERE video_id = :video_id AND clip_id IS NOT DISTINCT FROM cast(:clip_id AS uuid)
        AND stage = :stage AND (:kind = '' OR kind = :kind)
""")

_SAVE_DEAD_LETTER = text("""
    INSERT INTO dead_letter (id, consumers, topic, partition, "offset", code, reason, key, value, headers, recorded_at)
    VALUES (:id, ARRAY[:consumer], :topic, :partition, :offset, :code, :reason, :key, :value, cast(:headers AS jsonb),
        :recorded_at)
    ON CONFLICT (id) DO UPDATE SET consumers = (
        SELECT array_agg(DISTINCT name ORDER BY name) FROM unnest(dead_letter.consumers || EXCLUDED.consumers) AS name
    )
""")


@dataclass(frozen=True)
class LockedVideo:
    """A video that nobody else changes until the transaction ends, and what its clips take from it.

    Its facts are read by themselves (``load_video``): they tell every cut, thousands in a film, of which an edit and the events
    of a clip want none. ``rate`` is spelt as a ratio; ``profiles`` are those its request asked for, empty while unknown.
    """

    id: UUID
    ordinal: int
    title: str
    rate: str | None
    profiles: tuple[str, ...]
    has_clips: bool


@dataclass(frozen=True)
class EditRow:
    """An edit as the history keeps it. ``clips`` are all it touched or made, ``events`` what it told the world."""

    id: UUID
    video_id: UUID
    kind: str
    by: str
    command: Mapping[str, Any]
    clips: tuple[UUID, ...]
    events: tuple[UUID, ...]
    made_at: datetime
    release_at: datetime
    idempotency_key: str | None = None
    undone_by: UUID | None = None
    redo_of: UUID | None = None
    redone_by: UUID | None = None


def logging(entries: Sequence[Logged]) -> Step:
    """Appends events to the log; one whose id is there already changes nothing."""
    return Step(
        _LOG,
        [
            {
                "id": entry.id,
                "type": entry.event.TYPE,
                "video_id": getattr(entry.event, "video_id", None),
                "clip_id": entry.event.clip_id if isinstance(entry.event, ClipEvent) else None,
                "body": entry.event.model_dump_json(),
                "traceparent": entry.traceparent,
                "origin": entry.origin,
                "happened_at": entry.happened_at,
                "recorded_at": entry.recorded_at,
            }
            for entry in entries
        ],
    )


async def log_events(session: AsyncSession, entries: Sequence[Logged]) -> None:
    """Appends events to the log."""
    await run_together(session, logging(entries))


async def log_of_video(session: AsyncSession, video_id: UUID) -> list[Logged]:
    """Everything logged about a video and its clips, in order."""
    return [_logged(row) for row in (await session.execute(_LOG_OF_VIDEO, {"id": video_id})).mappings()]


async def log_of_clips(session: AsyncSession, clip_ids: Collection[UUID]) -> list[Logged]:
    """Everything logged about some clips, in order."""
    return [_logged(row) for row in (await session.execute(_LOG_OF_CLIPS, {"ids": list(clip_ids)})).mappings()]


async def logged_videos(session: AsyncSession) -> list[UUID]:
    """The videos that the log tells of."""
    return list((await session.execute(_LOGGED_VIDEOS)).scalars())


async def lock_video(session: AsyncSession, video_id: UUID, at: datetime) -> LockedVideo:
    """The video, made if it is missing, locked until the transaction ends."""
    empty = video.Facts(video_id=video_id)
    await session.execute(_TOUCH_VIDEO, {"id": video_id, "facts": _dump(empty), "at": at})
    return _locked((await session.execute(_LOCK_VIDEO, {"id": video_id})).mappings().one())


async def load_video(session: AsyncSession, video_id: UUID) -> VideoRow:
    """A locked video's row, with all that was heard of it."""
    row = (await session.execute(_VIDEO, {"id": video_id})).mappings().one()
    return VideoRow(**{**row, "facts": video.Facts.model_validate_json(row["facts"])})


async def find_video(session: AsyncSession, video_id: UUID) -> LockedVideo | None:
    """The video, locked until the transaction ends; nothing if there is none."""
    row = (await session.execute(_LOCK_VIDEO, {"id": video_id})).mappings().first()
    return None if row is None else _locked(row)


async def open_board(
    session: AsyncSession,
    video_id: UUID,
    clip_ids: Collection[UUID],
    *,
    key: str | None = None,
    edit_id: UUID | None = None,
) -> tuple[LockedVideo | None, EditRow | None, dict[UUID, ClipRow]]:
    """What an edit needs to know, read in one go: the video, now locked; an edit by its id or its client's key; some clips."""
    videos, edits, clips = await run_together(
        session,
        Step(_LOCK_VIDEO, [{"id": video_id}]),
        Step(_EDIT, [{"id": edit_id}]) if key is None else Step(_EDIT_BY_KEY, [{"video_id": video_id, "key": key}]),
        Step(_CLIPS, [{"ids": list(clip_ids), "video_id": video_id}]),
    )
    return _locked(videos[0]) if videos else None, _edit(edits[0]) if edits else None, _clips(clips)


def _locked(row: Mapping[Any, Any]) -> LockedVideo:
    return LockedVideo(**{**row, "profiles": tuple(row["profiles"] or ())})


async def save_video(session: AsyncSession, row: VideoRow) -> None:
    """Writes a locked video's row."""
    facts = row.facts
    failure = video.error(facts)
    proxied = facts.proxied
    await session.execute(
        _SAVE_VIDEO,
        {
            "id": facts.video_id,
            "facts": _dump(facts),
            "state": video.status(facts).value,
            "title": facts.title,
            "source": facts.accepted.source.model_dump_json() if facts.accepted else None,
            "tags": list(facts.tags),
            "profiles": list(facts.options.profiles) if facts.options else None,
            "frames": proxied.frames if proxied else None,
            "rate": spell_ratio(proxied.rate) if proxied else None,
            "duration": spell_ratio(proxied.duration) if proxied else None,
            "mastered": facts.mastered is not None,
            "duplicate_of": facts.duplicate_of,
            "error": failure.model_dump_json() if failure else None,
            "trace_id": row.trace_id,
            "created_at": row.created_at,
            "state_since": row.state_since,
            "changed_at": row.changed_at,
        },
    )


async def load_clips(session: AsyncSession, video_id: UUID, clip_ids: Collection[UUID]) -> dict[UUID, ClipRow]:
    """Those of the clips that are kept and belong to the video."""
    return _clips((await session.execute(_CLIPS, {"ids": list(clip_ids), "video_id": video_id})).mappings())


def _clips(rows: Iterable[Mapping[Any, Any]]) -> dict[UUID, ClipRow]:
    return {
        row["id"]: ClipRow(
            clip.Facts.model_validate_json(row["facts"]),
            row["traceparent"],
            row["created_at"],
            row["state_since"],
            row["changed_at"],
        )
        for row in rows
    }


def saving_clips(ordinal: int, rows: Iterable[ClipRow]) -> Step:
    """Writes born clips. Those that give up their range go first, so that others may take it in the same go."""
    values = [{**columns_of(row), **_slot(ordinal, row)} for row in rows if row.is_born]
    return Step(_SAVE_CLIP, sorted(values, key=lambda value: bool(value["occupies"])))


async def save_clips(session: AsyncSession, ordinal: int, rows: Iterable[ClipRow]) -> None:
    """Writes born clips."""
    await run_together(session, saving_clips(ordinal, rows))


async def forget_clips(session: AsyncSession, video_id: UUID) -> None:
    """Deletes a video's clip rows, to be made anew."""
    await session.execute(_FORGET_CLIPS, {"id": video_id})


def saving_edits(edits: Sequence[EditRow]) -> Step:
    """Adds edits to the history."""
    return Step(
        _SAVE_EDIT,
        [
            {
                "id": edit.id,
                "video_id": edit.video_id,
                "kind": edit.kind,
                "by": edit.by,
                "command": json.dumps(dict(edit.command)),
                "clips": list(edit.clips),
                "events": list(edit.events),
                "idempotency_key": edit.idempotency_key,
                "made_at": edit.made_at,
                "release_at": edit.release_at,
                "redo_of": edit.redo_of,
            }
            for edit in edits
        ],
    )


async def save_edits(session: AsyncSession, edits: Sequence[EditRow]) -> None:
    """Adds edits to the history."""
    await run_together(session, saving_edits(edits))


async def find_edit(session: AsyncSession, edit_id: UUID) -> EditRow | None:
    """An edit by its id."""
    return _edit((await session.execute(_EDIT, {"id": edit_id})).mappings().first())


async def find_edit_by_key(session: AsyncSession, video_id: UUID, key: str) -> EditRow | None:
    """An edit by the key its client gave it."""
    return _edit((await session.execute(_EDIT_BY_KEY, {"video_id": video_id, "key": key})).mappings().first())


def marking_undone(edit_id: UUID, undo: UUID) -> Step:
    """Notes which edit took another back."""
    return Step(_UNDONE, [{"id": edit_id, "undo": undo}])


def marking_redone(edit_id: UUID, redo: UUID) -> Step:
    """Notes which edit made an undone one again."""
    return Step(_REDONE, [{"id": edit_id, "redo": redo}])


async def pending_clips(session: AsyncSession, video_id: UUID, limit: int) -> list[UUID]:
    """A video's clips that wait for a decision, in the order of their frames."""
    return list((await session.execute(_PENDING, {"video_id": video_id, "limit": limit})).scalars())


async def save_progress(session: AsyncSession, event: StageProgress, at: datetime) -> None:
    """Keeps the latest word of a piece of work."""
    await session.execute(
        _SAVE_PROGRESS,
        {
            "work_id": event.work_id,
            "video_id": event.video_id,
            "clip_id": event.clip_id,
            "stage": event.stage,
            "kind": event.kind,
            "body": event.model_dump_json(),
            "at": at,
        },
    )


async def end_progress(session: AsyncSession, video_id: UUID, clip_id: UUID | None, stage: str, kind: str = "") -> None:
    """Forgets the progress of work that has ended; without a kind, of all the stage's work on that video or clip."""
    values = {"video_id": video_id, "clip_id": clip_id, "stage": stage, "kind": kind}
    await session.execute(_END_PROGRESS, values)


async def save_dead_letter(session: AsyncSession, event: DeadLetterRecorded) -> None:
    """Keeps a dead letter; told of by several consumers it stays one, with all their names."""
    await session.execute(
        _SAVE_DEAD_LETTER,
        {
            "id": event.dead_letter_id,
            "consumer": event.consumer,
            "topic": event.topic,
            "partition": event.partition,
            "offset": event.offset,
            "code": event.code,
            "reason": event.reason,
            "key": _bytes(event.key_base64),
            "value": _bytes(event.value_base64),
            "headers": json.dumps([[header.name, header.value_base64] for header in event.headers]),
            "recorded_at": event.recorded_at,
        },
    )


def _slot(ordinal: int, row: ClipRow) -> dict[str, int]:
    base = ordinal << ORDINAL_SHIFT
    assert row.facts.born is not None  # noqa: S101 - only born clips are kept.
    return {"slot_start": base + row.facts.born.frames.start, "slot_end": base + row.facts.born.frames.end}


def columns_of(row: ClipRow) -> dict[str, Any]:
    """A born clip's columns as they are kept, but for its slot."""
    facts = row.facts
    if facts.born is None:
        raise TypeError("A clip is kept once its birth is known.")
    frames = facts.born.frames
    failure = clip.error(facts)
    return {
        "id": facts.clip_id,
        "video_id": facts.video_id,
        "start_frame": frames.start,
        "end_frame": frames.end,
        "occupies": clip.occupies(facts),
        "facts": _dump(facts),
        "state": clip.status(facts).value,
        "version": facts.version,
        "origin": facts.born.origin,
        "parents": list(facts.born.parents),
        "children": list(facts.children),
        "grouped_with": list(facts.group),
        "tags": list(facts.tags),
        "note": facts.note,
        "confidence": facts.born.confidence,
        "approved_by": facts.approved_by,
        "last_edit": facts.last_edit,
        "is_virtual": facts.is_virtual,
        "manifest_key": facts.exported.deliverables[0].manifest.key if facts.exported else None,
        "error": failure.model_dump_json() if failure else None,
        "traceparent": row.traceparent,
        "created_at": row.created_at,
        "state_since": row.state_since,
        "changed_at": row.changed_at,
    }


def _logged(row: Mapping[Any, Any]) -> Logged:
    return Logged(
        id=row["id"],
        event=BY_TYPE[row["type"]].model.model_validate(row["body"]),
        traceparent=row["traceparent"],
        origin=row["origin"],
        happened_at=row["happened_at"],
        recorded_at=row["recorded_at"],
    )


def _edit(row: Mapping[Any, Any] | None) -> EditRow | None:
    if row is None:
        return None
    return EditRow(**{**row, "clips": tuple(row["clips"]), "events": tuple(row["events"])})


def _dump(facts: video.Facts | clip.Facts) -> str:
    return facts.model_dump_json(exclude_none=True)


def _bytes(spelt: str | None) -> bytes | None:
    return None if spelt is None else base64.b64decode(spelt)
