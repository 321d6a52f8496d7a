"""Which frames of a clip stand for it.

A strategy is data with one spelling, which is also its name in events and object keys:

    uniform-4               the middles of four equal parts
    percent-10-50-90        positions in per cent of the clip's length
    named-start-middle-end  named points
    sharpest-3              the sharpest of several frames around the middle of each of three equal parts

``plan`` gives one group of candidates per keyframe, as offsets into the clip; whoever has the pictures takes the
sharpest of each group. It guarantees: at least one group, offsets inside the clip, ascending, none in two groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise

from contracts.errors import Permanent
from contracts.values import FrameRange

MAX_KEYFRAMES = 64
"""More stills of one clip tell search nothing new."""

CANDIDATES = 5
"""Frames looked at for each keyframe by ``sharpest``; each costs a decode."""

NAMED_POINTS = {
    "start": Fraction(0),
    "quarter": Fraction(1, 4),
    "third": Fraction(1, 3),
    "middle": Fraction(1, 2),
    "end": Fraction(1),
}


class Kind(StrEnum):
    """How a strategy chooses."""

    UNIFORM = "uniform"
    PERCENT = "percent"
    NAMED = "named"
    SHARPEST = "sharpest"


class UnknownStrategy(Permanent):
    """A spelling that names no strategy."""

    code = "embed.unknown_strategy"


@dataclass(frozen=True)
class Strategy:
    """A parsed strategy: either ``count`` equal parts, or explicit ``points`` in [0, 1] of the clip's length."""

    name: str
    kind: Kind
    count: int = 0
    points: tuple[Fraction, ...] = ()


def parse(name: str) -> Strategy:
    """The strategy of a spelling; ``UnknownStrategy`` says what a spelling looks like."""
    kind, _, rest = name.partition("-")
    words = rest.split("-") if rest else []
    if kind in {Kind.UNIFORM, Kind.SHARPEST} and len(words) == 1:
        count = _whole(words[0])
        if count is not None and 1 <= count <= MAX_KEYFRAMES:
            return Strategy(name, Kind(kind), count=count)
    elif kind == Kind.PERCENT and 1 <= len(words) <= MAX_KEYFRAMES:
        numbers = [_whole(word) for word in words]
        points = [Fraction(number, 100) for number in numbers if number is not None and number <= 100]
        if len(points) == len(words):
            return Strategy(name, Kind.PERCENT, points=tuple(points))
    elif kind == Kind.NAMED and words and all(word in NAMED_POINTS for word in words):
        return Strategy(name, Kind.NAMED, points=tuple(NAMED_POINTS[word] for word in words))
    raise UnknownStrategy(
        f'"{name[:80]}" is no keyframe strategy; write uniform-N or sharpest-N (N from 1 to {MAX_KEYFRAMES}), '
        f"percent-P-P… (P from 0 to 100) or named-… with {', '.join(NAMED_POINTS)}."
    )


def plan(strategy: Strategy, frames: FrameRange) -> tuple[tuple[int, ...], ...]:
    """Groups of candidate offsets in ``[0, len(frames))``, one group per keyframe."""
    length = len(frames)
    if strategy.points:
        offsets = sorted({int(point * (length - 1)) for point in strategy.points})
        return tuple((offset,) for offset in offsets)
    parts = min(strategy.count, length)
    bounds = [part * length // parts for part in range(parts + 1)]
    if strategy.kind is Kind.UNIFORM:
        return tuple(((start + end - 1) // 2,) for start, end in pairwise(bounds))
    return tuple(_candidates(start, end) for start, end in pairwise(bounds))


def _candidates(start: int, end: int) -> tuple[int, ...]:
    """Frames spread over the middle half of ``[start, end)``, where a cut's blur is unlikely."""
    length = end - start
    count = min(CANDIDATES, length)
    first, span = start + length // 4, max(length // 2, count)
    first = min(first, end - span)
    return tuple(first + (2 * index + 1) * span // (2 * count) for index in range(count))


def _whole(word: str) -> int | None:
    return int(word) if word.isascii() and word.isdecimal() and len(word) <= 3 else None
