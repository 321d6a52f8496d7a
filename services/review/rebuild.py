"""Makes the projections anew from the log alone, without Kafka: ``python -m services.review.rebuild``.

Videos and clips are folded again, one transaction for each video, under the same lock as edits and events, so that the
service may go on meanwhile. Edits, dead letters and progress are records of their own and stay as they are.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

from contracts.events.base import ClipEvent, VideoEvent
from services.chassis import logs
from services.chassis.ledger import Ledger
from services.chassis.runtime import Runtime, open_runtime
from services.chassis.settings import load
from services.review import store
from services.review.projection import ClipRow, advance_video, fold_clips, unheard_video
from services.review.settings import Settings


async def rebuild(runtime: Runtime) -> int:
    """Makes every video's rows anew. How many videos."""
    async with runtime.transaction(cause="rebuild") as ledger:
        videos = await store.logged_videos(ledger.session)
    for video_id in videos:
        async with runtime.transaction(cause="rebuild") as ledger:
            await rebuild_video(ledger, video_id)
    return len(videos)


async def rebuild_video(ledger: Ledger, video_id: UUID) -> None:
    """Makes the rows of one video and of its clips anew."""
    locked = await store.lock_video(ledger.session, video_id, ledger.now)
    entries = await store.log_of_video(ledger.session, video_id)
    row = unheard_video(video_id, entries[0].recorded_at if entries else ledger.now)
    clips: dict[UUID, ClipRow] = {}
    for entry in entries:
        if isinstance(entry.event, VideoEvent):
            row = advance_video(row, entry)
        elif isinstance(entry.event, ClipEvent):
            clips = fold_clips(clips, [entry])
    await store.save_video(ledger.session, row)
    await store.forget_clips(ledger.session, video_id)
    await store.save_clips(ledger.session, locked.ordinal, clips.values())


async def _run() -> int:
    from services.review.app import STAGE

    runtime = open_runtime(STAGE, load(Settings))
    try:
        return await rebuild(runtime)
    finally:
        await runtime.engine.dispose()


if __name__ == "__main__":
    logs.configure("review", load(Settings))
    print(f"Rebuilt {asyncio.run(_run())} videos from the log.")  # noqa: T201 - a command's answer.
