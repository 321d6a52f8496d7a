"""Facts about a source video whose first version was outgrown."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints, model_validator

from contracts.events.base import VideoEvent
from contracts.values import FrameRange, ObjectRef, Run, Transition, Value


class Detector(Value):
    """Which detector ran and with what: together with the video this decides the result."""

    name: Annotated[str, StringConstraints(max_length=40)]
    version: Annotated[str, StringConstraints(max_length=40)]
    parameters_sha256: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")] = ""


class VideoScenesDetected(VideoEvent):
    """Shots and scenes were found. The clips tile ``[0, frames)`` exactly, in order."""

    TYPE: ClassVar[str] = "heaters.video.scenes_detected.v2"

    run: Run = 1
    detector: Detector
    frames: Annotated[int, Field(ge=1)]
    clips: Annotated[tuple[FrameRange, ...], Field(min_length=1, max_length=20_001)]
    transitions: Annotated[tuple[Transition, ...], Field(max_length=20_000)] = ()
    scenes: Annotated[
        tuple[FrameRange, ...], Field(max_length=20_001, description="Groups of neighbouring shots, tiling too.")
    ] = ()
    scores: Annotated[ObjectRef | None, Field(description="The score of every frame.")] = None

    @model_validator(mode="after")
    def _tiles(self) -> VideoScenesDetected:
        edge = 0
        for clip in self.clips:
            if clip.start != edge:
                message = f"clips tile the video, but one ends at frame {edge} and the next starts at {clip.start}"
                raise ValueError(message)
            edge = clip.end
        if edge != self.frames:
            message = f"clips tile the video, but the last ends at frame {edge} of {self.frames}"
            raise ValueError(message)
        return self
