"""One large file in a store, of which a batch of clips reads what it needs, and that once.

A master's frames lie beside its sound, so whoever reads sound through a demuxer would fetch the pictures a second time.
``Extents`` knows from the frame index where every frame's bytes lie, and gives two views of one file: ``frame_file`` for
whoever reads frames by address, and ``container_file`` for a demuxer that wants the sound. Wanted frames are fetched in
windows, sound that lies between them included, and both views are served from these. A frame that nobody wants is never
fetched: the container's view has zeros in its place, which a demuxer passes over on its way to the sound.

Bounded: windows that wait for the reader of frames take at most ``_MOST_HELD`` bytes; what he has passed is freed but for its
sound. Safe to use from several threads.
"""

from __future__ import annotations

import io
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from contracts.values import FrameRange
from services.media.frame_index import FrameIndex

_WINDOW = 1 << 20
_MOST_HELD = 64 << 20
_MOST_SOUND = 16 << 20
_CHUNK = 1 << 15
_MOST_CHUNKS = 256

Fetch = Callable[[int, int], bytes]
"""Reads the bytes ``[start, end)`` of the file."""


class Extents:
    """Shared reads of one file. ``bytes_read`` and ``requests`` tell its cost so far."""

    def __init__(self, fetch: Fetch, size: int, index: FrameIndex, wanted: Sequence[FrameRange], *, name: str) -> None:
        self._fetch = fetch
        self.size = size
        self.name = name
        self._lock = threading.Lock()
        starts = np.asarray(index.offsets, np.int64)
        ends = starts + np.asarray(index.sizes, np.int64)
        if len(starts) > 1 and bool(np.any(starts[1:] < ends[:-1])):
            raise ValueError("the frames of a file that is read in extents lie in their order")
        self._starts: list[int] = starts.tolist()
        self._ends: list[int] = ends.tolist()
        self._windows = self._planned(wanted)
        self._window_starts = [start for start, _ in self._windows]
        self._held: OrderedDict[int, bytes] = OrderedDict()
        self._held_bytes = 0
        self._fetched: set[int] = set()
        self._sound: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._sound_bytes = 0
        self._chunks: OrderedDict[int, bytes] = OrderedDict()
        self._first = b""
        self.bytes_read = 0
        self.requests = 0

    def _planned(self, wanted: Sequence[FrameRange]) -> list[tuple[int, int]]:
        """The windows, as byte ranges in ascending order: whole frames, with what lies between them."""
        windows: list[tuple[int, int]] = []
        done = 0
        for frames in sorted(wanted, key=lambda each: each.start):
            number, last = max(frames.start, done), min(frames.end, len(self._starts))
            while number < last:
                begin, stop = self._starts[number], number + 1
                while stop < last and self._ends[stop] - begin <= _WINDOW:
                    stop += 1
                # What lies before the next wanted frame belongs to this window, so that a run of frames has no holes.
                windows.append((begin, self._starts[stop] if stop < last else self._ends[stop - 1]))
                number = stop
            done = max(done, last)
        return windows

    def frame_file(self) -> io.RawIOBase:
        """The file for whoever reads frames by address: every byte is true."""
        return _View(self, self._true)

    def container_file(self) -> io.RawIOBase:
        """The file for a demuxer: true but for frames that nobody wants, which are zeros."""
        return _View(self, self._sparse)

    def _true(self, start: int, end: int) -> bytes:
        window = self._window_at(start)
        if window is not None and end <= self._windows[window][1]:
            begin = self._windows[window][0]
            data = self._window(window)[start - begin : end - begin]
            self._drop_before(window)
            return data
        return self._read(start, end)

    def _sparse(self, start: int, end: int) -> bytes:
        parts: list[bytes] = []
        place = start
        while place < end:
            number = bisect_right(self._starts, place) - 1
            if number >= 0 and place < self._ends[number]:
                stop = min(end, self._ends[number])
                parts.append(self._frame_part(number, place, stop))
            else:
                stop = min(end, self._starts[number + 1] if number + 1 < len(self._starts) else self.size)
                parts.append(self._between(number, place, stop))
            place = stop
        return b"".join(parts)

    def _frame_part(self, number: int, start: int, end: int) -> bytes:
        window = self._window_at(start)
        if window is not None and window in self._held:
            begin = self._windows[window][0]
            return self._held[window][start - begin : end - begin]
        if number == 0:
            # A demuxer that opens the file looks at its first frame to learn what the pictures are.
            if not self._first:
                self._first = self._true(self._starts[0], self._ends[0])
            return self._first[start - self._starts[0] : end - self._starts[0]]
        return bytes(end - start)

    def _between(self, number: int, start: int, end: int) -> bytes:
        """Bytes that belong to no frame: heads, sound, and the tables at both ends of the file."""
        if number < 0 or number + 1 == len(self._starts):
            return self._table(number, start, end)
        window = self._window_at(start)
        if window is not None and (window in self._held or window not in self._fetched):
            begin = self._windows[window][0]
            return self._window(window)[start - begin : end - begin]
        low, high = self._ends[number], self._starts[number + 1]
        known = self._sound.get((low, high))
        if known is None:
            known = self._read(low, high)
            self._keep_sound(low, high, known)
        return known[start - low : end - low]

    def _table(self, number: int, start: int, end: int) -> bytes:
        """Parts of the file's head or tail, in chunks that are kept: every demuxer reads them again."""
        low, high = (0, self._starts[0]) if number < 0 else (self._ends[-1], self.size)
        parts: list[bytes] = []
        while start < end:
            begin = low + (start - low) // _CHUNK * _CHUNK
            stop = min(begin + _CHUNK, high)
            chunk = self._chunks.get(begin)
            if chunk is None:
                chunk = self._chunks[begin] = self._read(begin, stop)
                while len(self._chunks) > _MOST_CHUNKS:
                    self._chunks.popitem(last=False)
            parts.append(chunk[start - begin : min(end, stop) - begin])
            start = stop
        return b"".join(parts)

    def _window_at(self, place: int) -> int | None:
        number = bisect_right(self._window_starts, place) - 1
        return number if number >= 0 and place < self._windows[number][1] else None

    def _window(self, number: int) -> bytes:
        held = self._held.get(number)
        if held is None:
            start, end = self._windows[number]
            held = self._held[number] = self._read(start, end)
            self._held_bytes += len(held)
            self._fetched.add(number)
            self._keep_gaps(number)
            while self._held_bytes > _MOST_HELD and len(self._held) > 1:
                self._held_bytes -= len(self._held.popitem(last=False)[1])
        self._held.move_to_end(number)
        return held

    def _drop_before(self, number: int) -> None:
        """Frees what the reader of frames, who goes through the file in order, has behind him."""
        for passed in [each for each in self._held if each < number]:
            self._held_bytes -= len(self._held.pop(passed))

    def _keep_gaps(self, number: int) -> None:
        """Keeps the sound of a window longer than its frames: clips that overlap read it again a little later."""
        start, end = self._windows[number]
        frame = bisect_right(self._starts, start) - 1
        while frame + 1 < len(self._starts) and self._starts[frame + 1] <= end:
            low, high = self._ends[frame], self._starts[frame + 1]
            self._keep_sound(low, high, self._held[number][low - start : high - start])
            frame += 1

    def _keep_sound(self, low: int, high: int, data: bytes) -> None:
        if (low, high) in self._sound:
            return
        self._sound[low, high] = data
        self._sound_bytes += len(data)
        while self._sound_bytes > _MOST_SOUND and len(self._sound) > 1:
            self._sound_bytes -= len(self._sound.popitem(last=False)[1])

    def _read(self, start: int, end: int) -> bytes:
        if end <= start:
            return b""
        data = self._fetch(start, end)
        self.bytes_read += len(data)
        self.requests += 1
        return data

    def read(self, part: Fetch, start: int, end: int) -> bytes:
        """A view's read, one at a time."""
        with self._lock:
            return part(start, end)


class _View(io.RawIOBase):
    """A read-only seekable file over shared extents."""

    def __init__(self, extents: Extents, part: Fetch) -> None:
        super().__init__()
        self._extents = extents
        self._part = part
        self._place = 0
        self.name = extents.name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._extents.size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def read(self, size: int = -1) -> bytes:
        end = self._extents.size if size is None or size < 0 else min(self._place + size, self._extents.size)
        if end <= self._place:
            return b""
        data = self._extents.read(self._part, self._place, end)
        self._place += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
