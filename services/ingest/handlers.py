"""What ingest does when it hears a request: milliseconds of bookkeeping, no media."""

from __future__ import annotations

from contracts.events.v1.ingest import IngestRequested
from contracts.events.v1.video import VideoAccepted
from services.chassis.ledger import Ledger
from services.chassis.stage import Routes
from services.ingest.domain import FetchInput, provisional_title, video_id_of
from services.ingest.jobs import FETCH

routes = Routes()


@routes.on(IngestRequested)
async def accept_request(event: IngestRequested, ledger: Ledger) -> None:
    """Gives the video its id and queues the fetch. A request with a key seen before changes nothing."""
    video_id = video_id_of(event, ledger.event_id)
    # Event ids follow from the video, not from the message, so that a repeated request repeats no fact.
    cause = f"request:{video_id}"
    await ledger.emit(
        VideoAccepted(
            video_id=video_id,
            source=event.source,
            title=provisional_title(event),
            tags=event.tags,
            options=event.options,
        ),
        cause=cause,
    )
    order = FetchInput(
        video_id=video_id, source=event.source, title=event.title, tags=event.tags, options=event.options
    )
    await ledger.enqueue(FETCH, order, key=f"fetch:{video_id}", video_id=video_id)
