"""Decoded pictures brought to the size, shape and pixel format of a deliverable, upright, with the tags they then need.

Guarantees: one frame out for each frame in, known by its ordinal; nothing is enlarged; what the source does not say of
its colours is assumed by the house's one rule and then said in the result. The caller may use a frame again after
``push``, so that one decoded frame serves every rendition.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from services.media import colour
from services.media.profiles import VideoEncoding
from services.media.timebase import nearest


@dataclass(frozen=True)
class Colours:
    """Colour tags as ITU-T H.273 code points."""

    range: int
    space: int
    transfer: int
    primaries: int


_BT709 = Colours(1, 1, 1, 1)
_UNTAGGED = Colours(0, colour.UNSPECIFIED, colour.UNSPECIFIED, colour.UNSPECIFIED)
_SPACE_CODES = {name: code for code, name in colour.SPACES.items()}
_TAGS_OF_SPACE = {1: (1, 1), 5: (6, 5), 6: (6, 6), 9: (14, 9)}
"""The transfer and primaries that belong to a matrix, for pictures that name only that, or nothing."""


class PictureChain:
    """Brings decoded frames to one size, shape and pixel format, upright, keeping their ordinals.

    A frame stays usable after ``push``. With ``standard`` the picture becomes what an ordinary screen expects: limited
    range, and BT.709 where it was HDR or wide gamut, unless ``keeps_hdr`` says that those stay what they are. Deinterlacing
    holds one frame back, which ``flush`` gives.
    """

    def __init__(
        self,
        first: VideoFrame,
        *,
        size: tuple[int, int],
        pixel_format: str,
        rotation: int = 0,
        flags: str = "bicubic",
        standard: bool = True,
        keeps_hdr: bool = False,
        deinterlace: bool = False,
    ) -> None:
        self.size = size
        self.pixel_format = pixel_format
        self._rotation = rotation % 360
        self._flags = flags
        self._standard = standard
        self._keeps_hdr = keeps_hdr
        self._deinterlace = deinterlace
        self._shape = _shape(first)
        self._graph = self._build(first)
        self.purpose: Hashable = None
        """Whose frames may follow after the last; nobody's if it is None."""
        wide = standard and not keeps_hdr and is_wide(first)
        self.lasting = wide or size[0] * size[1] <= _LASTING_PIXELS
        """Whether it is worth its memory while nobody uses it."""

    def push(self, ordinal: int, frame: VideoFrame) -> Iterator[tuple[int, VideoFrame]]:
        """Takes a frame; gives the frames that came out, each with its ordinal."""
        if _shape(frame) != self._shape:
            yield from self.flush()
            self.purpose = None
            self._shape = _shape(frame)
            self._graph = self._build(frame)
        frame.pts = ordinal
        frame.time_base = _TICK
        said = frame.colorspace
        # The scaler has to know what is assumed; whoever reads the frame next, what was said.
        frame.colorspace = _matrix(frame)
        self._graph.push(frame)
        frame.colorspace = said
        yield from self._drain()

    def flush(self) -> Iterator[tuple[int, VideoFrame]]:
        """Gives what was held back: nothing, unless it deinterlaces."""
        if self._deinterlace:
            self.purpose = None
            self._graph.push(None)
            yield from self._drain()

    def _drain(self) -> Iterator[tuple[int, VideoFrame]]:
        while True:
            try:
                frame = self._graph.pull()
            except (BlockingIOError, EOFError):
                return
            if isinstance(frame, VideoFrame) and frame.pts is not None and frame.time_base is not None:
                yield int(frame.pts * frame.time_base / _TICK), frame

    def _build(self, first: VideoFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        # One thread: the pictures of a clip are small work, and the encoders need the cores.
        graph.threads = 1
        end = graph.add(
            "buffer",
            f"video_size={first.width}x{first.height}:pix_fmt={first.format.name}:time_base={_TICK}:pixel_aspect=1/1"
            f":colorspace={_matrix(first)}:range={int(first.color_range)}",
        )
        for name, arguments in self._steps(first):
            step = graph.add(name, arguments)
            end.link_to(step)
            end = step
        end.link_to(graph.add("buffersink"))
        graph.configure()
        return graph

    def _steps(self, first: VideoFrame) -> Iterator[tuple[str, str]]:
        if self._deinterlace:
            yield "bwdif", "mode=send_frame:parity=auto:deint=interlaced"
        yield from _TURNS[self._rotation]
        turned = (first.height, first.width) if self._rotation in (90, 270) else (first.width, first.height)
        conversion = self._conversion(first)
        if turned != self.size or first.format.name != self.pixel_format or conversion:
            width, height = self.size
            yield (
                "scale",
                ":".join(
                    [f"w={width}:h={height}:flags={self._flags}+accurate_rnd+full_chroma_int+bitexact", *conversion]
                ),
            )
            yield "format", self.pixel_format

    def _conversion(self, first: VideoFrame) -> list[str]:
        if not self._standard:
            return []
        if is_wide(first) and not self._keeps_hdr:
            return ["out_color_matrix=bt709", "out_primaries=bt709", "out_transfer=bt709", "out_range=tv"]
        if self.pixel_format in ("rgb24", "gray"):
            return []
        if first.format.is_rgb:
            return ["out_color_matrix=bt709", "out_range=tv"]
        if colour.assumed_range(int(first.color_range), first.format.name) == "pc":
            return ["out_range=tv"]
        return []


class Chains:
    """Picture chains that the clips of a batch hand on to each other.

    Setting one up takes as long as several frames do, and for HDR, whose table of colours is computed, some seconds. A chain
    keeps what its last pictures lay in, which of large ones is more than that is worth.
    """

    def __init__(self) -> None:
        self._idle: dict[Hashable, list[PictureChain]] = {}
        self._lock = threading.Lock()

    def take(self, first: VideoFrame, **facts: Any) -> PictureChain:
        """A chain for frames like ``first``; ``facts`` are what ``PictureChain`` takes."""
        purpose = (_shape(first), _matrix(first), tuple(sorted(facts.items())))
        with self._lock:
            idle = self._idle.setdefault(purpose, [])
            if idle:
                return idle.pop()
        made = PictureChain(first, **facts)
        made.purpose = purpose
        return made

    def give(self, chain: PictureChain) -> None:
        """Takes a chain back, once nobody pushes into it."""
        if chain.purpose is not None and chain.lasting:
            with self._lock:
                self._idle[chain.purpose].append(chain)


_TICK = Fraction(1, 1000)
_LASTING_PIXELS = 1280 * 720
_TURNS: dict[int, tuple[tuple[str, str], ...]] = {
    0: (),
    90: (("transpose", "cclock"),),
    180: (("hflip", ""), ("vflip", "")),
    270: (("transpose", "clock"),),
}


def _shape(frame: VideoFrame) -> tuple[Any, ...]:
    return (frame.width, frame.height, frame.format.name, int(frame.color_range), int(frame.color_trc))


def _matrix(frame: VideoFrame) -> int:
    if frame.format.is_rgb:
        return 0
    return _SPACE_CODES[colour.assumed_space(int(frame.colorspace), frame.width, frame.height)]


def pixels(frame: VideoFrame) -> NDArray[np.uint8]:
    """The samples of an 8-bit frame: uint8[height, width, 3] of ``rgb24``, uint8[height, width] of ``gray``."""
    return np.asarray(frame.to_ndarray(), np.uint8)


def is_wide(frame: VideoFrame) -> bool:
    """Whether an ordinary screen would show the picture wrong: HDR transfer or BT.2020 primaries."""
    return int(frame.color_trc) in colour.HDR_TRANSFERS or int(frame.color_primaries) == 9


def colours_of(frame: VideoFrame, encoding: VideoEncoding) -> Colours:
    """The tags that a stream made of such frames carries."""
    meant = _colours_meant(frame, encoding)
    return _as_prores_says_it(meant) if encoding.encoder.startswith("prores") else meant


def _as_prores_says_it(meant: Colours) -> Colours:
    """ProRes has few tags: what it cannot say is said by one that means the same, or left unsaid."""
    return Colours(
        range=meant.range,
        # Both of BT.601's matrices are the same numbers.
        space={5: 6}.get(meant.space, meant.space if meant.space in (1, 6, 9) else colour.UNSPECIFIED),
        # BT.601's and BT.2020's curves are BT.709's.
        transfer={6: 1, 14: 1, 15: 1}.get(
            meant.transfer, meant.transfer if meant.transfer in (1, 16, 18) else colour.UNSPECIFIED
        ),
        primaries=meant.primaries if meant.primaries in (1, 5, 6, 9, 11, 12) else colour.UNSPECIFIED,
    )


def _colours_meant(frame: VideoFrame, encoding: VideoEncoding) -> Colours:
    if not encoding.standard_range:
        return Colours(int(frame.color_range), int(frame.colorspace), int(frame.color_trc), int(frame.color_primaries))
    if (is_wide(frame) and not encoding.keeps_hdr) or frame.format.is_rgb:
        return _BT709
    space = _matrix(frame)
    transfer, primaries = _TAGS_OF_SPACE.get(space, (colour.UNSPECIFIED, colour.UNSPECIFIED))
    told_transfer, told_primaries = int(frame.color_trc), int(frame.color_primaries)
    return Colours(
        range=1,
        space=space,
        transfer=told_transfer if told_transfer in colour.TRANSFERS else transfer,
        primaries=told_primaries if told_primaries in colour.PRIMARIES else primaries,
    )


def display_size(width: int, height: int, sample_aspect_ratio: Fraction, rotation: int) -> tuple[Fraction, Fraction]:
    """The size at which coded pixels are meant to be seen, upright, with square pixels."""
    seen = (Fraction(width) * (sample_aspect_ratio or 1), Fraction(height))
    return (seen[1], seen[0]) if rotation % 180 else seen


def delivered_size(
    width: int, height: int, sample_aspect_ratio: Fraction, rotation: int, encoding: VideoEncoding
) -> tuple[int, int]:
    """The size of a rendition: within the profile's caps, never enlarged, even where the pixel format asks for it."""
    if not encoding.square_pixels:
        return (height, width) if rotation % 180 else (width, height)
    wide, high = display_size(width, height, sample_aspect_ratio, rotation)
    scale = Fraction(1)
    if encoding.longest_side is not None:
        scale = min(scale, Fraction(encoding.longest_side) / max(wide, high))
    if encoding.shortest_side is not None:
        scale = min(scale, Fraction(encoding.shortest_side) / min(wide, high))
    # Halves go to the even number of pairs, as in the review proxy, so that both have one shape.
    return max(2, 2 * round(wide * scale / 2)), max(2, 2 * round(high * scale / 2))


def fitted(size: tuple[Fraction, Fraction], side: int) -> tuple[int, int]:
    """The size shrunk so that its longest side is at most ``side`` pixels; at least one pixel each way."""
    scale = min(Fraction(1), Fraction(side) / max(size))
    return max(1, nearest(size[0] * scale)), max(1, nearest(size[1] * scale))
