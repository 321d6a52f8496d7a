"""One timeline of a clip, from the request to its embedding: its video's trace up to its birth, then its own.

Pure: from rows of the span table to indented lines, each with a bar on the common time axis. Guarantees: every span
appears once, under its parent where that is known; a span whose parent was never written hangs at the top.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

QUEUE = "heaters.queue_seconds"
LONG, SHORT = 0.1, 0.04
"""Of all the time in which something queued or ran: a longer spell of nothing is drawn short, and how short."""


@dataclass
class Span:
    """A finished span and those under it."""

    trace_id: str
    span_id: str
    parent_id: str | None
    service: str
    name: str
    started_at: datetime
    ended_at: datetime
    status: str
    attributes: Mapping[str, Any]
    links: Sequence[Mapping[str, str]] = ()
    children: list[Span] = field(default_factory=list)

    @property
    def run_seconds(self) -> float:
        """How long it ran."""
        return (self.ended_at - self.started_at).total_seconds()

    @property
    def queue_seconds(self) -> float | None:
        """How long its work waited before it, where it is work."""
        waited = self.attributes.get(QUEUE)
        return None if waited is None else float(waited)

    @property
    def clip_id(self) -> str:
        """The clip it is about, if it is about one."""
        return str(self.attributes.get("heaters.clip_id") or "")


@dataclass(frozen=True)
class Line:
    """One line of a timeline; ``start`` and ``end`` are seconds on the common axis."""

    depth: int
    span: Span
    start: float
    end: float


def read(rows: Iterable[Mapping[str, Any]]) -> list[Span]:
    """Spans from rows of the span table."""
    names = (
        "trace_id",
        "span_id",
        "parent_id",
        "service",
        "name",
        "started_at",
        "ended_at",
        "status",
        "attributes",
        "links",
    )
    return [Span(**{name: row[name] for name in names}) for row in rows]


def linked_traces(spans: Iterable[Span], trace_id: str) -> list[str]:
    """The other traces that a trace's spans point back to."""
    return sorted({link["trace_id"] for span in spans if span.trace_id == trace_id for link in span.links} - {trace_id})


def compose(spans: Sequence[Span], clip_trace: str, clip_id: str = "") -> list[Line]:
    """The timeline of a clip: its own trace hung under the span that gave birth to it.

    Of the video's trace only what began before the clip was born is shown, and nothing about other clips.
    """
    own = [span for span in spans if span.trace_id == clip_trace]
    born = min((span.started_at for span in own), default=None)
    shown = list(own)
    for span in spans:
        is_before = born is None or span.started_at <= born
        if span.trace_id != clip_trace and is_before and span.clip_id in {"", clip_id}:
            shown.append(span)
    if not shown:
        return []
    known = {(span.trace_id, span.span_id): span for span in shown}
    roots: list[Span] = []
    for span in shown:
        span.children = []
    for span in shown:
        parent = known.get((span.trace_id, span.parent_id or ""))
        for link in span.links:
            parent = parent or known.get((link["trace_id"], link["span_id"]))
        if parent is None or parent is span:
            roots.append(span)
        else:
            parent.children.append(span)
    origin = min(span.started_at for span in shown)
    lines: list[Line] = []
    _walk(roots, 0, origin, lines)
    return lines


def _walk(spans: Iterable[Span], depth: int, origin: datetime, lines: list[Line]) -> None:
    for span in sorted(spans, key=lambda span: (span.started_at, span.span_id)):
        start = (span.started_at - origin).total_seconds()
        lines.append(Line(depth, span, start, start + span.run_seconds))
        _walk(span.children, depth + 1, origin, lines)


def work_only(lines: Sequence[Line]) -> list[Line]:
    """The lines of a timeline that are work, its steps, or a birth; what only passes events on is left out.

    Each is indented under the nearest line above it that is kept as well.
    """
    kept: list[Line] = []
    ancestors: list[tuple[int, bool]] = []
    for line in lines:
        while ancestors and ancestors[-1][0] >= line.depth:
            ancestors.pop()
        is_kept = not line.span.name.startswith(("accept ", "create "))
        if is_kept:
            under_work = sum(was_kept for _, was_kept in ancestors)
            kept.append(Line(under_work, line.span, line.start, line.end))
        ancestors.append((line.depth, is_kept))
    return kept


@dataclass(frozen=True)
class Axis:
    """Where times are drawn, 0 to 1. Spells in which nothing queued or ran are drawn short, so that work stays visible.

    ``points`` are pairs of seconds and place, both ascending, with straight lines between them; ``idle`` are the spells
    drawn short, from and to in seconds.
    """

    points: tuple[tuple[float, float], ...]
    idle: tuple[tuple[float, float], ...]

    def at(self, seconds: float) -> float:
        """The place of a time; before the first and after the last it is at the edge."""
        for (start, left), (end, right) in pairwise(self.points):
            if seconds < end:
                return left + (right - left) * max(0.0, seconds - start) / (end - start)
        return 1.0 if self.points else 0.0


def axis(lines: Sequence[Line]) -> Axis:
    """The axis of a timeline."""
    spells: list[list[float]] = []
    for start, end in sorted((max(0.0, line.start - (line.span.queue_seconds or 0.0)), line.end) for line in lines):
        if spells and start <= spells[-1][1]:
            spells[-1][1] = max(spells[-1][1], end)
        else:
            spells.append([start, end])
    busy = sum(end - start for start, end in spells)
    drawn, before = 0.0, 0.0
    points: list[tuple[float, float]] = [(0.0, 0.0)]
    idle: list[tuple[float, float]] = []
    for start, end in spells:
        if (gap := start - before) > busy * LONG:
            idle.append((before, start))
        for until, length in ((start, min(gap, busy * SHORT) if gap > busy * LONG else gap), (end, end - start)):
            drawn += length
            if until > points[-1][0]:
                points.append((until, drawn))
        before = end
    return Axis(tuple((seconds, place / drawn) for seconds, place in points) if drawn else (), tuple(idle))


def bar(line: Line, on: Axis, width: int) -> str:
    """A line's bar: dots while it queued, blocks while it ran."""
    if not on.points or width <= 0:
        return ""
    wait = min(width - 1, int(on.at(line.start - (line.span.queue_seconds or 0.0)) * width))
    begin = max(wait, min(width - 1, int(on.at(line.start) * width)))
    end = max(begin + 1, min(width, round(on.at(line.end) * width)))
    return " " * wait + "·" * (begin - wait) + "█" * (end - begin) + " " * (width - end)


def totals(lines: Sequence[Line]) -> dict[str, tuple[float, float]]:
    """Seconds queued and run of each stage's work, by service."""
    found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for line in lines:
        if line.span.queue_seconds is not None:
            found[line.span.service][0] += line.span.queue_seconds
            found[line.span.service][1] += line.span.run_seconds
    return {service: (queued, ran) for service, (queued, ran) in found.items()}


def seconds(value: float | None) -> str:
    """A duration for people."""
    if value is None:
        return ""
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 120:
        return f"{value:.1f} s"
    return f"{int(value // 60)} min {int(value % 60)} s"
