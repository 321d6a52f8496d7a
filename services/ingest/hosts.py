"""Manners towards the sites that are fetched from: so many downloads at once from a host, and a rest when it asks for one.

What a site counts are requests from an address, so the bounds hold for a machine: files under the scratch disk, locked while
a download runs (a killed one frees its place at once), and the time until which a host is left alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

POLL = 0.1


def host_of(url: str) -> str:
    """The host that a URL names, without its port."""
    return (urlsplit(url).hostname or "").rstrip(".").lower()


@contextmanager
def turn_at(host: str, folder: Path, *, at_once: int, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds one of a host's places, once one is free and the host's rest is over. ``waiting`` is called meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        if _rest_left(host, folder) <= 0:
            for place in range(at_once):
                descriptor = os.open(folder / f"{_name(host)}.{place}", os.O_RDWR | os.O_CREAT, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(descriptor)
                    continue
                try:
                    yield
                finally:
                    os.close(descriptor)
                return
        waiting()
        time.sleep(POLL)


def let_rest(host: str, folder: Path, rest: timedelta) -> None:
    """Leaves a host alone for a while, whoever would fetch from it."""
    folder.mkdir(parents=True, exist_ok=True)
    until = time.time() + rest.total_seconds()
    target = folder / f"{_name(host)}.rest"
    draft = folder / f"{_name(host)}.{os.getpid()}"
    draft.write_text(repr(until))
    draft.replace(target)


def _rest_left(host: str, folder: Path) -> float:
    with suppress(OSError, ValueError):
        return float((folder / f"{_name(host)}.rest").read_text()) - time.time()
    return 0.0


def _name(host: str) -> str:
    return hashlib.sha256(host.encode()).hexdigest()[:24]
