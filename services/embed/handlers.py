"""What the stage makes of the events it hears: work in the ledger, nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from contracts.events.v1.clip import (
    ClipApproved,
    ClipArchived,
    ClipEditUndone,
    ClipEmbeddingFailed,
    ClipExported,
    ClipKeyframed,
    ClipKeyframeFailed,
    ClipSkipped,
    ClipSuperseded,
    ClipTagged,
)
from contracts.values import ErrorClass, Failure
from services.chassis.ledger import Ledger
from services.chassis.stage import Job, Routes
from services.embed import store
from services.embed.domain.orders import (
    TEXT_MODEL,
    CleanOrder,
    EmbedOrder,
    EmbedResult,
    KeyframeOrder,
    ModelSpec,
    choose_captions,
    choose_video,
)
from services.embed.domain.standing import Decided
from services.embed.jobs import CLEAN, EMBED, KEYFRAME, REEMBED

routes = Routes()


@routes.on(ClipExported)
async def accept_exported_clip(event: ClipExported, ledger: Ledger) -> None:
    """A delivered clip gets keyframes, unless a decision that was heard before hides it."""
    at = ledger.now if ledger.envelope is None else ledger.envelope.time
    if await store.keep_delivery(ledger.session, event, at):
        await queue_keyframes(event, ledger, cause=str(ledger.event_id))


async def queue_keyframes(event: ClipExported, ledger: Ledger, *, cause: str) -> None:
    """Has keyframes taken of a delivered clip, from the delivered file that is the cheapest to read."""
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
    # The cause is in the key, because a clip that comes back from the archive is delivered, and embedded, anew.
    key = f"keyframe/{event.clip_id}/{cause}"
    await ledger.enqueue(KEYFRAME, order, key=key, video_id=event.video_id, clip_id=event.clip_id)


@routes.on(ClipKeyframed)
async def accept_keyframed_clip(event: ClipKeyframed, ledger: Ledger) -> None:
    """A clip with keyframes gets vectors by every model, unless it is hidden meanwhile."""
    if await store.is_archived(ledger.session, event.clip_id):
        return
    await store.keep_keyframes(ledger.session, event)
    await store.progress(ledger.session, event.clip_id, "keyframed")
    known = await store.known_clip(ledger.session, event.clip_id)
    delivery = None if known is None else known.delivery
    await queue_vectors(EMBED, event, delivery, ledger.settings.specs, ledger, cause=str(ledger.event_id))


async def queue_vectors(
    job: Job[EmbedOrder, EmbedResult],
    event: ClipKeyframed,
    delivery: ClipExported | None,
    specs: Sequence[ModelSpec],
    ledger: Ledger,
    *,
    cause: str,
) -> None:
    """Has vectors made of a clip's keyframes, a piece of work for each model: one that cannot be had hinders no other."""
    for spec in specs:
        order = EmbedOrder(
            video_id=event.video_id,
            clip_id=event.clip_id,
            title=event.title,
            tags=event.tags,
            keyframes=event.keyframes,
            models=(spec,),
            captions=() if delivery is None else choose_captions(delivery.deliverables),
        )
        await ledger.enqueue(
            job,
            order,
            key=f"{job.kind}/{event.clip_id}/{cause}/{spec.digest}",
            video_id=event.video_id,
            clip_id=event.clip_id,
            batch=f"{event.video_id}/{spec.digest}",
        )


@routes.on(ClipKeyframeFailed, ClipEmbeddingFailed)
async def accept_failed_clip(event: ClipKeyframeFailed | ClipEmbeddingFailed, ledger: Ledger) -> None:
    """A clip of which the work failed is found by what it has, and by that state."""
    state = "keyframe_failed" if isinstance(event, ClipKeyframeFailed) else "embedding_failed"
    await store.progress(ledger.session, event.clip_id, state)


@routes.on(ClipApproved, ClipSkipped, ClipArchived, ClipSuperseded, ClipEditUndone)
async def accept_decision(event: Decided, ledger: Ledger) -> None:
    """A clip that is no longer wanted loses its rows now and its objects right after: database first, then the store.

    One that is wanted again is keyframed from its new delivery, should that have been heard already.
    """
    before, after = await store.decide(ledger.session, event)
    if after.is_hidden and not before.standing.is_hidden:
        await _clean(event.video_id, event.clip_id, event.edit_id, before, ledger)
    elif before.standing.is_hidden and not after.is_hidden:
        await ledger.cancel(clip_id=event.clip_id, kinds=(CLEAN.kind,))
        if before.delivery is not None:
            await queue_keyframes(before.delivery, ledger, cause=str(ledger.event_id))


@routes.on(ClipTagged)
async def accept_tagged_clip(event: ClipTagged, ledger: Ledger) -> None:
    """A clip with other tags is found by them at once, and by their meaning when they have been embedded."""
    before = await store.tag(ledger.session, event)
    if before is None or before.keyframed is None or before.standing.is_hidden:
        return
    keyframed = before.keyframed.model_copy(update={"tags": event.tags})
    texts = [spec for spec in ledger.settings.specs if spec.model_id == TEXT_MODEL]
    await queue_vectors(REEMBED, keyframed, before.delivery, texts, ledger, cause=str(ledger.event_id))


async def _clean(video_id: UUID, clip_id: UUID, edit_id: UUID, before: store.Known, ledger: Ledger) -> None:
    made_by = (KEYFRAME, EMBED, REEMBED)
    withdrawn = await ledger.cancel(clip_id=clip_id, kinds=[job.kind for job in made_by])
    if withdrawn or before.delivery is not None or before.keyframed is not None:
        order = CleanOrder(
            video_id=video_id,
            clip_id=clip_id,
            edit_id=edit_id,
            keys=await ledger.keys_made(clip_id, *made_by),
        )
        delay = ledger.until_ended(withdrawn)
        key = f"clean/{clip_id}/{edit_id}"
        await ledger.enqueue(CLEAN, order, key=key, video_id=video_id, clip_id=clip_id, delay=delay)
