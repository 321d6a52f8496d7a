"""Decoded frames that wait on the disk for encoders which find no room in memory yet.

To write and read a raw frame through the system's cache costs a small part of what decoding a lossless master costs.
Guarantees: a frame comes back with the samples and colours it had; the disk takes no more than was allowed; what found no
room is simply not kept, and whoever asks for it has to decode it again.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from av.video.frame import VideoFrame


@dataclass(frozen=True)
class _Shape:
    """What a frame is, beside its samples. ``rows`` says of each plane how many there are, and their bytes."""

    size: tuple[int, int]
    pixel_format: str
    colours: tuple[int, int, int, int]
    rows: tuple[tuple[int, int], ...]

    @property
    def bytes(self) -> int:
        return sum(count * length for count, length in self.rows)


class FrameSpool:
    """Frames by number, in a file without a name in ``folder`` that takes at most ``most`` bytes. For one thread."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._most = most
        self._file: IO[bytes] | None = None
        self._kept: dict[int, tuple[_Shape, int]] = {}
        self._free: dict[int, list[int]] = {}
        self._end = 0

    def __contains__(self, number: int) -> bool:
        return number in self._kept

    def keep(self, number: int, frame: VideoFrame) -> None:
        """Keeps the frame if there is room; one that is kept already stays as it is.

        Fields are not kept: which of them comes first could not be said of the frame that is given back.
        """
        if number in self._kept or frame.interlaced_frame:
            return
        planes: list[Any] = list(frame.planes)
        shape = _Shape(
            (frame.width, frame.height),
            frame.format.name,
            (int(frame.color_range), int(frame.colorspace), int(frame.color_trc), int(frame.color_primaries)),
            tuple((plane.buffer_size // plane.line_size, plane.line_size) for plane in planes),
        )
        free = self._free.get(shape.bytes)
        place = free.pop() if free else self._end
        if place + shape.bytes > self._most:
            return
        try:
            os.lseek(self._descriptor(), place, os.SEEK_SET)
            written = os.writev(self._descriptor(), planes)
        except OSError:
            # A full disk is no reason to fail: the frame can be decoded again.
            written = 0
        if written != shape.bytes:
            self._most = 0
            return
        self._end = max(self._end, place + shape.bytes)
        self._kept[number] = shape, place

    def drop(self, number: int) -> None:
        """Forgets a frame, if it is kept; another takes its place."""
        found = self._kept.pop(number, None)
        if found is not None:
            shape, place = found
            self._free.setdefault(shape.bytes, []).append(place)

    def frame(self, number: int) -> VideoFrame:
        """The kept frame, for the caller to change."""
        shape, place = self._kept[number]
        frame = VideoFrame(*shape.size, shape.pixel_format)
        frame.color_range, frame.colorspace, frame.color_trc, frame.color_primaries = shape.colours
        for plane, (count, length) in zip(frame.planes, shape.rows, strict=True):
            into = np.frombuffer(cast("memoryview", plane), np.uint8)
            if plane.line_size == length:
                os.preadv(self._descriptor(), [cast("memoryview", into[: count * length])], place)
            else:
                # A decoder pads its rows as it likes: the visible bytes are those that both have.
                rows = np.frombuffer(os.pread(self._descriptor(), count * length, place), np.uint8)
                same = min(plane.line_size, length)
                into[: count * plane.line_size].reshape(count, -1)[:, :same] = rows.reshape(count, -1)[:, :same]
            place += count * length
        return frame

    def _descriptor(self) -> int:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed by ``close``.
        return self._file.fileno()

    def close(self) -> None:
        """Gives the disk back."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._kept.clear()
