"""The gold master: every decoded frame and every decoded sample of a source, without loss.

Matroska with FFV1 level 3 (every frame by itself, 16 slices with CRC, pixel format, colour tags, aspect ratio and
rotation kept) and FLAC (rate and layout kept, from frame 0 on, holes filled with silence; decoders that give floats are
kept to 24 bits). The master comes with its own frame index, which addresses each frame's bytes and keeps the source's
exact PTS, because Matroska rounds to a millisecond.

What was encoded is what lies in the file: each packet is hashed when the encoder gives it and again when the finished
file is read back. That the encoder loses nothing is shown by a test which decodes masters and compares digests.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Self

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from contracts.values import FrameRange, MediaFacts, VideoFacts
from services.media.containers import MediaFile, named, opened
from services.media.decode import AudioSource, FrameSource, VideoDecoding, chosen_video
from services.media.digest import FrameDigest
from services.media.errors import Disagreement, MediaError, PicturesChange, translated
from services.media.frame_index import FrameIndex
from services.media.lossless import lossless_format
from services.media.part import kept_format
from services.media.probe import Probe
from services.media.proxy_video import refuse_leftovers
from services.media.recipes import MasterSettings
from services.media.sound import HOLES_TAG, Hole, placed, placement_on, spelt_holes
from services.media.timebase import nearest
from services.media.workers import Crew, Pipe

Progress = Callable[[int, int], None]

_QUEUED_PIXELS = 1 << 24
_MILLISECOND = Fraction(1, 1000)


@dataclass(frozen=True)
class Master:
    """What was made, of a whole source or a part. ``frames_sha256`` is the ``FrameDigest`` of the source's frames in it."""

    path: Path
    index: FrameIndex
    index_path: Path
    frames_sha256: str
    audio_damaged: int = 0

    @property
    def frames(self) -> int:
        """Frames in the master, as many as the source decodes to."""
        return len(self.index)


def make_master(
    source: Path, probe: Probe, out: Path, settings: MasterSettings | None = None, progress: Progress | None = None
) -> Master:
    """Writes ``master.mkv`` and ``index.bin`` into the folder ``out``.

    Raises:
        MediaError: ``media.corrupt`` or ``media.incomplete`` with counts; ``media.pictures_change`` or
            ``media.pixel_format_unsupported`` for what one lossless stream cannot hold.
    """
    settings = settings or MasterSettings()
    with translated(f"making the master of {source.name}"), ExitStack() as ways_out:
        sound = _encoded_sound(source, probe, out / "master-sound.mka")
        if sound is not None:
            ways_out.callback(sound.path.unlink, missing_ok=True)
        container = ways_out.enter_context(opened(source))
        return _Pass(container, source.name, probe, out, settings, progress, sound).run()


@dataclass(frozen=True)
class _Sound:
    path: Path
    damaged: int
    holes: tuple[Hole, ...]


def _encoded_sound(source: Path, probe: Probe, path: Path) -> _Sound | None:
    """The audio as FLAC in a file of its own, to be interleaved later by one thread and so always in one order."""
    facts = probe.facts.audio
    if facts is None:
        return None
    damaged = 0

    def decoded(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
        nonlocal damaged
        for packet in container.demux(stream):
            try:
                yield from stream.codec_context.decode(packet)
            except av.error.InvalidDataError:
                damaged += 1

    with opened(source) as container:
        stream = container.streams[facts.stream_index]
        if not isinstance(stream, AudioStream):
            return None
        frames = decoded(container, stream)
        first = next(frames, None)
        if first is None:
            return None
        rate, layout, form = first.sample_rate, first.layout.name, first.format.name
        placement = placement_on(stream, sample_rate=rate, layout=layout, form=form, origin=probe.start)
        written = _write_flac(path, first, placed(chain([first], frames), placement))
    return _Sound(path, damaged, tuple(placement.holes)) if written else None


def _write_flac(path: Path, first: AudioFrame, frames: Iterator[AudioFrame]) -> int:
    """Writes samples side by side, those of ``frames`` only; how many. ``first`` shows their rate, layout and format.

    Decoders that give floats are kept to 24 bits.
    """
    rate, layout, form = first.sample_rate, first.layout.name, first.format.name
    kept = kept_format(form)
    resampler = AudioResampler(format=kept, layout=layout, rate=rate)
    written = 0
    with av.open(str(path), "w", format="matroska", options={"fflags": "+bitexact"}) as output:
        out = output.add_stream("flac", rate=rate, options={"flags": "+bitexact"})
        out.codec_context.layout, out.codec_context.format = layout, kept
        for frame in chain(frames, [None]):
            for converted in resampler.resample(frame):
                converted.pts, converted.time_base = written, Fraction(1, rate)
                written += converted.samples
                output.mux(out.encode(converted))
        output.mux(out.encode(None))
    return written


class _Pass:
    """The whole source, decoded once from its first packet to its last."""

    def __init__(
        self,
        container: InputContainer,
        name: str,
        probe: Probe,
        out: Path,
        settings: MasterSettings,
        progress: Progress | None,
        sound: _Sound | None,
    ) -> None:
        video = probe.facts.video
        self._container = container
        self._probe = probe
        self._progress = progress
        self._stream = chosen_video(container, video.stream_index, name)
        self._decoding = VideoDecoding(
            self._stream,
            name=name,
            promised=probe.promised_frames,
            may_hide=probe.may_hide,
            usual_ticks=max(1, round(1 / (video.rate * video.timebase))),
        )
        self._file = _MasterFile(out, name, video, settings, sound)

    def run(self) -> Master:
        with Crew() as crew:
            encoder: Pipe[tuple[int, VideoFrame]] = crew.pipe(
                "master", lambda frames: self._file.encode(frames, self._lasts), depth=_depth(self._probe.facts.video)
            )
            for packet in self._container.demux(self._stream):
                for _, pts, frame in self._decoding.decode(packet):
                    encoder.put((pts, frame))
                if self._progress is not None:
                    done = self._decoding.frames
                    self._progress(done, max(done, self._probe.promised_frames))
            self._decoding.finish()
            encoder.close()
        return self._file.proved(self._decoding.last_duration)

    def _lasts(self) -> int:
        return self._decoding.last_duration


def make_part(
    file: MediaFile,
    facts: MediaFacts,
    index: FrameIndex,
    wanted: FrameRange,
    out: Path,
    settings: MasterSettings | None = None,
    progress: Progress | None = None,
) -> Master:
    """The frames ``wanted`` of a source and the sound that belongs to them, as a master of their own in the folder ``out``.

    ``index`` is the proxy's, whose times and key pictures are the source's; only what the range needs is read. Frame
    ``n`` of the part is frame ``wanted.start + n`` of the source, with the source's own PTS in the part's index. Its
    sound begins with the sample at which the range begins, counted as in the whole.

    Raises:
        MediaError: as ``make_master``, and ``media.out_of_range`` for a range that reaches past the source's end.
    """
    if wanted.end > len(index):
        raise MediaError(
            f"The range {wanted} reaches past the video's {len(index)} frames. Trim the clip and approve it again.",
            code="media.out_of_range",
        )
    settings, name, video = settings or MasterSettings(), named(file), facts.video
    with translated(f"making the master of frames {wanted} of {name}"), ExitStack() as ways_out:
        sound = _sound_of_range(file, facts, index, wanted, out / "master-sound.mka")
        if sound is not None:
            ways_out.callback(sound.path.unlink, missing_ok=True)
        part = _MasterFile(out, name, video, settings, sound)
        lasts = (index.time(wanted.end) - index.time(wanted.end - 1)) / index.timebase
        frames = ways_out.enter_context(FrameSource(file, index.without_addresses(), video.stream_index))
        with Crew() as crew:
            encoder: Pipe[tuple[int, VideoFrame]] = crew.pipe(
                "master", lambda taken: part.encode(taken, lambda: int(lasts)), depth=_depth(video)
            )
            for number, frame in frames.frames(wanted):
                encoder.put((int(index.pts[number]), frame))
                if progress is not None:
                    progress(number + 1 - wanted.start, len(wanted))
            encoder.close()
        return part.proved(int(lasts))


def _sound_of_range(
    file: MediaFile, facts: MediaFacts, index: FrameIndex, wanted: FrameRange, path: Path
) -> _Sound | None:
    if facts.audio is None:
        return None
    start, end = index.time(wanted.start), index.time(wanted.end)
    with AudioSource(file, facts.audio.stream_index, origin=index.start) as source:
        frames = source.samples(start, end)
        first = next(frames, None)
        if first is None:
            return None
        written = _write_flac(path, first, chain([first], frames))
        rate = source.sample_rate
        holes = tuple((nearest(begin * rate), nearest(until * rate)) for begin, until in source.holes)
        return _Sound(path, source.damaged, holes) if written else None


def _depth(video: VideoFacts) -> int:
    """Frames that wait for the encoder: eight keep both sides busy; of very large pictures two have to do."""
    return max(2, min(8, _QUEUED_PIXELS // (video.width * video.height)))


class _MasterFile:
    """One ``master.mkv`` being written, and the proof that it holds what was encoded."""

    def __init__(self, out: Path, name: str, video: VideoFacts, settings: MasterSettings, sound: _Sound | None) -> None:
        self._out = out
        self._name = name
        self._video = video
        self._settings = settings
        self._sound = sound
        self._pts: array[int] = array("q")
        self._digest = FrameDigest()
        self._packets = hashlib.sha256()
        self._packet_count = 0
        self._held: Packet[VideoStream] | None = None

    def encode(self, frames: Iterator[tuple[int, VideoFrame]], lasts: Callable[[], int]) -> None:
        """Encodes frames with their PTS in source ticks; ``lasts`` is asked at the end how long the last is shown."""
        opening = next(frames, None)
        if opening is None:
            return
        first = opening[1]
        form = lossless_format(first.format.name)
        with ExitStack() as ways_out:
            output = ways_out.enter_context(
                av.open(
                    str(self._out / "master.mkv"),
                    "w",
                    format="matroska",
                    options={"fflags": "+bitexact", "max_interleave_delta": "1000000"},
                )
            )
            stream = _ffv1_stream(output, first, form, self._video, self._settings)
            sound = ways_out.enter_context(_SoundTrack(self._sound, output))
            rearrange = VideoReformatter()
            shape = (first.width, first.height, first.format.name)
            for number, (pts, frame) in enumerate(chain([opening], frames)):
                if (frame.width, frame.height, frame.format.name) != shape:
                    raise PicturesChange(
                        f"From frame {number} on the pictures of {self._name} are {frame.width}x{frame.height} "
                        f"{frame.format.name}; before they were {shape[0]}x{shape[1]} {shape[2]}. Request the video "
                        "with the mastering policy none, or convert it to one size first."
                    )
                self._pts.append(pts)
                exact = frame if frame.format.name == form else rearrange.reformat(frame, format=form, threads=1)
                self._digest.add(exact)
                exact.pts = nearest((pts - self._pts[0]) * self._video.timebase / _MILLISECOND)
                exact.time_base = _MILLISECOND
                exact.pict_type = 0
                for packet in stream.encode(exact):
                    self._write(packet, output, sound)
                if number == 0:
                    refuse_leftovers(stream, "ffv1")
            for packet in stream.encode(None):
                self._write(packet, output, sound)
            self._write(None, output, sound, lasts())
            sound.up_to(None)
        if self._packet_count != self._digest.frames:
            raise Disagreement(
                f"The master took {self._digest.frames} frames and holds {self._packet_count}. Report this."
            )

    def _write(
        self, packet: Packet[VideoStream] | None, output: OutputContainer, sound: _SoundTrack, lasts: int = 0
    ) -> None:
        """Writes the packet before this one; the last, which nothing follows, is shown for ``lasts`` ticks."""
        held, self._held = self._held, packet
        if packet is not None:
            self._packets.update(packet)
            self._packet_count += 1
        if held is None:
            return
        if packet is None:
            held.duration = nearest(lasts * self._video.timebase / held.time_base)
        if held.pts is not None:
            sound.up_to(held.pts * Fraction(held.time_base))
        output.mux(held)

    def proved(self, last_duration: int) -> Master:
        """Reads the master back, writes its index, and gives both."""
        index = self._proved_index(last_duration)
        index_path = self._out / "index.bin"
        index_path.write_bytes(index.to_bytes())
        return Master(
            path=self._out / "master.mkv",
            index=index,
            index_path=index_path,
            frames_sha256=self._digest.hexdigest(),
            audio_damaged=self._sound.damaged if self._sound else 0,
        )

    def _proved_index(self, last_duration: int) -> FrameIndex:
        """Its packets have to be the encoder's, byte for byte."""
        path, video = self._out / "master.mkv", self._video
        offsets, sizes, check = array("Q"), array("I"), hashlib.sha256()
        with opened(path) as container, path.open("rb") as raw:
            stream = container.streams.video[0]
            context = stream.codec_context
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                data = bytes(packet)
                check.update(data)
                offsets.append(_payload_offset(raw, packet.pos or 0, data))
                sizes.append(len(data))
            extradata = bytes(context.extradata or b"")
            width, height = context.width, context.height
        if check.digest() != self._packets.digest():
            raise Disagreement(f"The master of {self._name} does not hold what was encoded. The work will be repeated.")
        return FrameIndex(
            codec="ffv1",
            extradata=extradata,
            width=width,
            height=height,
            rate=video.rate,
            timebase=video.timebase,
            pts=np.frombuffer(self._pts, np.int64),
            last_duration=last_duration,
            sizes=np.asarray(sizes, np.uint32),
            offsets=np.asarray(offsets, np.uint64),
            keys=np.ones(len(sizes), np.bool_),
        )


def _ffv1_stream(
    output: OutputContainer, first: VideoFrame, form: str, video: VideoFacts, settings: MasterSettings
) -> VideoStream:
    options = {
        "level": "3",
        "coder": str(settings.coder),
        "context": str(settings.context),
        "g": "1",
        "slices": str(_slices(first.width, first.height, settings.slices)),
        "slicecrc": "1",
        "threads": str(settings.threads),
        "flags": "+bitexact",
    }
    stream = output.add_stream("ffv1", rate=video.rate, options=options)
    stream.width, stream.height, stream.pix_fmt = first.width, first.height, form
    context = stream.codec_context
    context.time_base = stream.time_base = _MILLISECOND
    context.color_range = 2 if first.format.name.startswith("yuvj") else int(first.color_range)
    context.colorspace = int(first.colorspace)
    context.color_primaries = int(first.color_primaries)
    context.color_trc = int(first.color_trc)
    if video.sample_aspect_ratio != 1:
        context.sample_aspect_ratio = video.sample_aspect_ratio
    if first.rotation:
        stream.set_display_rotation(first.rotation)
    return stream


def _slices(width: int, height: int, wanted: int) -> int:
    """FFV1 refuses slices of a few pixels: small pictures get 4."""
    return wanted if min(width, height) >= 64 else 4


class _SoundTrack:
    """Copies the encoded audio into the master in step with the pictures."""

    def __init__(self, sound: _Sound | None, output: OutputContainer) -> None:
        self._ways_out = ExitStack()
        self._packets: Iterator[Packet[AudioStream]] = iter(())
        self._next: Packet[AudioStream] | None = None
        self._output = output
        if sound is not None:
            container = self._ways_out.enter_context(opened(sound.path))
            stream = container.streams.audio[0]
            self._out = output.add_stream_from_template(stream)
            if sound.holes:
                # Silence that was put in looks like any other, and whoever judges a clip has to know it.
                self._out.metadata[HOLES_TAG] = spelt_holes(sound.holes)
            self._packets = (packet for packet in container.demux(stream) if packet.size)
            self._next = next(self._packets, None)

    def up_to(self, time: Fraction | None) -> None:
        """Writes packets that begin at or before ``time`` (seconds), or all."""
        while self._next is not None:
            packet = self._next
            begins = (packet.pts or 0) * Fraction(packet.time_base)
            if time is not None and begins > time:
                return
            packet.stream = self._out
            self._output.mux(packet)
            self._next = next(self._packets, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ways_out.close()


def _payload_offset(raw: BinaryIO, position: int, data: bytes) -> int:
    """Where a packet's own bytes begin: a Matroska block has a few bytes of header, whose length varies."""
    raw.seek(position)
    window = raw.read(len(data) + 16)
    place = window.find(data)
    if place < 0:
        raise Disagreement("A frame of the master does not lie where its container says. The work will be repeated.")
    return position + place
