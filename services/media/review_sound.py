"""Review audio and its waveform: what is heard and seen while a person decides.

The audio is AAC stereo in an MP4 of its own; its first sample belongs to the first video frame, holes are silence, and
it ends no later than the video. Peaks are one binary file, little-endian: "HPKS", u16 version 1, u16 channels (1),
u32 sample rate, u32 samples per bucket, u32 buckets, then for each bucket i8 lowest and i8 highest sample (127 is full
scale) of the channels' mean.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet
from numpy.typing import NDArray

from services.media.sound import placed, placement_on

AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000})
BUCKETS_PER_SECOND = 100
PEAKS_CONTENT_TYPE = "application/vnd.heaters.peaks"
_PEAKS = struct.Struct("<4sHHIII")
_BLOCK = 1 << 15
"""Samples that are looked at and encoded together: 32 of the encoder's frames, each next to nothing by itself."""


@dataclass(frozen=True)
class ReviewSound:
    """What was written.

    ``damaged`` counts packets that no decoder could read; ``filled`` samples of silence added; ``converted`` samples that
    came in another rate, layout or format than the first.
    """

    audio: Path
    peaks: Path
    codec: str
    sample_rate: int
    channels: int
    damaged: int
    filled: int
    converted: int


class PeakMeter:
    """Lowest and highest sample of every bucket."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._bucket = max(1, sample_rate // BUCKETS_PER_SECOND)
        self._rest: NDArray[np.float32] = np.zeros(0, np.float32)
        self._parts: list[bytes] = []

    def add(self, samples: NDArray[np.float32]) -> None:
        """float32[channels, samples], 1.0 is full scale; best many at once."""
        self._rest = np.concatenate((self._rest, samples.mean(axis=0, dtype=np.float32)))
        whole = len(self._rest) // self._bucket * self._bucket
        self._take(self._rest[:whole].reshape(-1, self._bucket))
        self._rest = self._rest[whole:]

    def _take(self, buckets: NDArray[np.float32]) -> None:
        if buckets.size:
            pairs = np.stack((buckets.min(axis=1), buckets.max(axis=1)), axis=1)
            self._parts.append(np.clip(np.rint(pairs * 127), -127, 127).astype(np.int8).tobytes())

    def to_bytes(self) -> bytes:
        """The file described in the module."""
        if len(self._rest):
            self._take(self._rest.reshape(1, -1))
            self._rest = self._rest[:0]
        body = b"".join(self._parts)
        return _PEAKS.pack(b"HPKS", 1, 1, self._rate, self._bucket, len(body) // 2) + body


def write_review_sound(
    packets: Iterator[Packet[AudioStream]],
    stream: AudioStream,
    *,
    origin: Fraction,
    duration: Fraction,
    folder: Path,
    bit_rate: int,
) -> ReviewSound | None:
    """Decodes all packets of ``stream`` and writes audio and peaks into ``folder``; None if not one sample decodes.

    ``origin`` is the time of the first video frame on the source's axis, ``duration`` that of the video, in seconds.
    """
    decoding = _Decoding(stream)
    frames = decoding.frames(packets)
    first = next(frames, None)
    if first is None:
        return None
    placement = placement_on(
        stream,
        sample_rate=first.sample_rate,
        layout=first.layout.name,
        form=first.format.name,
        origin=origin,
        duration=duration,
    )
    out_rate = first.sample_rate if first.sample_rate in AAC_RATES else 48_000
    path, peaks_path = folder / "audio.m4a", folder / "peaks.bin"
    meter = PeakMeter(out_rate)
    with av.open(str(path), "w", format="ipod", options={"movflags": "+faststart", "fflags": "+bitexact"}) as container:
        out = container.add_stream("aac", rate=out_rate, options={"flags": "+bitexact"})
        out.codec_context.layout, out.codec_context.format = "stereo", "fltp"
        out.bit_rate = bit_rate
        written = 0
        for block in _blocks(placed(chain([first], frames), placement), out_rate):
            meter.add(block.to_ndarray().astype(np.float32, copy=False))
            block.pts, block.time_base = written, Fraction(1, out_rate)
            written += block.samples
            container.mux(out.encode(block))
        container.mux(out.encode(None))
    # What lies after the video's end is not heard, but whoever sends packets waits for them to be taken.
    for _ in packets:
        pass
    peaks_path.write_bytes(meter.to_bytes())
    return ReviewSound(
        path,
        peaks_path,
        codec="mp4a.40.2",
        sample_rate=out_rate,
        channels=2,
        damaged=decoding.damaged,
        filled=placement.filled,
        converted=placement.converted,
    )


def _blocks(frames: Iterator[AudioFrame], rate: int) -> Iterator[AudioFrame]:
    """The same samples as float32 stereo of that rate, many in a frame."""
    resampler, gathered = AudioResampler(format="fltp", layout="stereo", rate=rate), AudioFifo()
    for frame in chain(frames, [None]):
        for converted in resampler.resample(frame):
            converted.pts = None
            gathered.write(converted)
        yield from gathered.read_many(_BLOCK)
    yield from gathered.read_many(_BLOCK, partial=True)


class _Decoding:
    """Decoded frames of a stream; packets that cannot be decoded are counted and left out."""

    def __init__(self, stream: AudioStream) -> None:
        self._stream = stream
        self.damaged = 0

    def frames(self, packets: Iterator[Packet[AudioStream]]) -> Iterator[AudioFrame]:
        for packet in packets:
            try:
                yield from self._stream.codec_context.decode(packet)
            except av.error.InvalidDataError:
                self.damaged += 1
