"""One decoded frame for several threads: as many references to the same pixels, each with properties of its own.

A frame is never shared between threads, because whoever encodes or filters it writes its time into it. A filter graph
gives references without copying a pixel.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import av.filter
from av.video.frame import VideoFrame


class Fan:
    """Gives ``count`` references to each frame. Rebuilt by itself where the pictures change their shape."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._shape: tuple[Any, ...] = ()
        self._graph: av.filter.Graph | None = None
        self._ends: list[Any] = []

    def spread(self, frame: VideoFrame) -> list[VideoFrame]:
        """References to the frame, which itself stays as it is but for its time."""
        shape = (frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range))
        if self._graph is None or shape != self._shape:
            self._shape, self._graph = shape, self._built(frame)
        frame.pts, frame.time_base = 0, Fraction(1, 1000)
        self._graph.push(frame)
        return [end.pull() for end in self._ends]

    def _built(self, frame: VideoFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        graph.threads = 1
        source = graph.add(
            "buffer",
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1000:pixel_aspect=1/1"
            f":colorspace={int(frame.colorspace)}:range={int(frame.color_range)}",
        )
        split = graph.add("split", f"outputs={self._count}")
        source.link_to(split)
        self._ends = [graph.add("buffersink") for _ in range(self._count)]
        for number, end in enumerate(self._ends):
            split.link_to(end, number, 0)
        graph.configure()
        return graph
