"""A clip's sound on its way from source samples to encoded packets, counted and measured as it passes.

Guarantees: exactly as many samples leave as the clip lasts, none early and none late; a layout with more channels than
the profile allows is mixed down without overload; loudness is measured by EBU R128 on what is delivered, in the same pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from numpy.typing import NDArray

from services.media.errors import EncodingFailed
from services.media.measure import SoundFacts, SoundLimits, SoundMeter
from services.media.profiles import AudioEncoding
from services.media.timebase import nearest

_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


class SoundChain:
    """One rendition's sound: resampled, mixed down, measured and encoded.

    ``length`` is how long the clip lasts, in seconds. Blocks are given in order and without gaps. After ``finish`` the
    stream holds ``round(length * rate)`` samples: what the blocks lack of them is silence at the end.
    """

    def __init__(
        self,
        output: OutputContainer,
        encoding: AudioEncoding,
        first: AudioFrame,
        length: Fraction,
        *,
        limits: SoundLimits | None = None,
    ) -> None:
        source_channels = first.layout.nb_channels
        channels = min(source_channels, encoding.max_channels or source_channels)
        self._layout = first.layout.name if channels == source_channels else _LAYOUTS[channels]
        if "channels" in self._layout or not self._layout:
            # A stream may leave its layout unsaid; encoders insist on one.
            self._layout = _LAYOUTS.get(channels, "stereo")
        allowed = encoding.sample_rates
        self.sample_rate = first.sample_rate if not allowed or first.sample_rate in allowed else allowed[0]
        self.channels = channels
        self._source_rate = first.sample_rate
        self._wanted = nearest(length * self.sample_rate)
        self._taken = 0
        self._made = 0
        self.stream: AudioStream = self._open(output, encoding)
        self._graph = self._chain(first, encoding)
        self._meter = SoundMeter(self.sample_rate, channels, limits=limits)
        self._loudness = LoudnessMeter(self.sample_rate, self._layout, encoding.sample_format)

    def _open(self, output: OutputContainer, encoding: AudioEncoding) -> AudioStream:
        stream: Any = output.add_stream(encoding.encoder, rate=self.sample_rate, options=dict(encoding.options))
        context = stream.codec_context
        context.layout = self._layout
        context.format = encoding.sample_format
        context.time_base = Fraction(1, self.sample_rate)
        stream.time_base = context.time_base
        context.flags |= int(av.codec.context.Flags.bitexact)
        if encoding.bit_rate_per_channel is not None:
            context.bit_rate = encoding.bit_rate_per_channel * self.channels
        open_encoder(context)
        return stream  # type: ignore[no-any-return]

    def _chain(self, first: AudioFrame, encoding: AudioEncoding) -> av.filter.Graph:
        graph = av.filter.Graph()
        source = graph.add(
            "abuffer",
            f"sample_rate={first.sample_rate}:sample_fmt={first.format.name}:channel_layout={first.layout.name}"
            f":time_base=1/{first.sample_rate}",
        )
        form = f"sample_rates={self.sample_rate}:channel_layouts={self._layout}"
        steps = [("aresample", f"{self.sample_rate}:rematrix_maxval=1000")]
        if self.channels < first.layout.nb_channels:
            # Channels add up as they would in a room, so that loudness stays what it was; scaling them down for the worst
            # case would cost 8 dB. The limiter catches the rare sum beyond full scale and leaves all else as it is.
            steps.append(("aformat", f"sample_fmts=dbl:{form}"))
            steps.append(("alimiter", "limit=0.98:attack=2:release=50:level=false:latency=true"))
        steps += [
            ("aformat", f"sample_fmts={encoding.sample_format}:{form}"),
            ("apad", f"whole_len={self._wanted}"),
            ("atrim", f"end_sample={self._wanted}"),
        ]
        size = self.stream.codec_context.frame_size
        if size:
            steps.append(("asetnsamples", f"n={size}:p=0"))
        else:
            steps.append(("asetnsamples", "n=4096:p=0"))
        end = source
        for name, arguments in steps:
            step = graph.add(name, arguments)
            end.link_to(step)
            end = step
        end.link_to(graph.add("abuffersink"))
        graph.configure()
        return graph

    def push(self, block: AudioFrame) -> list[Packet[Stream]]:
        """Takes a block of source samples; returns the packets that came out."""
        block.pts = self._taken
        block.time_base = Fraction(1, self._source_rate)
        self._taken += block.samples
        self._graph.push(block)
        return list(self._drain())

    def finish(self) -> list[Packet[Stream]]:
        """Ends the sound; returns the last packets."""
        self._graph.push(None)
        packets = list(self._drain())
        packets.extend(self._encode(None))
        if self._made != self._wanted:
            raise EncodingFailed(
                f"The sound came out {self._made} samples long instead of {self._wanted}. "
                "The clip was not published; report the source's audio codec and layout."
            )
        return packets

    def facts(self) -> SoundFacts:
        """What was measured of the delivered samples."""
        integrated, spread, true_peak = self._loudness.result()
        return self._meter.facts(loudness=integrated, loudness_range=spread, true_peak=true_peak)

    def _drain(self) -> Iterator[Packet[Stream]]:
        while True:
            try:
                frame = self._graph.pull()
            except (BlockingIOError, EOFError):
                return
            assert isinstance(frame, AudioFrame)  # noqa: S101 - an audio graph gives audio frames.
            self._meter.add(as_float(frame))
            self._loudness.add(frame)
            frame.pts = self._made
            frame.time_base = Fraction(1, self.sample_rate)
            self._made += frame.samples
            yield from self._encode(frame)

    def _encode(self, frame: AudioFrame | None) -> list[Packet[Stream]]:
        return list(self.stream.encode(frame))


class LoudnessMeter:
    """EBU R128 loudness, its range and the true peak of the samples given."""

    def __init__(self, sample_rate: int, layout: str, sample_format: str) -> None:
        self._graph = av.filter.Graph()
        source = self._graph.add(
            "abuffer",
            f"sample_rate={sample_rate}:sample_fmt={sample_format}:channel_layout={layout}:time_base=1/{sample_rate}",
        )
        meter = self._graph.add("ebur128", "metadata=1:peak=true:framelog=quiet")
        source.link_to(meter)
        meter.link_to(self._graph.add("abuffersink"))
        self._graph.configure()
        self._rate = sample_rate
        self._samples = 0
        self._last: dict[str, str] = {}
        self._true_peak = 0.0

    def add(self, frame: AudioFrame) -> None:
        """Takes a frame, which stays as it is."""
        frame.pts = self._samples
        frame.time_base = Fraction(1, self._rate)
        self._samples += frame.samples
        self._graph.push(frame)
        self._collect()

    def result(self) -> tuple[float | None, float | None, float | None]:
        """Integrated loudness (LUFS), range (LU) and true peak (dBTP); ``None`` where too little was heard to tell."""
        self._graph.push(None)
        self._collect()
        integrated = self._value("lavfi.r128.I", lowest=-70.0)
        spread = self._value("lavfi.r128.LRA", lowest=-1.0) if integrated is not None else None
        peak = round(20 * math.log10(self._true_peak), 2) if self._true_peak > 0 else None
        return integrated, spread, peak

    def _value(self, name: str, *, lowest: float) -> float | None:
        value = float(self._last.get(name, "nan"))
        # The meter says -70 LUFS while no block has passed its gate.
        return round(value, 2) if math.isfinite(value) and value > lowest else None

    def _collect(self) -> None:
        while True:
            try:
                frame = self._graph.pull()
            except (BlockingIOError, EOFError):
                return
            said = dict(frame.metadata)
            if "lavfi.r128.I" in said:
                self._last = said
            for name, value in said.items():
                # The key holds the peak so far as a share of full scale, once a channel or once for all.
                if name.startswith("lavfi.r128.true_peak"):
                    level = float(value)
                    if math.isfinite(level):
                        self._true_peak = max(self._true_peak, level)


def as_float(frame: AudioFrame) -> NDArray[np.float32]:
    """The frame's samples as float32[channels, samples], full scale 1."""
    samples: NDArray[Any] = np.asarray(frame.to_ndarray())
    channels = frame.layout.nb_channels
    if not frame.format.is_planar:
        samples = samples.reshape(-1, channels).T
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128.0) / 128.0
    if samples.dtype.kind == "i":
        return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    return samples.astype(np.float32, copy=False)


def open_encoder(context: Any) -> None:
    """Opens a codec context and refuses options that the encoder did not take.

    The library ignores a misspelt option in silence, so that a profile would promise what its files do not hold.
    """
    context.open(strict=False)
    leftover = sorted(context.options)
    if leftover:
        raise EncodingFailed(
            f"The encoder {context.name} knows no option called {', '.join(leftover)}. Correct the export profile.",
            code="media.unknown_encoder_option",
        )
