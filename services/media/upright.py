"""Pictures as a person should see them: upright, square pixels, progressive, 8-bit BT.709, at a chosen size.

A decoder only reports rotation, sample aspect ratio, interlacing and HDR transfer; nothing applies them. One filter
graph does it here, one frame out for each frame in, in order. Guarantees: the size is even and stays the same even if
the source changes its own midway; the graph knows frames by their number and never looks at timestamps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import av
from av.filter import Graph
from av.video.frame import VideoFrame

from services.media import colour
from services.media.errors import Disagreement

_MAX_WIDTH = 4096
_TICK = Fraction(1, 1000)
"""Of the graph's own count of frames; it says nothing of time."""


@dataclass(frozen=True)
class Size:
    """Even picture size in square pixels."""

    width: int
    height: int


def upright_size(width: int, height: int, *, sample_aspect_ratio: Fraction, rotation: int, max_height: int) -> Size:
    """The size in which a picture is shown, scaled down to ``max_height`` lines, never up, both sides even."""
    shown_width, shown_height = Fraction(width) * sample_aspect_ratio, Fraction(height)
    if rotation % 180:
        shown_width, shown_height = shown_height, shown_width
    scale = min(Fraction(1), max_height / shown_height, _MAX_WIDTH / shown_width)
    return Size(_even(shown_width * scale), _even(shown_height * scale))


def _even(value: Fraction) -> int:
    return max(2, 2 * round(value / 2))


class Upright:
    """Turns decoded frames into upright ones, in order; call ``flush`` after the last.

    ``pixel_format``: of the frames that come out, for example ``yuv420p`` or ``rgb24``.
    """

    def __init__(self, size: Size, *, deinterlace: bool, pixel_format: str = "yuv420p") -> None:
        self._size = size
        self._deinterlace = deinterlace
        self._pixel_format = pixel_format
        self._graph: Graph | None = None
        self._shape: tuple[object, ...] = ()
        self._pushed = 0
        self._pulled = 0

    def push(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        """Takes a frame, which the caller must not use afterwards; gives those that are ready."""
        shape = (
            frame.width,
            frame.height,
            frame.format.name,
            int(frame.colorspace),
            int(frame.color_range),
            int(frame.color_trc),
            frame.rotation,
        )
        if shape != self._shape:
            yield from self.flush()
            self._graph = self._built(frame)
            self._shape = shape
        graph = self._graph
        if graph is None:
            raise Disagreement("The picture graph was not built before its first frame.")
        frame.pts = self._pushed
        frame.time_base = _TICK
        self._pushed += 1
        graph.push(frame)
        yield from self._ready(graph)

    def flush(self) -> Iterator[VideoFrame]:
        """Gives the frames still inside.

        Raises:
            Disagreement: not as many came out as went in.
        """
        if self._graph is None:
            return
        self._graph.push(None)
        yield from self._ready(self._graph)
        self._graph = None
        self._shape = ()
        if self._pulled != self._pushed:
            raise Disagreement(
                f"The picture graph took {self._pushed} frames and gave {self._pulled}. Report this with the file."
            )

    def _ready(self, graph: Graph) -> Iterator[VideoFrame]:
        while True:
            try:
                frame = graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            self._pulled += 1
            yield frame

    def _built(self, frame: VideoFrame) -> Graph:
        graph = Graph()
        graph.threads = 1
        form = frame.format.name
        space = colour.assumed_space(int(frame.colorspace), frame.width, frame.height)
        span = colour.assumed_range(int(frame.color_range), form)
        is_rgb = frame.format.is_rgb
        chain = [
            graph.add(
                "buffer",
                f"video_size={frame.width}x{frame.height}:pix_fmt={form}:time_base=1/1000:pixel_aspect=1/1:"
                f"colorspace={'gbr' if is_rgb else space}:range={span}",
            )
        ]
        if self._deinterlace:
            chain.append(graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced"))
        turn = frame.rotation % 360
        # The reported angle is counter-clockwise, and so the picture is turned clockwise by as much less than a circle.
        if turn in (90, 270):
            chain.append(graph.add("transpose", "dir=cclock" if turn == 90 else "dir=clock"))
        elif turn == 180:
            chain += [graph.add("hflip"), graph.add("vflip")]
        scale = [
            f"w={self._size.width}",
            f"h={self._size.height}",
            "flags=bicubic+accurate_rnd+full_chroma_int+bitexact",
            f"in_range={span}",
            "out_range=pc" if self._pixel_format.startswith("rgb") else "out_range=tv",
        ]
        if not is_rgb:
            scale.append(f"in_color_matrix={_scaler_name(space)}")
        if not self._pixel_format.startswith("rgb"):
            scale.append("out_color_matrix=bt709")
        if int(frame.color_trc) in colour.HDR_TRANSFERS:
            primaries = colour.PRIMARIES.get(int(frame.color_primaries), "bt2020")
            transfer = colour.TRANSFERS[int(frame.color_trc)]
            scale.append(
                f"in_transfer={transfer}:out_transfer=bt709:in_primaries={primaries}:out_primaries=bt709:intent=perceptual"
            )
        chain += [
            graph.add("scale", ":".join(scale)),
            graph.add("format", self._pixel_format),
            graph.add("buffersink"),
        ]
        for left, right in pairwise(chain):
            left.link_to(right)
        graph.configure()
        return graph


def _scaler_name(space: str) -> str:
    """The scaler knows fewer matrices than the tags do."""
    return {"bt2020nc": "bt2020", "bt2020c": "bt2020", "ictcp": "bt2020", "bt470bg": "bt470bg"}.get(
        space, space if space in {"bt709", "fcc", "smpte170m", "smpte240m"} else "bt709"
    )
