"""``histogram``: a frame is a cut when its distribution of luma differs from that of the one before.

The rule of PySceneDetect's ``HistogramDetector``: blind to movement within the picture, and to a cut between
equally lit shots. The histogram has 32 bins, since a small picture has too few pixels to fill more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.values import Transition
from services.scenes.detectors.cuts import flashes, settled, to_transitions, without
from services.scenes.detectors.declared import FLASH_REACH, HISTOGRAM, Declaration, HistogramParameters
from services.scenes.detectors.interface import Frames, Scores, Track
from services.scenes.detectors.luma import luma_statistics, to_luma

BINS = 32
CHUNK = 2048


@dataclass(frozen=True)
class Histogram:
    """The histogram detector."""

    declaration: Declaration = HISTOGRAM

    def scores(self, frames: Frames) -> Scores:
        """``curve`` is 1 minus the correlation of luma histograms, 0 to 2; ``across`` the same over a flash."""
        count = len(frames)
        histograms = _histograms(frames)
        curve = np.zeros(count, np.float32)
        across = np.zeros((FLASH_REACH, count), np.float32)
        curve[1:] = _difference(histograms, 1)
        for length in range(1, FLASH_REACH + 1):
            values = _difference(histograms, length + 1)
            across[length - 1, 1 : 1 + len(values)] = values
        luma, contrast = luma_statistics(frames)
        return Scores(curve=curve, luma=luma, contrast=contrast, tracks={"across": across})

    def transitions(self, scores: Scores, parameters: HistogramParameters) -> tuple[Transition, ...]:
        """Cuts where the histograms differ enough, and fades through black."""
        candidates = np.flatnonzero(scores.curve >= parameters.threshold)
        seen_through = flashes(candidates, scores.curve, scores.tracks["across"], parameters)
        kept = settled(without(candidates, seen_through), parameters.minimum_shot)
        return to_transitions(kept, scores.curve, parameters.threshold, scores, parameters)


def _histograms(frames: Frames) -> NDArray[np.int64]:
    """Luma histograms, ``[frames, BINS]``."""
    rows = []
    for start in range(0, len(frames), CHUNK):
        luma = to_luma(frames[start : start + CHUNK])
        bins = luma.astype(np.int64) * BINS // 256 + np.arange(len(luma), dtype=np.int64)[:, None] * BINS
        rows.append(np.bincount(bins.ravel(), minlength=len(luma) * BINS).reshape(len(luma), BINS))
    return np.concatenate(rows) if rows else np.zeros((0, BINS), np.int64)


def _difference(histograms: NDArray[np.int64], lag: int) -> Track:
    """1 minus the Pearson correlation of each histogram with the one ``lag`` frames later."""
    if len(histograms) <= lag:
        return np.zeros(0, np.float32)
    # The mean of a histogram is pixels over bins; times BINS it stays an integer.
    centred = (histograms * BINS - histograms.sum(axis=1, keepdims=True)).astype(np.float64)
    left, right = centred[:-lag], centred[lag:]
    product = (left * right).sum(axis=1)
    norm = np.sqrt((left * left).sum(axis=1) * (right * right).sum(axis=1))
    same = np.where(norm > 0, product / np.where(norm > 0, norm, 1.0), 1.0)
    return np.clip(1.0 - same, 0.0, 2.0).astype(np.float32)


DETECTOR = Histogram()
