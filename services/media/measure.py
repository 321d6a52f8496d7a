"""What QC looks at, measured while frames and samples pass by on their way to an encoder.

Guarantees: positions are exact frame numbers and sample counts, never seconds read back from a log; the meters hold a
few small arrays however long the clip is; the same input gives the same numbers. Judging them is not done here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.values import FrameRange

Plane = NDArray[np.uint8]


@dataclass(frozen=True)
class PictureLimits:
    """What counts as black or frozen.

    ``black_pixel`` is the share of the luma range below which a pixel is black and ``black_share`` the share of such
    pixels that makes a black picture. ``frozen_difference`` is the mean difference, as a share of the luma range, up to
    which a picture repeats the one before. ``frozen_seconds`` and ``black_seconds`` are the shortest stretches reported.
    """

    black_pixel: float = 0.10
    black_share: float = 0.98
    black_seconds: Fraction = Fraction(1, 2)
    frozen_difference: float = 0.001
    frozen_seconds: Fraction = Fraction(2)


@dataclass(frozen=True)
class SoundLimits:
    """What counts as silence or clipping, in shares of full scale; a clip is ``clipped_run`` samples in a row at the rail."""

    silence_level: float = 0.001
    silence_seconds: Fraction = Fraction(2)
    clipped_level: float = 0.9995
    clipped_run: int = 3


@dataclass(frozen=True)
class PictureFacts:
    """Of a clip's pictures: how many passed, and the stretches (in the numbers they were given) that look wrong."""

    frames: int
    black: tuple[FrameRange, ...]
    frozen: tuple[FrameRange, ...]


@dataclass(frozen=True)
class SoundFacts:
    """What a clip sounds like.

    ``silence`` holds half-open sample ranges from the clip's start; ``clipped`` counts the stretches
    at the rail; loudness is EBU R128 (LUFS, LU, dBTP) and absent where there is too little sound to tell. ``gain`` is by how
    many decibels the sound was brought to a target, where there was one.
    """

    samples: int
    sample_rate: int
    channels: int
    silence: tuple[tuple[int, int], ...]
    clipped: int
    peak: float
    loudness: float | None = None
    loudness_range: float | None = None
    true_peak: float | None = None
    gain: float | None = None


class PictureMeter:
    """Finds black and frozen stretches in luma planes given in order.

    ``time_of`` gives the exact time (seconds) at which a frame is shown, so that stretches are weighed right at a
    variable rate; it is also asked for the number after the last one.
    """

    def __init__(
        self,
        time_of: Callable[[int], Fraction],
        *,
        full_range: bool = False,
        limits: PictureLimits | None = None,
    ) -> None:
        self._limits = limits or PictureLimits()
        self._time_of = time_of
        low, high = (0, 255) if full_range else (16, 235)
        # Whole numbers, as the samples are: compared with a fraction, every one of them would be converted first.
        self._threshold = np.uint8(math.floor(low + self._limits.black_pixel * (high - low)))
        self._still = self._limits.frozen_difference * (high - low)
        self._frames = 0
        self._black: list[FrameRange] = []
        self._frozen: list[FrameRange] = []
        self._black_from: int | None = None
        self._frozen_from: int | None = None
        self._reference: Plane | None = None
        self._next: int | None = None

    def add(self, number: int, luma: Plane) -> bool:
        """Takes the plane (uint8[height, width]) of the frame ``number``; returns whether it is black."""
        self._frames += 1
        self._next = number + 1
        black = bool(np.count_nonzero(luma <= self._threshold) >= self._limits.black_share * luma.size)
        if black and self._black_from is None:
            self._black_from = number
        elif not black:
            self._close_black(number)
        # The reference is the first picture of the stretch, so that a slow drift is no freeze.
        if self._reference is None or _distance(luma, self._reference) > self._still:
            self._close_frozen(number)
            self._reference = luma.copy()
            self._frozen_from = number
        return black

    def facts(self) -> PictureFacts:
        """Closes open stretches and tells what was found."""
        if self._next is not None:
            self._close_black(self._next)
            self._close_frozen(self._next)
        return PictureFacts(self._frames, tuple(self._black), tuple(self._frozen))

    def _close_black(self, end: int) -> None:
        start, self._black_from = self._black_from, None
        if start is not None and self._time_of(end) - self._time_of(start) >= self._limits.black_seconds:
            self._black.append(FrameRange(start=start, end=end))

    def _close_frozen(self, end: int) -> None:
        start, self._frozen_from = self._frozen_from, None
        # A single picture that stays long (a slide at a variable rate) is one frame, not a repeated one.
        if start is None or end - start <= 1:
            return
        if self._time_of(end) - self._time_of(start) >= self._limits.frozen_seconds:
            self._frozen.append(FrameRange(start=start, end=end))


def _distance(one: Plane, other: Plane) -> float:
    """The mean difference of two planes' samples."""
    return int((np.maximum(one, other) - np.minimum(one, other)).sum(dtype=np.uint64)) / one.size


class SoundMeter:
    """Finds silence and clipping, to the sample, in blocks of samples given in order."""

    def __init__(self, sample_rate: int, channels: int, *, limits: SoundLimits | None = None) -> None:
        self._limits = limits or SoundLimits()
        self._rate = sample_rate
        self._channels = channels
        self._samples = 0
        self._peak = 0.0
        self._silence: list[tuple[int, int]] = []
        self._silent_from: int | None = None
        self._clipped = 0
        self._railed = np.zeros(channels, dtype=np.int64)
        self._shortest = max(1, math.ceil(self._limits.silence_seconds * sample_rate))

    def add(self, block: NDArray[np.floating[Any]]) -> None:
        """Takes float samples [channels, samples], full scale 1."""
        count = block.shape[1]
        if count == 0:
            return
        size = np.abs(block)
        self._peak = max(self._peak, float(size.max()))
        loud = (size > self._limits.silence_level).any(axis=0)
        self._hear(loud)
        if float(size.max()) >= self._limits.clipped_level:
            for channel in range(self._channels):
                self._count_clips(channel, size[channel] >= self._limits.clipped_level)
        else:
            self._railed[:] = 0
        self._samples += count

    def _hear(self, loud: NDArray[np.bool_]) -> None:
        sounding = np.flatnonzero(loud)
        if not len(sounding):
            self._open_silence(self._samples)
            return
        first, last = int(sounding[0]), int(sounding[-1])
        if first:
            self._open_silence(self._samples)
        self._close_silence(self._samples + first)
        # Every wave passes through silence: of what lies between two sounds, only what is long enough to be told counts.
        for gap in np.flatnonzero(np.diff(sounding) > self._shortest).tolist():
            self._open_silence(self._samples + int(sounding[gap]) + 1)
            self._close_silence(self._samples + int(sounding[gap + 1]))
        if last + 1 < len(loud):
            self._open_silence(self._samples + last + 1)

    def _open_silence(self, start: int) -> None:
        if self._silent_from is None:
            self._silent_from = start

    def _close_silence(self, end: int) -> None:
        start, self._silent_from = self._silent_from, None
        if start is not None and Fraction(end - start, self._rate) >= self._limits.silence_seconds:
            self._silence.append((start, end))

    def _count_clips(self, channel: int, railed: NDArray[np.bool_]) -> None:
        padded = np.concatenate(([False], railed, [False])).astype(np.int8)
        steps = np.diff(padded)
        starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
        carried = int(self._railed[channel])
        self._railed[channel] = 0
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            before = carried if start == 0 else 0
            length = end - start + before
            # A stretch is counted once, in the block in which it grows long enough.
            if before < self._limits.clipped_run <= length:
                self._clipped += 1
            if end == railed.size:
                self._railed[channel] = length

    def facts(
        self, *, loudness: float | None = None, loudness_range: float | None = None, true_peak: float | None = None
    ) -> SoundFacts:
        """Closes open silence and tells what was found, with the loudness that an EBU R128 meter heard meanwhile."""
        if self._silent_from is not None:
            self._close_silence(self._samples)
        return SoundFacts(
            samples=self._samples,
            sample_rate=self._rate,
            channels=self._channels,
            silence=tuple(self._silence),
            clipped=self._clipped,
            peak=round(self._peak, 6),
            loudness=loudness,
            loudness_range=loudness_range,
            true_peak=true_peak,
        )
