"""Subtitle tracks inside a media file, as cues on the video's own timeline.

Guarantees: one pass over the file for all tracks; time 0 is the first video frame; cues are in order, without overlap of
an end over its own start, and bounded in number. Bitmap tracks are not read: they hold no text.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.packet import Packet
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle

from services.media.captions import Cue
from services.media.containers import opened
from services.media.errors import translated
from services.media.timebase import nearest

MAX_CUES = 200_000
"""Of one track: more than a cue a second for two days."""

_STYLING = re.compile(r"\{\\[^}]*\}")
"""Override tags, which the decoders put in for italics and the like."""

_LONGEST_OPEN_CUE = 5_000
"""How long, in ms, a cue is shown that names no end and has no successor sooner."""


def read_subtitles(path: Path, streams: Collection[int], start: Fraction) -> dict[int, tuple[Cue, ...]]:
    """The cues of the text tracks with these stream indices.

    ``start`` is the first video frame's time in seconds on the file's own axis; cues wholly before it are left out. A track
    whose text cannot be decoded gives the cues that could.

    Raises:
        MediaError: the file cannot be read.
    """
    wanted = set(streams)
    found: dict[int, list[tuple[int, int | None, str]]] = {index: [] for index in wanted}
    with opened(path) as container, translated(f"reading the subtitles of {path.name}"):
        tracks = [stream for stream in container.streams.subtitles if stream.index in wanted]
        if not tracks:
            return {}
        for packet in container.demux(tracks):
            if packet.pts is None or not packet.size or len(found[packet.stream_index]) >= MAX_CUES:
                continue
            if not isinstance(packet.stream, SubtitleStream):
                continue
            base = packet.time_base
            begin = _milliseconds(packet.pts * base - start)
            end = _milliseconds((packet.pts + packet.duration) * base - start) if packet.duration else None
            text = _text(packet)
            if text and (end is None or end > max(begin, 0)):
                found[packet.stream_index].append((begin, end, text))
    return {index: _closed(cues) for index, cues in found.items() if cues}


def _text(packet: Packet[Any]) -> str:
    try:
        decoded = packet.decode()
    except av.FFmpegError:
        # One damaged cue is no reason to lose the others.
        return ""
    lines = [part.dialogue.decode("utf-8", errors="replace") for part in decoded if isinstance(part, AssSubtitle)]
    plain = (_STYLING.sub("", text).replace("\\h", " ") for text in lines)
    return "\n".join(line.strip() for text in plain for line in text.splitlines() if line.strip())


def _closed(cues: list[tuple[int, int | None, str]]) -> tuple[Cue, ...]:
    """Cues in order, each with an end: its own, or its successor's beginning."""
    ordered = sorted(cues, key=lambda cue: (cue[0], cue[1] or 0))
    closed = []
    for place, (begin, end, text) in enumerate(ordered):
        following = ordered[place + 1][0] if place + 1 < len(ordered) else begin + _LONGEST_OPEN_CUE
        last = end if end is not None else min(following, begin + _LONGEST_OPEN_CUE)
        if last > max(begin, 0):
            closed.append(Cue(max(begin, 0), last, text))
    return tuple(closed)


def _milliseconds(seconds: Fraction) -> int:
    return nearest(seconds * 1000)
