"""How far pictures differ in hue, saturation and brightness, the measure behind ``adaptive`` and ``content``.

Sums are integers until the last division, so the same pictures give the same scores on every machine.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from services.scenes.detectors.declared import FLASH_REACH
from services.scenes.detectors.interface import Frames, Scores, Track
from services.scenes.detectors.luma import luma_statistics

CHUNK = 2048
"""Frames converted at once: bounds memory, some 16 MB of small pictures."""


def measure(frames: Frames) -> Scores:
    """Differences from the frame before, per channel, and those across a possible flash.

    Tracks: ``change`` (``[3, frames]``, hue, saturation, brightness; mean absolute difference per pixel, hue on OpenCV's
    scale of 180) and ``across`` (``[FLASH_REACH, 3, frames]``: entry ``k - 1`` at frame ``i`` compares frame
    ``i - 1`` with frame ``i + k``, that is, the pictures before and after a flash of ``k`` frames).
    """
    count = len(frames)
    change = np.zeros((3, count), np.float32)
    across = np.zeros((FLASH_REACH, 3, count), np.float32)
    for start in range(0, count, CHUNK):
        # One frame before and those a flash could reach after, so that chunks join without a seam.
        first, last = max(start - 1, 0), min(start + CHUNK + FLASH_REACH, count)
        pictures = _to_hsv(frames[first:last])
        stop = min(start + CHUNK, count)
        for lag in range(1, FLASH_REACH + 2):
            # Frame i - 1 against frame i - 1 + lag.
            distance = _distance(pictures, lag)
            begin = max(start, 1)
            end = min(stop, count - lag + 1)
            if end <= begin:
                continue
            values = distance[:, begin - 1 - first : end - 1 - first]
            if lag == 1:
                change[:, begin:end] = values
            else:
                across[lag - 2, :, begin:end] = values
    luma, contrast = luma_statistics(frames)
    return Scores(
        curve=content_curve(change, luma_only=False),
        luma=luma,
        contrast=contrast,
        tracks={"change": change, "across": across},
    )


def content_curve(channels: Track, *, luma_only: bool) -> Track:
    """PySceneDetect's content value from ``[..., 3, frames]``: the channels' mean, or brightness alone."""
    curve = channels[..., 2, :] if luma_only else channels.mean(axis=-2, dtype=np.float64)
    return np.asarray(curve, dtype=np.float32)


def _to_hsv(frames: Frames) -> NDArray[np.int16]:
    count, height, width, _ = frames.shape
    stacked = np.ascontiguousarray(frames).reshape(count * height, width, 3)
    converted = cv2.cvtColor(stacked, cv2.COLOR_RGB2HSV)
    return np.asarray(converted, dtype=np.int16).reshape(count, height * width, 3)


def _distance(pictures: NDArray[np.int16], lag: int) -> Track:
    if len(pictures) <= lag:
        return np.zeros((3, 0), np.float32)
    sums = np.abs(pictures[lag:] - pictures[:-lag]).sum(axis=1, dtype=np.int64)
    return np.asarray(sums.T / pictures.shape[1], dtype=np.float32)
