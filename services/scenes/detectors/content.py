"""``content``: a frame is a cut when it differs from the one before by more than a fixed amount.

The rule of PySceneDetect's ``ContentDetector``; fast, plain, and fooled by fast movement, which ``adaptive`` is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.values import Transition
from services.scenes.detectors.cuts import flashes, settled, to_transitions, without
from services.scenes.detectors.declared import CONTENT, ContentParameters, Declaration
from services.scenes.detectors.hsv import content_curve, measure
from services.scenes.detectors.interface import Frames, Scores


@dataclass(frozen=True)
class Content:
    """The content detector."""

    declaration: Declaration = CONTENT

    def scores(self, frames: Frames) -> Scores:
        """Hue, saturation and brightness differences; ``curve`` is their mean."""
        return measure(frames)

    def transitions(self, scores: Scores, parameters: ContentParameters) -> tuple[Transition, ...]:
        """Cuts where the content value meets the threshold, and fades through black."""
        curve = content_curve(scores.tracks["change"], luma_only=parameters.luma_only)
        across = content_curve(scores.tracks["across"], luma_only=parameters.luma_only)
        candidates = np.flatnonzero(curve >= parameters.threshold)
        seen_through = flashes(candidates, curve, across, parameters)
        kept = settled(without(candidates, seen_through), parameters.minimum_shot)
        return to_transitions(kept, curve, parameters.threshold, scores, parameters)


DETECTOR = Content()
