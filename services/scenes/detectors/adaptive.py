"""``adaptive``: a frame is a cut when it differs from the one before far more than its neighbours do.

The rule of PySceneDetect's ``AdaptiveDetector`` on small area-averaged pictures: steady movement raises the
neighbours as well and so is no cut. Measured as giving the same cuts as the original on full frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.values import Transition
from services.scenes.detectors.cuts import flashes, to_transitions, without
from services.scenes.detectors.declared import ADAPTIVE, AdaptiveParameters, Declaration
from services.scenes.detectors.hsv import content_curve, measure
from services.scenes.detectors.interface import Frames, Scores, Track

HIGHEST_RATIO = 255.0


@dataclass(frozen=True)
class Adaptive:
    """The adaptive detector."""

    declaration: Declaration = ADAPTIVE

    def scores(self, frames: Frames) -> Scores:
        """Hue, saturation and brightness differences; ``curve`` is their mean."""
        return measure(frames)

    def transitions(self, scores: Scores, parameters: AdaptiveParameters) -> tuple[Transition, ...]:
        """Cuts by the adaptive rule, and fades through black."""
        curve = content_curve(scores.tracks["change"], luma_only=parameters.luma_only)
        across = content_curve(scores.tracks["across"], luma_only=parameters.luma_only)
        ratio = adaptive_ratio(curve, parameters.window, parameters.minimum_content)
        candidates = np.flatnonzero((ratio >= parameters.threshold) & (curve >= parameters.minimum_content))
        steep = np.flatnonzero(curve >= parameters.minimum_content)
        seen_through = flashes(steep, curve, across, parameters)
        kept = without(candidates, seen_through)
        return to_transitions(kept, ratio, parameters.threshold, scores, parameters)


def adaptive_ratio(curve: Track, window: int, minimum_content: float) -> Track:
    """Each frame's score over the mean of its ``window`` neighbours on both sides.

    0 for the first and last ``window`` frames, which lack neighbours, and 255 where the neighbours do not move at all
    while the frame does.
    """
    ratio = np.zeros(len(curve), np.float32)
    width = 2 * window + 1
    if len(curve) < width:
        return ratio
    values = curve.astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(values, width)
    around = (windows.sum(axis=1) - windows[:, window]) / (2.0 * window)
    middle = values[window : len(values) - window]
    still = np.abs(around) < 1e-5
    moving = np.minimum(middle / np.where(still, 1.0, around), HIGHEST_RATIO)
    ratio[window : len(curve) - window] = np.where(
        still, np.where(middle >= minimum_content, HIGHEST_RATIO, 0.0), moving
    )
    return ratio


DETECTOR = Adaptive()
