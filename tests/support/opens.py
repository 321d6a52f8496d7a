"""Counts how often files of a folder are opened for reading alone, by whichever library: the kernel tells."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_IN_CLOSE_WRITE, _IN_CLOSE_NOWRITE, _IN_OPEN = 0x08, 0x10, 0x20
_IN_NONBLOCK = 0o4000
_EVENT = struct.Struct("iIII")


@contextlib.contextmanager
def opens_in(folder: Path) -> Iterator[Counter[str]]:
    """A counter by file name of opens for reading that ended, filled when the block is left."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(_IN_NONBLOCK)
    assert watch >= 0, os.strerror(ctypes.get_errno())
    found: Counter[str] = Counter()
    try:
        assert libc.inotify_add_watch(watch, str(folder).encode(), _IN_OPEN | _IN_CLOSE_WRITE | _IN_CLOSE_NOWRITE) >= 0
        yield found
        with contextlib.suppress(BlockingIOError):
            while data := os.read(watch, 1 << 16):
                place = 0
                while place < len(data):
                    _, mask, _, length = _EVENT.unpack_from(data, place)
                    place += _EVENT.size
                    if mask & _IN_CLOSE_NOWRITE:
                        found[data[place : place + length].rstrip(b"\0").decode()] += 1
                    place += length
    finally:
        os.close(watch)
