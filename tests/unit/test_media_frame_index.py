from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from services.media.frame_index import FrameIndex, UnreadableIndex


def index(pts=(0, 512, 1024), **changes) -> FrameIndex:
    fields = {
        "codec": "avc1.64101f",
        "extradata": b"\x01\x64\x10\x1f\xff",
        "width": 960,
        "height": 540,
        "rate": Fraction(24),
        "timebase": Fraction(1, 12288),
        "pts": np.array(pts, np.int64),
        "last_duration": 512,
        "sizes": np.array([100, 50, 70][: len(pts)], np.uint32),
        "first_offset": 48,
        "keys": np.array([True, False, True][: len(pts)]),
    }
    return FrameIndex(**{**fields, **changes})


def test_offsets_are_the_running_sum_of_sizes():
    assert [index().address(frame) for frame in range(3)] == [(48, 100), (148, 50), (198, 70)]


def test_times_count_from_frame_0_wherever_it_lies():
    late = index(pts=(-512, 0, 700))
    assert late.start == Fraction(-1, 24)
    assert [late.time(frame) for frame in range(4)] == [0, Fraction(1, 24), Fraction(1212, 12288), late.duration]
    assert [late.frame_at(late.time(frame)) for frame in range(3)] == [0, 1, 2]
    assert late.frame_of_pts(700) == 2
    assert late.frame_of_pts(699) is None


def test_decoding_starts_at_the_last_key_picture_before_a_frame():
    assert [index().key_before(frame) for frame in range(3)] == [0, 0, 2]
    assert index(keys=np.zeros(0, np.bool_)).key_before(2) is None


def test_a_constant_rate_costs_four_bytes_a_frame():
    frames = 10_000
    long = index(pts=np.arange(frames) * 512, sizes=np.full(frames, 9, np.uint32), keys=np.zeros(0, np.bool_))
    assert len(long.to_bytes()) < 4 * frames + 200


def test_the_source_is_read_without_the_proxys_addresses():
    source = index().without_addresses()
    assert not source.addressed
    assert FrameIndex.from_bytes(source.to_bytes()) == source
    assert source.key_before(1) == 0


def test_damaged_foreign_and_newer_bytes_are_refused():
    data = bytearray(index().to_bytes())
    data[40] ^= 1
    for wrong, say in ((bytes(data), "damaged"), (b"{}", "no frame index"), (b"", "no frame index")):
        with pytest.raises(UnreadableIndex, match=say):
            FrameIndex.from_bytes(wrong)


def test_timestamps_that_do_not_increase_are_refused():
    with pytest.raises(ValueError, match="strictly increase"):
        index(pts=(0, 5, 5))
