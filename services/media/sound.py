"""Audio without holes: decoded frames laid on an exact axis of samples.

Sources have gaps, overlaps, late starts and timestamps rounded to a millisecond. ``placed`` gives samples that lie side
by side from an origin to an end, cutting what comes too early, filling holes with silence and ignoring jitter that is
mere rounding. Nothing is stretched: a sample is moved by less than the tolerance or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from services.media.timebase import nearest, sample_at

JITTER = Fraction(1, 100)
"""Seconds by which a timestamp may differ from where the last frame ended and still mean "right after it"."""

_BLOCK = 4096


@dataclass
class Placement:
    """Where samples go, and what had to be done to put them there.

    ``origin`` and ``end`` count samples on the stream's own axis (0 is PTS 0); ``end`` None means: as far as the source
    goes. ``filled`` and ``dropped`` count samples of silence added, and of overlap cut away; ``foreign`` those that came in
    another rate, layout or format than the rest and became silence. Where a container rounds
    its timestamps (Matroska: to a millisecond), a first frame within ``grid_slack`` samples of a whole number of frames
    after ``grid_start`` is taken to lie there, so that reading from the midst gives the same samples as from the start.
    """

    sample_rate: int
    layout: str
    format: str
    origin: int
    end: int | None = None
    grid_start: int = 0
    grid_slack: int = 0
    filled: int = 0
    dropped: int = 0
    foreign: int = 0
    written: int = 0


def placement_on(
    stream: AudioStream, *, sample_rate: int, layout: str, form: str, origin: Fraction, duration: Fraction | None = None
) -> Placement:
    """Where the samples of a stream go: from ``origin`` (seconds on its axis) on, for ``duration`` or to its end."""
    base = Fraction(stream.time_base or Fraction(1, sample_rate))
    first = sample_at(origin, sample_rate)
    coarse = base * sample_rate > 1
    return Placement(
        sample_rate,
        layout,
        form,
        origin=first,
        end=None if duration is None else sample_at(origin + duration, sample_rate),
        grid_start=sample_at((stream.start_time or 0) * base, sample_rate),
        grid_slack=nearest(base * sample_rate / 2) + 1 if coarse else 0,
    )


def placed(frames: Iterable[AudioFrame], placement: Placement) -> Iterator[AudioFrame]:
    """The frames side by side from the origin on, with PTS that count samples from there."""
    rate = placement.sample_rate
    jitter = nearest(JITTER * rate)
    cursor = placement.origin
    frames = iter(frames)
    first, second = next(frames, None), next(frames, None)
    expected = _anchor(first, second, placement, jitter)
    for frame in chain((early for early in (first, second) if early is not None), frames):
        if frame.samples == 0:
            continue
        if (frame.sample_rate, frame.layout.name, frame.format.name) != (rate, placement.layout, placement.format):
            placement.foreign += frame.samples
            continue
        start = _position(frame, placement, expected, jitter)
        finish = start + frame.samples
        expected = finish
        if finish <= cursor:
            placement.dropped += frame.samples if cursor > placement.origin else 0
            continue
        if placement.end is not None and start >= placement.end:
            break
        if start > cursor:
            stop = start if placement.end is None else min(start, placement.end)
            placement.filled += stop - cursor
            yield from _silence(stop - cursor, placement)
            cursor = stop
        low = cursor - start
        high = frame.samples if placement.end is None else min(frame.samples, placement.end - start)
        placement.dropped += low if cursor > placement.origin else 0
        if high > low:
            yield _stamped(_part(frame, low, high), placement)
            cursor += high - low
    if placement.end is not None and cursor < placement.end:
        placement.filled += placement.end - cursor
        yield from _silence(placement.end - cursor, placement)


def _anchor(first: AudioFrame | None, second: AudioFrame | None, placement: Placement, jitter: int) -> int | None:
    """Where the first frame begins.

    Where timestamps are rounded, its own is so all the more if the decoder has cut off an encoder's priming; then the
    second frame's, which lies on the grid, tells better.
    """
    if first is None or first.pts is None:
        return None
    told = _told(first, placement)
    if not placement.grid_slack:
        return told
    if second is None or second.pts is None or first.sample_rate != placement.sample_rate:
        return _on_grid(told, first.samples, placement)
    from_second = _on_grid(_told(second, placement), second.samples, placement) - first.samples
    return from_second if abs(from_second - told) <= jitter else told


def _position(frame: AudioFrame, placement: Placement, expected: int | None, jitter: int) -> int:
    if frame.pts is None:
        return expected if expected is not None else 0
    told = _told(frame, placement)
    return expected if expected is not None and abs(told - expected) <= jitter else told


def _told(frame: AudioFrame, placement: Placement) -> int:
    base = Fraction(frame.time_base or Fraction(1, placement.sample_rate))
    return nearest((frame.pts or 0) * base * placement.sample_rate)


def _on_grid(told: int, samples: int, placement: Placement) -> int:
    if samples == 0:
        return told
    whole = nearest(Fraction(told - placement.grid_start, samples)) * samples + placement.grid_start
    return whole if abs(whole - told) <= placement.grid_slack else told


def _part(frame: AudioFrame, low: int, high: int) -> AudioFrame:
    if low == 0 and high == frame.samples:
        return frame
    samples = frame.to_ndarray()
    channels = 1 if frame.format.is_planar else frame.layout.nb_channels
    return _framed(
        samples[:, low * channels : high * channels], frame.format.name, frame.layout.name, frame.sample_rate
    )


def _silence(samples: int, placement: Placement) -> Iterator[AudioFrame]:
    planar = placement.format.endswith("p")
    kinds = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "flt": np.float32, "dbl": np.float64, "s64": np.int64}
    name = placement.format.rstrip("p")
    template = AudioFrame(format=placement.format, layout=placement.layout, samples=1)
    channels = template.layout.nb_channels
    while samples > 0:
        count = min(samples, _BLOCK)
        shape = (channels, count) if planar else (1, channels * count)
        quiet = np.full(shape, 128 if name == "u8" else 0, kinds[name])
        yield _stamped(_framed(quiet, placement.format, placement.layout, placement.sample_rate), placement)
        samples -= count


def _framed(samples: NDArray[Any], form: str, layout: str, rate: int) -> AudioFrame:
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), format=form, layout=layout)
    frame.sample_rate = rate
    return frame


def _stamped(frame: AudioFrame, placement: Placement) -> AudioFrame:
    frame.pts = placement.written
    frame.time_base = Fraction(1, placement.sample_rate)
    placement.written += frame.samples
    return frame
