"""What a work function finds in its child process: settings, the object store, scratch space, and a voice.

Everything it reports goes to the service as one JSON object a line on a pipe of its own, so that a library that prints
cannot be mistaken for it.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from services.chassis.objects import ObjectStore, open_store
from services.chassis.settings import ChassisSettings, load

PROGRESS_SECONDS = 0.25
BEAT_SECONDS = 5.0


def prepare() -> None:
    """What is done once for all processes that will do a service's work: it starts no thread and connects to nothing."""
    open_store(load(ChassisSettings)).read_description()


@dataclass
class Voice:
    """Writes reports, one a line, from any thread."""

    pipe: TextIO
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, what: str, **fields: Any) -> None:
        """Reports one thing to the service."""
        line = json.dumps({"say": what, **fields}, default=str)
        with self._lock:
            self.pipe.write(line + "\n")
            self.pipe.flush()


@dataclass
class Desk:
    """A work function's surroundings.

    ``scratch`` is empty at the start of each go; ``kept`` survives from one go of the same work to the next, for downloads
    that can be resumed. Both are deleted when the work ends.
    """

    settings: Any
    objects: ObjectStore
    scratch: Path
    kept: Path
    traceparent: str = ""
    voice: Voice | None = None
    timings: dict[str, float] = field(default_factory=dict)
    _last: float = 0.0

    def progress(self, done: float, total: float | None = None, *, unit: str = "frames", phase: str = "") -> None:
        """Tells how far the work has come; cheap enough to call for every frame."""
        now = time.monotonic()
        if self.voice is None or (now - self._last < PROGRESS_SECONDS and done != total):
            return
        self._last = now
        self.voice.say(
            "progress", done=float(done), total=None if total is None else float(total), unit=unit, phase=phase
        )

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times a step of the work; it becomes a span of the trace and a figure of the report."""
        started = time.time()
        failed = ""
        try:
            yield
        except BaseException as error:
            failed = f"{type(error).__name__}: {error}"[:300]
            raise
        finally:
            ended = time.time()
            self.timings[name] = self.timings.get(name, 0.0) + ended - started
            if self.voice is not None:
                self.voice.say("step", name=name, started=started, ended=ended, failed=failed)

    def keep_beating(self) -> None:
        """Shows signs of life from a thread of its own, for as long as the interpreter runs at all."""
        if self.voice is not None:
            threading.Thread(target=self._beat, daemon=True, name="beat").start()

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            if self.voice is not None:
                with contextlib.suppress(OSError, ValueError):
                    self.voice.say("beat")
