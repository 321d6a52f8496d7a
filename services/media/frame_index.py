"""The frame index: where every frame lies and when it is shown, small enough for a browser to fetch at once.

One binary file, little-endian, every section starting on a multiple of 8 bytes from the file's start:

    0   4 bytes  "HFIX"                       48  i64  timebase numerator
    4   u16      version (1)                  56  i64  timebase denominator
    6   u16      flags, below                 64  i64  first PTS, in ticks of the source
    8   u32      frames                       72  u64  byte offset of frame 0
    12  u32      width                        80  u64  duration of the last frame, in ticks
    16  u32      height                       88  u64  PTS step, when constant
    20  u16      length of the codec string   96  codec string (UTF-8), then extradata (avcC), then zeros up to 8
    22  u16      zero
    24  u32      length of the extradata      sections, in this order, each followed by zeros up to 8:
    28  u32      zero                           sizes    u32[frames]    if flag 1 (frames lie in the described file)
    32  i64      rate numerator                 offsets  u64[frames]    if flag 2, else running sum of the sizes
    40  i64      rate denominator               steps    u32[frames-1]  if flag 4: PTS steps, else
                                                pts      i64[frames]    if flag 8, else constant step
                                                keys     bits, lowest first, if flag 16: where decoding may start
                                              last 4 bytes: CRC-32 of all before

Guarantees: what ``to_bytes`` writes ``from_bytes`` reads back equal; damaged or foreign bytes are refused; PTS strictly
increase. The module needs numpy alone, so that a reader of an index need not load a codec library.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.errors import Permanent

MAGIC = b"HFIX"
VERSION = 1
CONTENT_TYPE = "application/vnd.heaters.frame-index"

_HEADER = struct.Struct("<4sHHIIIHHIIqqqqqQQQ")
_ADDRESSED, _OFFSETS, _STEPS, _FULL_PTS, _KEYS = 1, 2, 4, 8, 16


class UnreadableIndex(Permanent):
    """The bytes are no frame index, or a damaged one."""

    code = "media.index_unreadable"


def _no_sizes() -> NDArray[np.uint32]:
    return np.zeros(0, np.uint32)


def _no_offsets() -> NDArray[np.uint64]:
    return np.zeros(0, np.uint64)


def _no_keys() -> NDArray[np.bool_]:
    return np.zeros(0, np.bool_)


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """Every frame of a video, in presentation order.

    ``pts``: int64[frames], in ticks of ``timebase`` (seconds) on the source's own axis; frame 0 need not be at 0.
    ``sizes``: uint32[frames] bytes, or empty if the index addresses no file (see ``without_addresses``).
    ``offsets``: uint64[frames] bytes; left out for files whose frames lie side by side, where it is the running sum.
    ``keys``: bool[frames], True where decoding the *source* may start; empty if it has to start at frame 0.
    """

    codec: str
    extradata: bytes
    width: int
    height: int
    rate: Fraction
    timebase: Fraction
    pts: NDArray[np.int64]
    last_duration: int
    sizes: NDArray[np.uint32] = field(default_factory=_no_sizes)
    first_offset: int = 0
    offsets: NDArray[np.uint64] = field(default_factory=_no_offsets)
    keys: NDArray[np.bool_] = field(default_factory=_no_keys)

    def __post_init__(self) -> None:
        frames = len(self.pts)
        if frames == 0:
            raise ValueError("a frame index holds at least one frame")
        for name, section in (("sizes", self.sizes), ("offsets", self.offsets), ("keys", self.keys)):
            if len(section) not in (0, frames):
                raise ValueError(f"{name} has {len(section)} entries for {frames} frames")
        if frames > 1 and not bool(np.all(np.diff(self.pts) > 0)):
            raise ValueError("presentation timestamps strictly increase from frame to frame")
        if len(self.sizes) and not len(self.offsets):
            running = np.concatenate(([0], np.cumsum(self.sizes[:-1], dtype=np.uint64))).astype(np.uint64)
            object.__setattr__(self, "offsets", running + np.uint64(self.first_offset))

    def __len__(self) -> int:
        return len(self.pts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrameIndex) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.to_bytes())

    @property
    def addressed(self) -> bool:
        """Whether the index tells where each frame's bytes lie."""
        return len(self.sizes) > 0

    @property
    def first_pts(self) -> int:
        """PTS of frame 0, in ticks of the source."""
        return int(self.pts[0])

    @property
    def start(self) -> Fraction:
        """Time of frame 0 on the source's own axis, in seconds."""
        return self.first_pts * self.timebase

    @property
    def duration(self) -> Fraction:
        """Seconds from the start of frame 0 to the end of the last frame."""
        return (int(self.pts[-1]) - self.first_pts + self.last_duration) * self.timebase

    def time(self, frame: int) -> Fraction:
        """Seconds from the start of frame 0 to the start of ``frame``; ``len(index)`` gives the end of the video."""
        if frame == len(self.pts):
            return self.duration
        if not 0 <= frame < len(self.pts):
            raise IndexError(f"frame {frame} lies outside [0, {len(self.pts)}]")
        return (int(self.pts[frame]) - self.first_pts) * self.timebase

    def frame_at(self, time: Fraction) -> int:
        """The frame on screen ``time`` seconds after the start of frame 0, within the video's bounds."""
        tick = (time / self.timebase).__floor__() + self.first_pts
        return max(0, int(np.searchsorted(self.pts, tick, side="right")) - 1)

    def frame_of_pts(self, pts: int) -> int | None:
        """The frame with exactly this PTS, if there is one."""
        place = int(np.searchsorted(self.pts, pts))
        return place if place < len(self.pts) and int(self.pts[place]) == pts else None

    def address(self, frame: int) -> tuple[int, int]:
        """``(offset, size)`` of a frame in the described file, in bytes."""
        return int(self.offsets[frame]), int(self.sizes[frame])

    def key_before(self, frame: int) -> int | None:
        """The last frame at or before ``frame`` where decoding may start; None if decoding starts at frame 0."""
        if not len(self.keys):
            return None
        places = np.flatnonzero(self.keys[: frame + 1])
        return int(places[-1]) if len(places) else None

    def without_addresses(self) -> FrameIndex:
        """The same frames as an index of the *source* file, which is read through its container and seek points."""
        return FrameIndex(
            codec="",
            extradata=b"",
            width=self.width,
            height=self.height,
            rate=self.rate,
            timebase=self.timebase,
            pts=self.pts,
            last_duration=self.last_duration,
            keys=self.keys,
        )

    def to_bytes(self) -> bytes:
        """The binary form, byte for byte the same for equal contents."""
        pts = np.asarray(self.pts, np.int64)
        steps = np.diff(pts)
        constant = len(steps) == 0 or bool(np.all(steps == steps[0]))
        short = constant or int(steps.max()) < 1 << 32
        running = self.addressed and _is_running_sum(self.offsets, self.sizes)
        flags = (
            (_ADDRESSED if self.addressed else 0)
            | (_OFFSETS if self.addressed and not running else 0)
            | (0 if constant else _STEPS if short else _FULL_PTS)
            | (_KEYS if len(self.keys) else 0)
        )
        codec = self.codec.encode()
        header = _HEADER.pack(
            MAGIC,
            VERSION,
            flags,
            len(pts),
            self.width,
            self.height,
            len(codec),
            0,
            len(self.extradata),
            0,
            self.rate.numerator,
            self.rate.denominator,
            self.timebase.numerator,
            self.timebase.denominator,
            int(pts[0]),
            int(self.offsets[0]) if self.addressed else 0,
            self.last_duration,
            int(steps[0]) if constant and len(steps) else 0,
        )
        parts = [_padded(header + codec + self.extradata)]
        if self.addressed:
            parts.append(_padded(np.asarray(self.sizes, "<u4").tobytes()))
            if not running:
                parts.append(np.asarray(self.offsets, "<u8").tobytes())
        if not constant:
            parts.append(_padded(steps.astype("<u4").tobytes()) if short else pts.astype("<i8").tobytes())
        if len(self.keys):
            parts.append(_padded(np.packbits(self.keys, bitorder="little").tobytes()))
        body = b"".join(parts)
        return body + struct.pack("<I", zlib.crc32(body))

    @staticmethod
    def from_bytes(data: bytes) -> FrameIndex:
        """Reads the binary form.

        Raises:
            UnreadableIndex: not an index, a newer version, or damaged.
        """
        if len(data) < _HEADER.size + 4 or data[:4] != MAGIC:
            raise UnreadableIndex("These bytes are no frame index. Have the video preprocessed again.")
        if zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
            raise UnreadableIndex("The frame index is damaged. Have the video preprocessed again.")
        head = _HEADER.unpack_from(data)
        _, version, flags, frames, width, height, codec_length, _, extra_length, _, *numbers = head
        if version != VERSION:
            raise UnreadableIndex(f"The frame index has version {version}; this build reads {VERSION}. Update it.")
        rate_n, rate_d, base_n, base_d, first_pts, first_offset, last_duration, step = numbers
        sections = _Sections(data[:-4])
        codec = sections.raw(codec_length).decode()
        extradata = sections.raw(extra_length)
        sections.align()
        try:
            sizes = sections.array("<u4", frames) if flags & _ADDRESSED else _no_sizes()
            offsets = sections.array("<u8", frames) if flags & _OFFSETS else _no_offsets()
            if flags & _STEPS:
                steps = sections.array("<u4", frames - 1).astype(np.int64)
                pts = first_pts + np.concatenate(([0], np.cumsum(steps)))
            elif flags & _FULL_PTS:
                pts = sections.array("<i8", frames)
            else:
                pts = first_pts + step * np.arange(frames, dtype=np.int64)
            keys = _no_keys()
            if flags & _KEYS:
                bits = sections.array("u1", (frames + 7) // 8)
                keys = np.unpackbits(bits, count=frames, bitorder="little").astype(np.bool_)
            return FrameIndex(
                codec=codec,
                extradata=extradata,
                width=width,
                height=height,
                rate=Fraction(rate_n, rate_d),
                timebase=Fraction(base_n, base_d),
                pts=pts.astype(np.int64),
                last_duration=last_duration,
                sizes=sizes.astype(np.uint32),
                first_offset=first_offset,
                offsets=offsets.astype(np.uint64),
                keys=keys,
            )
        except (ValueError, ZeroDivisionError) as error:
            raise UnreadableIndex(
                f"The frame index contradicts itself ({error}). Preprocess the video again."
            ) from error


class _Sections:
    """Reads one section after the other, each from a multiple of 8 bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = _HEADER.size

    def raw(self, length: int) -> bytes:
        part = self._data[self._place : self._place + length]
        self._place += length
        return part

    def align(self) -> None:
        self._place += -self._place % 8

    def array(self, kind: str, count: int) -> NDArray[Any]:
        values = np.frombuffer(self._data, np.dtype(kind), count, self._place)
        self._place += values.nbytes
        self.align()
        return values


def _padded(part: bytes) -> bytes:
    return part + bytes(-len(part) % 8)


def _is_running_sum(offsets: NDArray[np.uint64], sizes: NDArray[np.uint32]) -> bool:
    return bool(np.all(np.diff(offsets.astype(np.int64)) == sizes[:-1].astype(np.int64)))
