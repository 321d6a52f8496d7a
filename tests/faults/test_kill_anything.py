"""Whatever is killed, and whenever: the next start finishes the work, and nothing shows that anything happened.

Seeded: the same seed kills the same parts after the same pauses. ``--full`` kills twenty-five times, otherwise a few.
"""

from __future__ import annotations

import random
import shutil
import time

import pytest

from tests.support.live import LiveStack
from tests.support.media_files import SHORT_VIDEO, thirty_seconds

PARTS = (
    "stack",
    "child",
    "broker",
    "database",
    "objects",
    "ingest",
    "preprocess",
    "scenes",
    "review",
    "export",
    "embed",
    "preloader",
    "supervisor",
    "warm",
)


@pytest.fixture(scope="module")
def video(tmp_path_factory, scale):
    return thirty_seconds(tmp_path_factory.mktemp("video")) if scale.full else SHORT_VIDEO


def _submit(stack: LiveStack, video) -> str:
    stack.console("submit", "--review", "auto", video)
    rows = stack.wait(lambda: stack.query("SELECT id::text FROM review.video"), what="the video to be accepted")
    return rows[0]["id"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, video):
    stack = LiveStack(tmp_path_factory.mktemp("undisturbed"))
    stack.up()
    try:
        video_id = _submit(stack, video)
        began = time.monotonic()
        stack.wait(lambda: stack.finished(video_id), what="the undisturbed run")
        yield video_id, stack.clips(video_id), stack.snapshot(), time.monotonic() - began
    finally:
        stack.down()
        shutil.rmtree(stack.folder, ignore_errors=True)


@pytest.mark.scaled
@pytest.mark.timeout(1500)  # Under --full: an undisturbed run, then twenty-five kills and what they cost.
def test_a_storm_of_kills_changes_nothing(tmp_path, video, undisturbed, scale, request):
    seed = request.config.getoption("--kill-seed")
    chance = random.Random(seed)
    kills = scale(5, 25)
    video_id, clips, snapshot, seconds = undisturbed
    parts = [PARTS[number % len(PARTS)] for number in range(kills)]
    chance.shuffle(parts)
    stack = LiveStack(tmp_path)
    stack.up()
    done = []
    try:
        assert _submit(stack, video) == video_id
        for part in parts:
            time.sleep(chance.uniform(0.1, 2 * seconds / kills))
            if stack.kill(part):
                done.append(part)
            if part in {"stack", "supervisor"}:
                stack.up()
        print(f"seed {seed}: killed {done}")
        stack.up()
        stack.wait(lambda: stack.finished(video_id), timeout=900, what=f"the end after killing {done}")
        assert stack.clips(video_id) == clips
        after = stack.snapshot()
        assert after["objects"] == snapshot["objects"]
        assert after["events"] == snapshot["events"]
        assert stack.unfinished_work() == []
    finally:
        stack.down()
