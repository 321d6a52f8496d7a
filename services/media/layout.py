"""What a finished file's own tables say of it, read without a demuxer: whether it is whole, and where its index stands.

A container that was cut off, or written in part, still opens; only its tables betray it. ``mp4_layout`` and
``matroska_layout`` read the headers alone (a few bytes a packet at most) through a descriptor that was open before the
first byte was written, so that proving a file needs no second opening of it and no second decode.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

_HEAD = 16
_BOXES = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})
_SEGMENT, _CLUSTER, _SIMPLE_BLOCK, _GROUP, _BLOCK, _TRACKS, _ENTRY = (
    0x18538067, 0x1F43B675, 0xA3, 0xA0, 0xA1, 0x1654AE6B, 0xAE,
)  # fmt: skip
_TRACK_NUMBER = 0xD7


class _CutOff(Exception):  # noqa: N818 - a signal inside the module.
    """The file ends inside what was being read."""


@dataclass
class TrackLayout:
    """Of one track: its packets and their bytes, as the container counts them."""

    packets: int = 0
    size: int = 0


@dataclass
class Layout:
    """``fault`` is empty for a whole file, and otherwise says what does not fit. Tracks stand in the file's order."""

    fault: str = ""
    faststart: bool = False
    tracks: list[TrackLayout] = field(default_factory=list)


def layout_of(descriptor: int, container: str) -> Layout:
    """The layout of the open file; ``container`` is ``mp4``, ``mov`` or ``matroska``."""
    try:
        return matroska_layout(descriptor) if container == "matroska" else mp4_layout(descriptor)
    except _CutOff:
        return Layout(fault="the file ends inside a header")


def mp4_layout(descriptor: int) -> Layout:
    """The layout of an MP4 or MOV file: boxes that tile it, and sample tables whose samples lie inside."""
    found = Layout()
    size = os.fstat(descriptor).st_size
    media_end, furthest = 0, 0
    seen: list[bytes] = []
    for kind, begin, end in _boxes(descriptor, 0, size):
        if end > size:
            found.fault = f"{kind.decode('latin1')} promises {end - size} bytes more than there are"
            return found
        seen.append(kind)
        if kind == b"mdat":
            media_end = end
        elif kind == b"moov":
            found.faststart = b"mdat" not in seen
            furthest = _sample_tables(descriptor, begin, end, found.tracks)
    if b"moov" not in seen:
        found.fault = "there is no index"
    elif not media_end and any(track.packets for track in found.tracks):
        found.fault = "there are no samples"
    elif furthest >= max(media_end, 1):
        found.fault = "a sample lies outside the file"
    return found


def _boxes(descriptor: int, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    place = begin
    while place < end:
        head = os.pread(descriptor, _HEAD, place)
        if len(head) < 8:
            raise _CutOff
        length, kind, header = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == 1:
            length, header = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:
            length = end - place
        if length < header:
            raise _CutOff
        yield kind, place + header, place + length
        place += length


def _sample_tables(descriptor: int, begin: int, end: int, tracks: list[TrackLayout]) -> int:
    """Adds the tracks below a box; gives the furthest place at which a chunk of samples begins."""
    furthest = 0
    for kind, inner, after in _boxes(descriptor, begin, end):
        if kind == b"trak":
            tracks.append(TrackLayout())
        if kind in _BOXES:
            furthest = max(furthest, _sample_tables(descriptor, inner, after, tracks))
        elif kind == b"stsz" and tracks:
            body = _bytes(descriptor, inner, after)
            each, count = int.from_bytes(body[4:8], "big"), int.from_bytes(body[8:12], "big")
            track = tracks[-1]
            track.packets = count
            track.size = each * count if each else sum(_numbers(body[12:], 4))
        elif kind in {b"stco", b"co64"}:
            body = _bytes(descriptor, inner, after)
            furthest = max(furthest, *_numbers(body[8:], 4 if kind == b"stco" else 8), 0)
    return furthest


def _numbers(body: bytes, width: int) -> list[int]:
    return [int.from_bytes(body[place : place + width], "big") for place in range(0, len(body), width)]


def _bytes(descriptor: int, begin: int, end: int) -> bytes:
    body = os.pread(descriptor, end - begin, begin)
    if len(body) < end - begin:
        raise _CutOff
    return body


def matroska_layout(descriptor: int) -> Layout:
    """The layout of a Matroska file: a segment that ends with the file, and blocks that lie inside their clusters."""
    found = Layout()
    size = os.fstat(descriptor).st_size
    tracks: dict[int, TrackLayout] = {}
    segments = 0
    for kind, begin, end in _elements(descriptor, 0, size):
        if end > size:
            found.fault = f"the segment promises {end - size} bytes more than there are"
            return found
        if kind == _SEGMENT:
            segments += 1
            _segment(descriptor, begin, end, tracks)
    if not segments:
        found.fault = "there is no segment"
    found.tracks = [tracks[number] for number in sorted(tracks)]
    return found


def _segment(descriptor: int, begin: int, end: int, tracks: dict[int, TrackLayout]) -> None:
    for kind, inner, after in _elements(descriptor, begin, end):
        if after > end:
            raise _CutOff
        if kind in {_CLUSTER, _GROUP, _TRACKS, _ENTRY}:
            _segment(descriptor, inner, after, tracks)
        elif kind == _TRACK_NUMBER:
            tracks[int.from_bytes(_bytes(descriptor, inner, after), "big")] = TrackLayout()
        elif kind in {_SIMPLE_BLOCK, _BLOCK}:
            number, width = _variable(os.pread(descriptor, 8, inner), keep_marker=False)
            track = tracks.setdefault(number, TrackLayout())
            track.packets += 1
            # After the track's number stand two bytes of time and one of flags.
            track.size += after - inner - width - 3


def _elements(descriptor: int, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    place = begin
    while place < end:
        head = os.pread(descriptor, _HEAD, place)
        kind, first = _variable(head, keep_marker=True)
        length, second = _variable(head[first:], keep_marker=False)
        inner = place + first + second
        # A length of all ones is unknown: the element ends with what holds it.
        unknown = length == (1 << 7 * second) - 1
        after = end if unknown else inner + length
        yield kind, inner, after
        place = after


def _variable(head: bytes, *, keep_marker: bool) -> tuple[int, int]:
    """A number of variable width, and its width."""
    if not head or not head[0]:
        raise _CutOff
    width = 9 - head[0].bit_length()
    if len(head) < width:
        raise _CutOff
    number = int.from_bytes(head[:width], "big")
    return (number if keep_marker else number & ((1 << 7 * width) - 1)), width
