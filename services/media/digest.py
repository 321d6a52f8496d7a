"""A digest over decoded frames: equal if and only if every sample of every frame is.

SHA-256 over, for each frame in order, the line ``"<width>x<height> <format>\\n"`` and the visible samples of every plane,
row by row without padding. Formats that hold the same samples in another arrangement have to be brought to one first.
"""

from __future__ import annotations

import hashlib

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray


class FrameDigest:
    """Takes frames in order; ``hexdigest`` at the end."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.frames = 0

    def add(self, frame: VideoFrame) -> None:
        """One decoded frame, which is not changed."""
        self._hash.update(f"{frame.width}x{frame.height} {frame.format.name}\n".encode())
        for samples in visible_planes(frame):
            self._hash.update(np.ascontiguousarray(samples))
        self.frames += 1

    def hexdigest(self) -> str:
        """SHA-256 of everything taken so far."""
        return self._hash.hexdigest()


def visible_planes(frame: VideoFrame) -> list[NDArray[np.uint8]]:
    """Each plane as uint8[rows, bytes of a row], without the padding that decoders leave at the right."""
    form = frame.format
    packed = len({component.plane for component in form.components}) < len(form.components)
    planes = []
    for number, plane in enumerate(frame.planes):
        components = [component for component in form.components if component.plane == number]
        width, height = plane.width, plane.height
        if packed:
            row = -(-width * _packed_bits(form.name, form.padded_bits_per_pixel, len(frame.planes), components) // 8)
        else:
            row = width * (2 if max(component.bits for component in components) > 8 else 1)
            row = width * 4 if form.name.endswith("f32le") else row
        data = np.frombuffer(plane, np.uint8)
        planes.append(data[: plane.line_size * height].reshape(height, plane.line_size)[:, :row])
    return planes


def _packed_bits(name: str, padded_bits: int, planes: int, components: list[object]) -> int:
    """Bits of one column in a plane that holds several components side by side."""
    if planes == 1:
        return padded_bits
    depth = 16 if name.startswith(("p0", "p2", "p4")) and not name.startswith("pal") else 8
    return depth * len(components)
