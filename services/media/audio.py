"""A clip's sound on its way from source samples to encoded packets, counted and measured as it passes.

Guarantees: exactly as many samples leave as the clip lasts, none early and none late; a layout with more channels than
the profile allows is mixed down without overload; a gain and fades at the cut edges, where asked for, touch nothing else;
loudness is measured by EBU R128 on what is delivered, in the same pass.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Self

import av
import av.filter
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from numpy.typing import NDArray

from services.media.containers import copied
from services.media.errors import EncodingFailed
from services.media.measure import SoundFacts, SoundLimits, SoundMeter
from services.media.profiles import AudioEncoding
from services.media.scheduling import wait_turns
from services.media.sound import tangible
from services.media.timebase import nearest

_MEASURED_AT_ONCE = 16
"""Encoder's frames: one by one, each of their thousand samples would cost more to ask for than to measure."""
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


@dataclass(frozen=True)
class SoundForm:
    """What an encoding makes of a source's sound: rate, layout, and how many samples a clip lasts."""

    sample_rate: int
    channels: int
    layout: str
    samples: int

    @classmethod
    def of(cls, encoding: AudioEncoding, first: AudioFrame, length: Fraction) -> Self:
        """The form for a source whose blocks are like ``first``; ``length`` is the clip's, in seconds."""
        source_channels = first.layout.nb_channels
        channels = min(source_channels, encoding.max_channels or source_channels)
        layout = first.layout.name if channels == source_channels else _LAYOUTS[channels]
        if "channels" in layout or not layout:
            # A stream may leave its layout unsaid; encoders insist on one.
            layout = _LAYOUTS.get(channels, "stereo")
        allowed = encoding.sample_rates
        rate = first.sample_rate if not allowed or first.sample_rate in allowed else allowed[0]
        return cls(rate, channels, layout, nearest(length * rate))


class SoundGraph:
    """Source blocks in, delivered samples out: resampled, mixed down, with gain and fades, cut to the sample.

    ``frame_size`` is how many samples an encoder wants at once, 0 if it does not mind. ``gain`` is in decibels;
    ``fade_milliseconds`` is how long sound swells at the clip's start and ebbs at its end.
    """

    def __init__(
        self,
        first: AudioFrame,
        form: SoundForm,
        *,
        sample_format: str,
        frame_size: int,
        gain: float = 0.0,
        fade_milliseconds: float = 0.0,
    ) -> None:
        self._source_rate = first.sample_rate
        self._taken = 0
        self._graph = av.filter.Graph()
        end = self._graph.add(
            "abuffer",
            f"sample_rate={first.sample_rate}:sample_fmt={first.format.name}:channel_layout={first.layout.name}"
            f":time_base=1/{first.sample_rate}",
        )
        said = f"sample_rates={form.sample_rate}:channel_layouts={form.layout}"
        steps = [("aresample", f"{form.sample_rate}:rematrix_maxval=1000")]
        if form.channels < first.layout.nb_channels:
            # Channels add up as they would in a room, so that loudness stays what it was; scaling them down for the worst
            # case would cost 8 dB. The limiter catches the rare sum beyond full scale and leaves all else as it is.
            steps.append(("aformat", f"sample_fmts=dbl:{said}"))
            steps.append(("alimiter", "limit=0.98:attack=2:release=50:level=false:latency=true"))
        if gain:
            steps.append(("aformat", f"sample_fmts=dbl:{said}"))
            steps.append(("volume", f"volume={gain:.2f}dB:precision=double"))
        steps += [
            ("aformat", f"sample_fmts={sample_format}:{said}"),
            ("apad", f"whole_len={form.samples}"),
            ("atrim", f"end_sample={form.samples}"),
        ]
        fade = min(nearest(Fraction(fade_milliseconds) * form.sample_rate / 1000), form.samples // 2)
        if fade:
            steps.append(("afade", f"type=in:start_sample=0:nb_samples={fade}:curve=tri"))
            steps.append(("afade", f"type=out:start_sample={form.samples - fade}:nb_samples={fade}:curve=tri"))
        steps.append(("asetnsamples", f"n={frame_size or 4096}:p=0"))
        for name, arguments in steps:
            step = self._graph.add(name, arguments)
            end.link_to(step)
            end = step
        end.link_to(self._graph.add("abuffersink"))
        self._graph.configure()

    def push(self, block: AudioFrame) -> Iterator[AudioFrame]:
        """Takes a block of source samples; gives the frames that came out."""
        block.pts = self._taken
        block.time_base = Fraction(1, self._source_rate)
        self._taken += block.samples
        self._graph.push(block)
        yield from self._drain()

    def finish(self) -> Iterator[AudioFrame]:
        """Ends the sound; gives the last frames."""
        self._graph.push(None)
        yield from self._drain()

    def _drain(self) -> Iterator[AudioFrame]:
        while True:
            try:
                frame = self._graph.pull()
            except (BlockingIOError, EOFError):
                return
            assert isinstance(frame, AudioFrame)  # noqa: S101 - an audio graph gives audio frames.
            yield frame


@dataclass
class Track:
    """The sound of one file: its stream, and the packets that are to be written into it."""

    stream: AudioStream
    waiting: deque[Packet[Stream]] = field(default_factory=deque)


class SoundChain:
    """Sound resampled, mixed down, measured and encoded, once for all files that want it alike.

    The first track's stream encodes, and each file that joins gets the same packets. ``length`` is how long the clip lasts,
    in seconds. Blocks are given in order and without gaps. After ``finish`` a track holds ``round(length * rate)``
    samples: what the blocks lack of them is silence at the end.
    """

    def __init__(
        self,
        output: OutputContainer,
        encoding: AudioEncoding,
        first: AudioFrame,
        length: Fraction,
        *,
        limits: SoundLimits | None = None,
        gain: float | None = None,
    ) -> None:
        self._gain = gain
        self._encoding = encoding
        self._form = SoundForm.of(encoding, first, length)
        self.sample_rate, self.channels = self._form.sample_rate, self._form.channels
        self._made = 0
        self.tracks: list[Track] = []
        self._stream = self.join(output).stream
        self._graph = SoundGraph(
            first,
            self._form,
            sample_format=encoding.sample_format,
            frame_size=self._stream.codec_context.frame_size,
            gain=gain or 0.0,
            fade_milliseconds=encoding.fade_milliseconds,
        )
        self._meter = SoundMeter(self._form.sample_rate, self._form.channels, limits=limits)
        self._unmeasured: list[NDArray[np.float32]] = []
        self._loudness = LoudnessMeter(self._form.sample_rate, self._form.layout, encoding.sample_format)
        self._facts: SoundFacts | None = None

    def join(self, output: OutputContainer) -> Track:
        """Opens a track in one more file, before the first block comes."""
        encoding, form = self._encoding, self._form
        stream: Any = output.add_stream(encoding.encoder, rate=form.sample_rate, options=dict(encoding.options))
        context = stream.codec_context
        context.layout = form.layout
        context.format = encoding.sample_format
        context.time_base = Fraction(1, form.sample_rate)
        stream.time_base = context.time_base
        context.flags |= int(av.codec.context.Flags.bitexact)
        if encoding.bit_rate_per_channel is not None:
            context.bit_rate = encoding.bit_rate_per_channel * form.channels
        open_encoder(context)
        track = Track(stream)
        self.tracks.append(track)
        return track

    def push(self, block: AudioFrame) -> None:
        """Takes a block of source samples; gives each track the packets that came out."""
        for frame in self._graph.push(block):
            self._encode(frame)

    def finish(self) -> None:
        """Ends the sound; gives each track the last packets."""
        for frame in self._graph.finish():
            self._encode(frame)
        self._deal(self._stream.encode(None))
        self._measure()
        if self._made != self._form.samples:
            raise EncodingFailed(
                f"The sound came out {self._made} samples long instead of {self._form.samples}. "
                "The clip was not published; report the source's audio codec and layout."
            )
        integrated, spread, true_peak = self._loudness.result()
        found = self._meter.facts(loudness=integrated, loudness_range=spread, true_peak=true_peak)
        self._facts = replace(found, gain=self._gain)

    def facts(self) -> SoundFacts | None:
        """What was measured of the delivered samples; nothing before the sound has ended."""
        return self._facts

    def _encode(self, frame: AudioFrame) -> None:
        self._unmeasured.append(as_float(frame))
        if len(self._unmeasured) == _MEASURED_AT_ONCE:
            self._measure()
        self._loudness.add(frame)
        frame.pts = self._made
        frame.time_base = Fraction(1, self._form.sample_rate)
        self._made += frame.samples
        self._deal(self._stream.encode(frame))

    def _deal(self, packets: Sequence[Packet[Stream]]) -> None:
        encoding, *others = self.tracks
        for packet in packets:
            for track in others:
                twin = copied(packet)
                twin.stream = track.stream
                track.waiting.append(twin)
            encoding.waiting.append(packet)

    def _measure(self) -> None:
        if self._unmeasured:
            self._meter.add(np.concatenate(self._unmeasured, axis=1))
            self._unmeasured.clear()


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
    form = tangible(frame.format.name, frame.layout.name)
    if form != frame.format.name:
        (frame,) = AudioResampler(format=form, layout=frame.layout, rate=frame.sample_rate).resample(frame)
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
    """Opens a codec context, at ordinary priority, and refuses options that the encoder did not take.

    The library ignores a misspelt option in silence, so that a profile would promise what its files do not hold.
    """
    context.open(strict=False)
    wait_turns()
    leftover = sorted(context.options)
    if leftover:
        raise EncodingFailed(
            f"The encoder {context.name} knows no option called {', '.join(leftover)}. Correct the export profile.",
            code="media.unknown_encoder_option",
        )
