"""Real footage to make labelled films of: shots without any change of shot in them, small but larger than a detector's
pictures, so that a camera can be moved over them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np

FILE = Path(__file__).parents[1] / "fixtures" / "detection_footage.mp4"

# Origin and half-open range of frames of every shot in the file.
SHOTS = (
    ("bbb", 0, 242),
    ("bbb", 242, 333),
    ("bbb", 333, 506),
    ("bbb", 506, 672),
    ("roofs", 672, 852),
    ("roofs", 852, 1014),
    ("cockatoo", 1014, 1294),
    ("nasa", 1294, 1416),
    ("nasa", 1416, 1464),
    ("nasa", 1464, 1581),
    ("autumn", 1581, 1727),
    ("autumn", 1727, 1817),
    ("autumn", 1817, 1920),
    ("autumn", 1920, 2028),
)


@cache
def shots() -> tuple[tuple[str, np.ndarray], ...]:
    """Origin and pictures (``uint8[n, 90, 160, 3]`` RGB) of every shot."""
    capture = cv2.VideoCapture(str(FILE))
    frames = []
    while True:
        more, frame = capture.read()
        if not more:
            break
        frames.append(frame[:, :, ::-1])
    capture.release()
    if len(frames) != SHOTS[-1][2]:
        raise AssertionError(f"{FILE.name} gave {len(frames)} frames of {SHOTS[-1][2]}")
    return tuple((origin, np.stack(frames[start:end])) for origin, start, end in SHOTS)
