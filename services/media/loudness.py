"""Loudness brought to a target: a clip's sound is heard once, kept on disk, measured, and then given on with one gain.

Guarantees: the source is read once; the gain is one number for the whole clip, so that nothing is compressed and the mix
stays what it was; no true peak is lifted above the target's ceiling; the same samples give the same gain.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from services.media.audio import LoudnessMeter, SoundForm, SoundGraph
from services.media.errors import Disagreement
from services.media.profiles import AudioEncoding, LoudnessTarget

LARGEST_GAIN = 30.0
"""Decibels. What is quieter than that is no sound that was meant to be heard: it would be noise brought up."""


@dataclass(frozen=True)
class Gain:
    """By how many decibels a clip's sound is changed, and whether the peak ceiling kept it from the target."""

    decibels: float
    held_by_peak: bool = False


class SoundSpool:
    """Blocks of samples kept in a file without a name, to be read as often as wanted. Close it when done."""

    def __init__(self, folder: Path, blocks: Iterable[AudioFrame]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by ``close``.
        self._lengths = array("l")
        self._kind: tuple[str, str, int, np.dtype[Any]] | None = None
        try:
            for block in blocks:
                samples: NDArray[Any] = np.ascontiguousarray(block.to_ndarray())
                kind = (block.format.name, block.layout.name, block.sample_rate, samples.dtype)
                self._kind = self._kind or kind
                if kind != self._kind:
                    raise Disagreement("The sound changed its form midway. Preprocess the video again.")
                self._file.write(samples.data)
                self._lengths.append(block.samples)
        except BaseException:
            self._file.close()
            raise

    def blocks(self) -> Iterator[AudioFrame]:
        """The blocks from the first on, as they came. One reading at a time."""
        if self._kind is None:
            return
        name, layout, rate, dtype = self._kind
        pattern = AudioFrame(format=name, layout=layout, samples=1)
        planes = pattern.layout.nb_channels if pattern.format.is_planar else 1
        width = 1 if pattern.format.is_planar else pattern.layout.nb_channels
        self._file.seek(0)
        for length in self._lengths:
            data = self._file.read(length * planes * width * dtype.itemsize)
            frame = AudioFrame.from_ndarray(
                np.frombuffer(data, dtype).reshape(planes, length * width), format=name, layout=layout
            )
            frame.sample_rate = rate
            yield frame

    def close(self) -> None:
        """Frees the disk space."""
        self._file.close()


def measured_gain(
    blocks: Iterable[AudioFrame], encoding: AudioEncoding, target: LoudnessTarget, length: Fraction
) -> Gain:
    """The gain that brings the sound, as this encoding would deliver it, to the target.

    ``length`` is how long the clip lasts, in seconds. Too little sound to tell a loudness gives no gain.
    """
    graph: SoundGraph | None = None
    meter: LoudnessMeter | None = None
    for block in blocks:
        if graph is None:
            form = SoundForm.of(encoding, block, length)
            graph = SoundGraph(block, form, sample_format="dbl", frame_size=0)
            meter = LoudnessMeter(form.sample_rate, form.layout, "dbl")
        assert meter is not None  # noqa: S101 - made with the graph.
        for frame in graph.push(block):
            meter.add(frame)
    if graph is None or meter is None:
        return Gain(0.0)
    for frame in graph.finish():
        meter.add(frame)
    integrated, _, peak = meter.result()
    return gain_to(target, integrated, peak)


def gain_to(target: LoudnessTarget, integrated: float | None, peak: float | None) -> Gain:
    """The gain from ``integrated`` (LUFS) and the true ``peak`` (dBTP) to the target, cut at its ceiling.

    A peak that lies above the ceiling already is brought down to it.
    """
    if integrated is None or peak is None:
        return Gain(0.0)
    wanted = min(target.integrated - integrated, LARGEST_GAIN)
    ceiling = target.true_peak - peak
    # Rounded down, so that the ceiling holds.
    return Gain(round(min(wanted, ceiling) - 0.005, 2), held_by_peak=ceiling < wanted)
