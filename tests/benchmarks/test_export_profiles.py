"""What each export profile costs: processor time and bytes for one frame, from the same 720p footage.

Printed, not judged: ./heaters test tests/benchmarks/test_export_profiles.py -s
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest

from contracts.values import FrameRange
from services.media.profiles import PROFILES
from services.media.render import Cut, Rendered, render
from tests.support.rendering import footage_of

SOURCE = Path(__file__).parents[1] / "fixtures" / "psd_cuts_and_fades_720p2997.mp4"
FRAMES = FrameRange(start=40, end=100)
ROUNDS = 3


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_cost_of_a_profile(name: str, tmp_path: Path) -> None:
    footage = footage_of(SOURCE)
    spent, size = [], 0
    for number in range(ROUNDS):
        cut = Cut(FRAMES, (PROFILES[name],), tmp_path / str(number), "clip", "t")
        begun = time.process_time()
        ((_, outcome),) = render(footage, [cut])
        spent.append(time.process_time() - begun)
        assert isinstance(outcome, Rendered)
        size = outcome.renditions[0].path.stat().st_size
    cost = statistics.median(spent) / len(FRAMES)
    print(f"\n| `{name}` | {cost * 1000:.0f} | {size / len(FRAMES) / 1000:.0f} |")
