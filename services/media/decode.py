"""Frames and samples by number, exactly.

``VideoDecoding`` turns packets into numbered frames and keeps count, so that a file which decodes only in part is an
error and never a shorter video. ``FrameSource`` gives any range of frames of a proxy, a master or a source; of the
first two it reads the needed bytes alone, of a source it seeks to a key picture and drops what precedes the range.
``AudioSource`` gives any range of samples, with silence where the source has a hole, and says where that was.

Frame threads are used everywhere, and decoders are flushed: without that the last frames would be lost.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from contracts.values import Finding, FrameRange
from services.media.containers import MediaFile, named, opened, packet_of, video_stream
from services.media.errors import Corrupt, Incomplete, MediaError, NoVideoStream, UnsupportedCodec, translated
from services.media.frame_index import FrameIndex
from services.media.sound import FIRST_FRAMES, HOLES_TAG, Placement, first_grid, holes_told, placed, placement_on
from services.media.timebase import sample_at

_DAMAGE = "Fetch or export the source again; if a player shows it whole, re-wrap it (stream copy to MP4) and retry."
_AUDIO_PREROLL = Fraction(1, 2)
"""Seconds decoded and thrown away before an audio range: MP3 and AAC lean on earlier packets, Opus on 80 ms."""


class VideoDecoding:
    """Decodes one video stream's packets into ``(number, PTS, frame)`` and proves at the end that all came.

    PTS are those of the source, made strictly increasing where the source repeats or omits one (``mended`` counts).
    Damage does not stop it: the rest is decoded all the same, so that ``finish`` can name every range that is hurt.
    Lifetime: feed every packet of the stream in order, the empty flush packet included, then call ``finish``.
    """

    def __init__(self, stream: VideoStream, *, name: str, promised: int, may_hide: bool, usual_ticks: int) -> None:
        stream.thread_type = "FRAME"
        self._context = stream.codec_context
        self._name = name
        self._promised = promised
        self._may_hide = may_hide
        self._usual_ticks = max(1, usual_ticks)
        self._last_pts: int | None = None
        self._fields = False
        self._sent = array("q")
        self._came = array("q")
        self._hurt = array("q")
        self._refused = 0
        self.frames = 0
        self.damaged = 0
        self.mended = 0
        self.last_duration = max(1, usual_ticks)

    def decode(self, packet: Packet[VideoStream]) -> Iterator[tuple[int, int, VideoFrame]]:
        """The frames that this packet completes; none where the decoder could make nothing of it."""
        if packet.size and packet.pts is not None and not packet.is_discard:
            self._sent.append(packet.pts)
        try:
            frames = self._context.decode(packet)
        except av.error.InvalidDataError:
            self._refused += 1
            return
        for frame in frames:
            number = self.frames
            self.frames += 1
            self.damaged += frame.is_corrupt
            if frame.pts is not None:
                (self._hurt if frame.is_corrupt else self._came).append(frame.pts)
            self._fields |= frame.interlaced_frame
            self.last_duration = frame.duration or self._usual_ticks
            yield number, self._steady(frame.pts), frame

    def _steady(self, pts: int | None) -> int:
        previous = self._last_pts
        if pts is None:
            pts = 0 if previous is None else previous + self._usual_ticks
            self.mended += 1
        if previous is not None and pts <= previous:
            pts = previous + 1
            self.mended += 1
        self._last_pts = pts
        return pts

    def finish(self) -> None:
        """Proves that every promised frame came, undamaged.

        Raises:
            Corrupt, Incomplete: with the counts.
        """
        if self.damaged or self._refused:
            whole = self.frames - self.damaged
            raise Corrupt(
                f"Only {whole} of {self._promised} frames of {self._name} decode undamaged.{self._where()} {_DAMAGE}",
                findings=self.damage(),
            )
        if self.frames == 0:
            raise Incomplete(f"Not one of the {self._promised} frames of {self._name} could be decoded. {_DAMAGE}")
        owed = self._promised
        if self._fields and self.frames < owed:
            # Interlaced pictures may come as two packets each, one for a field, and then half as many frames are due.
            owed //= 2
        if self.frames < owed and not self._may_hide:
            raise Incomplete(
                f"Only {self.frames} of the {self._promised} frames of {self._name} could be decoded; "
                f"{self._promised - self.frames} are missing.{self._where()} {_DAMAGE}",
                findings=self.damage(),
            )

    def damage(self) -> tuple[Finding, ...]:
        """The ranges of frames that are damaged or missing, numbered as if every picture of the file had come.

        None where the source does not say when its pictures are shown. Of very many ranges the first hundred.
        """
        due = np.unique(np.frombuffer(self._sent, np.int64))
        hurt = np.frombuffer(self._hurt, np.int64)
        missing = np.setdiff1d(due, np.concatenate([np.frombuffer(self._came, np.int64), hurt]))
        if self._fields:
            # The second field of a picture has a time of its own and no frame.
            missing = missing[:0]
        found = [*_damaged_ranges(due, hurt, "damaged"), *_damaged_ranges(due, missing, "missing")]
        return tuple(sorted(found, key=lambda each: each.frames.start if each.frames else 0)[:100])

    def _where(self) -> str:
        ranges = [str(finding.frames) for finding in self.damage()]
        if not ranges:
            return ""
        more = f" and {len(ranges) - 5} more ranges" if len(ranges) > 5 else ""
        return f" Damaged or missing: {', '.join(ranges[:5])}{more}."


def _damaged_ranges(due: NDArray[np.int64], hurt: NDArray[np.int64], how: str) -> Iterator[Finding]:
    """One finding for each run of neighbouring frames that is hurt in this way."""
    numbers = np.flatnonzero(np.isin(due, hurt))
    for run in np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1):
        if len(run):
            frames = FrameRange(start=int(run[0]), end=int(run[-1]) + 1)
            yield Finding(
                code=f"media.frames_{how}",
                message=f"{len(frames)} frames are {how}, from {frames.start} on.",
                frames=frames,
            )


def chosen_video(container: InputContainer, stream_index: int, name: str) -> VideoStream:
    """The stream of that index, which has to be a video one with a decoder."""
    streams = container.streams
    stream = streams[stream_index] if 0 <= stream_index < len(streams) else None
    if not isinstance(stream, VideoStream):
        raise NoVideoStream(f"Stream {stream_index} of {name} is no video stream. Probe the file again.")
    if stream.codec_context is None:
        raise UnsupportedCodec(f"No decoder here understands the video of {name}. Convert it to H.264 or H.265.")
    return stream


class FrameSource:
    """Frames by number from one file.

    With an addressed ``index`` (of a proxy or master) only the wanted frames' bytes are read, without the container.
    With an index ``without_addresses`` (of a long-GOP source) it seeks by the index's key pictures. Without an index it
    counts from frame 0. ``stream_index`` names the stream of a source; an addressed index names its own. Ranges may be asked
    for in any order; ascending ones are cheapest, and gaps are skipped. ``payloads`` is where an addressed frame's bytes are
    read, if not from ``file`` itself.
    """

    def __init__(
        self,
        file: MediaFile,
        index: FrameIndex | None = None,
        stream_index: int = 0,
        *,
        thread_count: int = 0,
        payloads: BinaryIO | Any = None,
    ) -> None:
        self._name = named(file)
        self._index = index
        self._ways_out = ExitStack()
        self._asked = (file, stream_index, thread_count, payloads)
        self._source: _IntraFrames | _SoughtFrames | None = self._opened()

    def _opened(self) -> _IntraFrames | _SoughtFrames:
        file, stream_index, thread_count, payloads = self._asked
        with translated(f"opening {self._name}"):
            if self._index is not None and self._index.addressed:
                return self._ways_out.enter_context(_IntraFrames(file, self._index, thread_count, payloads))
            container = self._ways_out.enter_context(opened(file))
            return _SoughtFrames(container, self._index, stream_index, thread_count, self._name)

    def frames(self, wanted: FrameRange) -> Iterator[tuple[int, VideoFrame]]:
        """``(number, frame)`` for every frame of the range, in order.

        With an index a frame's ``pts`` and ``time_base`` are the source's own.

        Raises:
            Corrupt, Incomplete: a frame of the range is damaged or missing.
        """
        expected = wanted.start
        self._source = self._source or self._opened()
        with translated(f"decoding frames {wanted} of {self._name}"):
            for number, frame in self._source.frames(wanted):
                if number != expected or frame.is_corrupt:
                    raise Corrupt(f"Frame {expected} of {self._name} is damaged or missing. {_DAMAGE}")
                if self._index is not None:
                    frame.pts = int(self._index.pts[number])
                    frame.time_base = self._index.timebase
                expected += 1
                yield number, frame
        if expected != wanted.end:
            raise Incomplete(f"{self._name} gave frames up to {expected} of {wanted}; the rest is missing. {_DAMAGE}")

    def close(self) -> None:
        """Frees the decoder and the file, if this opened it. Frames asked for later open them again."""
        self._source = None
        self._ways_out.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _IntraFrames:
    """Frames of a file in which each stands alone: their bytes are read by address, past the container.

    FFV1 leaves colour tags and rotation to the container, and so its header is read too; H.264 carries all it needs.
    """

    def __init__(self, file: MediaFile, index: FrameIndex, thread_count: int, payloads: BinaryIO | Any = None) -> None:
        self._index = index
        self._ways_out = ExitStack()
        self._file: BinaryIO
        context: object = None
        if index.codec.startswith("avc1"):
            context = av.CodecContext.create("h264", "r")
            context.extradata = index.extradata
        else:
            container = self._ways_out.enter_context(opened(file))
            stream = video_stream(container)
            context = stream.codec_context if stream is not None else None
        if not isinstance(context, VideoCodecContext):
            self._ways_out.close()
            raise MediaError(f"The frame index names {index.codec}, which the file does not hold. Make both again.")
        if payloads is not None:
            self._file = payloads
        elif isinstance(file, (str, Path)):
            self._file = self._ways_out.enter_context(Path(file).open("rb"))  # noqa: SIM115 - closed by the stack.
        else:
            self._file = file
        context.thread_type = "FRAME"
        context.thread_count = thread_count
        self._context = context

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ways_out.close()

    def frames(self, wanted: FrameRange) -> Iterator[tuple[int, VideoFrame]]:
        self._context.flush_buffers()
        for number in range(wanted.start, min(wanted.end, len(self._index))):
            offset, size = self._index.address(number)
            self._file.seek(offset)
            data = self._file.read(size)
            if len(data) != size:
                raise Incomplete(f"Frame {number} ends after {len(data)} of {size} bytes. Make the file again.")
            packet = packet_of(data)
            packet.pts = packet.dts = number
            yield from self._numbered(self._context.decode(packet))
        yield from self._numbered(self._context.decode(None))

    @staticmethod
    def _numbered(frames: Iterable[VideoFrame]) -> Iterator[tuple[int, VideoFrame]]:
        for frame in frames:
            yield frame.pts if frame.pts is not None else -1, frame


class _SoughtFrames:
    """Frames of any file, read through its container from the nearest key picture on."""

    def __init__(
        self, container: InputContainer, index: FrameIndex | None, stream_index: int, thread_count: int, name: str
    ) -> None:
        self._container = container
        self._index = index
        self._stream = chosen_video(container, stream_index, name)
        self._stream.thread_type = "FRAME"
        self._stream.thread_count = thread_count
        self._running: Iterator[tuple[int, VideoFrame]] | None = None
        self._next = 0
        self._sought = False
        self._primed = False

    def frames(self, wanted: FrameRange) -> Iterator[tuple[int, VideoFrame]]:
        key = self._index.key_before(wanted.start) if self._index else None
        goes_on = self._running is not None and self._next <= wanted.start and (key is None or key <= self._next)
        if not goes_on:
            self._running = self._from(key)
        running = self._running
        while running is not None and self._next < wanted.end:
            number, frame = next(running, (-1, None))
            if frame is None:
                return
            if frame.is_corrupt and self._sought:
                # A key picture that leans on something before it: only decoding from the start gives the true frames.
                wanted_next = max(self._next, wanted.start)
                running = self._running = self._from_the_start()
                wanted = FrameRange(start=wanted_next, end=wanted.end)
                continue
            self._next = number + 1
            if number >= wanted.start:
                yield number, frame

    def _from(self, key: int | None) -> Iterator[tuple[int, VideoFrame]]:
        if key and self._index is not None:
            self._prime()
            target = int(self._index.pts[key])
            # Some containers seek only roughly, and so further back than asked helps; the file's start always does.
            for earlier in (Fraction(0), Fraction(10), Fraction(60)):
                packets = self._packets_from(target - int(earlier / self._index.timebase), target)
                first = next(packets, None)
                if first is not None:
                    self._next, self._sought = key, True
                    return self._numbered_by_pts(first, packets, key)
        return self._from_the_start()

    def _from_the_start(self) -> Iterator[tuple[int, VideoFrame]]:
        self._container.seek(0, backward=True)
        self._next, self._sought = 0, False
        return self._counted()

    def _prime(self) -> None:
        """Shows the decoder the file's first packet, once.

        Encoders sign it, and the decoder needs the signature to work round known faults of theirs in all that follows.
        """
        if self._primed:
            return
        self._primed = True
        self._container.seek(0, backward=True)
        for packet in self._container.demux(self._stream):
            self._stream.codec_context.decode(packet)
            break

    def _packets_from(self, seek_to: int, target: int) -> Iterator[Packet[VideoStream]]:
        """Packets from the key picture whose PTS is ``target`` on; none if the seek landed after it."""
        self._container.seek(seek_to, stream=self._stream, backward=True)
        found = False
        for packet in self._container.demux(self._stream):
            if not found:
                found = packet.pts == target and packet.is_keyframe
                if not found:
                    if packet.is_keyframe and packet.pts is not None and packet.pts > target:
                        return
                    continue
            yield packet

    def _numbered_by_pts(
        self, first: Packet[VideoStream], rest: Iterator[Packet[VideoStream]], key: int
    ) -> Iterator[tuple[int, VideoFrame]]:
        for packet in _chained(first, rest):
            for frame in self._stream.codec_context.decode(packet):
                number = self._index.frame_of_pts(frame.pts) if self._index and frame.pts is not None else None
                # Pictures shown before the key picture lean on ones that were not decoded.
                if number is not None and number >= key:
                    yield number, frame

    def _counted(self) -> Iterator[tuple[int, VideoFrame]]:
        number = 0
        for packet in self._container.demux(self._stream):
            for frame in self._stream.codec_context.decode(packet):
                yield number, frame
                number += 1


def _chained(first: Packet[VideoStream], rest: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
    yield first
    yield from rest


class AudioSource:
    """Samples by time from one audio stream: the same ones wherever a range starts, and whatever was read before.

    How exactly the first is true, ``services.media.sound`` says. Times are seconds from the start of frame 0. ``origin``
    says where frame 0 lies on the file's own axis: ``index.start`` for a source, 0 for a master or for review audio, which
    begin with frame 0. ``sample_rate``, ``layout`` and ``format`` are those of the first samples that decode, for what a
    container says of them may not be true. One range is read at a time.
    """

    def __init__(self, file: MediaFile, stream_index: int, *, origin: Fraction = Fraction(0)) -> None:
        self._file = file
        self._name = named(file)
        self._number = stream_index
        self._origin = origin
        self._ways_out = ExitStack()
        self._start = Fraction(0)
        self._placement: Placement | None = None
        self.damaged = 0
        """Packets that no decoder could read; their time is silence."""
        with translated(f"opening the audio of {self._name}"), opened(file) as container:
            stream = self._chosen(container)
            frames = (frame for packet in container.demux(stream) for frame in self._frames_of(packet) if frame.samples)
            first = list(islice(frames, FIRST_FRAMES))
            self.sample_rate = first[0].sample_rate if first else stream.rate
            self.layout = first[0].layout.name if first else stream.layout.name
            self.format = first[0].format.name if first else stream.format.name
            # Frame 0 lies on a sample, so that a range has the same samples in a source, a master and a part of one.
            self._origin = Fraction(sample_at(origin, self.sample_rate), self.sample_rate)
            self._grid = first_grid(first, self._placed(stream, Fraction(0), Fraction(0)))
            told = holes_told(stream.metadata.get(HOLES_TAG, ""))
            self._holes_made = [
                (Fraction(begin, self.sample_rate), Fraction(end, self.sample_rate)) for begin, end in told
            ]
        self.damaged = 0

    def _chosen(self, container: InputContainer) -> AudioStream:
        streams = container.streams
        stream = streams[self._number] if 0 <= self._number < len(streams) else None
        if not isinstance(stream, AudioStream) or stream.codec_context is None or not stream.rate:
            raise MediaError(
                f"Stream {self._number} of {self._name} is no readable audio stream. Probe the file again.",
                code="media.no_audio_stream",
            )
        return stream

    def _placed(self, stream: AudioStream, start: Fraction, length: Fraction) -> Placement:
        return placement_on(
            stream,
            sample_rate=self.sample_rate,
            layout=self.layout,
            form=self.format,
            origin=start + self._origin,
            duration=length,
        )

    def samples(self, start: Fraction, end: Fraction) -> Iterator[AudioFrame]:
        """The samples of ``[start, end)`` seconds, all in one format, rate and layout.

        Exactly ``sample_at(end) - sample_at(start)`` samples come, side by side, with PTS that count samples from 0 at
        ``start``; what the source leaves out is silence, and ``holes`` says where.
        """
        self._start, self._placement = start, None
        with translated(f"decoding the audio of {self._name}"):
            container, stream = self._opened_anew()
            placement = self._placement = self._placed(stream, start, end - start)
            if placement.end is None or placement.end <= placement.origin:
                return
            first, until = start + self._origin, end + self._origin
            packets = self._packets_near(container, stream, first)
            if packets is not None:
                placement.grid = self._grid
            else:
                container, stream = self._opened_anew()
                packets = container.demux(stream)
            yield from placed(self._decoded(packets, until), placement)

    @property
    def holes(self) -> tuple[tuple[Fraction, Fraction], ...]:
        """Where the range last asked for, as far as it was read, has no sound of its source: seconds from its start."""
        if self._placement is None:
            return ()
        read = Fraction(self._placement.written, self.sample_rate)
        found = [
            (Fraction(begin, self.sample_rate), Fraction(end, self.sample_rate)) for begin, end in self._placement.holes
        ]
        for begin, end in self._holes_made:
            low, high = max(begin - self._start, Fraction(0)), min(end - self._start, read)
            if low < high:
                found.append((low, high))
        return tuple(sorted(found))

    def _opened_anew(self) -> tuple[InputContainer, AudioStream]:
        """The file from its beginning, with a decoder that remembers nothing.

        A decoder does not forget all when it is flushed: the noise that AAC leaves to it would differ from one reading
        to the next. And only a file just opened gives its first packets as they are meant.
        """
        self._ways_out.close()
        container = self._ways_out.enter_context(opened(self._file))
        return container, self._chosen(container)

    def _packets_near(
        self, container: InputContainer, stream: AudioStream, start: Fraction
    ) -> Iterator[Packet[AudioStream]] | None:
        """Packets from a little before ``start`` (seconds on the stream's axis) on; None if that is its beginning."""
        if self._grid is None or start - 2 * _AUDIO_PREROLL <= Fraction(self._grid.begin, self.sample_rate):
            return None
        # Matroska has seek points for pictures alone: by its sound, a demuxer would read the whole file up to there.
        pictures = container.streams.video if "matroska" in container.format.name else ()
        by: AudioStream | VideoStream = pictures[0] if pictures else stream
        base = stream.time_base or Fraction(1, self.sample_rate)
        # Some containers seek only roughly, and so further back than asked helps.
        for earlier in (_AUDIO_PREROLL, Fraction(10), Fraction(60)):
            container.seek(int((start - earlier) / (by.time_base or base)), stream=by, backward=True)
            packets = container.demux(stream)
            first = next(packets, None)
            if first is not None and first.pts is not None and first.pts * base <= start - _AUDIO_PREROLL / 2:
                return chain([first], packets)
        return None

    def _decoded(self, packets: Iterable[Packet[AudioStream]], until: Fraction) -> Iterator[AudioFrame]:
        for packet in packets:
            base = packet.time_base or Fraction(1, self.sample_rate)
            if packet.size and packet.pts is not None and packet.pts * base > until + _AUDIO_PREROLL:
                return
            yield from self._frames_of(packet)

    def _frames_of(self, packet: Packet[AudioStream]) -> Iterator[AudioFrame]:
        try:
            yield from packet.stream.codec_context.decode(packet)
        except av.error.InvalidDataError:
            self.damaged += 1

    def close(self) -> None:
        """Closes the file."""
        self._ways_out.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
