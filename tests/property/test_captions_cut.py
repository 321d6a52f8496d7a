"""Laws of cutting captions to a clip."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from services.media.captions import Cue, cut_captions, parse_captions, write_srt, write_vtt

HOURS = 5 * 3_600_000
texts = st.lists(
    st.text(
        st.characters(codec="utf-8", categories=["L", "N", "P"], exclude_characters="{}<>&\\→"), min_size=1, max_size=20
    ),
    min_size=1,
    max_size=3,
).map("\n".join)
cues = st.lists(
    st.builds(
        lambda start, length, text: Cue(start, start + length, text),
        st.integers(0, HOURS),
        st.integers(1, 20_000),
        texts,
    ),
    max_size=12,
)
times = st.fractions(0, HOURS // 1000, max_denominator=90_000)


@given(cues, times, times)
def test_no_cue_leaves_the_clip_and_order_is_kept(given_cues: list[Cue], one: Fraction, two: Fraction) -> None:
    start, end = sorted((one, two))
    cut = cut_captions(given_cues, start, end)
    length = round((end - start) * 1000) + 1
    assert all(0 <= cue.start < cue.end <= length for cue in cut)
    assert list(cut) == sorted(cut, key=lambda cue: (cue.start, cue.end))


@given(cues, times, times)
def test_every_cue_that_is_well_inside_is_kept_for_its_whole_length(
    given_cues: list[Cue], one: Fraction, two: Fraction
) -> None:
    start, end = sorted((one, two))
    kept = cut_captions(given_cues, start, end)
    for cue in given_cues:
        if start * 1000 <= cue.start and cue.end <= end * 1000 - 1:
            assert any(
                each.text == cue.text and abs(each.end - each.start - (cue.end - cue.start)) <= 1 for each in kept
            )


@given(cues, st.integers(0, HOURS // 1000), st.integers(1, HOURS // 1000), st.integers(1, HOURS // 1000))
def test_cutting_twice_is_cutting_once(given_cues: list[Cue], start: int, length: int, inner: int) -> None:
    twice = cut_captions(
        cut_captions(given_cues, Fraction(start), Fraction(start + length + inner)), Fraction(0), Fraction(length)
    )
    assert twice == cut_captions(given_cues, Fraction(start), Fraction(start + length))


@settings(max_examples=60)
@given(cues)
def test_both_formats_read_back_as_written(given_cues: list[Cue]) -> None:
    ordered = cut_captions(given_cues, Fraction(0), Fraction(HOURS))
    assert parse_captions(write_vtt(ordered)) == ordered
    assert parse_captions(write_srt(ordered)) == ordered
