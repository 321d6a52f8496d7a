"""What preprocess does when it hears an event: milliseconds of bookkeeping, no media.

Events may come in any order and more than once: what is due is worked out from all that was heard, and work is queued
under a key that follows from its cause.
"""

from __future__ import annotations

from contracts.events.v1.clip import ClipApproved, ClipArchived, ClipEditUndone
from contracts.events.v1.video import VideoDownloaded, VideoProxied
from contracts.values import MasteringPolicy
from services.chassis.ledger import Ledger
from services.chassis.stage import Routes
from services.preprocess import store
from services.preprocess.domain import heard, master_order, part_key, part_order, proxy_order
from services.preprocess.jobs import MASTER, PART, PROXY
from services.preprocess.settings import Settings
from services.preprocess.store import KnownClip

routes = Routes()


@routes.on(VideoDownloaded)
async def accept_downloaded_video(event: VideoDownloaded, ledger: Ledger) -> None:
    """Queues review media, and behind them the master. A duplicate has both already, under the first video."""
    if event.duplicate_of is not None:
        return
    settings: Settings = ledger.settings
    video_id = event.video_id
    await ledger.enqueue(PROXY, proxy_order(event, settings.review), key=f"proxy:{video_id}", video_id=video_id)
    master = master_order(event, settings.master)
    if master is not None:
        await ledger.enqueue(MASTER, master, key=f"master:{video_id}", video_id=video_id)


@routes.on(VideoProxied)
async def accept_proxied_video(event: VideoProxied, ledger: Ledger) -> None:
    """Remembers the frames of a video whose approved clips are mastered; queues those approved already."""
    if event.options.mastering is not MasteringPolicy.APPROVED:
        return
    await store.lock_video(ledger.session, event.video_id)
    await store.keep_proxied(ledger.session, event)
    for clip in await store.known_clips(ledger.session, event.video_id):
        await _queue_if_due(clip, event, ledger)


@routes.on(ClipApproved, ClipArchived, ClipEditUndone)
async def accept_decision(event: ClipApproved | ClipArchived | ClipEditUndone, ledger: Ledger) -> None:
    """Remembers what was decided of a clip; queues or withdraws the mastering of its frames."""
    proxied = await store.lock_video(ledger.session, event.video_id)
    known = await store.known_clip(ledger.session, event.clip_id)
    facts = heard(known.facts, event)
    if facts == known.facts:
        return
    clip = KnownClip(event.clip_id, facts, ledger.traceparent or known.traceparent)
    await store.keep_clip(ledger.session, event.video_id, clip)
    if not facts.is_wanted:
        await ledger.cancel(clip_id=event.clip_id, kinds=(PART.kind,))
    await _queue_if_due(clip, proxied, ledger)


async def _queue_if_due(clip: KnownClip, proxied: VideoProxied | None, ledger: Ledger) -> None:
    settings: Settings = ledger.settings
    order = part_order(clip.clip_id, clip.facts, proxied, settings.master)
    if order is None:
        return
    await ledger.enqueue(
        PART,
        order,
        key=part_key(order),
        video_id=order.video_id,
        clip_id=order.clip_id,
        batch=str(order.video_id),
        # The work belongs to the clip's own trace, even when the video's event is what sets it off.
        traceparent=clip.traceparent,
    )
