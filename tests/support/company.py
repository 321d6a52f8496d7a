"""Which tests may run side by side when several processes share a run."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent


@contextlib.contextmanager
def taking_part(*, alone: bool, places: tuple[Path, Path] = (HERE.parent, HERE)) -> Iterator[None]:
    """Among the processes of a run: together with others, or with none.

    Whoever waits to be alone is next: those that come later wait behind it. Two folders are what is locked.
    """
    turnstile, room = (os.open(place, os.O_RDONLY) for place in places)
    try:
        fcntl.flock(turnstile, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(turnstile, fcntl.LOCK_UN)
        yield
    finally:
        # A process that a test forked may hold these as well, so that closing them is not enough.
        for place in (turnstile, room):
            fcntl.flock(place, fcntl.LOCK_UN)
            os.close(place)
