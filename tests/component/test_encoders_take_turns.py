"""Opening an encoder leaves every thread of the process at ordinary priority, also for root."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import pytest

from services.media.audio import open_encoder
from services.media.profiles import ENCODERS


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_no_thread_is_left_with_a_real_time_priority(name: str) -> None:
    context = av.CodecContext.create(name, "w")
    context.width, context.height = 128, 96
    context.pix_fmt = "yuv422p10le" if name.startswith("prores") else "yuv420p"
    context.time_base, context.framerate = Fraction(1, 24), Fraction(24)
    open_encoder(context)
    threads = [int(task.name) for task in Path("/proc/self/task").iterdir()]
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER}
