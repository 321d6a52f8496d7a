"""What export remembers: of each video what to cut from, of each clip what was decided, in its own schema.

Every change to a video or to one of its clips happens under a lock of the video's row. An approval and a master that
arrive at the same moment therefore see each other, whichever commits first.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.v1.video import VideoMastered, VideoProxied
from contracts.values import MasteringPolicy
from services.export.domain import ClipFacts, Footage, footage_of

_MEET = text("INSERT INTO video (video_id) VALUES (:video_id) ON CONFLICT DO NOTHING")
_LOCK = text("SELECT proxied, mastered FROM video WHERE video_id = :video_id FOR UPDATE")
# A resumed pass has a higher run; of two events of one run, both say the same.
_KEEP_PROXIED = text("""
    UPDATE video SET proxied = cast(:body AS jsonb)
    WHERE video_id = :video_id AND (proxied IS NULL OR (proxied->>'run')::int <= :run)
""")
_KEEP_MASTERED = text("""
    UPDATE video SET mastered = cast(:body AS jsonb)
    WHERE video_id = :video_id AND (mastered IS NULL OR (mastered->>'run')::int <= :run)
""")
_CLIP = text("SELECT facts, traceparent FROM clip WHERE clip_id = :clip_id")
_CLIPS = text("SELECT clip_id, facts, traceparent FROM clip WHERE video_id = :video_id ORDER BY clip_id")
_KEEP_CLIP = text("""
    INSERT INTO clip (clip_id, video_id, facts, traceparent)
    VALUES (:clip_id, :video_id, cast(:facts AS jsonb), :traceparent)
    ON CONFLICT (clip_id) DO UPDATE SET facts = excluded.facts, traceparent = excluded.traceparent
""")


@dataclass(frozen=True)
class KnownClip:
    """A clip as heard of so far, and the trace context of its approval."""

    clip_id: UUID
    facts: ClipFacts
    traceparent: str


async def lock_video(session: AsyncSession, video_id: UUID) -> None:
    """Takes the video's lock until the transaction ends; the video need not be known."""
    await session.execute(_MEET, {"video_id": video_id})
    await session.execute(_LOCK, {"video_id": video_id})


async def keep_proxied(session: AsyncSession, event: VideoProxied) -> None:
    """Remembers what a proxied video consists of."""
    await session.execute(
        _KEEP_PROXIED, {"video_id": event.video_id, "body": event.model_dump_json(), "run": event.run}
    )


async def keep_mastered(session: AsyncSession, event: VideoMastered) -> None:
    """Remembers what a video's clips are cut from."""
    await session.execute(
        _KEEP_MASTERED, {"video_id": event.video_id, "body": event.model_dump_json(), "run": event.run}
    )


async def known_footage(session: AsyncSession, video_id: UUID) -> tuple[Footage | None, MasteringPolicy]:
    """What to cut from, or nothing while that is not known; and what of the video gets a master."""
    row = (await session.execute(_LOCK, {"video_id": video_id})).one_or_none()
    if row is None or row.proxied is None:
        return None, MasteringPolicy.EAGER
    proxied = VideoProxied.model_validate(row.proxied)
    mastered = VideoMastered.model_validate(row.mastered) if row.mastered is not None else None
    return footage_of(proxied, mastered), proxied.options.mastering


async def known_clip(session: AsyncSession, clip_id: UUID) -> KnownClip:
    """What was heard of a clip; of one never heard of, nothing."""
    row = (await session.execute(_CLIP, {"clip_id": clip_id})).one_or_none()
    if row is None:
        return KnownClip(clip_id, ClipFacts(), "")
    return KnownClip(clip_id, ClipFacts.model_validate(row.facts), row.traceparent)


async def known_clips(session: AsyncSession, video_id: UUID) -> list[KnownClip]:
    """Every clip of the video that was heard of."""
    rows = (await session.execute(_CLIPS, {"video_id": video_id})).all()
    return [KnownClip(row.clip_id, ClipFacts.model_validate(row.facts), row.traceparent) for row in rows]


async def keep_clip(session: AsyncSession, video_id: UUID, clip: KnownClip) -> None:
    """Remembers a clip as it now is."""
    await session.execute(
        _KEEP_CLIP,
        {
            "clip_id": clip.clip_id,
            "video_id": video_id,
            "facts": clip.facts.model_dump_json(),
            "traceparent": clip.traceparent,
        },
    )
