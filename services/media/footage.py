"""What clips are cut from: numbered pictures, samples by time, and when each frame is shown.

Two ports and one value, so that a renderer need not know whether it reads a master or a source, a file or a store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from contracts.values import FrameRange


class Frames(Protocol):
    """Where pictures come from: every frame of a range in order, numbered as in the source."""

    def frames(self, wanted: FrameRange, /) -> Iterator[tuple[int, VideoFrame]]:
        """``(number, frame)`` for every frame of the range; the frames may be changed by whoever asked."""
        ...

    def close(self) -> None:
        """Gives back what decoding takes, until frames are asked for again."""
        ...


class Sounds(Protocol):
    """Where samples come from: those nearest to ``[start, end)`` seconds after the start of frame 0."""

    def samples(self, start: Fraction, end: Fraction, /) -> Iterator[AudioFrame]:
        """The samples, side by side, holes filled with silence."""
        ...

    @property
    def holes(self) -> Sequence[tuple[Fraction, Fraction]]:
        """Where the range last asked for, as far as it was read, was filled: seconds from its start."""
        ...


@dataclass(frozen=True)
class Footage:
    """One video to cut from.

    ``sounds`` opens another reader of the sound: clips that overlap each need one, others share.
    ``time_of(n)`` is when frame ``n`` is shown, in seconds after the start of frame 0; asked with ``frames``, it is the
    video's end. ``timebase`` holds all these times exactly. ``rotation`` is by how many degrees, counter-clockwise, the
    decoded pictures must be turned to stand upright.
    """

    pictures: Frames
    sounds: Callable[[], Sounds] | None
    frames: int
    time_of: Callable[[int], Fraction]
    timebase: Fraction
    rate: Fraction
    sample_aspect_ratio: Fraction = Fraction(1)
    rotation: int = 0
    interlaced: bool = False
