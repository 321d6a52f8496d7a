"""A video's clips as other programs read them: OTIO, CMX3600 EDL, FCPXML and CSV.

Pure: from a video and its clips to text. Every format names the source by its title and counts in the source's own frames;
a clip's place on the timeline follows from those before it, so that the clips play one after the other. What a format cannot
say (notes in an EDL's event, rates that are no whole number) is written as its own custom prescribes, and nothing is rounded
silently: times in FCPXML are exact ratios, timecode in an EDL counts frames of the nominal rate without dropping any.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from uuid import UUID
from xml.etree.ElementTree import Element, SubElement, indent, tostring

EVENTS_OF_AN_EDL = 9_999
"""Events are numbered; more than these three digits used to hold are common by now, five are not."""


@dataclass(frozen=True)
class Cut:
    """One clip: frames ``[start, end)`` of the source."""

    id: UUID
    start: int
    end: int
    state: str
    tags: tuple[str, ...] = ()
    note: str = ""
    confidence: float = 1.0

    @property
    def frames(self) -> int:
        """How many."""
        return self.end - self.start

    def name(self, number: int) -> str:
        """What editors see on the timeline."""
        return f"Clip {number:03d}"


@dataclass(frozen=True)
class Reel:
    """The source: its title, how many frames it has and at which rate, and where it came from."""

    id: UUID
    title: str
    frames: int
    rate: Fraction
    width: int | None = None
    height: int | None = None
    url: str = ""


def otio(reel: Reel, cuts: Sequence[Cut]) -> str:
    """An OpenTimelineIO timeline. Ids, states, tags and notes are kept in the clips' metadata under ``heaters``."""
    import opentimelineio as timeline

    def time(frame: int) -> timeline.opentime.RationalTime:
        return timeline.opentime.RationalTime(frame, float(reel.rate))

    def span(start: int, frames: int) -> timeline.opentime.TimeRange:
        return timeline.opentime.TimeRange(time(start), time(frames))

    made = timeline.schema.Timeline(
        name=reel.title, metadata={"heaters": {"video_id": str(reel.id), "rate": _ratio(reel.rate)}}
    )
    track = timeline.schema.Track(name="Clips", kind=timeline.schema.TrackKind.Video)
    for number, cut in enumerate(cuts, 1):
        track.append(
            timeline.schema.Clip(
                name=cut.name(number),
                media_reference=timeline.schema.ExternalReference(
                    target_url=reel.url or _urn(reel), available_range=span(0, reel.frames)
                ),
                source_range=span(cut.start, cut.frames),
                metadata={
                    "heaters": {
                        "clip_id": str(cut.id),
                        "state": cut.state,
                        "tags": list(cut.tags),
                        "note": cut.note,
                        "start_frame": cut.start,
                        "end_frame": cut.end,
                    }
                },
            )
        )
    made.tracks.append(track)
    spelt: str = timeline.adapters.write_to_string(made, "otio_json")
    return spelt


def edl(reel: Reel, cuts: Sequence[Cut]) -> str:
    """A CMX3600 edit decision list: one cut a clip, non-drop timecode, the record side from 01:00:00:00 on."""
    base = nominal(reel.rate)
    record = 3600 * base
    lines = [f"TITLE: {_plain(reel.title, 70) or 'UNTITLED'}", "FCM: NON-DROP FRAME", ""]
    name = re.sub(r"[^A-Z0-9]", "", reel.title.upper())[:8] or reel.id.hex[:8].upper()
    for number, cut in enumerate(cuts, 1):
        at = (cut.start, cut.end, record, record + cut.frames)
        times = " ".join(timecode(frame, base) for frame in at)
        lines.append(f"{number:03d}  {name:<8} V     C        {times}")
        lines.append(f"* FROM CLIP NAME: {_plain(reel.title, 70) or 'UNTITLED'}")
        lines.append(f"* COMMENT: {cut.name(number)} {cut.id} {cut.state}")
        if cut.tags:
            lines.append(f"* COMMENT: TAGS {_plain(', '.join(cut.tags), 200)}")
        if cut.note:
            lines.append(f"* COMMENT: NOTE {_plain(cut.note, 400)}")
        record += cut.frames
    return "\n".join(lines) + "\n"


def fcpxml(reel: Reel, cuts: Sequence[Cut]) -> str:
    """A Final Cut Pro project (FCPXML 1.9) with exact rational times; tags become keywords, notes notes."""
    step = 1 / reel.rate
    root = Element("fcpxml", version="1.9")
    resources = SubElement(root, "resources")
    shape = {"frameDuration": _seconds(step)}
    if reel.width and reel.height:
        shape |= {"width": str(reel.width), "height": str(reel.height)}
    SubElement(resources, "format", {"id": "r1", **shape})
    asset = SubElement(
        resources,
        "asset",
        id="r2",
        name=_xml(reel.title),
        start="0s",
        duration=_seconds(reel.frames * step),
        hasVideo="1",
        format="r1",
        uid=str(reel.id),
    )
    SubElement(asset, "media-rep", kind="original-media", src=_xml(reel.url) or _urn(reel))
    project = SubElement(SubElement(SubElement(root, "library"), "event", name=_xml(reel.title)), "project")
    project.set("name", _xml(reel.title))
    total = sum(cut.frames for cut in cuts)
    sequence = SubElement(
        project, "sequence", format="r1", duration=_seconds(total * step), tcStart="0s", tcFormat="NDF"
    )
    spine = SubElement(sequence, "spine")
    offset = 0
    for number, cut in enumerate(cuts, 1):
        clip = SubElement(
            spine,
            "asset-clip",
            ref="r2",
            name=cut.name(number),
            offset=_seconds(offset * step),
            start=_seconds(cut.start * step),
            duration=_seconds(cut.frames * step),
        )
        if cut.note:
            SubElement(clip, "note").text = _xml(cut.note)
        place = {"start": _seconds(cut.start * step), "duration": _seconds(cut.frames * step)}
        SubElement(clip, "marker", start=place["start"], duration=_seconds(step), value=f"{cut.state} {cut.id}")
        if cut.tags:
            SubElement(clip, "keyword", {"value": _xml(", ".join(cut.tags)), **place})
        offset += cut.frames
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n' + tostring(root, encoding="unicode") + "\n"


COLUMNS = (
    "number",
    "clip_id",
    "state",
    "start_frame",
    "end_frame",
    "frames",
    "start_seconds",
    "end_seconds",
    "start_timecode",
    "end_timecode",
    "tags",
    "note",
    "confidence",
)


def table(reel: Reel, cuts: Sequence[Cut]) -> str:
    """A comma-separated table with a header (RFC 4180): a row a clip; seconds are rounded to microseconds."""
    base = nominal(reel.rate)
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for number, cut in enumerate(cuts, 1):
        writer.writerow(
            (
                number,
                cut.id,
                cut.state,
                cut.start,
                cut.end,
                cut.frames,
                f"{float(cut.start / reel.rate):.6f}",
                f"{float(cut.end / reel.rate):.6f}",
                timecode(cut.start, base),
                timecode(cut.end, base),
                _cell("; ".join(cut.tags)),
                _cell(cut.note),
                f"{cut.confidence:.4f}",
            )
        )
    return buffer.getvalue()


Spelling = Callable[[Reel, Sequence[Cut]], str]
FORMATS: Mapping[str, tuple[Spelling, str, str]] = {
    "otio": (otio, "otio", "application/vnd.opentimelineio+json"),
    "edl": (edl, "edl", "text/plain; charset=utf-8"),
    "fcpxml": (fcpxml, "fcpxml", "application/xml"),
    "csv": (table, "csv", "text/csv; charset=utf-8"),
}
"""By name: how to write it, the ending of its files, and their content type."""


def nominal(rate: Fraction) -> int:
    """The whole number of frames that a second of timecode counts: 30 for 29.97."""
    return max(1, round(rate))


def timecode(frame: int, base: int) -> str:
    """``HH:MM:SS:FF`` of a frame, without dropping any; hours go on after 23."""
    seconds, left = divmod(frame, base)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}:{left:02d}"


def _seconds(value: Fraction) -> str:
    return f"{value.numerator}s" if value.denominator == 1 else f"{value.numerator}/{value.denominator}s"


def _ratio(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def _urn(reel: Reel) -> str:
    return f"urn:uuid:{reel.id}"


def _plain(text: str, most: int) -> str:
    """One line of an EDL: no line breaks, no control characters."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())[:most]


def _xml(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "\N{REPLACEMENT CHARACTER}", text)


def _cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
