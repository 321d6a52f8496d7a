"""Whether the loops of a process still turn."""

from __future__ import annotations

import time

from services.chassis.metrics import LOOP_BEAT

STALE_BEAT_SECONDS = 60.0


class Pulse:
    """When each loop of the process last turned."""

    def __init__(self) -> None:
        self._beats: dict[str, float] = {}

    def beat(self, loop: str) -> None:
        """Notes that a loop turned."""
        self._beats[loop] = time.monotonic()
        LOOP_BEAT.labels(loop).set(time.time())

    def stale(self) -> dict[str, float]:
        """Loops that have not turned for too long, with the seconds since."""
        now = time.monotonic()
        return {loop: now - at for loop, at in self._beats.items() if now - at > STALE_BEAT_SECONDS}
