"""What preprocess does when it hears an event: milliseconds of bookkeeping, no media."""

from __future__ import annotations

from contracts.errors import Permanent
from contracts.events.v1.video import VideoDownloaded
from services.chassis.ledger import Ledger
from services.chassis.stage import Routes
from services.preprocess.domain import failure_event, master_order, proxy_order
from services.preprocess.jobs import MASTER, PROXY
from services.preprocess.settings import Settings

routes = Routes()


@routes.on(VideoDownloaded)
async def accept_downloaded_video(event: VideoDownloaded, ledger: Ledger) -> None:
    """Queues review media, and behind them the master. A duplicate has both already, under the first video."""
    if event.duplicate_of is not None:
        return
    settings: Settings = ledger.settings
    try:
        master = master_order(event, settings.master)
    except Permanent as error:
        failure = error.failure("preprocess", trace_id=ledger.trace_id)
        await ledger.emit(failure_event(event.video_id, event.run, "master", failure))
        return
    video_id = event.video_id
    await ledger.enqueue(PROXY, proxy_order(event, settings.review), key=f"proxy:{video_id}", video_id=video_id)
    if master is not None:
        await ledger.enqueue(MASTER, master, key=f"master:{video_id}", video_id=video_id)
