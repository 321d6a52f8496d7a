"""What a master of the whole would give, from a master of some frames only or from the source itself.

Guarantees: whoever cuts by the video's frame numbers and times gets the same frames and samples, bit for bit, whatever
was mastered; what lies outside a part is an error, never another frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.video.frame import VideoFrame

from contracts.values import FrameRange
from services.media.decode import AudioSource, FrameSource
from services.media.errors import Incomplete
from services.media.timebase import sample_at


class PartFrames:
    """Pictures of a part by the video's own frame numbers. ``held`` says which ones the part holds."""

    def __init__(self, pictures: FrameSource, held: FrameRange) -> None:
        self._pictures = pictures
        self._held = held

    def frames(self, wanted: FrameRange) -> Iterator[tuple[int, VideoFrame]]:
        """``(number, frame)`` for every frame of the range.

        Raises:
            Incomplete: the part does not hold all of it.
        """
        first = self._held.start
        if wanted.start < first or wanted.end > self._held.end:
            raise Incomplete(
                f"The master holds the frames {self._held}, and {wanted} are asked for. Approve the clip again."
            )
        for number, frame in self._pictures.frames(FrameRange(start=wanted.start - first, end=wanted.end - first)):
            yield number + first, frame

    def close(self) -> None:
        """Frees the decoder until frames are asked for again."""
        self._pictures.close()


class PartSounds:
    """Samples of a part by the video's own times; ``begins`` is when the part's first frame is shown, in seconds."""

    def __init__(self, sound: AudioSource, begins: Fraction) -> None:
        self._sound = sound
        self._first = sample_at(begins, sound.sample_rate)

    def samples(self, start: Fraction, end: Fraction) -> Iterator[AudioFrame]:
        """The samples that lie nearest to ``[start, end)`` seconds of the video."""
        rate = self._sound.sample_rate
        begin, until = sample_at(start, rate) - self._first, sample_at(end, rate) - self._first
        return self._sound.samples(Fraction(begin, rate), Fraction(until, rate))

    @property
    def holes(self) -> Sequence[tuple[Fraction, Fraction]]:
        """Where the range last asked for was filled with silence: seconds from its start."""
        return self._sound.holes


class SourceSounds:
    """Samples of a source, as a master of it holds them: floats are rounded to 24 bits."""

    def __init__(self, sound: AudioSource) -> None:
        self._sound = sound

    def samples(self, start: Fraction, end: Fraction) -> Iterator[AudioFrame]:
        """The samples that lie nearest to ``[start, end)`` seconds of the video."""
        blocks = self._sound.samples(start, end)
        kept = kept_format(self._sound.format)
        resampler = AudioResampler(format=kept, layout=self._sound.layout, rate=self._sound.sample_rate)
        for block in blocks:
            for exact in resampler.resample(block):
                yield _to_24_bits(exact) if kept == "s32" else exact

    @property
    def holes(self) -> Sequence[tuple[Fraction, Fraction]]:
        """Where the range last asked for was filled with silence: seconds from its start."""
        return self._sound.holes


def kept_format(form: str) -> str:
    """The sample format in which masters keep sound of this one; of the larger one the upper 24 bits."""
    return "s16" if form.rstrip("p") in {"u8", "s16"} else "s32"


def _to_24_bits(block: AudioFrame) -> AudioFrame:
    rounded = AudioFrame.from_ndarray(
        np.ascontiguousarray(np.asarray(block.to_ndarray(), np.int32) & np.int32(-256)),
        format="s32",
        layout=block.layout.name,
    )
    rounded.sample_rate = block.sample_rate
    return rounded
