"""What scenes decides, without I/O: where clips begin and end, which shots form a scene, and which events say so.

Guarantees: the clips of a video tile ``[0, frames)`` exactly, whatever the transitions; none is shorter than the
minimum (unless the video is) or longer than the maximum; the same input gives the same clips.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, model_validator

from contracts.events.base import Event
from contracts.events.v1.video import VideoScenesFailed, VideoScenesStarted
from contracts.events.v2.video import Detector, VideoScenesDetected
from contracts.values import Failure, FrameRange, ObjectRef, Rational, Transition, TransitionKind, Value

MAX_CUTS = 10_000
"""So many boundaries a video may have by its own transitions, and as many again by the maximum length: together
no more clips than an event may carry."""


class Tiling(Value):
    """How long clips may be, in frames."""

    minimum: Annotated[int, Field(ge=1)] = 8
    maximum: Annotated[int, Field(ge=2, le=50_000_000)] = 18_000

    @model_validator(mode="after")
    def _leaves_room(self) -> Tiling:
        if self.maximum < 2 * self.minimum:
            raise ValueError("the longest clip must be at least twice the shortest, or a long one could not be divided")
        return self


class Grouping(Value):
    """When neighbouring shots belong to one scene."""

    reach: Annotated[
        int, Field(ge=0, le=50, description="How many shots ahead a likeness joins; 0 groups nothing.")
    ] = 4
    likeness: Annotated[float, Field(ge=0, le=1, description="Least overlap of two shots' colour histograms.")] = 0.6


class DetectInput(Value):
    """One video's shot detection: all that decides its result."""

    video_id: UUID
    frames: Annotated[int, Field(ge=1)]
    duration: Annotated[Rational | None, Field(description="Seconds; decides nothing.")] = None
    features: ObjectRef
    detector: str
    detector_version: str
    parameters: dict[str, Any]
    tiling: Tiling
    grouping: Grouping

    @property
    def parameters_sha256(self) -> str:
        """Digest of everything that, with the pictures and the detector's version, decides the result."""
        chosen = {
            "grouping": self.grouping.model_dump(),
            "parameters": self.parameters,
            "tiling": self.tiling.model_dump(),
        }
        return hashlib.sha256(json.dumps(chosen, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def folder(self) -> str:
        """Where the result lies in the store: other pictures, another version or other parameters, another place."""
        distinct = hashlib.sha256(f"{self.features.sha256}:{self.parameters_sha256}".encode()).hexdigest()[:12]
        return f"{self.sibling_prefix}{distinct}/"

    @property
    def sibling_prefix(self) -> str:
        """What the folders of this video, detector and version begin with: any of them may hold usable scores."""
        return f"videos/{self.video_id}/scenes/{self.detector}-{self.detector_version}-"


class DetectResult(Value):
    """What detection found."""

    detector: Detector
    frames: int
    clips: tuple[FrameRange, ...]
    transitions: tuple[Transition, ...]
    scenes: tuple[FrameRange, ...]
    scores: ObjectRef


@dataclass(frozen=True)
class Boundary:
    """A place to part two clips: the first frame of the second."""

    frame: int
    confidence: float


def place_boundaries(transitions: Sequence[Transition], luma: Sequence[float]) -> list[Boundary]:
    """One boundary for each transition: at the cut, or in the middle of a fade's darkest stretch (its lightest, through white).

    Any other gradual transition is parted in its middle. ``luma`` is the mean luma of every frame.
    """
    boundaries = []
    for each in transitions:
        start, end = each.frames.start, each.frames.end
        if each.kind is TransitionKind.CUT:
            frame = start
        elif each.kind is TransitionKind.FADE:
            frame = _middle_of_fade(start, end, luma)
        else:
            frame = (start + end) // 2
        boundaries.append(Boundary(frame, each.confidence))
    return boundaries


def _middle_of_fade(start: int, end: int, luma: Sequence[float]) -> int:
    """The middle of its darkest stretch, or of its lightest when it goes through white."""
    levels = luma[start:end]
    outer = (levels[0], levels[-1])
    through_white = max(levels) - max(outer) > min(outer) - min(levels)
    extreme = max(levels) if through_white else min(levels)
    flat = [start + at for at, level in enumerate(levels) if abs(level - extreme) <= 1.0]
    return flat[len(flat) // 2]


def tile(frames: int, boundaries: Sequence[Boundary], tiling: Tiling) -> tuple[FrameRange, ...]:
    """The clips of a video of that many frames.

    Of boundaries that stand closer than the minimum, or closer than that to the video's ends, the surest stay; of equally
    sure ones the earlier. A clip longer than the maximum is divided into equal parts, to the frame.
    """
    kept: list[int] = []
    by_confidence = sorted(boundaries, key=lambda each: (-each.confidence, each.frame))
    for frame in _apart([each.frame for each in by_confidence], frames, tiling.minimum):
        kept.append(frame)
        if len(kept) == MAX_CUTS:
            break
    edges = [0, *sorted(kept), frames]
    # A video so long that its parts would outnumber what an event can carry gets longer ones.
    maximum = max(tiling.maximum, -(-frames // MAX_CUTS))
    clips: list[FrameRange] = []
    for start, end in pairwise(edges):
        parts = -(-(end - start) // maximum)
        for part in range(parts):
            first = start + (end - start) * part // parts
            last = start + (end - start) * (part + 1) // parts
            clips.append(FrameRange(start=first, end=last))
    return tuple(clips)


def _apart(candidates: Sequence[int], frames: int, minimum: int) -> list[int]:
    """Those of the candidates, taken in their order, that keep the distance to all taken before and to both ends."""
    taken: dict[int, list[int]] = {}
    kept = []
    for frame in candidates:
        if frame < minimum or frame > frames - minimum:
            continue
        # Cells as wide as the minimum: a neighbour too close lies in the same cell or in one beside it.
        cell = frame // minimum
        near = (other for beside in (cell - 1, cell, cell + 1) for other in taken.get(beside, ()))
        if any(abs(frame - other) < minimum for other in near):
            continue
        taken.setdefault(cell, []).append(frame)
        kept.append(frame)
    return kept


def group_shots(
    clips: Sequence[FrameRange], alike: Callable[[int, int], bool], grouping: Grouping
) -> tuple[FrameRange, ...]:
    """Scenes: runs of shots in which each is joined to the rest by a likeness that reaches over it.

    When shot ``i`` is like shot ``j``, no more than ``reach`` later, all from ``i`` to ``j`` belong to one scene, as in a
    dialogue cut between two faces. Scenes tile the video as its clips do.
    """
    scenes: list[FrameRange] = []
    first = joined_to = 0
    for index in range(len(clips)):
        if index > joined_to:
            scenes.append(FrameRange(start=clips[first].start, end=clips[index - 1].end))
            first = joined_to = index
        for later in range(min(index + grouping.reach, len(clips) - 1), max(index, joined_to), -1):
            if alike(index, later):
                joined_to = later
                break
    if clips:
        scenes.append(FrameRange(start=clips[first].start, end=clips[-1].end))
    return tuple(scenes)


def started(order: DetectInput, run: int) -> Sequence[Event]:
    """Detection began."""
    return (VideoScenesStarted(video_id=order.video_id, run=run),)


def succeeded(order: DetectInput, run: int, result: DetectResult) -> Sequence[Event]:
    """Shots and scenes were found."""
    return (
        VideoScenesDetected(
            video_id=order.video_id,
            run=run,
            detector=result.detector,
            frames=result.frames,
            clips=result.clips,
            transitions=result.transitions,
            scenes=result.scenes,
            scores=result.scores,
        ),
    )


def failed(order: DetectInput, run: int, failure: Failure) -> Sequence[Event]:
    """Detection gave up."""
    return (VideoScenesFailed(video_id=order.video_id, run=run, failure=failure),)


def marker_of(order: DetectInput) -> str:
    """Where the result of a finished detection is kept."""
    return f"{order.folder}result.json"
