"""Clips as other programs read them, each format opened again by a reader that shares no code with the writer."""

from __future__ import annotations

import csv
import io
import re
from fractions import Fraction
from uuid import UUID
from xml.etree import ElementTree as ET

import opentimelineio
import pytest

from services.review.interchange import FORMATS, Cut, Reel, edl, fcpxml, nominal, otio, table, timecode

RATES = [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(60), Fraction(12345, 1000)]
CUTS = [
    Cut(UUID(int=1), 0, 100, "review_approved", ("city", "night"), 'Take <this> & "that".\nTwice.', 0.5),
    Cut(UUID(int=2), 100, 101, "pending_review"),
    Cut(UUID(int=3), 250, 900, "review_skipped", ("a, b",), "=HYPERLINK(1)\x01"),
]


def reel(rate, title="A film: part 1\nwith <odd> & 'quoted' \N{SNOWMAN}"):
    return Reel(UUID(int=9), title, 900, rate, 1920, 1080, "https://example.org/v?a=1&b=2")


def read_edl(text):
    """``(event, source in, source out, record in, record out)`` of each line, and the comments of each event."""
    events, comments = [], []
    for line in text.splitlines():
        if found := re.fullmatch(r"(\d{3,})  (\S+) +V +C +(\S+) (\S+) (\S+) (\S+)", line):
            events.append((int(found[1]), *found.groups()[2:]))
            comments.append([])
        elif line.startswith("* "):
            comments[-1].append(line)
    return events, comments


def frame_of(spelt, base):
    hours, minutes, seconds, frames = map(int, spelt.split(":"))
    return ((hours * 60 + minutes) * 60 + seconds) * base + frames


@pytest.mark.parametrize("rate", RATES)
def test_otio_is_read_back_with_every_frame_and_mark(rate):
    read = opentimelineio.adapters.read_from_string(otio(reel(rate), CUTS), "otio_json")
    clips = list(read.find_clips())
    spans = [clip.source_range for clip in clips]
    assert [(int(span.start_time.value), int(span.end_time_exclusive().value)) for span in spans] == [
        (cut.start, cut.end) for cut in CUTS
    ]
    assert all(span.start_time.rate == float(rate) for span in spans)
    marks = [dict(clip.metadata["heaters"]) for clip in clips]
    assert [(mark["clip_id"], mark["state"], list(mark["tags"]), mark["note"]) for mark in marks] == [
        (str(cut.id), cut.state, list(cut.tags), cut.note) for cut in CUTS
    ]
    assert {clip.media_reference.target_url for clip in clips} == {"https://example.org/v?a=1&b=2"}
    assert int(read.duration().value) == sum(cut.frames for cut in CUTS)


@pytest.mark.parametrize("rate", RATES)
def test_an_edl_is_read_back_with_every_frame(rate):
    base = nominal(rate)
    events, comments = read_edl(edl(reel(rate), CUTS))
    assert [event[0] for event in events] == [1, 2, 3]
    record = 3600 * base
    for cut, event in zip(CUTS, events, strict=True):
        source_in, source_out, record_in, record_out = (frame_of(each, base) for each in event[1:])
        assert (source_in, source_out) == (cut.start, cut.end)
        assert (record_in, record_out) == (record, record + cut.frames)
        record = record_out
    assert any("TAGS city, night" in line for line in comments[0])
    assert any('NOTE Take <this> & "that". Twice.' in line for line in comments[0])
    assert all(str(cut.id) in " ".join(lines) for cut, lines in zip(CUTS, comments, strict=True))


@pytest.mark.parametrize("rate", RATES)
def test_fcpxml_is_read_back_with_exact_times(rate):
    root = ET.fromstring(fcpxml(reel(rate), CUTS))

    def frames(spelt):
        return Fraction(spelt.removesuffix("s")) * rate

    assert Fraction(root.find("resources/format").get("frameDuration").removesuffix("s")) == 1 / rate
    asset = root.find("resources/asset")
    assert frames(asset.get("duration")) == 900
    offset = 0
    clips = root.findall(".//spine/asset-clip")
    for cut, clip in zip(CUTS, clips, strict=True):
        told = tuple(frames(clip.get(name)) for name in ("offset", "start", "duration"))
        assert told == (offset, cut.start, cut.frames)
        assert clip.get("ref") == asset.get("id")
        offset += cut.frames
    assert frames(root.find(".//sequence").get("duration")) == offset
    assert clips[0].find("note").text == CUTS[0].note
    assert clips[0].find("keyword").get("value") == "city, night"
    assert clips[2].find("note").text == "=HYPERLINK(1)\N{REPLACEMENT CHARACTER}"


def test_a_table_is_read_back_and_starts_no_formula():
    rows = list(csv.DictReader(io.StringIO(table(reel(Fraction(25)), CUTS))))
    assert [(row["clip_id"], int(row["start_frame"]), int(row["end_frame"]), row["state"]) for row in rows] == [
        (str(cut.id), cut.start, cut.end, cut.state) for cut in CUTS
    ]
    assert (rows[0]["start_seconds"], rows[0]["end_seconds"]) == ("0.000000", "4.000000")
    assert rows[0]["note"] == CUTS[0].note
    assert rows[2]["note"].startswith("'=")
    assert rows[0]["end_timecode"] == "00:00:04:00"


def test_no_clips_and_a_bare_title_are_files_too():
    for spell, _, _ in FORMATS.values():
        assert spell(reel(Fraction(25), title="\x00\x01"), [])
    assert "TITLE: UNTITLED" in edl(reel(Fraction(25), title="\x00"), CUTS)


@pytest.mark.parametrize(
    ("frame", "base", "spelt"), [(0, 25, "00:00:00:00"), (24, 25, "00:00:00:24"), (30 * 86400 + 1, 30, "24:00:00:01")]
)
def test_timecode_counts_frames(frame, base, spelt):
    assert timecode(frame, base) == spelt
    assert frame_of(spelt, base) == frame
