"""Luma of small pictures, and the fades through black that it shows."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.values import FrameRange, Transition, TransitionKind
from services.scenes.detectors.declared import RuleParameters
from services.scenes.detectors.interface import Frames, Scores, Track

FLAT_CONTRAST = 8.0
"""A black frame holds no picture: its luma's standard deviation is at most this, which lets a small logo pass."""

LEAST_RISE = 15.0
"""A ramp from black ends at least this much brighter: noise in a dark shot rises less."""

CHUNK = 2048


def to_luma(frames: Frames) -> NDArray[np.uint8]:
    """BT.601 luma of RGB pictures, shape ``(frames, pixels)``."""
    count, height, width, _ = frames.shape
    stacked = np.ascontiguousarray(frames).reshape(count * height, width, 3)
    return np.asarray(cv2.cvtColor(stacked, cv2.COLOR_RGB2GRAY), dtype=np.uint8).reshape(count, height * width)


def luma_statistics(frames: Frames) -> tuple[Track, Track]:
    """Mean and standard deviation of every frame's luma, each ``float32[frames]``."""
    mean = np.zeros(len(frames), np.float32)
    deviation = np.zeros(len(frames), np.float32)
    for start in range(0, len(frames), CHUNK):
        luma = to_luma(frames[start : start + CHUNK]).astype(np.int64)
        pixels = luma.shape[1]
        total = luma.sum(axis=1)
        squares = (luma * luma).sum(axis=1)
        mean[start : start + CHUNK] = total / pixels
        # In integers, so that no rounding can make the variance negative or differ between machines.
        deviation[start : start + CHUNK] = np.sqrt((pixels * squares - total * total) / (pixels * pixels))
    return mean, deviation


def find_fades(scores: Scores, parameters: RuleParameters) -> list[Transition]:
    """Fades through black: a ramp down, black, and a ramp up.

    A black stretch that a hard cut enters or leaves is left to the cut, and one at the video's first or last
    frame separates no two shots. Ranges run from the first darkened frame to the first whole one.
    """
    if not parameters.fades or scores.frames == 0:
        return []
    black = (scores.luma <= parameters.black_level) & (scores.contrast <= FLAT_CONTRAST)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], black.astype(np.int8), [0]))))
    fades: list[Transition] = []
    free_from = 1
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        falling = _ramp(scores.luma, start, -1, parameters.minimum_fade)
        rising = _ramp(scores.luma, end - 1, 1, parameters.minimum_fade)
        if falling is None or rising is None:
            continue
        first, last = max(falling + 1, free_from), rising
        if last <= first:
            continue
        fades.append(
            Transition(
                kind=TransitionKind.FADE,
                frames=FrameRange(start=first, end=last),
                confidence=_evenness(scores, first, last),
            )
        )
        free_from = last
    return fades


def _ramp(luma: Track, edge: int, step: int, shortest: int) -> int | None:
    """The frame at which a ramp that starts at the black frame ``edge`` and goes in direction ``step`` is whole.

    None when it is no ramp: too short, too low, or one jump that makes up most of it.
    """
    at, flat, steepest = edge, 0, 0.0
    whole = edge
    while 0 <= at + step < len(luma) and flat <= 1:
        rise = float(luma[at + step] - luma[at])
        if rise < -0.25:
            break
        at += step
        # One frame without change is allowed: a fade made at half the frame rate repeats its frames.
        flat = flat + 1 if rise <= 0.25 else 0
        if flat == 0:
            whole, steepest = at, max(steepest, rise)
    total = float(luma[whole] - luma[edge])
    if abs(whole - edge) < shortest or total < LEAST_RISE or steepest > total / 2:
        return None
    return whole


def _evenness(scores: Scores, start: int, end: int) -> float:
    """Confidence of a fade: high when no single frame makes much of the whole change."""
    luma = scores.luma[start - 1 : end + 1]
    steps = np.abs(np.diff(luma))
    share = float(steps.max() / max(float(np.ptp(luma)), 1.0))
    return round(min(max(1.0 - share, 0.5), 0.99), 4)
