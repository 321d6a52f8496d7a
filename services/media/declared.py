"""What an MP4 says of itself in its header, read by us: the library silently believes the sample table instead.

Pure reading of a few boxes; memory and time do not grow with the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

_MOST_BOXES = 10_000


_ENCRYPTED = frozenset({b"encv", b"enca", b"enct", b"drmi", b"drms", b"drmt"})


def declares_encryption(path: Path) -> bool:
    """Whether a track of an MP4 says that its samples are encrypted; the library gives such a track no codec at all."""
    with path.open("rb") as file:
        places = [(0, path.stat().st_size)]
        for wanted in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"):
            places = [
                (begin, stop)
                for start, end in places
                for kind, begin, stop in _boxes(file, start, end)
                if kind == wanted
            ]
        # A sample description has a version and a count before its entries.
        return any(kind in _ENCRYPTED for start, end in places for kind, _, _ in _boxes(file, start + 8, end))


def declared_duration(path: Path) -> Fraction | None:
    """Seconds that the movie header of an MP4 declares; nothing where there is none, or where fragments tell it."""
    with path.open("rb") as file:
        end = path.stat().st_size
        for kind, start, stop in _boxes(file, 0, end):
            if kind == b"moov":
                for inner, begin, _ in _boxes(file, start, stop):
                    if inner == b"mvhd":
                        return _movie_duration(file, begin)
                return None
    return None


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Boxes as (kind, start of the body, end)."""
    for _ in range(_MOST_BOXES):
        if start + 8 > end:
            return
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        body = start + 8
        if size == 1:
            large = file.read(8)
            if len(large) < 8:
                return
            size, body = struct.unpack(">Q", large)[0], body + 8
        elif size == 0:
            size = end - start
        if size < body - start:
            return
        yield kind, body, min(start + size, end)
        start += size


def _movie_duration(file: BinaryIO, start: int) -> Fraction | None:
    file.seek(start)
    data = file.read(32)
    if len(data) < 32:
        return None
    scale, duration = struct.unpack(">IQ", data[20:32]) if data[0] == 1 else struct.unpack(">II", data[12:20])
    unknown = {0, (1 << 32) - 1, (1 << 64) - 1}
    return None if not scale or duration in unknown else Fraction(duration, scale)
