"""Renders clips of one video: each needed frame is decoded once, for every clip and profile that shows it.

How it runs: one thread (the caller's) reads frames and sound in step, scales, measures, takes pictures and encodes the
sound; each rendition has a thread that encodes its pictures and writes its file, fed through a bounded queue. While a
clip's encoders finish, the next clip is already being read. Gaps between clips are not decoded.

Guarantees: a rendition holds exactly the frames of its range, each at its exact time from the clip's start (variable
rates included), and exactly as many samples as it lasts; pictures stand upright; the same input, profile and library
versions give the same bytes; a misspelt codec option is an error; a clip that fails does not take others with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import av.codec.context
import av.container
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from contracts.errors import HeatersError
from contracts.values import FrameRange
from services.media.captions import Cue, cut_captions, write_srt, write_vtt
from services.media.errors import Disagreement, EncodingFailed, Incomplete, translated
from services.media.footage import Footage, Sounds
from services.media.measure import PictureFacts, PictureLimits, PictureMeter, SoundLimits
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
from services.media.profiles import Profile
from services.media.rendition import Rendition, Writer
from services.media.shaping import PictureChain, display_size, fitted, pixels

SOUND_AHEAD = Fraction(1, 2)
METER_SIDE = 320

Rgb = NDArray[np.uint8]


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
class Sidecar:
    """A file that goes with every rendition of a clip, whole in memory."""

    role: str
    name: str
    data: bytes
    content_type: str
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Rendered:
    """Everything that one clip's pass made. ``silent`` is where the source has no sound, in seconds from the clip's start."""

    frames: FrameRange
    duration: Fraction
    renditions: tuple[Rendition, ...]
    sidecars: tuple[Sidecar, ...]
    pictures: PictureFacts
    silent: tuple[tuple[Fraction, Fraction], ...] = ()


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
        self._writers: list[Writer] = []
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
        self._silent: tuple[tuple[Fraction, Fraction], ...] = ()

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
                Writer(
                    path,
                    profile,
                    footage,
                    self.frames,
                    title=self._cut.title,
                    first=first,
                    first_sound=first_sound,
                    limits=self._budget.sound,
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
                    self._silent = tuple(self._reader.holes)
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
        return Rendered(self.frames, self._length, renditions, self._sidecars(), pictures, self._silent)

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


def library_versions() -> dict[str, str]:
    """Name and version of the codec libraries in use."""
    return {name: ".".join(map(str, number)) for name, number in sorted(av.library_versions.items())}
