"""What the stage makes of the events it hears: work in the ledger, nothing more."""

from __future__ import annotations

from contracts.events.v1.clip import ClipArchived, ClipExported, ClipKeyframed, ClipKeyframeFailed
from contracts.values import ErrorClass, Failure
from services.chassis.ledger import Ledger
from services.chassis.stage import Routes
from services.embed import store
from services.embed.domain.orders import CleanOrder, EmbedOrder, KeyframeOrder, choose_video
from services.embed.jobs import CLEAN, EMBED, KEYFRAME

routes = Routes()


@routes.on(ClipExported)
async def accept_exported_clip(event: ClipExported, ledger: Ledger) -> None:
    """A delivered clip gets keyframes, from the delivered file that is the cheapest to read."""
    await store.keep_clip(ledger.session, event.clip_id, event.video_id, event.title, event.tags)
    video = choose_video(event.deliverables)
    if video is None:
        await ledger.emit(
            ClipKeyframeFailed(
                video_id=event.video_id,
                clip_id=event.clip_id,
                failure=Failure(
                    stage="embed",
                    error_class=ErrorClass.PERMANENT,
                    code="embed.no_video_file",
                    message="No deliverable of the clip has a video file, so there is nothing to take keyframes from; "
                    "export the clip with a profile that makes a video.",
                    trace_id=event.clip_id.hex,
                ),
            )
        )
        return
    order = KeyframeOrder(
        video_id=event.video_id,
        clip_id=event.clip_id,
        frames=event.frames,
        title=event.title,
        tags=event.tags,
        video=video,
        strategy=ledger.settings.embed_keyframes,
    )
    # The event's id is in the key, because a clip that comes back from the archive is delivered, and embedded, anew.
    key = f"keyframe/{event.clip_id}/{ledger.event_id}"
    await ledger.enqueue(KEYFRAME, order, key=key, video_id=event.video_id, clip_id=event.clip_id)


@routes.on(ClipKeyframed)
async def accept_keyframed_clip(event: ClipKeyframed, ledger: Ledger) -> None:
    """A clip with keyframes gets vectors, unless it was archived meanwhile."""
    if await store.is_archived(ledger.session, event.clip_id):
        return
    await store.keep_clip(ledger.session, event.clip_id, event.video_id, event.title, event.tags)
    order = EmbedOrder(
        video_id=event.video_id,
        clip_id=event.clip_id,
        title=event.title,
        tags=event.tags,
        keyframes=event.keyframes,
        models=ledger.settings.models,
    )
    key = f"embed/{event.clip_id}/{ledger.event_id}"
    batch = str(event.video_id)
    await ledger.enqueue(EMBED, order, key=key, video_id=event.video_id, clip_id=event.clip_id, batch=batch)


@routes.on(ClipArchived)
async def accept_archived_clip(event: ClipArchived, ledger: Ledger) -> None:
    """An archived clip loses its rows now and its objects right after: database first, then the store."""
    kinds = (KEYFRAME.kind, EMBED.kind)
    withdrawn = await ledger.cancel(clip_id=event.clip_id, kinds=kinds)
    await store.archive_clip(ledger.session, event.clip_id, event.video_id)
    order = CleanOrder(video_id=event.video_id, clip_id=event.clip_id, edit_id=event.edit_id, settle=withdrawn > 0)
    key = f"clean/{event.clip_id}/{event.edit_id}"
    await ledger.enqueue(CLEAN, order, key=key, video_id=event.video_id, clip_id=event.clip_id)
