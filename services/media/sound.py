"""Audio without holes: decoded frames laid on an exact axis of samples.

Sources have gaps, overlaps, late starts, timestamps rounded to a millisecond, and sound that changes its rate or layout
midway. ``placed`` gives samples that lie side by side from an origin to an end, all in one form: it cuts what comes too
early, fills holes with silence and says where, converts what comes in another form, and ignores jitter that is mere
rounding. Nothing is stretched: a sample is moved by less than the tolerance or not at all.

How exact a range is that is read from the midst of a stream: where timestamps are exact, or rounded and the frames of
one length, each sample lies where reading from the start puts it. Where they are rounded and frames differ in length,
or follow a hole, it may lie off by a tick and a half. Where timestamps drift away from the count of samples, it may lie
off by ``JITTER``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import chain, islice
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from services.media.timebase import nearest, sample_at

JITTER = Fraction(1, 100)
"""Seconds by which a timestamp may differ from where the last frame ended and still mean "right after it"."""

HOLES_TAG = "HEATERS_HOLES"
"""What a master's sound says of itself: the stretches that had no sound in its source, as ``spelt_holes`` writes them."""

FIRST_FRAMES = 4
"""How many frames of a stream have to be decoded to know where all of them lie."""

_BLOCK = 4096
_MOST_PLANES = 8
_MOST_HOLES = 1000

Hole = tuple[int, int]
"""First sample of a stretch without sound, and the first one after it."""


@dataclass(frozen=True)
class Grid:
    """Where a stream's frames lie, in samples on its own axis, as its first frames tell.

    The sound begins at ``begin``. Whole frames begin at ``whole`` and every ``length`` samples before and after it; a
    length of 0 says that frames differ.
    """

    begin: int
    whole: int
    length: int


@dataclass
class Placement:
    """Where samples go, and what had to be done to put them there.

    ``origin`` and ``end`` count samples on the stream's own axis (0 is PTS 0); ``end`` None means: as far as the source
    goes. ``filled`` and ``dropped`` count samples of silence added, and of overlap cut away; ``converted`` those that came
    in another rate, layout or format. ``holes`` says where silence was added, from ``origin`` on; of very many it holds
    the first ones.

    ``rounding`` is by how many samples a timestamp may be off because the container cannot hold it exactly, 0 if it
    can. ``grid`` is given by whoever reads from the midst of a stream; where it is not, the first frames tell it.
    """

    sample_rate: int
    layout: str
    format: str
    origin: int
    end: int | None = None
    rounding: int = 0
    grid: Grid | None = None
    filled: int = 0
    dropped: int = 0
    converted: int = 0
    written: int = 0
    holes: list[Hole] = field(default_factory=list)

    @cached_property
    def tick(self) -> Fraction:
        """Seconds of one sample."""
        return Fraction(1, self.sample_rate)

    @cached_property
    def jitter(self) -> int:
        """``JITTER`` in samples."""
        return nearest(JITTER * self.sample_rate)


def placement_on(
    stream: AudioStream, *, sample_rate: int, layout: str, form: str, origin: Fraction, duration: Fraction | None = None
) -> Placement:
    """Where the samples of a stream go: from ``origin`` (seconds on its axis) on, for ``duration`` or to its end."""
    tick = Fraction(stream.time_base or Fraction(1, sample_rate)) * sample_rate
    return Placement(
        sample_rate,
        layout,
        tangible(form, layout),
        origin=sample_at(origin, sample_rate),
        end=None if duration is None else sample_at(origin + duration, sample_rate),
        rounding=0 if (1 / tick).denominator == 1 else nearest(tick / 2) + 1,
    )


def tangible(form: str, layout: str) -> str:
    """The sample format in which such sound can be handled as arrays: interleaved, from eight channels on.

    PyAV counts one plane too many of planar frames with eight channels, and reads past the last.
    """
    many = AudioFrame(format="u8", layout=layout, samples=1).layout.nb_channels >= _MOST_PLANES
    return form.removesuffix("p") if many else form


def first_grid(frames: Iterable[AudioFrame], placement: Placement) -> Grid | None:
    """Where the frames of a stream lie, of which ``frames`` are the first; None if there is not one."""
    first = list(islice(_alike(frames, placement), FIRST_FRAMES))
    return _grid(first, placement) if first else None


def placed(frames: Iterable[AudioFrame], placement: Placement) -> Iterator[AudioFrame]:
    """The frames side by side from the origin on, with PTS that count samples from there."""
    frames = _alike(frames, placement)
    first = list(islice(frames, FIRST_FRAMES))
    cursor = placement.origin
    expected = 0
    if first and placement.grid is None:
        placement.grid = _grid(first, placement)
        expected = placement.grid.begin
    elif first:
        expected = _begin_midway(first, placement)
    for frame in chain(first, frames):
        start = _position(frame, placement, expected)
        finish = start + frame.samples
        expected = finish
        if finish <= cursor:
            placement.dropped += frame.samples if cursor > placement.origin else 0
            continue
        if placement.end is not None and start >= placement.end:
            break
        if start > cursor:
            stop = start if placement.end is None else min(start, placement.end)
            yield from _silence(stop - cursor, placement)
            cursor = stop
        low = cursor - start
        high = frame.samples if placement.end is None else min(frame.samples, placement.end - start)
        placement.dropped += low if cursor > placement.origin else 0
        if high > low:
            yield _stamped(_part(frame, low, high), placement)
            cursor += high - low
    if placement.end is not None and cursor < placement.end:
        yield from _silence(placement.end - cursor, placement)


def spelt_holes(holes: Sequence[Hole]) -> str:
    """The holes as a tag: ``0-4800,9600-14400``."""
    return ",".join(f"{first}-{after}" for first, after in holes)


def holes_told(tag: str) -> tuple[Hole, ...]:
    """The holes that a tag names; none if it is no such tag."""
    if not re.fullmatch(r"\d{1,18}-\d{1,18}(,\d{1,18}-\d{1,18})*", tag):
        return ()
    pairs = (part.split("-") for part in tag.split(","))
    return tuple((int(first), int(after)) for first, after in pairs)


def _alike(frames: Iterable[AudioFrame], placement: Placement) -> Iterator[AudioFrame]:
    """The frames in the placement's form; those in another one are converted and counted."""
    wanted = (placement.sample_rate, placement.layout, placement.format)
    converted_from = wanted
    converter: AudioResampler | None = None
    for frame in frames:
        if frame.samples == 0:
            continue
        form = (frame.sample_rate, frame.layout.name, frame.format.name)
        if converter is not None and form != converted_from:
            yield from converter.resample(None)
            converter = None
        if form == wanted:
            yield frame
            continue
        if converter is None:
            converted_from = form
            converter = AudioResampler(format=placement.format, layout=placement.layout, rate=placement.sample_rate)
        if (form[0], form[1], form[2].rstrip("p")) != (wanted[0], wanted[1], wanted[2].rstrip("p")):
            placement.converted += frame.samples
        yield from converter.resample(frame)
    if converter is not None:
        yield from converter.resample(None)


def _grid(first: Sequence[AudioFrame], placement: Placement) -> Grid:
    """What the first frames of a stream tell.

    The first one's time tells best where the sound begins, as long as the second one's allows it: where the decoder has
    cut off an encoder's priming, the first one's was rounded twice.
    """
    begin = _told(first[0], placement)
    if placement.rounding and len(first) > 1 and first[1].pts is not None:
        from_second = _told(first[1], placement) - first[0].samples
        if abs(from_second - begin) <= placement.jitter:
            begin = min(max(begin, from_second - placement.rounding), from_second + placement.rounding)
    lengths = {frame.samples for frame in first[1:3]}
    return Grid(begin, begin + first[0].samples, lengths.pop() if len(first) > 2 and len(lengths) == 1 else 0)


def _begin_midway(first: Sequence[AudioFrame], placement: Placement) -> int:
    """Where the first of the frames begins, which are not the stream's first ones.

    Decoders may cut the first frame after a seek; the second one's place is whole.
    """
    told = _told(first[0], placement)
    if placement.rounding and len(first) > 1 and first[1].pts is not None:
        second = _on_grid(_told(first[1], placement), first[1].samples, placement)
        if abs(second - first[0].samples - told) <= placement.jitter:
            return second - first[0].samples
    return _on_grid(told, first[0].samples, placement)


def _position(frame: AudioFrame, placement: Placement, expected: int) -> int:
    if frame.pts is None:
        return expected
    told = _told(frame, placement)
    if abs(told - expected) <= placement.jitter:
        return expected
    return _on_grid(told, frame.samples, placement)


def _told(frame: AudioFrame, placement: Placement) -> int:
    base = frame.time_base or placement.tick
    # Whole numbers throughout: this is asked of every frame.
    return (2 * (frame.pts or 0) * base.numerator * placement.sample_rate + base.denominator) // (2 * base.denominator)


def _on_grid(told: int, samples: int, placement: Placement) -> int:
    """The place on the grid that a rounded timestamp means; the timestamp's own if that is too far off, or unclear."""
    grid = placement.grid
    # The grid itself was told by a timestamp that may be off by a tick, this one by half of one.
    slack = 3 * placement.rounding
    if grid is None or samples != grid.length or 2 * slack >= grid.length:
        return told
    place = nearest(Fraction(told - grid.whole, grid.length)) * grid.length + grid.whole
    return place if abs(place - told) <= slack else told


def _part(frame: AudioFrame, low: int, high: int) -> AudioFrame:
    if low == 0 and high == frame.samples:
        return frame
    samples = frame.to_ndarray()
    channels = 1 if frame.format.is_planar else frame.layout.nb_channels
    return _framed(
        samples[:, low * channels : high * channels], frame.format.name, frame.layout.name, frame.sample_rate
    )


def _silence(samples: int, placement: Placement) -> Iterator[AudioFrame]:
    """Fills a hole of so many samples, and keeps that in mind."""
    placement.filled += samples
    begin = placement.written
    if placement.holes and placement.holes[-1][1] == begin:
        placement.holes[-1] = (placement.holes[-1][0], begin + samples)
    elif len(placement.holes) < _MOST_HOLES:
        placement.holes.append((begin, begin + samples))
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
    frame.time_base = placement.tick
    placement.written += frame.samples
    return frame
