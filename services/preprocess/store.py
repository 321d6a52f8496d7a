"""What preprocess remembers, in its own schema: of each video what was proxied, of each clip what was decided.

Every change to a video or to one of its clips happens under a lock of the video's row, so that an approval and a proxy
that arrive at the same moment see each other, whichever commits first.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.v1.video import VideoProxied
from services.preprocess.domain import ClipFacts

_MEET = text("INSERT INTO video (video_id) VALUES (:video_id) ON CONFLICT DO NOTHING")
_LOCK = text("SELECT proxied FROM video WHERE video_id = :video_id FOR UPDATE")
# A resumed pass has a higher run; of two events of one run, both say the same.
_KEEP_PROXIED = text("""
    UPDATE video SET proxied = cast(:body AS jsonb)
    WHERE video_id = :video_id AND (proxied IS NULL OR (proxied->>'run')::int <= :run)
""")
_CLIPS = text("SELECT clip_id, facts, traceparent FROM clip WHERE video_id = :video_id ORDER BY clip_id")
_CLIP = text("SELECT clip_id, facts, traceparent FROM clip WHERE clip_id = :clip_id")
_KEEP_CLIP = text("""
    INSERT INTO clip (clip_id, video_id, facts, traceparent)
    VALUES (:clip_id, :video_id, cast(:facts AS jsonb), :traceparent)
    ON CONFLICT (clip_id) DO UPDATE SET facts = excluded.facts, traceparent = excluded.traceparent
""")


@dataclass(frozen=True)
class KnownClip:
    """A clip as heard of so far, and the trace context of what was last decided of it."""

    clip_id: UUID
    facts: ClipFacts
    traceparent: str = ""


async def lock_video(session: AsyncSession, video_id: UUID) -> VideoProxied | None:
    """Takes the video's lock until the transaction ends; gives its proxy's event, if that was heard."""
    await session.execute(_MEET, {"video_id": video_id})
    proxied = (await session.execute(_LOCK, {"video_id": video_id})).scalar_one()
    return VideoProxied.model_validate(proxied) if proxied is not None else None


async def keep_proxied(session: AsyncSession, event: VideoProxied) -> None:
    """Remembers what a proxied video consists of."""
    values = {"video_id": event.video_id, "body": event.model_dump_json(), "run": event.run}
    await session.execute(_KEEP_PROXIED, values)


async def known_clip(session: AsyncSession, clip_id: UUID) -> KnownClip:
    """What was heard of a clip; of one never heard of, nothing."""
    row = (await session.execute(_CLIP, {"clip_id": clip_id})).one_or_none()
    if row is None:
        return KnownClip(clip_id, ClipFacts())
    return KnownClip(clip_id, ClipFacts.model_validate(row.facts), row.traceparent)


async def known_clips(session: AsyncSession, video_id: UUID) -> list[KnownClip]:
    """Every clip of the video that was heard of."""
    rows = (await session.execute(_CLIPS, {"video_id": video_id})).all()
    return [KnownClip(row.clip_id, ClipFacts.model_validate(row.facts), row.traceparent) for row in rows]


async def keep_clip(session: AsyncSession, video_id: UUID, clip: KnownClip) -> None:
    """Remembers a clip as it now is."""
    values = {
        "clip_id": clip.clip_id,
        "video_id": video_id,
        "facts": clip.facts.model_dump_json(),
        "traceparent": clip.traceparent,
    }
    await session.execute(_KEEP_CLIP, values)
