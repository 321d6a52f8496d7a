"""Memory of encoders that have ended, given back to the system.

An encoder lives as long as its container, and the two in a ring that only the collector breaks. What it then frees, the C
library would keep for a later that may never come. The next encoder takes most of it again, and to have the same pages
emptied by the system for each costs some hundredths of a batch; so it is given back when the process has grown large.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any


@contextmanager
def only_new_garbage() -> Iterator[None]:
    """What lives already is not looked through again and again meanwhile, with every thread standing still.

    What has become garbage by the end is freed there: afterwards it would count as old, and be looked at late.
    """
    gc.freeze()
    try:
        yield
    finally:
        give_back()
        gc.unfreeze()


def give_back(beyond: int = 0) -> None:
    """Frees what nobody knows any more; on Linux, returns it to the system if the process still holds more bytes."""
    gc.collect()
    library = _library()
    if library is not None and _resident() > beyond:
        library.malloc_trim(0)


def _resident() -> int:
    """Bytes of memory that this process occupies."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@cache
def _library() -> Any:
    """The C library of this process, if it is one that can be asked to return free memory."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") else None
