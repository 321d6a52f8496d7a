from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from services.media.sound import Placement, placed

RATE = 48_000


def frame(first: int, samples: int, *, at: int | None = None, base: Fraction = Fraction(1, RATE)) -> av.AudioFrame:
    """A mono frame whose sample n has the value n; ``at`` is its PTS when that differs from the first value."""
    values = np.arange(first, first + samples, dtype=np.int32)[None, :]
    made = av.AudioFrame.from_ndarray(values, format="s32p", layout="mono")
    made.sample_rate, made.time_base = RATE, base
    made.pts = first if at is None else at
    return made


def values(frames, placement) -> list[int]:
    out = []
    for number, each in enumerate(placed(frames, placement)):
        assert each.pts == len(out), number
        out += each.to_ndarray()[0].tolist()
    return out


def place(origin=0, end=None, **more) -> Placement:
    return Placement(RATE, "mono", "s32p", origin=origin, end=end, **more)


def test_frames_side_by_side_come_through_unchanged():
    assert values([frame(0, 100), frame(100, 100)], place()) == list(range(200))


def test_what_precedes_the_origin_and_follows_the_end_is_cut_to_the_sample():
    assert values([frame(0, 100), frame(100, 100)], place(origin=37, end=153)) == list(range(37, 153))


def test_a_hole_becomes_silence_and_is_counted():
    hole = place()
    heard = values([frame(0, 100), frame(2100, 100)], hole)
    assert heard == [*range(100), *[0] * 2000, *range(2100, 2200)]
    assert hole.filled == 2000


def test_rounding_of_timestamps_is_no_hole():
    assert values([frame(0, 1024), frame(1024, 1024, at=1040), frame(2048, 1024, at=2040)], place()) == list(
        range(3072)
    )


def test_an_overlap_is_cut_away():
    twice = place()
    assert values([frame(0, 1000), frame(200, 2000)], twice) == list(range(2200))
    assert twice.dropped == 800


def test_a_late_start_and_an_early_end_are_silence():
    heard = values([frame(1000, 500)], place(end=3000))
    assert heard == [*[0] * 1000, *range(1000, 1500), *[0] * 1500]


def test_nothing_at_all_is_silence_up_to_the_end():
    assert values([], place(end=10)) == [0] * 10


def test_reading_from_the_midst_lands_on_the_same_samples_though_timestamps_are_rounded():
    for length, count in ((4608, 8), (1024, 40)):
        for start in range(1, count):
            frames = [
                frame(n * length, length, at=round(n * length / 48), base=Fraction(1, 1000))
                for n in range(start, count)
            ]
            first, end = start * length, count * length
            assert values(frames, place(origin=first, end=end, grid_slack=25)) == list(range(first, end))


def test_frames_in_another_rate_are_left_silent_and_counted():
    other = frame(100, 100)
    other.sample_rate = 44_100
    mixed = place()
    assert values([frame(0, 100), other, frame(200, 100)], mixed)[:100] == list(range(100))
    assert mixed.foreign == 100
