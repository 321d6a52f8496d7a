"""What small pictures tell of a change of shot by plain arithmetic: the evidence that ``fused`` weighs.

For each frame and for lags from 1 to 48 frames it is measured how much changes across the frame and how much before and
after it (a cut, a dissolve or a wipe changes more across than beside; movement does not), how well the picture between is
a mixture of the two outer ones (a dissolve is one, a wipe is one or the other at every pixel, movement is neither), how
light and contrast run (a fade), whether the change lasts (a flash does not), and what is left of it when the picture is
shifted (a pan leaves little).

Guarantees: a frame's row depends on the frames within ``REACH`` of it alone; the film is repeated at its ends.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from services.scenes.detectors.interface import Frames

LAGS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48)
REACH = 76
"""Frames on each side that a row can depend on."""

_HALVED = (2, 4, 8, 12, 16, 24, 32, 48)
_STEPPED = (8, 16, 32)
_PIXELS = 27 * 48
_LASTING = (1, 2, 3, 4, 6, 8)
_BESIDE = (-32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32)
_SHIFTED = (1, 2, 4)
_SHIFTS = 12
_CHANGED = -1 - 4 * len(_SHIFTED)
"""The column that tells how many pixels change across the longest of ``_STEPPED``."""

Rows = NDArray[np.float32]


def measure(frames: Frames) -> Rows:
    """Evidence of every frame but the first and last ``REACH``: ``float32[len(frames) - 2 * REACH, COLUMNS]``."""
    count = len(frames)
    inner = np.arange(REACH, count - REACH)
    coarse, histogram, luma = _coarse(frames), _histogram(frames), _luma(frames)
    squared = {lag: _squared(coarse, lag) for lag in sorted({*LAGS, *(each // 2 for each in _HALVED), *_LASTING})}
    spread = {lag: _absolute(histogram, lag) for lag in sorted({*LAGS, *_LASTING})}
    columns: list[NDArray[np.floating]] = []
    for lag in LAGS:
        begin = inner - (lag + 1) // 2
        for distance, unit in ((squared[lag], 1.0), (spread[lag], 0.02)):
            scale = np.log(unit + distance)
            across, before, after = scale[begin], scale[begin - lag], scale[begin + lag]
            columns += [across, across - np.maximum(before, after), across - np.minimum(before, after)]
    for lag in _HALVED:
        begin = inner - lag // 2
        whole, first, second = squared[lag][begin], squared[lag // 2][begin], squared[lag // 2][begin + lag // 2]
        share = 0.5 + (first - second) / (2 * whole + 8)
        rest = first - share * share * whole
        columns += [np.clip(share, -1, 2), np.sqrt(np.maximum(rest, 0) / (whole + 8))]
    mean, deviation = luma.mean(axis=(1, 2)), luma.std(axis=(1, 2))
    for offset in _BESIDE:
        columns += [mean[inner + offset] / 64, np.log(2 + deviation[inner + offset])]
    for lag in _LASTING:
        columns += [np.log(1 + squared[lag][inner - 1]), np.log(1 + squared[lag][inner - lag])]
        columns += [np.log(0.02 + spread[lag][inner - 1]), np.log(0.02 + spread[lag][inner - lag])]
    columns += [np.log(1 + squared[1][inner + offset]) for offset in (-6, -5, -4, -3, -2, 1, 2, 3, 4, 5)]
    small = luma.astype(np.int16)
    for lag in _STEPPED:
        columns += _stepped(small, inner, lag)
    for lag in _SHIFTED:
        columns += _shifted(luma, inner, lag)
    return np.stack(columns, axis=1).astype(np.float32)


def changed(rows: Rows) -> Rows:
    """Of what ``measure`` gave: the share of the picture that changes across 32 frames around each."""
    return np.asarray((64 * np.exp(rows[:, _CHANGED]) - 4) / _PIXELS, np.float32)


def _coarse(frames: Frames) -> NDArray[np.float32]:
    """Pictures of 9 x 16, flat."""
    count = len(frames)
    sums = frames.reshape(count, 9, 3, 16, 3, 3).sum(axis=(2, 4), dtype=np.uint16)
    return np.asarray(sums.reshape(count, -1) / np.float32(9), np.float32)


def _histogram(frames: Frames) -> NDArray[np.float32]:
    """Shares of 4 x 4 x 4 colours."""
    count = len(frames)
    levels = frames >> 6
    bins = (levels[..., 0] * 16 + levels[..., 1] * 4 + levels[..., 2]).reshape(count, -1).astype(np.int64)
    bins += np.arange(count)[:, None] * 64
    made = np.bincount(bins.ravel(), minlength=count * 64).reshape(count, 64)
    return (made / np.float32(bins.shape[1])).astype(np.float32)


def _luma(frames: Frames) -> NDArray[np.uint8]:
    count, height, width, _ = frames.shape
    stacked = np.ascontiguousarray(frames).reshape(count * height, width, 3)
    return np.asarray(cv2.cvtColor(stacked, cv2.COLOR_RGB2GRAY), np.uint8).reshape(count, height, width)


def _squared(rows: NDArray[np.float32], lag: int) -> NDArray[np.float32]:
    """Mean squared difference of each row and the one ``lag`` later; 0 where there is none."""
    out = np.zeros(len(rows), np.float32)
    step = rows[lag:] - rows[:-lag]
    out[: len(step)] = np.einsum("ij,ij->i", step, step) / rows.shape[1]
    return out


def _absolute(rows: NDArray[np.float32], lag: int) -> NDArray[np.float32]:
    out = np.zeros(len(rows), np.float32)
    step = np.abs(rows[lag:] - rows[:-lag]).sum(axis=1)
    out[: len(step)] = step
    return out


def _stepped(luma: NDArray[np.int16], inner: NDArray[np.intp], lag: int) -> list[NDArray[np.floating]]:
    """Of the pixels that change across the lag: the share that in its middle look like either end, and like the first.

    Beside them how ragged the border is between the one and the other, and how many pixels change at all.
    """
    first, middle, last = (luma[inner[0] + at : inner[-1] + 1 + at] for at in (-lag // 2, 0, lag // 2))
    whole = np.abs(last - first)
    old, new = np.abs(middle - first), np.abs(last - middle)
    changed = whole > 16
    count = changed.sum(axis=(1, 2)) + 4.0
    like_old = changed & (old * 5 < whole)
    like_new = changed & (new * 5 < whole)
    border = (like_old[:, :, 1:] & like_new[:, :, :-1]) | (like_old[:, :, :-1] & like_new[:, :, 1:])
    edges = border.sum(axis=(1, 2)) / np.sqrt(count)
    return [
        (like_old.sum(axis=(1, 2)) + like_new.sum(axis=(1, 2))) / count,
        like_old.sum(axis=(1, 2)) / count,
        np.minimum(edges, 4.0),
        np.log(count / 64),
    ]


def _shifted(luma: NDArray[np.uint8], inner: NDArray[np.intp], lag: int) -> list[NDArray[np.floating]]:
    """What is left of a difference when the picture's profiles are shifted to fit best, across and down."""
    found: list[NDArray[np.floating]] = []
    for axis in (1, 2):
        profile = luma.mean(axis=axis, dtype=np.float32)
        begin = inner[0] - (lag + 1) // 2
        one, other = profile[begin : begin + len(inner)], profile[begin + lag : begin + lag + len(inner)]
        length = profile.shape[1]
        least = still = np.abs(one - other).mean(axis=1)
        for shift in range(1, min(_SHIFTS, length // 3) + 1):
            for left, right in ((one[:, shift:], other[:, :-shift]), (one[:, :-shift], other[:, shift:])):
                least = np.minimum(least, np.abs(left - right).mean(axis=1))
        found += [np.log(1 + least), np.log((1 + least) / (1 + still))]
    return found
