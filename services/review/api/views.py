"""Reads rows for the API's answers. Every query is bounded and walks an index.

The log is read up to the oldest transaction still running: numbers commit out of order, and a reader that had gone past a
late one would never see it. Positions compare within the life of one database cluster.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.v1.video import VideoProxied
from contracts.events.v2.video import VideoScenesDetected
from services.chassis.db import COMMIT, Step, run_together
from services.review import store
from services.review.api import cursors
from services.review.api.shapes import (
    ClipOut,
    ClipPage,
    DeadLetterDetail,
    DeadLetterOut,
    DeadLetterPage,
    EditOut,
    EditPage,
    ErrorOut,
    LogEntry,
    LogPage,
    ProgressOut,
    VideoOut,
    VideoPage,
    VideoSummary,
)
from services.review.domain import clip
from services.review.domain.clip import ClipState
from services.review.domain.marks import Refused, unknown
from services.review.domain.video import VideoState
from services.review.editing import Edited

MAX_CLIPS_OF_A_VIDEO = 25_000
MOST_NAMED = 100
"""Clips that one request may name: their ids have room in an address."""
PACE = timedelta(minutes=10)
"""The span that decisions per hour are measured over."""
FRESH_PROGRESS = timedelta(minutes=10)
"""Progress older than this is of work that has died or was overtaken; it is not shown."""

# A duplicate is what its original is: whoever waits for it waits for that one.
_VIDEO_COLUMNS = """video.id, video.source, video.title, video.tags, video.duplicate_of, video.trace_id, video.created_at,
    video.changed_at, coalesce(original.state, video.state) AS state, coalesce(original.error, video.error) AS error,
    coalesce(original.mastered, video.mastered) AS mastered, coalesce(video.frames, original.frames) AS frames,
    coalesce(video.rate, original.rate) AS rate, coalesce(video.duration, original.duration) AS duration"""
_VIDEO_TABLES = "video LEFT JOIN video AS original ON original.id = video.duplicate_of"
_OF_VIDEO = "video_id = (SELECT coalesce(duplicate_of, id) FROM video WHERE video.id = :video_id)"
_VIDEO = text(f"SELECT {_VIDEO_COLUMNS} FROM {_VIDEO_TABLES} WHERE video.id = :id")  # noqa: S608 - constants only.
_VIDEOS = f"""
    SELECT {_VIDEO_COLUMNS} FROM {_VIDEO_TABLES} WHERE %s ORDER BY video.created_at DESC, video.id DESC LIMIT :limit
"""  # noqa: S608 - as above.

_CLIP_COLUMNS = """id, video_id, state, start_frame, end_frame, version, approved_by, is_virtual, origin, confidence, frames, tags,
    note, parents, children, grouped_with, last_edit, error, created_at, changed_at,
    CASE WHEN is_virtual THEN NULL ELSE facts->'exported'->'deliverables' END AS deliverables"""
_CLIP = text(f"SELECT {_CLIP_COLUMNS} FROM clip WHERE id = :id")  # noqa: S608 - as above.
_OF_ITS_VIDEO = """(SELECT title FROM video WHERE video.id = clip.video_id) AS title,
    (SELECT rate FROM video WHERE video.id = clip.video_id) AS rate"""
_CLIPS_BY_ID = text(
    f"SELECT {_CLIP_COLUMNS}, {_OF_ITS_VIDEO} FROM clip WHERE id = ANY(:ids) ORDER BY start_frame, id"  # noqa: S608
)
_CLIPS = f"SELECT {_CLIP_COLUMNS} FROM clip WHERE %s ORDER BY %s LIMIT :limit"  # noqa: S608 - as above.
_CLIPS_OF_ONE = f"""
    WITH found AS MATERIALIZED (SELECT {_CLIP_COLUMNS} FROM clip WHERE %s) SELECT * FROM found ORDER BY %s LIMIT :limit
"""  # noqa: S608 - as above.
_WITH_VIDEO = f"SELECT *, {_OF_ITS_VIDEO} FROM (%s) AS clip ORDER BY %s"  # noqa: S608 - as above.
Order = Literal["oldest", "frames", "uncertain", "shortest", "longest"]
_ORDERS: dict[Order, tuple[tuple[str, ...], tuple[Callable[[str], Any], ...], str]] = {
    "oldest": (
        ("created_at", "video_id", "start_frame", "id"),
        (cursors.moment, cursors.identifier, cursors.frame, cursors.identifier),
        "",
    ),
    "frames": (("start_frame", "id"), (cursors.frame, cursors.identifier), ""),
    "uncertain": (("confidence", "id"), (cursors.confidence, cursors.identifier), ""),
    "shortest": (("frames", "id"), (cursors.frame, cursors.identifier), ""),
    "longest": (("frames", "id"), (cursors.frame, cursors.identifier), " DESC"),
}
"""An order's columns, how a cursor spells them, and its direction."""
_NAMES = text("SELECT id, title, rate FROM video WHERE id = ANY(:ids)")
_OWNERS = text("SELECT id, video_id FROM clip WHERE id = ANY(:ids)")
_CLIP_COUNTS = text("""
    SELECT video_id, state, count(*) AS clips FROM clip WHERE video_id = ANY(:ids) AND occupies GROUP BY video_id, state
""")
_PROGRESS = text("""
    SELECT video_id, body, changed_at FROM progress WHERE video_id = ANY(:ids) AND changed_at > :since
    ORDER BY changed_at, work_id LIMIT 1000
""")
_EDIT_COLUMNS = "id, video_id, kind, by, clips, made_at, release_at, undone_by, redo_of, redone_by, command"
_EDITS = f"SELECT {_EDIT_COLUMNS} FROM edit WHERE %s ORDER BY made_at DESC, id LIMIT :limit"  # noqa: S608 - as above.
_EDIT = text(f"SELECT {_EDIT_COLUMNS} FROM edit WHERE id = :id")  # noqa: S608 - as above.
# A clip's edits are those that its events name, and what took those back.
_EDITS_OF_CLIP = """
    id IN (
        SELECT cast(body->>'edit_id' AS uuid) FROM event_log WHERE clip_id = :clip AND body ? 'edit_id'
        UNION ALL
        SELECT undone.undone_by FROM edit AS undone WHERE undone.id IN (
            SELECT cast(body->>'edit_id' AS uuid) FROM event_log WHERE clip_id = :clip AND body ? 'edit_id'
        ) AND undone.undone_by IS NOT NULL
    )
"""
_LOG_COLUMNS = "txid, seq, id, type, video_id, clip_id, origin, traceparent, happened_at, recorded_at"
_SETTLED = "txid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_LOG = f"""
    SELECT {_LOG_COLUMNS}, body FROM event_log WHERE (txid, seq) > (:txid, :seq) AND {_SETTLED} %s
    ORDER BY txid, seq LIMIT :limit
"""  # noqa: S608 - as above.
_NEWS = text(_LOG % "")
_LOG_HEAD = text(f"SELECT txid, seq FROM event_log WHERE {_SETTLED} ORDER BY txid DESC, seq DESC LIMIT 1")  # noqa: S608
_PROGRESS_SINCE = text("""
    SELECT video_id, body, changed_at FROM progress WHERE changed_at > :since ORDER BY changed_at LIMIT 500
""")
_PROXIED = text("SELECT facts->'proxied' AS proxied FROM video WHERE id = :id")
_ENTRIES = text("SELECT facts->'rejected'->'entries' FROM video WHERE id = :id")
_HEARD = text("SELECT facts->'proxied' AS proxied, facts->'detected' AS detected FROM video WHERE id = :id")
_PACE = text("""
    SELECT count(*) FROM edit
    WHERE video_id = :id AND made_at > :since AND undone_by IS NULL AND kind <> 'undo' AND by NOT LIKE 'policy:%'
""")
_LETTER_COLUMNS = """id, consumers, topic, partition, "offset", code, reason, state, recorded_at, acted_at, acted_by"""
_LETTERS = f"SELECT {_LETTER_COLUMNS} FROM dead_letter WHERE %s ORDER BY recorded_at DESC, id DESC LIMIT :limit"  # noqa: S608
_LETTER = f"SELECT {_LETTER_COLUMNS}, key, value, headers FROM dead_letter WHERE id = :id"  # noqa: S608 - as above.
_ACT = text("UPDATE dead_letter SET state = :state, acted_at = :now, acted_by = :by WHERE id = :id")


async def video_page(
    session: AsyncSession, now: datetime, state: VideoState | None, limit: int, cursor: str | None
) -> VideoPage:
    """Videos, newest first."""
    after = cursors.read(cursor, cursors.moment, cursors.identifier)
    conditions = ["true"]
    values: dict[str, Any] = {"limit": limit + 1}
    if state is not None:
        conditions.append("video.state = :state")
        values["state"] = state.value
    if after is not None:
        conditions.append("(video.created_at, video.id) < (:at, :id)")
        values |= {"at": after[0], "id": after[1]}
    (rows,) = await run_together(session, Step(text(_VIDEOS % " AND ".join(conditions)), [values]))
    shown, following = cursors.page(rows, limit, "created_at", "id")
    return VideoPage(videos=await _summaries(session, now, shown), next=following)


async def video_of(
    session: AsyncSession, now: datetime, video_id: UUID, *, superseded: bool = False, with_clips: bool = True
) -> VideoOut:
    """A video with its clips; a duplicate with its original's. Raises ``Refused`` if there is none."""
    row = (await session.execute(_VIDEO, {"id": video_id})).mappings().first()
    if row is None:
        raise unknown("video", video_id)
    (summary,) = await _summaries(session, now, [row])
    where = "video_id = :id" if superseded else "video_id = :id AND occupies"
    query = text(_CLIPS % (where, "start_frame, id"))
    values = {"id": row["duplicate_of"] or video_id, "limit": MAX_CLIPS_OF_A_VIDEO}
    clips = (await session.execute(query, values)).mappings() if with_clips else ()
    entries = (await session.execute(_ENTRIES, {"id": video_id})).scalar_one() or []
    return VideoOut(
        **dict(summary), clips=[_clip(clip, summary.title, summary.rate) for clip in clips], entries=entries
    )


@dataclass(frozen=True)
class ClipFilter:
    """Which clips a list shows."""

    states: tuple[ClipState, ...] = ()
    video_id: UUID | None = None
    ids: tuple[UUID, ...] = ()
    tag: str | None = None
    min_frames: int | None = None
    max_frames: int | None = None


async def clip_page(
    session: AsyncSession, chosen: ClipFilter, order: Order | None, limit: int, cursor: str | None
) -> ClipPage:
    """Clips: of one video in the order of its frames unless told otherwise, of all videos oldest first."""
    order = order or ("oldest" if chosen.video_id is None else "frames")
    if order == "frames" and chosen.video_id is None:
        raise Refused("Only the clips of one video have an order of frames; name a video.", code="review.no_video")
    names, kinds, direction = _ORDERS[order]
    comparison = "<" if direction else ">"
    conditions = ["true"]
    values: dict[str, Any] = {"limit": limit + 1}
    for name, condition, value in (
        ("video_id", _OF_VIDEO, chosen.video_id),
        ("ids", "id = ANY(:ids)", list(chosen.ids) or None),
        ("tag", "tags @> ARRAY[cast(:tag AS text)]", chosen.tag),
        ("min_frames", "frames >= :min_frames", chosen.min_frames),
        ("max_frames", "frames <= :max_frames", chosen.max_frames),
    ):
        if value is not None:
            conditions.append(condition)
            values[name] = value
    if after := cursors.read(cursor, *kinds):
        places = [f"after_{name}" for name in names]
        conditions.append(f"({', '.join(names)}) {comparison} ({', '.join(f':{place}' for place in places)})")
        values |= dict(zip(places, after, strict=True))
    ordering = ", ".join(f"{name}{direction}" for name in names)
    where = " AND ".join(conditions)
    states = chosen.states or (() if order in ("oldest", "frames") else tuple(ClipState))
    if chosen.video_id is not None:
        # A video's clips are few: they are all taken by its own index, and put in order then.
        if states:
            where += " AND state = ANY(:states)"
            values["states"] = [state.value for state in states]
        query = _CLIPS_OF_ONE % (where, ordering)
    elif states:
        # Each state's own index gives its clips in order; an index cannot do so for several states at once.
        parts = []
        for number, state in enumerate(dict.fromkeys(states)):
            values[f"state_{number}"] = state.value
            parts.append(f"({_CLIPS % (f'state = :state_{number} AND {where}', ordering)})")
        query = f"SELECT * FROM ({' UNION ALL '.join(parts)}) AS found ORDER BY {ordering} LIMIT :limit"  # noqa: S608
    else:
        query = _CLIPS % (where, ordering)
    rows, _ = await run_together(session, Step(text(_WITH_VIDEO % (query, ordering)), [values]), COMMIT)
    shown, following = cursors.page(rows, limit, *names)
    return ClipPage(clips=[_clip(row, row["title"], row["rate"]) for row in shown], next=following)


async def clip_of(session: AsyncSession, clip_id: UUID) -> ClipOut:
    """A clip. Raises ``Refused`` if there is none."""
    row = (await session.execute(_CLIP, {"id": clip_id})).mappings().first()
    if row is None:
        raise unknown("clip", clip_id)
    (clip,) = await _named(session, [row])
    return clip


async def clips_of(session: AsyncSession, clip_ids: Collection[UUID]) -> list[ClipOut]:
    """Those of the clips that there are."""
    rows = (await session.execute(_CLIPS_BY_ID, {"ids": list(clip_ids)})).mappings() if clip_ids else ()
    return [_clip(row, row["title"], row["rate"]) for row in rows]


def clips_after(edited: Edited) -> list[ClipOut]:
    """The clips that an edit concerned as it leaves them, the same as ``clips_of`` would read them."""
    return [
        _clip(
            {
                **store.columns_of(row),
                "error": failure.model_dump() if (failure := clip.error(row.facts)) else None,
                "deliverables": row.facts.exported.deliverables
                if row.facts.exported and not row.facts.is_virtual
                else (),
            },
            edited.video.title,
            edited.video.rate,
        )
        for row in edited.after
    ]


async def delivered_page(session: AsyncSession, limit: int, cursor: str | None) -> ClipPage:
    """Clips with delivered files, those that changed last first."""
    after = cursors.read(cursor, cursors.moment, cursors.identifier)
    where = "NOT is_virtual"
    values: dict[str, Any] = {"limit": limit + 1}
    if after is not None:
        where += " AND (changed_at, id) < (:at, :id)"
        values |= {"at": after[0], "id": after[1]}
    rows = (await session.execute(text(_CLIPS % (where, "changed_at DESC, id DESC")), values)).mappings().all()
    shown, following = cursors.page(rows, limit, "changed_at", "id")
    return ClipPage(clips=await _named(session, shown), next=following)


async def videos_of_clips(session: AsyncSession, clip_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """The video that each clip belongs to; clips that do not exist are left out."""
    rows = (await session.execute(_OWNERS, {"ids": list(clip_ids)})).all()
    return {row[0]: row[1] for row in rows}


async def edits_of(
    session: AsyncSession, *, video_id: UUID | None = None, clip_id: UUID | None = None, limit: int, cursor: str | None
) -> EditPage:
    """The latest edits of a video, a duplicate's being its original's, or of a clip. Raises ``Refused`` if there is none such."""
    values: dict[str, Any] = {"limit": limit + 1, "video_id": video_id, "clip": clip_id}
    table, about = ("clip", clip_id) if clip_id else ("video", video_id)
    if (await session.execute(text(f"SELECT FROM {table} WHERE id = :id"), {"id": about})).first() is None:
        raise unknown(table, about)
    where = _EDITS_OF_CLIP if clip_id else _OF_VIDEO
    if after := cursors.read(cursor, cursors.moment, cursors.identifier):
        where += " AND (made_at < :at OR made_at = :at AND id > :id)"
        values |= {"at": after[0], "id": after[1]}
    rows = (await session.execute(text(_EDITS % where), values)).mappings().all()
    shown, following = cursors.page(rows, limit, "made_at", "id")
    return EditPage(edits=[EditOut(**row) for row in shown], next=following)


async def edit_of(session: AsyncSession, edit_id: UUID) -> EditOut:
    """An edit. Raises ``Refused`` if there is none."""
    row = (await session.execute(_EDIT, {"id": edit_id})).mappings().first()
    if row is None:
        raise unknown("edit", edit_id)
    return EditOut(**row)


async def log_page(session: AsyncSession, after: tuple[int, int] | None, video_id: UUID | None, limit: int) -> LogPage:
    """Events of the log, oldest first, of all videos or of one."""
    txid, seq = after or (0, 0)
    values: dict[str, Any] = {"txid": txid, "seq": seq, "limit": limit}
    if video_id is not None:
        values["video_id"] = video_id
    query = text(_LOG % ("AND video_id = :video_id" if video_id is not None else ""))
    rows = (await session.execute(query, values)).mappings().all()
    entries = [_entry(row) for row in rows]
    return LogPage(events=entries, next=entries[-1].position if len(entries) == limit else None)


async def news_since(
    session: AsyncSession, after: tuple[int, int], since: datetime, limit: int
) -> tuple[list[LogEntry], list[tuple[UUID, ProgressOut]]]:
    """Events of the log after a position, and progress that came after a moment, in one round trip that ends the transaction."""
    events, progress, _ = await run_together(
        session,
        Step(_NEWS, [{"txid": after[0], "seq": after[1], "limit": limit}]),
        Step(_PROGRESS_SINCE, [{"since": since}]),
        COMMIT,
    )
    return [_entry(row) for row in events], [(row["video_id"], _progress(row)) for row in progress]


async def log_head(session: AsyncSession) -> tuple[int, int]:
    """The position of the last event that readers may see."""
    row = (await session.execute(_LOG_HEAD)).first()
    return (row[0], row[1]) if row else (0, 0)


async def proxied_of(session: AsyncSession, video_id: UUID) -> VideoProxied:
    """What there is to play of a video. Raises ``Refused`` if there is no such video, or nothing yet."""
    row = (await session.execute(_PROXIED, {"id": video_id})).mappings().first()
    if row is None:
        raise unknown("video", video_id)
    if row["proxied"] is None:
        raise Refused("The video's review media do not exist yet; ask again later.", code="review.no_media")
    return VideoProxied.model_validate(row["proxied"])


async def heard_of(session: AsyncSession, video_id: UUID) -> tuple[VideoProxied | None, VideoScenesDetected | None]:
    """What preprocessing and scene detection told about a video, as far as they did."""
    row = (await session.execute(_HEARD, {"id": video_id})).mappings().first()
    if row is None:
        return None, None
    return (
        VideoProxied.model_validate(row["proxied"]) if row["proxied"] else None,
        VideoScenesDetected.model_validate(row["detected"]) if row["detected"] else None,
    )


async def decisions_per_hour(session: AsyncSession, video_id: UUID, now: datetime) -> float:
    """How fast a video is being reviewed: edits of the last ten minutes that stand, projected to an hour."""
    made: int = (await session.execute(_PACE, {"id": video_id, "since": now - PACE})).scalar_one()
    return made * (timedelta(hours=1) / PACE)


async def dead_letter_page(session: AsyncSession, state: str | None, limit: int, cursor: str | None) -> DeadLetterPage:
    """Dead letters, newest first."""
    after = cursors.read(cursor, cursors.moment, cursors.identifier)
    conditions = ["true"]
    values: dict[str, Any] = {"limit": limit + 1}
    if state is not None:
        conditions.append("state = :state")
        values["state"] = state
    if after is not None:
        conditions.append("(recorded_at, id) < (:at, :id)")
        values |= {"at": after[0], "id": after[1]}
    rows = (await session.execute(text(_LETTERS % " AND ".join(conditions)), values)).mappings().all()
    shown, following = cursors.page(rows, limit, "recorded_at", "id")
    return DeadLetterPage(dead_letters=[DeadLetterOut(**row) for row in shown], next=following)


async def dead_letter_of(session: AsyncSession, letter_id: UUID, *, lock: bool = False) -> DeadLetterDetail:
    """A dead letter with its message. Raises ``Refused`` if there is none."""
    query = text(_LETTER + (" FOR UPDATE" if lock else ""))
    row = (await session.execute(query, {"id": letter_id})).mappings().first()
    if row is None:
        raise unknown("dead letter", letter_id)
    values = dict(row)
    key, value = values.pop("key"), values.pop("value")
    return DeadLetterDetail(**values, key_base64=_spell(key), value_base64=_spell(value), text=_as_text(value))


async def close_dead_letter(session: AsyncSession, letter_id: UUID, state: str, by: str, now: datetime) -> None:
    """Notes what an operator did with a dead letter."""
    await session.execute(_ACT, {"id": letter_id, "state": state, "by": by, "now": now})


async def _summaries(session: AsyncSession, now: datetime, rows: Collection[Mapping[Any, Any]]) -> list[VideoSummary]:
    owners = {row["id"]: row["duplicate_of"] or row["id"] for row in rows}
    ids = list({*owners.values(), *owners})
    counts: dict[UUID, dict[ClipState, int]] = {}
    counted, told_lately = await run_together(
        session, Step(_CLIP_COUNTS, [{"ids": ids}]), Step(_PROGRESS, [{"ids": ids, "since": now - FRESH_PROGRESS}])
    )
    for count in counted:
        counts.setdefault(count["video_id"], {})[ClipState(count["state"])] = count["clips"]
    progress: dict[UUID, list[ProgressOut]] = {}
    for told in told_lately:
        progress.setdefault(told["video_id"], []).append(_progress(told))
    return [
        VideoSummary(
            **{
                **row,
                "error": _error(row["error"]),
                "duration": float(Fraction(row["duration"])) if row["duration"] else None,
                "clip_states": counts.get(owners[row["id"]], {}),
                "progress": progress.get(owners[row["id"]], []),
            }
        )
        for row in rows
    ]


async def _named(session: AsyncSession, rows: Sequence[Mapping[Any, Any]]) -> list[ClipOut]:
    """The clips with what is to be said of their videos."""
    ids = list({row["video_id"] for row in rows})
    videos = {row.id: row for row in (await session.execute(_NAMES, {"ids": ids})).all()} if ids else {}
    return [_clip(row, videos[row["video_id"]].title, videos[row["video_id"]].rate) for row in rows]


def _clip(row: Mapping[Any, Any], title: str, rate: str | None) -> ClipOut:
    return ClipOut(
        **{
            **row,
            "title": title,
            "rate": rate,
            "trace_id": row["id"].hex,
            "error": _error(row["error"]),
            "deliverables": row["deliverables"] or [],
        }
    )


def _error(failure: Mapping[str, Any] | None) -> ErrorOut | None:
    return ErrorOut(code=failure["code"], message=failure["message"], stage=failure["stage"]) if failure else None


def _progress(row: Mapping[Any, Any]) -> ProgressOut:
    return ProgressOut(**{**row["body"], "changed_at": row["changed_at"]})


def _entry(row: Mapping[Any, Any]) -> LogEntry:
    return LogEntry(
        position=f"{row['txid']}-{row['seq']}",
        id=row["id"],
        type=row["type"],
        subject=_subject(row),
        video_id=row["video_id"],
        clip_id=row["clip_id"],
        origin=row["origin"],
        trace_id=row["traceparent"].split("-")[1] if row["traceparent"].count("-") == 3 else "",
        happened_at=row["happened_at"],
        recorded_at=row["recorded_at"],
        body=row["body"],
    )


def _subject(row: Mapping[Any, Any]) -> str:
    if row["clip_id"]:
        return f"clip/{row['clip_id']}"
    return f"video/{row['video_id']}" if row["video_id"] else ""


def _spell(raw: bytes | None) -> str | None:
    return None if raw is None else base64.b64encode(raw).decode()


def _as_text(raw: bytes | None) -> str | None:
    if raw is None:
        return None
    try:
        return raw[:20_000].decode()
    except UnicodeDecodeError:
        return None
