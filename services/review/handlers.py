"""What review does when it hears an event: it logs it, takes the projection one step on, and does what has become due.

What is due is computed from the facts, not from the event at hand, so events may come in any order and any number of times.
Every fact about a video or clip goes through ``accept_fact``.
"""

from __future__ import annotations

from uuid import UUID

from contracts.catalog import CATALOG
from contracts.events.base import ClipEvent, Event, VideoEvent
from contracts.events.v1 import clip as clip_events
from contracts.events.v1 import video as video_events
from contracts.events.v1.clip import ClipCreated
from contracts.events.v1.operations import DeadLetterRecorded, StageProgress
from contracts.events.v2.video import VideoScenesDetected
from services.chassis.ledger import Ledger
from services.chassis.stage import Routes
from services.review import store
from services.review.domain import policy, video
from services.review.projection import Logged, advance_video, fold_clips
from services.review.store import EditRow, LockedVideo

routes = Routes()

FACTS = tuple(
    entry.model
    for entry in CATALOG
    if "review" in entry.consumers and entry.superseded_by is None and issubclass(entry.model, VideoEvent | ClipEvent)
)
"""Every event about a video or clip that review hears."""

ENDS: dict[type[Event], str] = {
    video_events.VideoRejected: "ingest",
    video_events.VideoDownloaded: "ingest",
    video_events.VideoDownloadFailed: "ingest",
    video_events.VideoProxied: "preprocess/proxy",
    video_events.VideoMastered: "preprocess/master",
    VideoScenesDetected: "scenes",
    video_events.VideoScenesFailed: "scenes",
    clip_events.ClipMastered: "preprocess/part",
    clip_events.ClipMasterFailed: "preprocess/part",
    clip_events.ClipExported: "export",
    clip_events.ClipExportFailed: "export",
    clip_events.ClipKeyframed: "embed",
    clip_events.ClipKeyframeFailed: "embed",
    clip_events.ClipEmbedded: "embed",
    clip_events.ClipEmbeddingFailed: "embed",
}
"""The work whose progress an event ends: a stage, and where it has several passes the kind of work too."""


@routes.on(*FACTS)
async def accept_fact(event: VideoEvent | ClipEvent, ledger: Ledger) -> None:
    """Logs a fact, projects it, and lets clips be born if that has become due."""
    locked = await store.lock_video(ledger.session, event.video_id, ledger.now)
    entry = _received(event, ledger)
    await store.log_events(ledger.session, [entry])
    if isinstance(event, ClipEvent):
        await project_clips(ledger, locked, [entry])
    else:
        before = await store.load_video(ledger.session, event.video_id)
        row = advance_video(before, entry)
        if row != before:
            await store.save_video(ledger.session, row)
        if not locked.has_clips:
            await _give_birth(ledger, locked, row.facts)
    if ended := _ended_work(event):
        stage, _, kind = ended.partition("/")
        clip_id = event.clip_id if isinstance(event, ClipEvent) else None
        await store.end_progress(ledger.session, event.video_id, clip_id, stage, kind)


@routes.on(StageProgress)
async def accept_progress(event: StageProgress, ledger: Ledger) -> None:
    """Keeps the latest progress of each piece of work. It is no fact to be replayed, so the log does without it.

    The last word may come after the work's own event, which travels on another topic: what is whole is not shown.
    """
    if event.fraction == 1:
        await store.end_progress(ledger.session, event.video_id, event.clip_id, event.stage, event.kind)
    else:
        await store.save_progress(ledger.session, event, ledger.now)


@routes.on(DeadLetterRecorded)
async def accept_dead_letter(event: DeadLetterRecorded, ledger: Ledger) -> None:
    """Keeps a dead letter for operators."""
    entry = _received(event, ledger)
    await store.log_events(ledger.session, [entry])
    await store.save_dead_letter(ledger.session, event)


async def project_clips(ledger: Ledger, locked: LockedVideo, entries: list[Logged]) -> None:
    """Takes clips on by events that are in the log. A clip of which work was heard before its birth catches up with it."""
    ids = {entry.event.clip_id for entry in entries if isinstance(entry.event, ClipEvent)}
    kept = await store.load_clips(ledger.session, locked.id, ids)
    born_now = {
        entry.event.clip_id
        for entry in entries
        if isinstance(entry.event, ClipCreated) and entry.event.clip_id not in kept
    }
    early = await store.log_of_clips(ledger.session, born_now) if born_now else []
    steps = [entry for entry in entries if isinstance(entry.event, ClipEvent) and entry.event.clip_id in kept]
    after = fold_clips(kept, [*early, *steps])
    await store.save_clips(
        ledger.session, locked.ordinal, [row for clip_id, row in after.items() if kept.get(clip_id) != row]
    )


async def _give_birth(ledger: Ledger, locked: LockedVideo, facts: video.Facts) -> None:
    births = video.births(facts)
    if not births:
        return
    approvals = policy.approvals(facts, births)
    traces = {birth.clip_id: open_clip_trace(ledger, birth.video_id, birth.clip_id) for birth in births}
    sent = [(event, f"birth:{event.video_id}", traces[event.clip_id]) for event in (*births, *approvals)]
    ids = await ledger.emit_all(sent)
    entries = [
        Logged(event_id, event, traceparent, "decided", ledger.now, ledger.now)
        for event_id, (event, _, traceparent) in zip(ids, sent, strict=True)
    ]
    await store.log_events(ledger.session, entries)
    await project_clips(ledger, locked, entries)
    await store.save_edits(
        ledger.session,
        [
            EditRow(
                id=approval.edit_id,
                video_id=locked.id,
                kind="approve",
                by=approval.by,
                command={"command": "approve", "clips": [str(approval.clip_id)]},
                clips=(approval.clip_id,),
                events=(entry.id,),
                made_at=ledger.now,
                release_at=ledger.now,
            )
            for approval, entry in zip(approvals, entries[len(births) :], strict=True)
        ],
    )


def _ended_work(event: Event) -> str | None:
    if isinstance(event, video_events.VideoPreprocessFailed):
        return f"preprocess/{event.phase}"
    return ENDS.get(type(event))


def open_clip_trace(ledger: Ledger, video_id: UUID, clip_id: UUID) -> str:
    """Opens the clip's own trace, linked to the one at hand; its id is the clip's. Its ``traceparent``."""
    attributes = {"heaters.video_id": str(video_id), "heaters.clip_id": str(clip_id)}
    opened = ledger.start_trace("clip", clip_id.hex, attributes)
    return opened or f"00-{clip_id.hex}-{clip_id.hex[16:]}-01"


def _received(event: Event, ledger: Ledger) -> Logged:
    envelope = ledger.envelope
    if envelope is None:
        raise TypeError("A handler runs inside the receipt of a message.")
    return Logged(envelope.id, event, envelope.traceparent, "received", envelope.time, ledger.now)
