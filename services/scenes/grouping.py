"""How alike two shots look, by colour: the measure by which shots are joined to scenes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from contracts.values import FrameRange
from services.scenes.detectors.interface import Frames

LEVELS = 8
"""Levels of red, green and blue in a shot's histogram."""

SAMPLES = 16
"""A shot's colours are taken from this many frames, evenly spread."""


def colour_likeness(frames: Frames, shots: Sequence[FrameRange], least: float) -> Callable[[int, int], bool]:
    """Tells whether shots ``i`` and ``j`` are alike: their colour histograms overlap by at least ``least`` (0 to 1)."""
    histograms = np.stack([_histogram(frames, shot) for shot in shots])

    def alike(one: int, other: int) -> bool:
        return bool(np.minimum(histograms[one], histograms[other]).sum() >= least)

    return alike


def _histogram(frames: Frames, shot: FrameRange) -> NDArray[np.float64]:
    count = min(SAMPLES, len(shot))
    chosen = [shot.start + (2 * at + 1) * len(shot) // (2 * count) for at in range(count)]
    levels = frames[chosen].reshape(-1, 3).astype(np.int64) * LEVELS // 256
    bins = np.bincount(levels @ np.array([LEVELS * LEVELS, LEVELS, 1]), minlength=LEVELS**3)
    return np.asarray(bins / bins.sum(), dtype=np.float64)
