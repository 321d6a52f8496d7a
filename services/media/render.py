"""Renders clips of one video: each needed frame is decoded once, for every clip and profile that shows it.

Encoders that find no room beside those that are open (``Budget``) take their turn afterwards: the decoded frames wait for
them on the disk. Only frames for which the disk has no room either, and interlaced ones, are then decoded again.

How it runs: one thread (the caller's) reads frames. Each clip has a thread that measures them and takes pictures, one
that reads and encodes the sound, and for each rendition one that encodes and writes, and one that proves what was
written; all are fed through bounded queues. While a clip's encoders finish, the next clip is already being read. Gaps
between clips are not decoded.

Guarantees: a rendition holds exactly the frames of its range, each at its exact time from the clip's start (variable
rates included), and exactly as many samples as it lasts; pictures stand upright; the same input, profile and library
versions give the same bytes; a misspelt codec option is an error; a clip that fails does not take others with it.
"""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

from av import library_versions
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from contracts.errors import HeatersError
from contracts.values import FrameRange
from services.media.audio import SoundChain, as_float
from services.media.errors import EncodingFailed, Incomplete, translated
from services.media.fan import Fan
from services.media.footage import Footage, Sounds
from services.media.frame_spool import FrameSpool
from services.media.light import Light, light_of
from services.media.loudness import SoundSpool, measured_gain
from services.media.measure import PictureFacts, PictureLimits, SoundLimits
from services.media.memory import give_back, only_new_garbage
from services.media.overlay import Overlay
from services.media.profiles import Profile
from services.media.rendition import SOUND_AHEAD, Rendition, SoundsByForm, Writer, queue_depth
from services.media.shaping import Chains, colours_of, delivered_size
from services.media.sidecars import Aside, Captions, Sidecar, Waves, caption_sidecars
from services.media.watermark import Watermark
from services.media.workers import Crew, Pipe, Withdrawn


@dataclass(frozen=True)
class Cut:
    """One clip to render: its frames, its profiles and the folder that takes ``<profile>/<stem>.<extension>``."""

    frames: FrameRange
    profiles: tuple[Profile, ...]
    folder: Path
    stem: str
    title: str
    captions: tuple[Captions, ...] = ()
    watermark: Watermark | None = None
    """Drawn into the pictures that go with the clip, and into every rendition but the lossless and ``unmarked`` ones."""
    unmarked: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rendered:
    """Everything that one clip's pass made. ``silent`` is where the source has no sound, in seconds from the clip's start."""

    frames: FrameRange
    duration: Fraction
    renditions: tuple[Rendition, ...]
    sidecars: tuple[Sidecar, ...]
    pictures: PictureFacts
    silent: tuple[tuple[Fraction, Fraction], ...] = ()


ENCODER_BYTES = {"libx264": 150, "libx265": 215, "libsvtav1": 250, "ffv1": 36, "prores_aw": 40, "prores_ks": 40}
"""Bytes that an encoder takes for each pixel of its pictures: the growth of a process, measured at 1280x720 with noise.

Of ProRes, whose encoder takes little, mostly the pictures themselves, on their way there and back from the proof.
"""


_MOST_KEPT = 480_000_000
"""Bytes that the process may occupy while memory of ended encoders is kept for the next ones: a child's peak stays below 500 MB
at 1920x1080, where each encoder takes 310."""


def encoders_bytes(profiles: Iterable[Profile], pixels: int) -> int:
    """About how much memory the renditions' encoders take; pictures may be smaller, never larger, than the source's."""
    most = max(ENCODER_BYTES.values())
    return pixels * sum(ENCODER_BYTES.get(profile.video.encoder, most) for profile in profiles)


@dataclass(frozen=True)
class Budget:
    """What QC looks for while the frames pass, and how many clips may be open at once."""

    pictures: PictureLimits = field(default_factory=PictureLimits)
    sound: SoundLimits = field(default_factory=SoundLimits)
    closing: int = 1
    encoder_memory: int = 380_000_000
    """Bytes that the encoders open at once may take, by ``encoders_bytes``; one of them is always open."""
    waiting_frames: int = 16_000_000_000
    """Bytes of disk that frames may take which wait for an encoder; never more than a quarter of what is free."""


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
    waiting = deque[_Part]()
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
            waiting.append(_Part(place, cuts[place]))
    if not waiting:
        return
    read, total = 0, _distinct_frames([part.frames for part in waiting])

    def counted() -> None:
        nonlocal read
        read += 1
        if progress is not None:
            progress(read, total)

    folder = cuts[waiting[0].place].folder.parent
    folder.mkdir(parents=True, exist_ok=True)
    disk = min(budget.waiting_frames, shutil.disk_usage(folder).free // 4)
    with only_new_garbage(), closing(FrameSpool(folder, disk)) as spool:
        state = _State(cuts, waiting, spool)
        try:
            while waiting:
                run = _first_run([part.frames for part in waiting])
                try:
                    with translated("decoding the video"):
                        yield from _render_run(footage, run, state, budget=budget, counted=counted)
                except HeatersError as error:
                    # What was open when reading failed is lost; what comes later in the run gets a read of its own.
                    failed = [clip.part for clip in state.opened] or [waiting.popleft()]
                    for clip in state.opened:
                        clip.abort()
                    state.opened.clear()
                    for part in failed:
                        state.conclude(part, error)
                yield from state.given()
                if state.later:
                    # What decoded this run gives its memory to their encoders.
                    footage.pictures.close()
                    # They have their turn before the frames that wait for them become too many.
                    waiting.extendleft(reversed(state.later))
                    state.later.clear()
                    total = read + _distinct_frames([part.frames for part in waiting])
            while state.closing:
                state.settle_next()
                yield from state.given()
        finally:
            for clip in (*state.opened, *state.closing):
                clip.abort()


@dataclass(frozen=True)
class _Part:
    """A clip, or those of its renditions that found no room with the others. The first part of a clip makes its sidecars."""

    place: int
    cut: Cut
    first: bool = True
    light: Light | None = None
    """What the clip's first frame says, which frames that waited on the disk do not say any more."""

    @property
    def frames(self) -> FrameRange:
        return self.cut.frames

    def split(self, room: int, pixels: int) -> tuple[_Part | None, _Part | None]:
        """What fits into so many bytes, and what does not."""
        fitting: list[Profile] = []
        for profile in self.cut.profiles:
            needs = encoders_bytes([profile], pixels)
            if needs <= room:
                fitting.append(profile)
                room -= needs
        rest = tuple(profile for profile in self.cut.profiles if profile not in fitting)
        if not fitting or not rest:
            return (self, None) if fitting else (None, self)
        return self.only(tuple(fitting)), replace(self.only(rest), first=False)

    def only(self, profiles: tuple[Profile, ...]) -> _Part:
        """The same clip with fewer renditions."""
        return replace(self, cut=replace(self.cut, profiles=profiles))


@dataclass
class _State:
    """Which parts of clips wait, take frames now, are finishing or found no room; and the results that nobody was given yet."""

    cuts: Sequence[Cut]
    waiting: deque[_Part]
    spool: FrameSpool
    opened: list[_ClipPass] = field(default_factory=list)
    closing: deque[_ClipPass] = field(default_factory=deque)
    later: list[_Part] = field(default_factory=list)
    idle_sounds: list[Sounds] = field(default_factory=list)
    chains: Chains = field(default_factory=Chains)
    results: deque[tuple[int, Rendered | HeatersError]] = field(default_factory=deque)
    _made: dict[int, list[tuple[_Part, Rendered]]] = field(default_factory=dict)
    _failed: set[int] = field(default_factory=set)

    @property
    def memory(self) -> int:
        """Bytes that the encoders take which are open now."""
        return sum(clip.memory for clip in (*self.opened, *self.closing))

    def settle_ended(self) -> None:
        """Takes the results of clips whose encoders have finished, which hold their memory until then."""
        for clip in [clip for clip in self.closing if clip.has_ended]:
            self.closing.remove(clip)
            self._settle(clip)

    def settle_next(self) -> None:
        """Waits for the clip that has been closing for longest, and takes its result."""
        self._settle(self.closing.popleft())

    def given(self) -> Iterator[tuple[int, Rendered | HeatersError]]:
        """The results that were taken and not given yet."""
        while self.results:
            yield self.results.popleft()

    def _settle(self, clip: _ClipPass) -> None:
        outcome = clip.result()
        give_back(beyond=_MOST_KEPT)
        self.conclude(clip.part, outcome)

    def conclude(self, part: _Part, outcome: Rendered | HeatersError) -> None:
        """Notes what became of a part: its clip has a result once all its parts are made, or at its first error."""
        place = part.place
        if place in self._failed:
            return
        if isinstance(outcome, HeatersError):
            self._failed.add(place)
            self._made.pop(place, None)
            self.later[:] = [other for other in self.later if other.place != place]
            for other in [other for other in self.waiting if other.place == place]:
                self.waiting.remove(other)
            self.results.append((place, outcome))
            return
        made = self._made.setdefault(place, [])
        made.append((part, outcome))
        parts = (*self.later, *self.waiting, *(clip.part for clip in (*self.opened, *self.closing)))
        if all(other.place != place for other in parts):
            self.results.append((place, _together(self.cuts[place], self._made.pop(place))))


def _together(cut: Cut, made: Sequence[tuple[_Part, Rendered]]) -> Rendered:
    """One clip's parts as one."""
    (whole,) = (rendered for part, rendered in made if part.first)
    renditions = {rendition.profile.name: rendition for _, rendered in made for rendition in rendered.renditions}
    return replace(whole, renditions=tuple(renditions[profile.name] for profile in cut.profiles))


def _render_run(
    footage: Footage,
    run: FrameRange,
    state: _State,
    *,
    budget: Budget,
    counted: Callable[[], None],
) -> Iterator[tuple[int, Rendered | HeatersError]]:
    waiting, opened, spool = state.waiting, state.opened, state.spool
    expected = fed = run.start
    for number, frame in _pictures(footage, run, spool):
        if number != expected:
            raise Incomplete(
                f"Frame {expected} did not come: the decoder gave frame {number}. Preprocess the video again."
            )
        expected += 1
        state.settle_ended()
        while waiting and waiting[0].frames.start == number:
            needs = encoders_bytes(waiting[0].cut.profiles, frame.width * frame.height)
            tight = state.memory + needs > budget.encoder_memory
            if state.closing and (tight or len(state.closing) > budget.closing):
                state.settle_next()
            else:
                _open(waiting.popleft(), frame, footage, state, budget)
                fed = number + queue_depth(frame.width, frame.height)
        if any(part.frames.start <= number < part.frames.end for part in state.later):
            spool.keep(number, frame)
        else:
            spool.drop(number)
        for clip in opened:
            clip.add(number, frame)
        counted()
        for clip in [clip for clip in opened if clip.frames.end == expected]:
            opened.remove(clip)
            clip.end()
            state.closing.append(clip)
        if number >= fed:
            # Whoever takes a result reads no frame meanwhile: encoders that were just opened have their queues filled first.
            yield from state.given()
        if not opened and not (waiting and waiting[0].frames.start == expected):
            # The rest of the run belongs to clips that were put off: they take it from here.
            return
    if expected != run.end:
        raise Incomplete(f"The video ended at frame {expected}, before frame {run.end}. Preprocess the video again.")


def _pictures(footage: Footage, run: FrameRange, spool: FrameSpool) -> Iterator[tuple[int, VideoFrame]]:
    """The frames of a run: first those that waited on the disk, then what has to be decoded."""
    number = run.start
    while number < run.end and number in spool:
        yield number, spool.frame(number)
        number += 1
    if number < run.end:
        yield from footage.pictures.frames(FrameRange(start=number, end=run.end))


def _open(part: _Part, frame: VideoFrame, footage: Footage, state: _State, budget: Budget) -> None:
    """Opens as many of the part's encoders as find room, and puts the others off."""
    pixels = frame.width * frame.height
    part = replace(part, light=part.light or light_of(frame))
    now, later = part.split(budget.encoder_memory - state.memory, pixels)
    if now is None and not state.opened:
        # One encoder is always open, however large it is.
        now, later = part.split(encoders_bytes(part.cut.profiles[:1], pixels), pixels)
    if later is not None:
        state.later.append(later)
    if now is not None:
        memory = encoders_bytes(now.cut.profiles, pixels)
        state.opened.append(_ClipPass(now, footage, budget, state, memory))


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


class _SoundPass:
    """One clip's sound: read by a thread of its own, a little ahead of the pictures, and encoded for all renditions."""

    def __init__(
        self, reader: Sounds, blocks: Iterator[AudioFrame], first: AudioFrame, chains: Sequence[SoundChain], crew: Crew
    ) -> None:
        self.reader = reader
        self._blocks = blocks
        self._first = first
        self._chains = chains
        self._crew = crew
        self._heard: Fraction | None = Fraction(0)
        self._told = threading.Condition()
        self.waves = Waves(first.sample_rate)
        # Unbounded: it holds one number for each picture on its way, and those are bounded.
        self._until: Pipe[Fraction] = crew.pipe("sound", self._read, depth=0)

    def advance(self, until: Fraction) -> None:
        """Lets the sound be read up to ``until`` seconds from the clip's start; never waits."""
        self._until.put(until)

    def end(self) -> None:
        """Lets the sound be read to its end."""
        self._until.finish()

    def _read(self, items: Iterator[Fraction]) -> None:
        with translated("encoding the sound"):
            heard = self._hear(self._first)
            for until in items:
                while heard < until:
                    block = next(self._blocks, None)
                    if block is None:
                        break
                    heard += self._hear(block)
                self._tell(until)
            for block in self._blocks:
                self._hear(block)
            for chain in self._chains:
                chain.finish()
            self._tell(None)

    def _hear(self, block: AudioFrame) -> Fraction:
        length = Fraction(block.samples, block.sample_rate)
        self.waves.add(as_float(block))
        for chain in self._chains:
            chain.push(block)
        return length

    def _tell(self, heard: Fraction | None) -> None:
        with self._told:
            self._heard = heard
            self._told.notify_all()

    def wait(self, until: Fraction | None) -> None:
        """Returns once the sound was read up to ``until`` (or, if None, to its end) and encoded as far as it goes."""
        with self._told:
            while self._heard is not None and (until is None or self._heard < until):
                self._crew.check()
                self._told.wait(0.2)


class _Silence:
    """What a clip without sound waits for: nothing."""

    def wait(self, until: Fraction | None) -> None:
        """Returns at once."""


class _Hearing:
    """Stands between writers, which are made first, and the sound that is read for them."""

    def __init__(self) -> None:
        self.sound: _SoundPass | _Silence = _Silence()

    def wait(self, until: Fraction | None) -> None:
        """As ``_SoundPass.wait``."""
        self.sound.wait(until)


class _ClipPass:
    """One clip while its frames pass. Its errors stay its own: after one, frames are let by until the clip ends."""

    def __init__(self, part: _Part, footage: Footage, budget: Budget, state: _State, memory: int) -> None:
        cut = part.cut
        self.part = part
        self.frames = part.frames
        self.memory = memory
        self._footage = footage
        self._cut = cut
        self._budget = budget
        self._start = footage.time_of(cut.frames.start)
        self._length = footage.time_of(cut.frames.end) - self._start
        self._crew = Crew()
        self._fan = Fan(len(cut.profiles) + part.first)
        self._writers: list[Writer] = []
        self._error: HeatersError | None = None
        self._chains = state.chains
        self._aside = Aside(footage, cut.frames, budget.pictures, state.chains, cut.watermark) if part.first else None
        self._asides: Pipe[tuple[int, VideoFrame]] | None = None
        self._pictures: tuple[Sidecar, ...] = ()
        self._idle_sounds = state.idle_sounds
        self._sound: _SoundPass | None = None
        self._spool: SoundSpool | None = None

    def add(self, number: int, frame: VideoFrame) -> None:
        if self._error is not None:
            return
        with self._guarded(f"rendering the clip {self.frames}"):
            if number == self.frames.start:
                self._open(frame)
            if self._sound is not None:
                self._sound.advance(self._footage.time_of(number + 1) - self._start + SOUND_AHEAD)
            twins = self._fan.spread(frame)
            if self._asides is not None:
                self._asides.put((number, twins.pop()))
            for writer, twin in zip(self._writers, twins, strict=True):
                writer.put_picture(number - self.frames.start, twin)

    @contextmanager
    def _guarded(self, doing: str) -> Iterator[None]:
        try:
            with translated(doing):
                yield
        except Withdrawn:
            self._fail(self._crew.failure)
        except HeatersError as error:
            self._fail(error)

    def _open(self, first: VideoFrame) -> None:
        footage, hearing = self._footage, _Hearing()
        reader: Sounds | None = None
        blocks: Iterator[AudioFrame] = iter(())
        first_sound: AudioFrame | None = None
        sounds: SoundsByForm = {}
        gains: dict[str, float] = {}
        if footage.sounds is not None:
            reader = self._idle_sounds.pop() if self._idle_sounds else footage.sounds()
            blocks = iter(reader.samples(self._start, self._start + self._length))
            if any(profile.loudness for profile in self._cut.profiles):
                # A gain has to be known before the first sample is encoded; so the sound is read ahead, and kept.
                self._spool = SoundSpool(self._cut.folder, blocks)
                gains = self._gains(self._spool)
                blocks = self._spool.blocks()
            first_sound = next(blocks, None)
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
                    light=self.part.light,
                    first_sound=first_sound,
                    sounds=sounds,
                    limits=self._budget.sound,
                    crew=self._crew,
                    heard=hearing,
                    chains=self._chains,
                    gain=gains.get(profile.name),
                    overlay=self._overlay_for(profile, first),
                )
            )
        if reader is not None and first_sound is not None:
            self._sound = hearing.sound = _SoundPass(reader, blocks, first_sound, tuple(sounds.values()), self._crew)
        if self._aside is not None:
            watch = partial(self._watch, self._aside)
            self._asides = self._crew.pipe("sidecars", watch, depth=queue_depth(first.width, first.height))

    def _watch(self, aside: Aside, items: Iterator[tuple[int, VideoFrame]]) -> None:
        with translated(f"measuring the clip {self.frames}"):
            aside.read(items)
            # Here, and not where all clips' frames pass: to draw and compress them takes as long as several frames.
            self._pictures = tuple(aside.sidecars(self._cut.stem, self._cut.title))

    def _gains(self, spool: SoundSpool) -> dict[str, float]:
        return {
            profile.name: measured_gain(spool.blocks(), profile.audio, profile.loudness, self._length).decibels
            for profile in self._cut.profiles
            if profile.loudness is not None
        }

    def _overlay_for(self, profile: Profile, first: VideoFrame) -> Overlay | None:
        if self._cut.watermark is None or profile.lossless or profile.name in self._cut.unmarked:
            return None
        footage, encoding = self._footage, profile.video
        size = delivered_size(first.width, first.height, footage.sample_aspect_ratio, footage.rotation, encoding)
        return Overlay(self._cut.watermark, size, colours_of(first, encoding))

    def end(self) -> None:
        """The clip's last frame was given: lets the encoders finish by themselves."""
        if self._error is not None:
            return
        with self._guarded(f"finishing the clip {self.frames}"):
            if self._sound is not None:
                self._sound.end()
            if self._asides is not None:
                self._asides.finish()
            for writer in self._writers:
                writer.end()

    @property
    def has_ended(self) -> bool:
        """Whether ``result`` would not wait."""
        return self._error is not None or self._crew.has_ended

    def result(self) -> Rendered | HeatersError:
        """Waits for the encoders; gives what was made, or the first error."""
        if self._error is None:
            with self._guarded(f"finishing the clip {self.frames}"):
                return self._finished()
        assert self._error is not None  # noqa: S101 - set just above.
        return self._error

    def _finished(self) -> Rendered:
        self._crew.join()
        renditions = tuple(writer.result() for writer in self._writers)
        pictures = self._aside.facts() if self._aside is not None else PictureFacts(len(self.frames), (), ())
        silent: tuple[tuple[Fraction, Fraction], ...] = ()
        if self._sound is not None:
            silent = tuple(self._sound.reader.holes)
            self._idle_sounds.append(self._sound.reader)
        self._close_spool()
        rendered = Rendered(self.frames, self._length, renditions, tuple(self._sidecars()), pictures, silent)
        # Encoders take more memory than all else; nobody who still knows this clip may keep them.
        self._writers.clear()
        self._sound = self._asides = None
        return rendered

    def _sidecars(self) -> Iterator[Sidecar]:
        cut = self._cut
        if self._aside is None:
            return
        yield from self._pictures
        if self._sound is not None:
            yield from self._sound.waves.sidecars(cut.stem)
        yield from caption_sidecars(cut.captions, cut.stem, self._start, self._start + self._length)

    def _fail(self, error: BaseException | None) -> None:
        if not isinstance(error, HeatersError):
            error = EncodingFailed(f"Rendering the clip {self.frames} ended early ({error}). Try the export again.")
        self._error = error
        self.abort()

    def abort(self) -> None:
        """Stops the encoders; their files stay unfinished."""
        self._crew.abort()
        for writer in self._writers:
            writer.abort()
        self._close_spool()

    def _close_spool(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None


def codec_versions() -> dict[str, str]:
    """Name and version of the codec libraries in use."""
    return {name: ".".join(map(str, number)) for name, number in sorted(library_versions.items())}
