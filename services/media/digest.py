r"""A digest over decoded frames: equal if and only if every sample of every frame is.

SHA-256 over, for each frame in order, the line ``"<width>x<height> <format>\\n"`` and the visible samples of every plane,
row by row without padding. Formats that hold the same samples in another arrangement have to be brought to one first.
"""

from __future__ import annotations

import hashlib

import numpy as np
from av.video.frame import VideoFrame

from services.media.planes import visible_planes

_WITH_FILLING = frozenset({"bgr0", "rgb0"})


class FrameDigest:
    """Takes frames in order; ``hexdigest`` at the end."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.frames = 0

    def add(self, frame: VideoFrame) -> None:
        """One decoded frame, which is not changed."""
        self._hash.update(f"{frame.width}x{frame.height} {frame.format.name}\n".encode())
        for samples in visible_planes(frame):
            if frame.format.name in _WITH_FILLING:
                # The fourth byte of a pixel means nothing, and a codec may leave anything there.
                samples = samples.reshape(frame.height, frame.width, 4)[..., :3]  # noqa: PLW2901 - the part that counts.
            self._hash.update(np.ascontiguousarray(samples).data)
        self.frames += 1

    def hexdigest(self) -> str:
        """SHA-256 of everything taken so far."""
        return self._hash.hexdigest()
