"""Renders clips of one video: each needed frame is decoded once, for every clip and profile that shows it.

How it runs: one thread (the caller's) reads frames and sound in step, scales, measures, takes pictures and encodes the
sound; each rendition has a thread that encodes its pictures and writes its file, fed through a bounded queue. While a
clip's encoders finish, the next clip is already being read. Gaps between clips are not decoded.

Guarantees: a rendition holds exactly the frames of its range, each at its exact time from the clip's start (variable
rates included), and exactly as many samples as it lasts; pictures stand upright; the same input, profile and library
versions give the same bytes; a misspelt codec option is an error; a clip that fails does not take others with it.
"""

from __future__ import annotations

import queue
import threading
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import av.codec.context
import av.container
import numpy as np
from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from contracts.errors import HeatersError
from contracts.values import FrameRange
from services.media import colour
from services.media.audio import SoundChain, open_encoder
from services.media.captions import Cue, cut_captions, write_srt, write_vtt
from services.media.errors import Disagreement, EncodingFailed, Incomplete, UnsupportedPixels, translated
from services.media.measure import PictureFacts, PictureLimits, PictureMeter, SoundFacts, SoundLimits
from services.media.pictures import (
    CELL_SIDE,
    POSTER_SIDE,
    THUMBNAIL_SIDE,
    Cell,
    Plan,
    clock,
    contact_sheet,
    interest,
    jpeg,
    plan_pictures,
    shrink,
)
from services.media.profiles import Profile, VideoEncoding
from services.media.shaping import PictureChain, colours_of, delivered_size, display_size, fitted, pixels
from services.media.timebase import nearest

QUEUE_FRAMES = 8
SOUND_AHEAD = Fraction(1, 2)
METER_SIDE = 320

Rgb = NDArray[np.uint8]


class Frames(Protocol):
    """Where pictures come from: every frame of a range in order, numbered as in the source."""

    def frames(self, wanted: FrameRange, /) -> Iterator[tuple[int, VideoFrame]]:
        """``(number, frame)`` for every frame of the range; the frames may be changed by whoever asked."""
        ...


class Sounds(Protocol):
    """Where samples come from: those nearest to ``[start, end)`` seconds after the start of frame 0."""

    def samples(self, start: Fraction, end: Fraction, /) -> Iterator[AudioFrame]:
        """The samples, side by side, holes filled with silence."""
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


@dataclass(frozen=True)
class Captions:
    """Cues of one language, on the axis of ``Footage.time_of``."""

    language: str
    cues: tuple[Cue, ...]


@dataclass(frozen=True)
class Cut:
    """One clip to render: its frames, its profiles and the folder that takes ``<profile>/<stem>.<extension>``."""

    frames: FrameRange
    profiles: tuple[Profile, ...]
    folder: Path
    stem: str
    title: str
    captions: tuple[Captions, ...] = ()


@dataclass(frozen=True)
class Rendition:
    """One file that was written, as counted while muxing and read back from its headers and packets."""

    profile: Profile
    path: Path
    width: int
    height: int
    pixel_format: str
    color_range: str
    color_space: str
    color_transfer: str
    color_primaries: str
    codec: str
    frames: int
    duration: Fraction
    rate: Fraction
    faststart: bool
    sound_codec: str = ""
    sample_rate: int | None = None
    channels: int | None = None
    layout: str = ""
    sound_duration: Fraction | None = None
    sound_missing: Fraction = Fraction(0)
    sound: SoundFacts | None = None


@dataclass(frozen=True)
class Sidecar:
    """A file that goes with every rendition of a clip, whole in memory."""

    role: str
    name: str
    data: bytes
    content_type: str
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Rendered:
    """Everything that one clip's pass made."""

    frames: FrameRange
    duration: Fraction
    renditions: tuple[Rendition, ...]
    sidecars: tuple[Sidecar, ...]
    pictures: PictureFacts


@dataclass(frozen=True)
class Budget:
    """What QC looks for while the frames pass, and how many clips may be open at once."""

    pictures: PictureLimits = field(default_factory=PictureLimits)
    sound: SoundLimits = field(default_factory=SoundLimits)
    closing: int = 1


def render(
    footage: Footage,
    cuts: Sequence[Cut],
    *,
    budget: Budget | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Generator[tuple[int, Rendered | HeatersError], None, None]:
    """Renders the cuts in one pass over the video; yields ``(place in cuts, result or error)`` as each ends.

    ``progress`` is called with frames read and frames to read. A cut that reaches past the video's end gives
    ``media.out_of_range``. Closing the generator early stops the encoders and leaves unfinished files behind.
    """
    budget = budget or Budget()
    order = sorted(range(len(cuts)), key=lambda place: (cuts[place].frames.start, cuts[place].frames.end, place))
    waiting = deque[int]()
    for place in order:
        if cuts[place].frames.end > footage.frames:
            yield (
                place,
                EncodingFailed(
                    f"The clip {cuts[place].frames} reaches past the video's last frame ({footage.frames} frames). "
                    "Trim the clip and approve it again.",
                    code="media.out_of_range",
                ),
            )
        else:
            waiting.append(place)
    read, total = 0, _distinct_frames([cuts[place].frames for place in waiting])
    state = _State(waiting)

    def counted() -> None:
        nonlocal read
        read += 1
        if progress is not None:
            progress(read, total)

    try:
        while waiting:
            run = _first_run([cuts[place].frames for place in waiting])
            try:
                with translated("decoding the video"):
                    yield from _render_run(footage, cuts, run, state, budget=budget, counted=counted)
            except HeatersError as error:
                # What was open when reading failed is lost; what comes later in the run gets a read of its own.
                failed = [clip.place for clip in state.opened] or [waiting.popleft()]
                for clip in state.opened:
                    clip.abort()
                state.opened.clear()
                for place in failed:
                    yield place, error
        while state.closing:
            yield state.closing.popleft().result()
    finally:
        for clip in (*state.opened, *state.closing):
            clip.abort()


@dataclass
class _State:
    """Which clips wait, which take frames now, and whose encoders are finishing."""

    waiting: deque[int]
    opened: list[_ClipPass] = field(default_factory=list)
    closing: deque[_ClipPass] = field(default_factory=deque)
    idle_sounds: list[Sounds] = field(default_factory=list)


def _render_run(
    footage: Footage,
    cuts: Sequence[Cut],
    run: FrameRange,
    state: _State,
    *,
    budget: Budget,
    counted: Callable[[], None],
) -> Iterator[tuple[int, Rendered | HeatersError]]:
    waiting, opened = state.waiting, state.opened
    expected = run.start
    for number, frame in footage.pictures.frames(run):
        if number != expected:
            raise Incomplete(
                f"Frame {expected} did not come: the decoder gave frame {number}. Preprocess the video again."
            )
        expected += 1
        while waiting and cuts[waiting[0]].frames.start == number:
            while len(state.closing) > budget.closing:
                yield state.closing.popleft().result()
            place = waiting.popleft()
            opened.append(_ClipPass(place, footage, cuts[place], budget, state.idle_sounds))
        for clip in opened:
            clip.add(number, frame)
        counted()
        for clip in [clip for clip in opened if clip.frames.end == expected]:
            opened.remove(clip)
            clip.end()
            state.closing.append(clip)
    if expected != run.end:
        raise Incomplete(f"The video ended at frame {expected}, before frame {run.end}. Preprocess the video again.")


def _first_run(ranges: Sequence[FrameRange]) -> FrameRange:
    """The first stretch without a gap, of ranges sorted by start."""
    start, end = ranges[0].start, ranges[0].end
    for frames in ranges[1:]:
        if frames.start > end:
            break
        end = max(end, frames.end)
    return FrameRange(start=start, end=end)


def _distinct_frames(ranges: Sequence[FrameRange]) -> int:
    total, edge = 0, 0
    for frames in ranges:
        total += max(0, frames.end - max(edge, frames.start))
        edge = max(edge, frames.end)
    return total


class _ClipPass:
    """One clip while its frames pass. Its errors stay its own: after one, frames are let by until the clip ends."""

    def __init__(self, place: int, footage: Footage, cut: Cut, budget: Budget, idle_sounds: list[Sounds]) -> None:
        self.place = place
        self.frames = cut.frames
        self._footage = footage
        self._cut = cut
        self._budget = budget
        self._start = footage.time_of(cut.frames.start)
        self._length = footage.time_of(cut.frames.end) - self._start
        self._writers: list[_Writer] = []
        self._error: HeatersError | None = None
        self._plan = plan_pictures(cut.frames)
        self._album = _Album(self._plan)
        self._meter = PictureMeter(footage.time_of, full_range=True, limits=budget.pictures)
        self._gray: PictureChain | None = None
        self._rgb: PictureChain | None = None
        self._idle_sounds = idle_sounds
        self._reader: Sounds | None = None
        self._sound: Iterator[AudioFrame] | None = None
        self._heard = Fraction(0)

    def add(self, number: int, frame: VideoFrame) -> None:
        if self._error is not None:
            return
        try:
            with translated(f"rendering the clip {self.frames}"):
                self._add(number, frame)
        except HeatersError as error:
            self._fail(error)

    def _add(self, number: int, frame: VideoFrame) -> None:
        if number == self.frames.start:
            self._open(frame)
        assert self._gray is not None  # noqa: S101 - opened with the first frame.
        assert self._rgb is not None  # noqa: S101
        ordinal = number - self.frames.start
        self._feed_sound(self._footage.time_of(number + 1) - self._start + SOUND_AHEAD)
        for writer in self._writers:
            writer.put_picture(ordinal, frame)
        black = False
        for _, small in self._gray.push(ordinal, frame):
            black = self._meter.add(number, pixels(small))
        if number in self._plan.wanted:
            for _, picture in self._rgb.push(ordinal, frame):
                self._album.add(number, pixels(picture), black=black)

    def _open(self, first: VideoFrame) -> None:
        footage = self._footage
        upright = display_size(first.width, first.height, footage.sample_aspect_ratio, footage.rotation)
        self._rgb = PictureChain(
            first, size=fitted(upright, POSTER_SIDE), pixel_format="rgb24", rotation=footage.rotation
        )
        self._gray = PictureChain(
            first, size=fitted(upright, METER_SIDE), pixel_format="gray", rotation=footage.rotation, flags="area"
        )
        first_sound: AudioFrame | None = None
        if footage.sounds is not None:
            self._reader = self._idle_sounds.pop() if self._idle_sounds else footage.sounds()
            self._sound = iter(self._reader.samples(self._start, self._start + self._length))
            first_sound = next(self._sound, None)
        for profile in self._cut.profiles:
            path = self._cut.folder / profile.name / f"{self._cut.stem}.{profile.extension}"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writers.append(
                _Writer(
                    path, profile, footage, self._cut, first=first, first_sound=first_sound, limits=self._budget.sound
                )
            )
        if first_sound is not None:
            self._hear(first_sound)

    def _feed_sound(self, until: Fraction) -> None:
        while self._sound is not None and self._heard < until:
            block = next(self._sound, None)
            if block is None:
                self._sound = None
            else:
                self._hear(block)

    def _hear(self, block: AudioFrame) -> None:
        self._heard += Fraction(block.samples, block.sample_rate)
        for writer in self._writers:
            writer.put_sound(block)

    def end(self) -> None:
        """The clip's last frame was given: lets the encoders finish by themselves."""
        if self._error is not None:
            return
        try:
            with translated(f"finishing the clip {self.frames}"):
                self._feed_sound(self._length + 1)
                if self._reader is not None:
                    self._idle_sounds.append(self._reader)
                for writer in self._writers:
                    writer.end()
        except HeatersError as error:
            self._fail(error)

    def result(self) -> tuple[int, Rendered | HeatersError]:
        """Waits for the encoders; gives what was made, or the first error."""
        if self._error is None:
            try:
                with translated(f"finishing the clip {self.frames}"):
                    return self.place, self._finished()
            except HeatersError as error:
                self._fail(error)
        assert self._error is not None  # noqa: S101 - set just above.
        return self.place, self._error

    def _finished(self) -> Rendered:
        renditions = tuple(writer.result() for writer in self._writers)
        pictures = self._meter.facts()
        if pictures.frames != len(self.frames):
            raise Disagreement(
                f"{pictures.frames} frames of {len(self.frames)} passed the meter. Nothing was published."
            )
        return Rendered(self.frames, self._length, renditions, self._sidecars(), pictures)

    def _sidecars(self) -> tuple[Sidecar, ...]:
        stem = self._cut.stem
        made = [*self._album.sidecars(self._cut, self._footage)]
        for captions in self._cut.captions:
            cues = cut_captions(captions.cues, self._start, self._start + self._length)
            facts = (("cues", str(len(cues))), ("language", captions.language))
            made.append(Sidecar("captions_vtt", f"{stem}.{captions.language}.vtt", write_vtt(cues), "text/vtt", facts))
            made.append(
                Sidecar(
                    "captions_srt", f"{stem}.{captions.language}.srt", write_srt(cues), "application/x-subrip", facts
                )
            )
        return tuple(made)

    def _fail(self, error: HeatersError) -> None:
        self._error = error
        self.abort()

    def abort(self) -> None:
        """Stops the encoders; their files stay unfinished."""
        for writer in self._writers:
            writer.abort()


class _Album:
    """The pictures taken of a clip: small ones for the sheet, larger ones as thumbnails, and the best as the poster."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._cells: list[tuple[int, Rgb]] = []
        self._thumbnails: list[tuple[int, Rgb]] = []
        self._poster: tuple[float, int, Rgb] | None = None

    def add(self, number: int, picture: Rgb, *, black: bool) -> None:
        small = shrink(picture, CELL_SIDE)
        if number in self._plan.sheet:
            self._cells.append((number, small))
        if number in self._plan.thumbnails:
            self._thumbnails.append((number, shrink(picture, THUMBNAIL_SIDE)))
        score = -1.0 if black else interest(small)
        if self._poster is None or score > self._poster[0]:
            self._poster = (score, number, picture)

    def sidecars(self, cut: Cut, footage: Footage) -> Iterator[Sidecar]:
        if self._poster is None:
            raise Disagreement(f"No picture of the clip {cut.frames} could be taken. Nothing was published.")
        _, number, poster = self._poster
        yield _jpeg("poster", f"{cut.stem}.poster.jpg", number, poster, quality=88)
        for place, (number, picture) in enumerate(self._thumbnails, start=1):
            yield _jpeg("thumbnail", f"{cut.stem}.thumbnail-{place}.jpg", number, picture)
        cells = [Cell(picture, f"{clock(footage.time_of(number))}  {number}") for number, picture in self._cells]
        length = footage.time_of(cut.frames.end) - footage.time_of(cut.frames.start)
        sheet = contact_sheet(cut.title, f"frames {cut.frames}, {clock(length)}", cells)
        facts = (("height", str(sheet.height)), ("pictures", str(len(cells))), ("width", str(sheet.width)))
        yield Sidecar("contact_sheet", f"{cut.stem}.contact-sheet.jpg", jpeg(sheet), "image/jpeg", facts)


def _jpeg(role: str, name: str, number: int, picture: Rgb, *, quality: int = 85) -> Sidecar:
    height, width = picture.shape[:2]
    facts = (("frame", str(number)), ("height", str(height)), ("width", str(width)))
    return Sidecar(role, name, jpeg(picture, quality), "image/jpeg", facts)


@dataclass(frozen=True)
class _Picture:
    frame: VideoFrame
    pts: int
    duration: int


class _Writer:
    """One rendition being written: a file, its encoders, and the thread that feeds the picture encoder and the muxer."""

    def __init__(
        self,
        path: Path,
        profile: Profile,
        footage: Footage,
        cut: Cut,
        *,
        first: VideoFrame,
        first_sound: AudioFrame | None,
        limits: SoundLimits,
    ) -> None:
        self._path = path
        self._profile = profile
        self._footage = footage
        self._frames = cut.frames
        self._start = footage.time_of(cut.frames.start)
        self._length = footage.time_of(cut.frames.end) - self._start
        encoding = profile.video
        self._chain = PictureChain(
            first,
            rotation=footage.rotation,
            size=delivered_size(first.width, first.height, footage.sample_aspect_ratio, footage.rotation, encoding),
            pixel_format=encoding.pixel_format or _kept_format(encoding, first.format.name),
            standard=encoding.standard_range,
            deinterlace=encoding.deinterlace and footage.interlaced,
        )
        self._output: OutputContainer = av.open(
            str(path), "w", format=profile.container, options={"fflags": "+bitexact", **dict(profile.container_options)}
        )
        try:
            self._output.metadata["title"] = cut.title
            self._stream = self._open_pictures(first)
            self._sound: SoundChain | None = None
            if first_sound is not None:
                self._sound = SoundChain(self._output, profile.audio, first_sound, self._length, limits=limits)
            self._output.start_encoding()
        except BaseException:
            # A container left open keeps its file and its threads.
            self._output.close()
            raise
        self._queue: queue.Queue[_Picture | list[Packet[Stream]] | None] = queue.Queue(QUEUE_FRAMES)
        self._abandoned = threading.Event()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=f"encode-{profile.name}")
        self._work: Future[int] = self._threads.submit(self._write)

    def _open_pictures(self, first: VideoFrame) -> VideoStream:
        encoding, footage = self._profile.video, self._footage
        options = dict(encoding.options)
        if encoding.keyframe_seconds is not None:
            options["g"] = str(max(1, nearest(footage.rate * encoding.keyframe_seconds)))
        stream: Any = self._output.add_stream(encoding.encoder, rate=footage.rate, options=options)
        context = stream.codec_context
        context.width, context.height = self._chain.size
        context.pix_fmt = self._chain.pixel_format
        context.time_base = footage.timebase
        stream.time_base = footage.timebase
        context.sample_aspect_ratio = self._sample_aspect_ratio()
        tags = colours_of(first, encoding)
        context.color_range, context.colorspace = tags.range, tags.space
        context.color_trc, context.color_primaries = tags.transfer, tags.primaries
        context.flags |= int(av.codec.context.Flags.bitexact)
        open_encoder(context)
        return stream  # type: ignore[no-any-return]

    def _sample_aspect_ratio(self) -> Fraction:
        ratio = self._footage.sample_aspect_ratio or Fraction(1)
        if self._profile.video.square_pixels:
            return Fraction(1)
        return 1 / ratio if self._footage.rotation % 180 else ratio

    def put_picture(self, ordinal: int, frame: VideoFrame) -> None:
        """Scales a frame and queues it; waits while the encoder is behind."""
        for place, picture in self._chain.push(ordinal, frame):
            self._put(self._timed(place, picture))

    def put_sound(self, block: AudioFrame) -> None:
        """Encodes a block of samples and queues the packets."""
        if self._sound is not None:
            self._put(self._sound.push(block))

    def end(self) -> None:
        """Queues what was held back, and the end."""
        for place, picture in self._chain.flush():
            self._put(self._timed(place, picture))
        if self._sound is not None:
            self._put(self._sound.finish())
        self._put(None)

    def _timed(self, ordinal: int, picture: VideoFrame) -> _Picture:
        number = self._frames.start + ordinal
        begin = (self._footage.time_of(number) - self._start) / self._footage.timebase
        stop = (self._footage.time_of(number + 1) - self._start) / self._footage.timebase
        if begin.denominator != 1 or stop.denominator != 1:
            raise Disagreement(
                f"Frame {number} lies between two ticks of {self._footage.timebase} s. Preprocess the video again."
            )
        if picture.format.name != self._chain.pixel_format or (picture.width, picture.height) != self._chain.size:
            raise Disagreement(f"Frame {number} came out as {picture.format.name}, not as the profile says.")
        return _Picture(picture, int(begin), int(stop - begin))

    def _put(self, item: _Picture | list[Packet[Stream]] | None) -> None:
        while True:
            if self._work.done():
                self._work.result()
                raise EncodingFailed(f"The encoder of {self._path.name} stopped early. Try the export again.")
            try:
                self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue
            return

    def _write(self) -> int:
        durations: dict[int, int] = {}
        sound: deque[Packet[Stream]] = deque()
        written = 0

        def mux(packets: Sequence[Packet[Stream]]) -> int:
            for packet in packets:
                if packet.pts is None or packet.dts is None:
                    raise EncodingFailed(f"The encoder of {self._path.name} gave a packet without a time.")
                packet.duration = durations.pop(packet.pts)
                self._mux_sound(sound, packet.dts * self._footage.timebase)
                self._output.mux(packet)
            return len(packets)

        with translated(f"encoding {self._path.name}"):
            try:
                while (item := self._queue.get()) is not None:
                    if isinstance(item, _Picture):
                        item.frame.pts, item.frame.time_base = item.pts, self._footage.timebase
                        # A decoded frame remembers its type, and an encoder would obey: every frame of an intra-only
                        # master would become a key frame.
                        item.frame.pict_type = PictureType.NONE
                        durations[item.pts] = item.duration
                        written += mux(self._stream.encode(item.frame))
                    else:
                        sound.extend(item)
                if not self._abandoned.is_set():
                    written += mux(self._stream.encode(None))
                    self._mux_sound(sound, None)
            finally:
                self._output.close()
        return written

    def _mux_sound(self, sound: deque[Packet[Stream]], until: Fraction | None) -> None:
        # The order in the file is decided by timestamps alone, never by which thread was faster.
        while sound:
            head = sound[0]
            begins = head.dts * head.time_base if head.dts is not None and head.time_base is not None else Fraction(0)
            if until is not None and begins > until:
                return
            self._output.mux(sound.popleft())

    def result(self) -> Rendition:
        """Waits for the file and reads its headers and packets back.

        Raises ``media.disagreement`` if the file does not hold the frames it should.
        """
        written = self._work.result()
        self._threads.shutdown()
        if written != len(self._frames):
            raise Disagreement(
                f"{self._path.name} got {written} frames instead of {len(self._frames)}. It was not published; try again."
            )
        return self._read_back()

    def _read_back(self) -> Rendition:
        with translated(f"reading back {self._path.name}"), av.open(str(self._path)) as file:
            video = file.streams.video[0]
            sound = file.streams.audio[0] if file.streams.audio else None
            shown, first_is_key, sound_end = array("q"), False, Fraction(0)
            for packet in file.demux():
                if packet.size == 0 or packet.pts is None or packet.time_base is None:
                    continue
                if packet.stream_index == video.index:
                    first_is_key = first_is_key or (not shown and packet.is_keyframe)
                    shown.append(packet.pts)
                else:
                    sound_end = max(sound_end, (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base))
            if len(shown) != len(self._frames) or not first_is_key:
                raise Disagreement(
                    f"{self._path.name} reads back with {len(shown)} frames instead of {len(self._frames)}"
                    f"{'' if first_is_key else ' and does not begin with a key frame'}. It was not published; try again."
                )
            last = self._refuse_shifted(sorted(shown), Fraction(video.time_base or 1))
            context: Any = video.codec_context
            told = self._sound
            return Rendition(
                profile=self._profile,
                path=self._path,
                width=video.width,
                height=video.height,
                pixel_format=str(context.pix_fmt),
                color_range=colour.RANGES.get(int(context.color_range), ""),
                color_space=colour.SPACES.get(int(context.colorspace), ""),
                color_transfer=colour.TRANSFERS.get(int(context.color_trc), ""),
                color_primaries=colour.PRIMARIES.get(int(context.color_primaries), ""),
                codec=context.codec.canonical_name,
                frames=len(shown),
                duration=last,
                rate=Fraction(len(self._frames)) / self._length,
                faststart=_starts_fast(self._path),
                sound_codec=sound.codec_context.codec.canonical_name if sound else "",
                sample_rate=sound.sample_rate if sound else None,
                channels=sound.layout.nb_channels if sound else None,
                layout=sound.layout.name if sound else "",
                sound_duration=sound_end if sound else None,
                sound_missing=told.missing if told else Fraction(0),
                sound=told.facts() if told else None,
            )

    def _refuse_shifted(self, shown: Sequence[int], timebase: Fraction) -> Fraction:
        """Compares when frames are shown with when they should be; gives the end of the last, in seconds.

        MP4 holds every time exactly; Matroska rounds to its tick of a millisecond.
        """
        number = self._frames.start
        for number, ticks in enumerate(shown, start=self._frames.start):
            due = self._footage.time_of(number) - self._start
            if abs(ticks * timebase - due) * 2 > (timebase if self._profile.container == "matroska" else 0):
                raise Disagreement(
                    f"{self._path.name} shows frame {number} at {float(ticks * timebase):.6f} s instead of "
                    f"{float(due):.6f} s. It was not published; try again."
                )
        return shown[-1] * timebase + self._footage.time_of(number + 1) - self._footage.time_of(number)

    def abort(self) -> None:
        """Stops the thread and closes the file, finished or not."""
        self._abandoned.set()
        while not self._work.done():
            try:
                while True:
                    self._queue.get_nowait()
            except queue.Empty:
                pass
            try:
                self._queue.put(None, timeout=0.2)
            except queue.Full:
                continue
            wait([self._work], timeout=0.2)
        self._threads.shutdown()


def _kept_format(encoding: VideoEncoding, name: str) -> str:
    """The pixel format that keeps the source's samples as they are, under a name the encoder knows."""
    # The deprecated full-range names mean the same planes; the range is tagged instead.
    name = name.replace("yuvj", "yuv")
    formats = av.Codec(encoding.encoder, "w").video_formats or []
    if name not in {known.name for known in formats}:
        raise UnsupportedPixels(
            f"{encoding.encoder} cannot hold {name} without loss. Ask for a delivery profile instead, such as delivery-h264."
        )
    return name


def _starts_fast(path: Path) -> bool:
    """Whether an MP4's index stands before its samples; False for other containers."""
    with path.open("rb") as file:
        while head := file.read(8):
            size, kind = int.from_bytes(head[:4], "big"), head[4:]
            if kind in (b"moov", b"mdat"):
                return kind == b"moov"
            if size < 8:
                return False
            file.seek(size - 8, 1)
    return False


def library_versions() -> dict[str, str]:
    """Name and version of the codec libraries in use."""
    return {name: ".".join(map(str, number)) for name, number in sorted(av.library_versions.items())}
