"""Real footage to make labelled films of: shots without any change of shot in them, small but larger than a detector's
pictures, so that a camera can be moved over them.

Films to fit on and films to measure with are made of different videos, which have no shot, place or camera in common.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np

FOLDER = Path(__file__).parents[1] / "fixtures"

# Origin and half-open range of frames of every shot in a file.
FIT = (
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
HELD_OUT = (
    ("bikes", 0, 30),
    ("bikes", 30, 76),
    ("bikes", 76, 137),
    ("bikes", 137, 187),
    ("bikes", 187, 242),
    ("carphone", 250, 370),
)
FILES = {"detection_footage.mp4": FIT, "detection_held_out.mp4": HELD_OUT}


@cache
def shots(name: str) -> tuple[tuple[str, np.ndarray], ...]:
    """Origin and pictures (``uint8[n, 90, 160, 3]`` RGB) of every shot of a file."""
    capture = cv2.VideoCapture(str(FOLDER / name))
    frames = []
    while True:
        more, frame = capture.read()
        if not more:
            break
        frames.append(frame[:, :, ::-1])
    capture.release()
    last = FILES[name][-1][2]
    if len(frames) != last:
        raise AssertionError(f"{name} gave {len(frames)} frames of {last}")
    return tuple((origin, np.stack(frames[start:end])) for origin, start, end in FILES[name])


def to_fit(without: frozenset[str] = frozenset()) -> tuple[np.ndarray, ...]:
    """The shots that a fit may see, but for those of some origins."""
    return tuple(pictures for origin, pictures in shots("detection_footage.mp4") if origin not in without)


def held_out(*origins: str) -> tuple[np.ndarray, ...]:
    """The shots that no fit has seen; or those of origins that a fit was made without."""
    if not origins:
        return tuple(pictures for _, pictures in shots("detection_held_out.mp4"))
    return tuple(pictures for origin, pictures in shots("detection_footage.mp4") if origin in origins)
