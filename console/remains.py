"""What is left of processes: whether one still runs, and what a killed one has left behind.

A part of a stack carries the stack's id in its environment, by which it is found. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

STACK_VARIABLE = "HEATERS_STACK_ID"
_HALF = re.compile(r"\.tmp\.[0-9a-f]{32}")
_HALF_TOLD = re.compile(r".*\.json\.tmp")
_TOLD = ".nanio-meta"
"""Where the S3 server keeps what it knows of a bucket's objects, each in a file that ends in ``.json``."""


def find(*, stack_id: str | None = None, folder: Path | None = None) -> set[int]:
    """Processes that belong to a stack: by its id in their environment, or by working in ``folder``."""
    mark = f"{STACK_VARIABLE}={stack_id}".encode()
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        if pid == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if (stack_id and mark in (entry / "environ").read_bytes().split(b"\0")) or (
                folder and (entry / "cwd").readlink() == folder
            ):
                found.add(pid)
    return found


def sweep(*, stack_id: str | None = None, folder: Path | None = None, patience: float = 10.0) -> int:
    """Kills what is left of an earlier run of the stack and waits for its end; returns how many processes that were."""
    deadline = time.monotonic() + patience
    seen: set[int] = set()
    while (
        left := {pid for pid in find(stack_id=stack_id, folder=folder) if not is_zombie(pid)}
    ) and time.monotonic() < deadline:
        seen |= left
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return len(seen)


def clear_halves(folder: Path, before: float) -> Iterator[int]:
    """Removes what a killed S3 server had begun to write: the next one would list half an object, or refuse to write that object again.

    Half an object is named ``.tmp.`` and 32 hexadecimal digits, and lies beside what was to be; half of the note about one ends in
    ``.json.tmp``, which the server does not write over. ``before`` is when the present server was started, in seconds since
    the epoch: what is newer may be its own. Yields after each folder how many it has removed so far, so that whoever runs it
    can do something else in between.
    """
    cleared = 0
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name == _TOLD or not name.startswith(".nanio")]
        pattern = _HALF_TOLD if _TOLD in Path(place).relative_to(folder).parts else _HALF
        for half in (Path(place, name) for name in files if pattern.fullmatch(name)):
            with contextlib.suppress(FileNotFoundError):
                if half.stat().st_mtime < before:
                    half.unlink()
                    cleared += 1
        yield cleared


def is_zombie(pid: int) -> bool:
    """Whether a process has ended but was not reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def birth(pid: int) -> str:
    """A mark that tells a process from a later one with the same number; empty when it does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        if sys.platform == "linux":
            return ""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            pass
        return "running"
    return "" if fields[0] == "Z" else fields[19]
