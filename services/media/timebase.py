"""Exact media time: ticks, seconds, frames, samples and timecode, never a float.

Guarantees: every conversion either is exact or rounds by a rule that its docstring names, and timecode round-trips
for every frame number, drop-frame rates included.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction

_DROP_RATES = {Fraction(30000, 1001): 2, Fraction(60000, 1001): 4}
_TIMECODE = re.compile(r"^(\d{2,}):([0-5]\d):([0-5]\d)([:;])(\d{2,3})$")


def seconds(ticks: int, timebase: Fraction) -> Fraction:
    """The time of ``ticks``, in seconds, exact."""
    return ticks * timebase


def ticks(time: Fraction, timebase: Fraction) -> int:
    """The tick nearest to ``time`` (seconds); a half rounds up."""
    return nearest(time / timebase)


def nearest(value: Fraction) -> int:
    """The integer nearest to ``value``; a half rounds up, so that neighbouring ranges never share a sample."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def rescale_exactly(value: int, source: Fraction, target: Fraction) -> int:
    """``value`` in another timebase.

    Raises:
        ValueError: the target timebase cannot hold the value exactly.
    """
    scaled = value * source / target
    if scaled.denominator != 1:
        message = f"{value} ticks of {source} s are no whole number of ticks of {target} s"
        raise ValueError(message)
    return scaled.numerator


def sample_at(time: Fraction, sample_rate: int) -> int:
    """The audio sample nearest to ``time`` (seconds); a half rounds up."""
    return nearest(time * sample_rate)


def frame_at(pts: Sequence[int], timebase: Fraction, time: Fraction) -> int:
    """The frame on screen at ``time`` (seconds on the axis of ``pts``): the last one that starts at or before it.

    A time before the first frame gives frame 0, one after the last gives the last.
    """
    tick = (time / timebase).__floor__()
    return max(0, bisect_right(pts, tick) - 1)


def frame_time(pts: Sequence[int], timebase: Fraction, frame: int) -> Fraction:
    """Seconds from the start of frame 0 to the start of ``frame``, exact. Negative frames are refused."""
    if not 0 <= frame < len(pts):
        message = f"frame {frame} lies outside [0, {len(pts)})"
        raise IndexError(message)
    return (int(pts[frame]) - int(pts[0])) * timebase


def nominal_rate(rate: Fraction) -> int:
    """Frames that timecode counts in a second: 30 for 30000/1001."""
    return max(1, nearest(rate))


def timecode(frame: int, rate: Fraction, *, drop_frame: bool | None = None) -> str:
    """Non-negative ``frame`` as SMPTE timecode: ``HH:MM:SS:FF``, or ``HH:MM:SS;FF`` with dropped numbers.

    ``drop_frame`` left out means: where the rate has a drop-frame form (29.97 and 59.94).
    """
    if frame < 0:
        message = "timecode counts from frame 0"
        raise ValueError(message)
    dropped = _DROP_RATES.get(rate, 0) if drop_frame in (None, True) else 0
    base = nominal_rate(rate)
    if dropped:
        per_ten_minutes = base * 600 - 9 * dropped
        tens, rest = divmod(frame, per_ten_minutes)
        # The first minute of every ten keeps all its numbers, so it is longer than the other nine.
        minutes = 0 if rest < base * 60 else 1 + (rest - base * 60) // (base * 60 - dropped)
        frame += 9 * dropped * tens + dropped * minutes
    total, frames = divmod(frame, base)
    minutes_total, second = divmod(total, 60)
    hour, minute = divmod(minutes_total, 60)
    width = 3 if base > 100 else 2
    return f"{hour:02}:{minute:02}:{second:02}{';' if dropped else ':'}{frames:0{width}}"


def frame_of_timecode(text: str, rate: Fraction) -> int:
    """The frame number that ``timecode`` spelt as ``text``.

    Raises:
        ValueError: not a timecode, or a number that drop-frame counting leaves out.
    """
    match = _TIMECODE.match(text)
    base = nominal_rate(rate)
    if match is None or int(match[5]) >= base:
        message = f'"{text}" is no timecode at {rate} frames a second; it is spelt HH:MM:SS:FF'
        raise ValueError(message)
    hour, minute, second, frames = int(match[1]), int(match[2]), int(match[3]), int(match[5])
    minutes = hour * 60 + minute
    frame = (minutes * 60 + second) * base + frames
    if match[4] == ":":
        return frame
    dropped = _DROP_RATES.get(rate, 0)
    if not dropped or (second == 0 and frames < dropped and minute % 10):
        message = f'"{text}" does not exist in drop-frame counting at {rate} frames a second'
        raise ValueError(message)
    return frame - dropped * (minutes - minutes // 10)
