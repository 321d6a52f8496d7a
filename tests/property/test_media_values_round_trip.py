from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.media.frame_index import FrameIndex
from services.media.timebase import frame_of_timecode, sample_at, timecode

RATES = [Fraction(24), Fraction(25), Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001), Fraction(120)]


@given(st.integers(0, 10_000_000), st.sampled_from(RATES))
def test_every_frame_has_one_timecode(frame, rate):
    assert frame_of_timecode(timecode(frame, rate), rate) == frame


@given(st.integers(0, 3_000_000), st.sampled_from(RATES))
def test_timecode_stays_in_order(frame, rate):
    assert timecode(frame, rate) < timecode(frame + 1, rate)


@st.composite
def indexes(draw) -> FrameIndex:
    steps = draw(
        st.one_of(
            st.integers(1, 5000).flatmap(lambda step: st.lists(st.just(step), max_size=40)),
            st.lists(st.integers(1, 2**32 - 1), max_size=40),
            st.lists(st.integers(1, 2**40), max_size=10),
        )
    )
    frames = len(steps) + 1
    pts = np.concatenate(([0], np.cumsum(steps, dtype=np.int64))).astype(np.int64) + draw(st.integers(-(2**40), 2**40))
    sizes = draw(st.one_of(st.just([]), st.lists(st.integers(1, 2**32 - 1), min_size=frames, max_size=frames)))
    gaps = draw(st.lists(st.integers(0, 99), min_size=frames, max_size=frames)) if draw(st.booleans()) else [0] * frames
    offsets = []
    at = draw(st.integers(0, 2**40))
    for size, gap in zip(sizes, gaps, strict=False):
        offsets.append(at + gap)
        at += size + gap
    keys = draw(st.one_of(st.just([]), st.lists(st.booleans(), min_size=frames, max_size=frames)))
    return FrameIndex(
        codec=draw(st.sampled_from(["", "ffv1", "avc1.64101f"])),
        extradata=draw(st.binary(max_size=60)),
        width=draw(st.integers(0, 2**32 - 1)),
        height=draw(st.integers(0, 2**32 - 1)),
        rate=draw(st.sampled_from(RATES)),
        timebase=Fraction(1, draw(st.integers(1, 2**31 - 1))),
        pts=pts,
        last_duration=draw(st.integers(0, 2**40)),
        sizes=np.array(sizes, np.uint32),
        offsets=np.array(offsets, np.uint64),
        keys=np.array(keys, np.bool_),
    )


@given(indexes())
def test_what_an_index_writes_it_reads_back(index):
    again = FrameIndex.from_bytes(index.to_bytes())
    for name in ("codec", "extradata", "width", "height", "rate", "timebase", "last_duration"):
        assert getattr(again, name) == getattr(index, name)
    for name in ("pts", "sizes", "offsets", "keys"):
        assert np.array_equal(getattr(again, name), getattr(index, name)), name
    assert again.to_bytes() == index.to_bytes()


@given(indexes())
def test_the_frame_on_screen_at_its_own_time_is_itself(index):
    for frame in range(len(index)):
        assert index.frame_at(index.time(frame)) == frame


@given(st.lists(st.fractions(0, 1000), min_size=2, max_size=9), st.integers(8000, 192_000))
def test_neighbouring_ranges_of_samples_meet(times, sample_rate):
    times = sorted(times)
    lengths = [sample_at(b, sample_rate) - sample_at(a, sample_rate) for a, b in pairwise(times)]
    assert min(lengths) >= 0
    assert sum(lengths) == sample_at(times[-1], sample_rate) - sample_at(times[0], sample_rate)
