"""What scenes does when it hears an event: milliseconds of bookkeeping, no media."""

from __future__ import annotations

from contracts.errors import Permanent
from contracts.events.v1.video import VideoProxied, VideoScenesFailed
from services.chassis.ledger import Ledger
from services.chassis.stage import Routes
from services.scenes.detectors.declared import DECLARED
from services.scenes.domain import DetectInput
from services.scenes.jobs import DETECT
from services.scenes.settings import Settings

routes = Routes()


@routes.on(VideoProxied)
async def accept_proxied_video(event: VideoProxied, ledger: Ledger) -> None:
    """Queues shot detection for a video whose small pictures exist; an already cut video needs none."""
    if not event.options.needs_splicing:
        return
    try:
        order = order_of(event, ledger.settings)
    except Permanent as error:
        failure = error.failure("scenes", trace_id=ledger.trace_id)
        await ledger.emit(VideoScenesFailed(video_id=event.video_id, run=event.run, failure=failure))
        return
    await ledger.enqueue(DETECT, order, key=f"detect:{event.video_id}", video_id=event.video_id)


def order_of(event: VideoProxied, settings: Settings) -> DetectInput:
    """The work that a proxied video asks for.

    Raises:
        Permanent: ``scenes.unknown_detector``.
    """
    name = event.options.detector
    if name not in DECLARED:
        raise Permanent(
            f"There is no shot detector named {name!r}. Ask again with one of: {', '.join(sorted(DECLARED))}.",
            code="scenes.unknown_detector",
        )
    detector = DECLARED[name]
    return DetectInput(
        video_id=event.video_id,
        frames=event.frames,
        duration=event.duration,
        features=event.features,
        detector=detector.name,
        detector_version=detector.version,
        parameters=settings.parameters_of(detector).model_dump(mode="json"),
        tiling=settings.tiling,
        grouping=settings.grouping,
    )
