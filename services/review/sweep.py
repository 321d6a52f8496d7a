"""Notices what stalled: there is no dispatcher, so nobody else waits for an answer.

A video or clip that has stood in a moving state for longer than its patience, without any progress, is told of once, as
``StageStalled``; if it moves and stalls again, it is told of again.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from contracts.events.v1.operations import StageStalled
from services.chassis.ledger import Ledger
from services.chassis.runtime import Runtime
from services.review.domain.stalls import WAITS_FOR, deadlines, message_of

log = logging.getLogger(__name__)
BATCH = 200

_STALLED_VIDEOS = text(f"""
    SELECT video.id AS video_id, NULL::uuid AS clip_id, state, state_since FROM video
    WHERE state = :state AND state_since < :before AND stall_told IS DISTINCT FROM state_since AND duplicate_of IS NULL
        AND NOT EXISTS (
            SELECT FROM progress WHERE progress.video_id = video.id AND progress.changed_at >= :before
        )
    ORDER BY state_since LIMIT {BATCH} FOR UPDATE SKIP LOCKED
""")  # noqa: S608 - the only interpolated value is a constant.
_STALLED_CLIPS = text(f"""
    SELECT video_id, clip.id AS clip_id, state, state_since FROM clip
    WHERE state = :state AND state_since < :before AND stall_told IS DISTINCT FROM state_since
        AND NOT EXISTS (
            SELECT FROM progress WHERE progress.video_id = clip.video_id AND progress.changed_at >= :before
                AND (progress.clip_id IS NULL OR progress.clip_id = clip.id)
        )
    ORDER BY state_since LIMIT {BATCH} FOR UPDATE SKIP LOCKED
""")  # noqa: S608 - as above.
_TOLD_VIDEO = text("UPDATE video SET stall_told = state_since WHERE id = :video_id")
_TOLD_CLIP = text("UPDATE clip SET stall_told = state_since WHERE id = :clip_id")


async def sweep(runtime: Runtime) -> None:
    """Looks for ever, at the interval that the settings name."""
    while True:
        try:
            async with runtime.transaction(cause="sweep") as ledger:
                await sweep_once(ledger, runtime.settings.review_patience)
        except (DBAPIError, OSError) as error:
            log.warning("The sweep must wait for the database.", extra={"reason": repr(error)[:300]})
        await asyncio.sleep(runtime.settings.review_sweep_interval.total_seconds())


async def sweep_once(ledger: Ledger, patience: dict[str, Any]) -> int:
    """Tells of what stalled and was not told of yet. How many."""
    told = 0
    for state, before in deadlines(patience, ledger.now).items():
        for kind, query, mark in (("video", _STALLED_VIDEOS, _TOLD_VIDEO), ("clip", _STALLED_CLIPS, _TOLD_CLIP)):
            rows = (await ledger.session.execute(query, {"state": state, "before": before})).mappings().all()
            for row in rows:
                await _tell(ledger, "clip" if kind == "clip" else "video", row)
                await ledger.session.execute(mark, {"video_id": row["video_id"], "clip_id": row["clip_id"]})
                told += 1
    return told


async def _tell(ledger: Ledger, kind: Literal["video", "clip"], row: Any) -> None:
    state: str = row["state"]
    since: datetime = row["state_since"]
    event = StageStalled(
        stage=WAITS_FOR[state],
        video_id=row["video_id"],
        clip_id=row["clip_id"],
        state=state,
        since=since,
        message=message_of(kind, state, since),
    )
    await ledger.emit(event, cause=f"stalled:{event.subject}:{state}:{since.isoformat()}")
    log.warning("Stalled.", extra={"video_id": str(event.video_id), "clip_id": str(event.clip_id), "state": state})
