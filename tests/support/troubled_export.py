"""Export's work with trouble the first time: a disk that fills up, a store that goes away, a process that is killed.

What happens is real: the kernel refuses a write, a connection is refused, a signal ends the process. Each go notes what
the clip's folder in the store holds when it begins.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
import time
from pathlib import Path

from services.chassis.objects import open_store
from services.export.work import export_clips, settled

__all__ = ["export", "settled"]

LITTLE = 6_000
"""Bytes to which a file may grow on the disk that fills up; the tests' renditions are larger."""


class StoreThatGoesAway:
    """Reads work; writes find that nobody listens any more."""

    def __init__(self, store, gone) -> None:
        self._store = store
        self.put_file = gone.put_file
        self.put_bytes = gone.put_bytes

    def __getattr__(self, name):
        return getattr(self._store, name)


def export(orders, desk):
    """As ``export_clips``; the trouble named by the environment comes the first time only."""
    log = Path(os.environ["HEATERS_TROUBLE_LOG"])
    go = len(list(log.iterdir()))
    found = sorted(desk.objects.list("clips/"))
    (log / f"{go}.json").write_text(json.dumps(found))
    if go == 0:
        match os.environ["HEATERS_TROUBLE"]:
            case "disk_full":
                resource.setrlimit(resource.RLIMIT_FSIZE, (LITTLE, resource.RLIM_INFINITY))
            case "store_down":
                away = desk.settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"})
                desk.objects = StoreThatGoesAway(desk.objects, open_store(away))
            case "killed":
                threading.Thread(target=_kill_when_rendering, args=(desk.scratch,), daemon=True).start()
    yield from export_clips(orders, desk)


def _kill_when_rendering(scratch: Path) -> None:
    while not any(path.stat().st_size for path in scratch.rglob("*.mp4")):
        time.sleep(0.002)
    os.kill(os.getpid(), signal.SIGKILL)
