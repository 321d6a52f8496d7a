"""The proof that what was encoded is what was meant, made while the packets go by on their way into the file.

Each packet that the muxer gets is decoded as well, by a thread of its own behind a bounded queue: every frame comes, at
its exact time, and looks like the one that was given to the encoder. Nothing has to be read back for that, and nothing
is held but the few frames that an encoder and a decoder keep anyway.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import av
import numpy as np
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from services.media import colour
from services.media.errors import UnsupportedCodec

GRID = (12, 16)
"""Rows and columns of the samples by which a decoded frame is compared with the encoded one."""

_DECODERS = {"av1": "libdav1d"}
"""Where the decoder that goes by the codec's own name needs hardware."""

Look = NDArray[Any]


@dataclass(frozen=True)
class Seen:
    """What the decoder made of the packets.

    ``shown`` counts decoded frames, ``misplaced`` those that did not come at the time at which they were meant (the
    first of them is ``first_misplaced``); ``worst`` is how far the worst one lies from what was encoded, as a share of
    the full range, and ``damaged`` counts frames that the decoder doubted. Colours are H.273 code points.
    """

    shown: int = 0
    misplaced: int = 0
    first_misplaced: int | None = None
    worst: float = 0.0
    damaged: int = 0
    width: int = 0
    height: int = 0
    pixel_format: str = ""
    codec: str = ""
    colours: tuple[int, int, int, int] = (0, colour.UNSPECIFIED, colour.UNSPECIFIED, colour.UNSPECIFIED)


class Proof:
    """Decodes packets in the order in which they are written, and compares.

    ``expect`` is called for each frame before it is encoded, ``read`` with copies of the packets, from another thread.
    """

    def __init__(self, encoder: Any) -> None:
        codec = encoder.codec.canonical_name
        try:
            context = av.CodecContext.create(_DECODERS.get(codec, codec), "r")
        except av.error.DecoderNotFoundError as error:
            raise UnsupportedCodec(
                f"This build can write {codec} and not read it, so that nothing could be proved. Use another profile."
            ) from error
        assert isinstance(context, VideoCodecContext)  # noqa: S101 - a video encoder's codec is one.
        if encoder.extradata:
            context.extradata = encoder.extradata
        context.codec_tag = encoder.codec_tag
        context.width, context.height, context.pix_fmt = encoder.width, encoder.height, encoder.pix_fmt
        # One thread: the encoders need the cores, and each more of the decoder's would hold another frame.
        context.thread_count = 1
        self._context = context
        self._codec = codec
        self._meant: deque[tuple[int, Look]] = deque()
        self._seen = Seen()

    def expect(self, pts: int, frame: VideoFrame) -> None:
        """Keeps what the frame looks like, until it comes out of the decoder."""
        self._meant.append((pts, look(frame)))

    def read(self, packets: Iterator[Packet[Stream]]) -> Seen:
        """Decodes all packets; gives what was seen."""
        shown, misplaced, first, worst, damaged = 0, 0, None, 0.0, 0
        last: VideoFrame | None = None
        for frame in self._frames(packets):
            pts, meant = self._meant.popleft() if self._meant else (None, None)
            if frame.pts != pts:
                misplaced += 1
                first = shown if first is None else first
            damaged += frame.is_corrupt
            worst = max(worst, 1.0 if meant is None else difference(frame, meant))
            shown += 1
            last = frame
        if last is None:
            return Seen(codec=self._codec)
        return Seen(
            shown=shown,
            misplaced=misplaced,
            first_misplaced=first,
            worst=round(worst, 6),
            damaged=damaged,
            width=last.width,
            height=last.height,
            pixel_format=last.format.name,
            codec=self._codec,
            colours=(int(last.color_range), int(last.colorspace), int(last.color_trc), int(last.color_primaries)),
        )

    def _frames(self, packets: Iterator[Packet[Stream]]) -> Iterator[VideoFrame]:
        for packet in packets:
            yield from self._context.decode(packet)
        yield from self._context.decode(None)


def look(frame: VideoFrame) -> Look:
    """A grid of samples of the first plane, enough to tell one picture from another."""
    deep = frame.format.components[0].bits > 8
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint16 if deep else np.uint8).reshape(plane.height, -1)
    return np.asarray(rows[_places(plane.width, plane.height)])


@cache
def _places(width: int, height: int) -> tuple[NDArray[np.intp], ...]:
    down, across = (np.linspace(0, side - 1, min(most, side)) for side, most in zip((height, width), GRID, strict=True))
    return np.ix_(down.astype(np.intp), across.astype(np.intp))


def difference(frame: VideoFrame, meant: Look) -> float:
    """How far a decoded frame lies from the one that was encoded, as a share of the full range."""
    now = look(frame)
    if now.shape != meant.shape:
        return 1.0
    depth = float((1 << frame.format.components[0].bits) - 1)
    return float(np.abs(now.astype(np.int32) - meant.astype(np.int32)).mean()) / depth


def seconds(pts: int | None, base: Fraction | None) -> Fraction:
    """A packet's time in seconds; 0 if it has none."""
    return Fraction(pts or 0) * Fraction(base or 1)
