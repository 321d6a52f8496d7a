"""Shot detection itself, in a child process: small pictures in, clips, scenes and scores out.

No video is decoded. Scores that an earlier run of the same detector version measured on the same pictures are used again,
so that another threshold costs milliseconds. All that is written is a function of the input: a repetition writes the same.
"""

from __future__ import annotations

from contracts.errors import Permanent
from contracts.events.v2.video import Detector as DetectorUsed
from services.chassis.desk import Desk
from services.chassis.objects import ObjectStore
from services.media.features import map_frames
from services.scenes.detectors.declared import DECLARED
from services.scenes.detectors.interface import (
    Detector,
    Frames,
    Scores,
    open_detector,
    pack_scores,
    unpack_scores,
)
from services.scenes.domain import DetectInput, DetectResult, group_shots, place_boundaries, tile
from services.scenes.grouping import colour_likeness

SCORES = "scores.npz"


def detect_scenes(order: DetectInput, desk: Desk) -> DetectResult:
    """Finds the transitions of one video and cuts it into clips and scenes.

    Raises:
        Permanent: ``scenes.unknown_detector``, ``scenes.changed_detector``, ``scenes.features_mismatch``.
    """
    detector = open_detector(order.detector)
    declaration = DECLARED[order.detector]
    if declaration.version != order.detector_version:
        raise Permanent(
            f"Detector {order.detector!r} is now version {declaration.version}, but version {order.detector_version} was "
            "asked for, and its results are kept apart. Request the video anew.",
            code="scenes.changed_detector",
        )
    parameters = declaration.parameters.model_validate(order.parameters)
    with desk.step("read features"):
        frames = _read_frames(order, desk)
    with desk.step("scores"):
        scores, packed = _scores(order, detector, frames, desk.objects)
    desk.progress(order.frames, order.frames, unit="frames", phase="scores")
    with desk.step("decide"):
        transitions = detector.transitions(scores, parameters)
        clips = tile(order.frames, place_boundaries(transitions, scores.luma.tolist()), order.tiling)
        scenes = group_shots(clips, colour_likeness(frames, clips, order.grouping.likeness), order.grouping)
    with desk.step("store scores"):
        kept = desk.objects.put_bytes(packed, f"{order.folder}{SCORES}", "application/x-npz")
    return DetectResult(
        detector=DetectorUsed(
            name=declaration.name, version=declaration.version, parameters_sha256=order.parameters_sha256
        ),
        frames=order.frames,
        clips=clips,
        transitions=transitions[:20_000],
        scenes=scenes,
        scores=kept,
    )


def _read_frames(order: DetectInput, desk: Desk) -> Frames:
    path = desk.objects.fetch(order.features, desk.scratch / "features.npz")
    frames: Frames = map_frames(path, desk.scratch)
    if len(frames) != order.frames:
        raise Permanent(
            f"The features hold {len(frames)} pictures, but the video has {order.frames} frames. "
            "Preprocess the video again.",
            code="scenes.features_mismatch",
        )
    return frames


def _scores(order: DetectInput, detector: Detector, frames: Frames, objects: ObjectStore) -> tuple[Scores, bytes]:
    """Scores and their bytes, taken from an earlier result where there is one."""
    for ref in _earlier(order, objects):
        data = objects.get_bytes(ref)
        found = unpack_scores(data, source_sha256=order.features.sha256)
        if found is not None and found.frames == order.frames:
            return found, data
    scores = detector.scores(frames)
    return scores, pack_scores(scores, source_sha256=order.features.sha256)


def _earlier(order: DetectInput, objects: ObjectStore) -> list[str]:
    return [key for key in objects.list(order.sibling_prefix) if key.endswith(f"/{SCORES}")]
