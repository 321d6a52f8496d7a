"""The visible samples of a frame as arrays, without the padding that decoders leave at the right of each row."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray


def visible_planes(frame: VideoFrame) -> list[NDArray[np.uint8]]:
    """Each plane as uint8[rows, bytes of a row]; for planar formats, and for those that keep a pixel side by side.

    The arrays look into the frame: they live no longer than it does.
    """
    form, planes = frame.format, frame.planes
    if len(planes) == 1 and len(form.components) > 1:
        return [_rows(planes[0], frame.height, -(-frame.width * form.padded_bits_per_pixel // 8))]
    width_of_sample = 4 if form.name.endswith("f32le") else 2 if max(part.bits for part in form.components) > 8 else 1
    return [_rows(plane, plane.height, plane.width * width_of_sample) for plane in planes]


def first_plane(frame: VideoFrame) -> NDArray[np.uint8]:
    """The luma of an 8-bit YUV frame as uint8[height, width], or an RGB frame as uint8[height, width, 3]."""
    if frame.format.name == "rgb24":
        return _rows(frame.planes[0], frame.height, frame.width * 3).reshape(frame.height, frame.width, 3)
    return _rows(frame.planes[0], frame.height, frame.width)


def _rows(plane: Any, rows: int, length: int) -> NDArray[np.uint8]:
    data = np.frombuffer(cast("memoryview", plane), np.uint8)
    return data[: plane.line_size * rows].reshape(rows, plane.line_size)[:, :length]
