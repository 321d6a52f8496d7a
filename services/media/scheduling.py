"""Threads wait their turn like everybody's: no codec library raises its own priority.

SVT-AV1, opened by root, makes the calling thread and its own real-time threads (SCHED_FIFO, priority 99). Whatever such a
thread starts inherits that, and a process that spins at that priority starves everything else on the machine.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

_TASKS = Path("/proc/self/task")


def wait_turns() -> None:
    """Gives every thread of this process ordinary scheduling again; costs one look at each thread. Linux alone needs it."""
    if sys.platform != "linux":
        return
    for task in _TASKS.iterdir():
        # A thread may end between being listed and being looked at.
        with contextlib.suppress(ProcessLookupError):
            if os.sched_getscheduler(int(task.name)) in {os.SCHED_FIFO, os.SCHED_RR}:
                os.sched_setscheduler(int(task.name), os.SCHED_OTHER, os.sched_param(0))
