"""A source with what preprocess makes of it, and the footage that export cuts from, mastered or not."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from contracts.values import FrameRange
from services.media.decode import AudioSource, FrameSource
from services.media.footage import Footage
from services.media.frame_index import FrameIndex
from services.media.master import Master, make_master
from services.media.part import SourceSounds
from services.media.probe import Probe, probe
from services.media.review_media import ReviewMedia, make_review_media


@dataclass(frozen=True)
class Prepared:
    """A source and what preprocess made of it."""

    path: Path
    probe: Probe
    review: ReviewMedia
    master: Master

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def index(self) -> FrameIndex:
        return self.review.index

    @property
    def rotation(self) -> int:
        return self.probe.facts.video.rotation

    @property
    def whole(self) -> FrameRange:
        return FrameRange(start=0, end=self.review.frames)


def prepare(path: Path, folder: Path) -> Prepared:
    """Preprocesses a source into two folders of the given one."""
    facts = probe(path)
    review, master = folder / "review", folder / "master"
    review.mkdir()
    master.mkdir()
    return Prepared(path, facts, make_review_media(path, facts, review), make_master(path, facts, master))


def footage(made: Prepared, ways_out: ExitStack, *, mastered: bool) -> Footage:
    facts = made.probe.facts
    path = made.master.path if mastered else made.path
    index = made.master.index if mastered else made.index.without_addresses()

    def sounds() -> AudioSource | SourceSounds:
        if mastered:
            return ways_out.enter_context(AudioSource(path, 1))
        number = facts.audio.stream_index
        return SourceSounds(ways_out.enter_context(AudioSource(path, number, origin=made.index.start)))

    return Footage(
        pictures=ways_out.enter_context(FrameSource(path, index, 0 if mastered else facts.video.stream_index)),
        sounds=sounds if facts.audio is not None else None,
        frames=len(index),
        time_of=index.time,
        timebase=index.timebase,
        rate=facts.video.rate,
        sample_aspect_ratio=facts.video.sample_aspect_ratio,
        rotation=facts.video.rotation,
        interlaced=facts.video.interlaced,
    )
