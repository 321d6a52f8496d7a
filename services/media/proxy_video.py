"""The review proxy: H.264 in which every frame stands alone, and the proof that it is so.

A browser fetches any frame with one range request and decodes it by itself; that holds only if every packet is an IDR
picture, frames lie side by side in the file, and no edit list shifts them. ``proved_index`` reads the finished file back
and refuses it otherwise.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from services.media.errors import Disagreement, EncodingFailed
from services.media.frame_index import FrameIndex
from services.media.upright import Size

BT709, TV_RANGE = 1, 1
_IDR, _SEI_AND_SETS = 5, frozenset({6, 7, 8, 9})


@dataclass(frozen=True)
class ProxyEncoding:
    """How proxies are encoded. Threads are fixed, because the encoder writes their number into the stream."""

    preset: str = "superfast"
    crf: int = 27
    threads: int = 2


def refuse_leftovers(stream: VideoStream, codec: str) -> None:
    """Codec options that the encoder did not know stay behind silently; they are an error here."""
    left = dict(stream.codec_context.options)
    if left:
        raise EncodingFailed(f"The {codec} encoder does not know {sorted(left)}. Correct the settings.")


class ProxyWriter:
    """Writes upright yuv420p frames, PTS in ticks of ``timebase`` from 0 on, as a video-only fast-start MP4."""

    def __init__(self, path: Path, size: Size, rate: Fraction, timebase: Fraction, encoding: ProxyEncoding) -> None:
        self._container: OutputContainer = av.open(
            str(path),
            "w",
            format="mp4",
            options={"movflags": "+faststart", "use_editlist": "0", "fflags": "+bitexact"},
        )
        options = {
            "preset": encoding.preset,
            "tune": "fastdecode",
            "crf": str(encoding.crf),
            "profile": "high",
            "g": "1",
            "bf": "0",
            "threads": str(encoding.threads),
            "x264-params": "scenecut=0:repeat-headers=0:force-cfr=0",
        }
        stream = self._container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = size.width, size.height, "yuv420p"
        context = stream.codec_context
        context.time_base = stream.time_base = timebase
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = TV_RANGE
        context.sample_aspect_ratio = Fraction(1)
        self._stream = stream
        self._timebase = timebase
        self._durations: array[int] = array("q")
        self._sent = 0
        self._written = 0

    def write(self, frame: VideoFrame, pts: int, duration: int) -> None:
        """Encodes one frame, shown at tick ``pts`` for ``duration`` ticks."""
        if frame.format.name != "yuv420p" or (frame.width, frame.height) != (self._stream.width, self._stream.height):
            raise Disagreement("A proxy frame has another size or pixel format than the proxy. Report this file.")
        frame.pts = pts
        frame.time_base = self._timebase
        frame.pict_type = 0
        self._durations.append(duration)
        self._sent += 1
        for packet in self._stream.encode(frame):
            self._mux(packet)
        if self._sent == 1:
            refuse_leftovers(self._stream, "libx264")

    def _mux(self, packet: Packet[VideoStream]) -> None:
        packet.duration = self._durations[self._written]
        self._written += 1
        self._container.mux(packet)

    def finish(self) -> None:
        """Writes what the encoder still holds and the file's end."""
        for packet in self._stream.encode(None):
            self._mux(packet)
        self.close()
        if self._written != self._sent:
            raise Disagreement(
                f"The proxy encoder took {self._sent} frames and wrote {self._written}. Report this file."
            )

    def close(self) -> None:
        """Closes the file, also an unfinished one."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def proved_index(
    path: Path,
    *,
    pts: NDArray[np.int64],
    keys: NDArray[np.bool_],
    last_duration: int,
    rate: Fraction,
    timebase: Fraction,
) -> FrameIndex:
    """The index of a finished proxy, read back from the file itself.

    ``pts`` and ``keys`` are the source's, frame by frame.

    Raises:
        Disagreement: a packet is no IDR picture, frames do not lie side by side, times differ, or the count does.
    """
    sizes, expected, first = array("I"), None, 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        base = Fraction(stream.time_base or timebase)
        number = 0
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if number >= len(pts):
                break
            if expected is None:
                first = expected = packet.pos or 0
            due = (int(pts[number]) - int(pts[0])) * timebase
            if packet.pos != expected or packet.pts is None or packet.pts * base != due or packet.dts != packet.pts:
                raise Disagreement(
                    f"Frame {number} of the proxy does not lie or play where it should. Report this file."
                )
            if not _is_idr(bytes(packet)):
                raise Disagreement(f"Frame {number} of the proxy does not stand alone. Report this file.")
            sizes.append(packet.size)
            expected += packet.size
            number += 1
        extradata = bytes(context.extradata or b"")
        width, height = context.width, context.height
    if number != len(pts):
        raise Disagreement(f"The proxy holds {number} frames for {len(pts)} of the source. Report this file.")
    return FrameIndex(
        codec="avc1." + extradata[1:4].hex(),
        extradata=extradata,
        width=width,
        height=height,
        rate=rate,
        timebase=timebase,
        pts=pts,
        last_duration=last_duration,
        sizes=np.asarray(sizes, np.uint32),
        first_offset=first,
        keys=keys,
    )


def _is_idr(packet: bytes) -> bool:
    """Whether every picture in the packet (length-prefixed NAL units) is an IDR one."""
    place, pictures = 0, 0
    while place + 5 <= len(packet):
        length = int.from_bytes(packet[place : place + 4])
        kind = packet[place + 4] & 31
        if kind == _IDR:
            pictures += 1
        elif kind not in _SEI_AND_SETS:
            return False
        place += 4 + length
    return pictures > 0 and place == len(packet)
