from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from services.media.sound import JITTER, Placement, holes_told, placed, spelt_holes

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


def test_holes_are_told_where_they_lie_and_the_first_of_very_many():
    hole = place(origin=50, end=3000)
    values([frame(100, 400), frame(2000, 500)], hole)
    assert hole.holes == [(0, 50), (450, 1950), (2450, 2950)]
    assert hole.filled == sum(after - first for first, after in hole.holes)
    many = place()
    values([frame(n * 1000, 10) for n in range(1200)], many)
    assert len(many.holes) == 1000
    assert many.filled == 1199 * 990


def test_holes_are_spelt_and_read_back_and_other_tags_are_none():
    holes = ((0, 4800), (96_000, 100_000))
    assert holes_told(spelt_holes(holes)) == holes
    assert holes_told(spelt_holes(())) == ()
    for other in ("yes", "0-1,", "-1-5", "0-1;2-3", "0-1, 2-3"):
        assert holes_told(other) == ()


@pytest.mark.parametrize(("length", "count"), [(4608, 8), (1024, 40), (1152, 30), (960, 30)])
@pytest.mark.parametrize("late", [0, 17, 5924])
@pytest.mark.parametrize("cut", [0, 312])
def test_reading_from_the_midst_lands_on_the_same_samples_though_timestamps_are_rounded(
    length: int, count: int, late: int, cut: int
):
    def rounded(n: int) -> av.AudioFrame:
        first, size = late + n * length - cut, length
        if n == 0:
            first, size = first + cut, size - cut
        return frame(first, size, at=round(first / 48), base=Fraction(1, 1000))

    whole = place(rounding=25)
    heard = values([rounded(n) for n in range(count)], whole)
    begin = whole.grid.begin
    assert abs(begin - late) <= 49
    for start in range(1, count):
        midway = place(origin=begin + start * length, end=begin + count * length - cut, rounding=25, grid=whole.grid)
        assert values([rounded(n) for n in range(start - 1, count)], midway) == heard[midway.origin : midway.end]
        assert midway.filled == 0


def test_timestamps_that_drift_from_the_samples_move_a_range_by_less_than_the_jitter():
    def drifting(start: int) -> list[av.AudioFrame]:
        return [frame(n * 1024, 1024, at=n * 960) for n in range(start, 60)]

    whole = place()
    heard = values(drifting(0), whole)
    assert whole.dropped > 0
    first: dict[int, int] = {}
    for at, value in enumerate(heard):
        first.setdefault(value, at)
    for start in range(5, 30):
        midway = values(drifting(start), place(origin=start * 960 + 24_000, end=start * 960 + 28_000, grid=whole.grid))
        apart = [first[value] - start * 960 - 24_000 - at for at, value in enumerate(midway) if value in first]
        assert len(apart) > 3000
        assert max(map(abs, apart)) <= JITTER * RATE


def test_frames_in_another_form_are_converted_and_counted():
    mixed = place()
    other = av.AudioFrame.from_ndarray(np.full((2, 882), 2**29, np.int32), format="s32p", layout="stereo")
    other.sample_rate, other.pts, other.time_base = 44_100, 100, Fraction(1, RATE)
    heard = values([frame(0, 100), other, frame(1060, 100)], mixed)
    assert heard[:100] == list(range(100))
    assert abs(np.median(heard[100:1060]) - 2**29) < 2**24
    assert heard[1060:] == list(range(1060, 1160))
    assert mixed.converted == 882
    assert mixed.filled == 0
