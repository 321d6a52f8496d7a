"""What detectors there are: name, version, parameters, and the module that holds each.

Free of numpy and OpenCV, so that the service's main process can validate a request, fill in
parameters and derive the key of a cached result; only the child process imports a detector.
A detector's version changes whenever the same pictures and parameters could give another answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

FLASH_REACH = 4
"""The longest flash that scores can tell from a pair of cuts, in frames."""


class Parameters(BaseModel):
    """What every detector can be told. Lengths count frames; levels run from 0 to 255."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum_shot: Annotated[int, Field(ge=1, le=10_000, description="A cut this soon after another is dropped.")] = 8
    fades: Annotated[bool, Field(description="Whether fades through black are looked for.")] = True


class RuleParameters(Parameters):
    """What a detector can be told that sees through flashes and finds fades by rule."""

    flash_frames: Annotated[
        int, Field(ge=0, le=FLASH_REACH, description="Longest flash to see through; 0 takes flashes for cuts.")
    ] = 3
    flash_return: Annotated[
        float, Field(ge=0, le=1, description="After a flash the picture differs by less than this share of its peak.")
    ] = 0.4
    black_level: Annotated[float, Field(ge=0, le=64, description="Mean luma of a black frame, at most.")] = 10.0
    minimum_fade: Annotated[int, Field(ge=2, le=1000, description="Shortest ramp to or from black.")] = 4


class AdaptiveParameters(RuleParameters):
    """As in PySceneDetect's ``AdaptiveDetector``, but for the shortest shot."""

    threshold: Annotated[
        float, Field(gt=0, le=255, description="How many times its neighbours' mean a frame's score must reach.")
    ] = 3.0
    window: Annotated[int, Field(ge=1, le=60, description="Neighbours on each side.")] = 2
    minimum_content: Annotated[float, Field(ge=0, le=255, description="A lower score is never a cut.")] = 15.0
    luma_only: bool = False


class ContentParameters(RuleParameters):
    """As in PySceneDetect's ``ContentDetector``, with its weights for hue, saturation and brightness."""

    threshold: Annotated[float, Field(gt=0, le=255)] = 27.0
    luma_only: bool = False


class HistogramParameters(RuleParameters):
    """As in PySceneDetect's ``HistogramDetector``."""

    threshold: Annotated[
        float, Field(gt=0, le=1, description="Difference (1 - correlation) of neighbouring luma histograms.")
    ] = 0.2


class TransNetParameters(RuleParameters):
    """What TransNetV2's two probabilities must reach."""

    threshold: Annotated[float, Field(gt=0, lt=1, description="Least probability of a change's middle.")] = 0.3
    inside_threshold: Annotated[
        float, Field(gt=0, lt=1, description="Least probability of a frame that still belongs to the change.")
    ] = 0.3


class FusedParameters(RuleParameters):
    """What the weighed evidence must reach, and the rules for flashes and fades beside it."""

    minimum_shot: Annotated[int, Field(ge=1, le=10_000, description="A cut this soon after another is dropped.")] = 4
    threshold: Annotated[float, Field(gt=0, lt=1, description="Least probability of a frame of a change.")] = 0.55


@dataclass(frozen=True)
class Declaration:
    """One detector as the main process knows it."""

    name: str
    version: str
    parameters: type[Parameters]
    module: str


ADAPTIVE = Declaration("adaptive", "1", AdaptiveParameters, "services.scenes.detectors.adaptive")
CONTENT = Declaration("content", "1", ContentParameters, "services.scenes.detectors.content")
HISTOGRAM = Declaration("histogram", "1", HistogramParameters, "services.scenes.detectors.histogram")
TRANSNETV2 = Declaration("transnetv2", "1", TransNetParameters, "services.scenes.detectors.transnetv2")
FUSED = Declaration("fused", "4", FusedParameters, "services.scenes.detectors.fused")

DECLARED: dict[str, Declaration] = {each.name: each for each in (ADAPTIVE, CONTENT, HISTOGRAM, TRANSNETV2, FUSED)}
