"""Captions keep what both formats can carry of their styling, and where WebVTT says that a cue stands."""

from __future__ import annotations

from fractions import Fraction

import pytest

from services.media.captions import cut_captions, parse_captions, write_srt, write_vtt

VTT = """WEBVTT

STYLE
::cue { color: red }

first
00:01.000 --> 00:02.500 line:10% align:start region:fred
<i>Hello <b>you</i> all</b> <c.yellow>&lt;there&gt;</c>

00:02.000 --> 00:03.000
plain
"""


def test_webvtt_keeps_tags_and_places():
    cut = cut_captions(parse_captions(VTT.encode()), Fraction(1), Fraction(2))
    written = write_vtt(cut).decode()
    assert "00:00:00.000 --> 00:00:01.000 line:10% align:start\n" in written
    assert "<i>Hello <b>you</b></i><b> all</b> &lt;there&gt;" in written
    assert cut[0].text == "Hello you all <there>"


def test_srt_keeps_tags():
    written = write_srt(cut_captions(parse_captions(VTT.encode()), Fraction(0), Fraction(9))).decode()
    assert "<i>Hello <b>you</b></i><b> all</b> <there>" in written
    assert "line:" not in written


@pytest.mark.parametrize("write", [write_vtt, write_srt])
def test_what_is_written_reads_back_with_the_same_styling(write):
    once = parse_captions(write(parse_captions(b"1\n00:00:00,000 --> 00:00:01,000\n<u>a</u> <i>b</i>\nc\n")))
    assert once == parse_captions(write(once))
    assert once[0].styled == "<u>a</u> <i>b</i>\nc"


def test_unclosed_tags_are_closed():
    (cue,) = parse_captions(b"1\n00:00:00,000 --> 00:00:01,000\n<i>never ends\n")
    assert cue.styled == "<i>never ends</i>"
