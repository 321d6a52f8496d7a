"""What export does when it hears an event: milliseconds of bookkeeping, no media.

Each handler adds the event to what is known and then settles: work that is due is queued, work that is no longer wanted
is withdrawn. Settling twice changes nothing, so events may come in any order and more than once.
"""

from __future__ import annotations

from contracts.events.v1.clip import ClipApproved, ClipArchived, ClipEditUndone, ClipMastered
from contracts.events.v1.video import VideoMastered, VideoProxied
from services.chassis.ledger import Ledger
from services.chassis.stage import Routes
from services.export import store
from services.export.domain import CleanInput, due, export_key, heard
from services.export.jobs import CLEAN, EXPORT
from services.export.store import KnownClip

routes = Routes()


@routes.on(VideoProxied)
async def accept_proxied_video(event: VideoProxied, ledger: Ledger) -> None:
    """Remembers a video's frames, source and captions; queues what waited for them."""
    await store.lock_video(ledger.session, event.video_id)
    await store.keep_proxied(ledger.session, event)
    await _queue_waiting_clips(event, ledger)


@routes.on(VideoMastered)
async def accept_mastered_video(event: VideoMastered, ledger: Ledger) -> None:
    """Remembers a video's master; queues every approved clip that waited for it."""
    await store.lock_video(ledger.session, event.video_id)
    await store.keep_mastered(ledger.session, event)
    await _queue_waiting_clips(event, ledger)


@routes.on(ClipApproved, ClipArchived, ClipEditUndone)
async def accept_decision(event: ClipApproved | ClipArchived | ClipEditUndone, ledger: Ledger) -> None:
    """Remembers what was decided of a clip; queues or withdraws its export.

    What was made of a clip that is archived now, or whose approval was taken back, is cleaned away.
    """
    await store.lock_video(ledger.session, event.video_id)
    known = await store.known_clip(ledger.session, event.clip_id)
    facts = heard(known.facts, event)
    if facts == known.facts:
        return
    clip = KnownClip(event.clip_id, facts, ledger.traceparent or known.traceparent)
    await store.keep_clip(ledger.session, event.video_id, clip)
    withdrawn = 0
    if not facts.is_wanted:
        withdrawn = await ledger.cancel(clip_id=event.clip_id, kinds=(EXPORT.kind,))
    made = () if facts.is_wanted else await ledger.keys_made(event.clip_id, EXPORT)
    if facts.is_archived or made:
        order = CleanInput(
            video_id=event.video_id,
            clip_id=event.clip_id,
            version=facts.unwanted_since,
            keys=made,
        )
        key = f"clean:{event.clip_id}:{order.version}"
        delay = ledger.until_ended(withdrawn)
        await ledger.enqueue(CLEAN, order, key=key, video_id=event.video_id, clip_id=event.clip_id, delay=delay)
    else:
        await ledger.cancel(clip_id=event.clip_id, kinds=(CLEAN.kind,))
    await _queue_if_due(clip, event, ledger)


@routes.on(ClipMastered)
async def accept_mastered_clip(event: ClipMastered, ledger: Ledger) -> None:
    """Remembers the master of a clip's own frames, and queues the export that waited for it."""
    await store.lock_video(ledger.session, event.video_id)
    known = await store.known_clip(ledger.session, event.clip_id)
    clip = KnownClip(event.clip_id, heard(known.facts, event), known.traceparent or ledger.traceparent)
    await store.keep_clip(ledger.session, event.video_id, clip)
    await _queue_if_due(clip, event, ledger)


async def _queue_waiting_clips(event: VideoProxied | VideoMastered, ledger: Ledger) -> None:
    for clip in await store.known_clips(ledger.session, event.video_id):
        await _queue_if_due(clip, event, ledger)


async def _queue_if_due(
    clip: KnownClip,
    event: VideoProxied | VideoMastered | ClipApproved | ClipArchived | ClipEditUndone | ClipMastered,
    ledger: Ledger,
) -> None:
    if not clip.facts.is_wanted:
        return
    order = due(clip.facts, *await store.known_footage(ledger.session, event.video_id))
    if order is None:
        return
    await ledger.enqueue(
        EXPORT,
        order,
        key=export_key(clip.facts, clip.clip_id),
        video_id=event.video_id,
        clip_id=clip.clip_id,
        batch=str(event.video_id),
        # The work belongs to the clip's own trace, even when the video's event is what sets it off.
        traceparent=clip.traceparent,
    )
