from __future__ import annotations

from fractions import Fraction

import pytest

from services.media.timebase import (
    frame_at,
    frame_of_timecode,
    frame_time,
    rescale_exactly,
    sample_at,
    seconds,
    ticks,
    timecode,
)

NTSC = Fraction(30000, 1001)


def test_ticks_and_seconds_are_exact():
    assert seconds(1001, Fraction(1, 30000)) == Fraction(1001, 30000)
    assert ticks(Fraction(1001, 30000), Fraction(1, 30000)) == 1001


def test_a_half_rounds_up_so_that_neighbouring_ranges_share_no_sample():
    assert sample_at(Fraction(1, 96_000), 48_000) == 1
    assert sample_at(Fraction(-1, 96_000), 48_000) == 0


def test_rescaling_refuses_what_would_not_be_exact():
    assert rescale_exactly(40, Fraction(1, 1000), Fraction(1, 90_000)) == 3600
    with pytest.raises(ValueError, match="whole number"):
        rescale_exactly(1, Fraction(1, 90_000), Fraction(1, 1000))


def test_the_frame_on_screen_is_the_last_that_has_begun():
    pts = [0, 10, 15, 100]
    assert [frame_at(pts, Fraction(1, 10), Fraction(tick, 10)) for tick in (-5, 0, 9, 10, 14, 99, 100, 5000)] == [
        0, 0, 0, 1, 1, 2, 3, 3,
    ]  # fmt: skip
    assert frame_time(pts, Fraction(1, 10), 2) == Fraction(3, 2)
    with pytest.raises(IndexError):
        frame_time(pts, Fraction(1, 10), -1)


@pytest.mark.parametrize(
    ("frame", "rate", "text"),
    [
        (0, Fraction(25), "00:00:00:00"),
        (25 * 3600 + 3, Fraction(25), "01:00:00:03"),
        (1799, NTSC, "00:00:59;29"),
        (1800, NTSC, "00:01:00;02"),
        (17981, NTSC, "00:09:59;29"),
        (17982, NTSC, "00:10:00;00"),
        (107892, NTSC, "01:00:00;00"),
        (86400, Fraction(24000, 1001), "01:00:00:00"),
    ],
)
def test_timecode_is_spelt_as_smpte_does(frame, rate, text):
    assert timecode(frame, rate) == text
    assert frame_of_timecode(text, rate) == frame


def test_drop_frame_numbers_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="does not exist"):
        frame_of_timecode("00:01:00;00", NTSC)
    with pytest.raises(ValueError, match="no timecode"):
        frame_of_timecode("00:00:00:25", Fraction(25))
    assert timecode(1800, NTSC, drop_frame=False) == "00:01:00:00"
