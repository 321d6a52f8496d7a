"""Delivered clips as a training set: WebDataset shards and the rows of their index.

Pure, but for what it is handed to read objects with. A sample is a clip's file, its poster, its captions and a JSON document,
under one key, the clip's id. Samples follow each other by key: ids are digests, so that neighbours of a film are spread. The
same clips, deliverables and bounds give the same shards, byte for byte; nothing larger than a piece of an object is held.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from contracts.errors import HeatersError, Transient
from contracts.values import Deliverable, DeliverableFile, FrameRange, ObjectRef
from services.media.captions import parse_captions

PIECE = 1 << 20
"""Bytes that are read of an object at once."""
INDEX = "index.parquet"
ROLES = ("video", "poster", "captions_vtt")
"""What a sample takes from a deliverable, in the order of the shard."""

ReadRange = Callable[[str, int, int], bytes]


class SampleChanged(Transient):
    """An object is not the one that was delivered, or is gone."""

    code = "training.sample_changed"


@dataclass(frozen=True)
class Sample:
    """A delivered clip, and what is said of it."""

    clip_id: UUID
    video_id: UUID
    title: str
    source: str
    """The address it came from, or the name of the upload; empty where neither is known."""
    frames: FrameRange
    rate: Fraction
    tags: tuple[str, ...]
    note: str
    deliverable: Deliverable

    @property
    def key(self) -> str:
        """What the names of its members begin with."""
        return str(self.clip_id)

    @property
    def files(self) -> Sequence[DeliverableFile]:
        """The delivered files that it takes."""
        return sorted(
            (file for file in self.deliverable.files if file.role in ROLES),
            key=lambda file: (ROLES.index(file.role), file.name),
        )

    @property
    def size(self) -> int:
        """Bytes of its delivered files."""
        return sum(file.object.size for file in self.files)

    def document(self) -> dict[str, Any]:
        """What its JSON says, without the captions' words."""
        picture = next(file for file in self.files if file.role == "video")
        return {
            "clip_id": str(self.clip_id),
            "video_id": str(self.video_id),
            "title": self.title,
            "source": self.source,
            "start_frame": self.frames.start,
            "end_frame": self.frames.end,
            "frames": self.frames.end - self.frames.start,
            "rate": f"{self.rate.numerator}/{self.rate.denominator}",
            "start_seconds": round(float(self.frames.start / self.rate), 6),
            "end_seconds": round(float(self.frames.end / self.rate), 6),
            "tags": list(self.tags),
            "note": self.note,
            "profile": self.deliverable.profile,
            "verdict": self.deliverable.verdict.value,
            "media": member(self, picture),
            "bytes": picture.object.size,
            "sha256": picture.object.sha256,
            "languages": [_language(file) for file in self.files if file.role == "captions_vtt"],
        }


@dataclass(frozen=True)
class Shard:
    """Samples that share a file."""

    number: int
    samples: tuple[Sample, ...]

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.number:05d}.tar"

    @property
    def size(self) -> int:
        """Bytes of the delivered files in it."""
        return sum(sample.size for sample in self.samples)


def chosen(deliverables: Sequence[Deliverable], profile: str | None) -> Deliverable | None:
    """The deliverable that a sample is made of: of the profile asked for, or the first one with pictures."""
    return next(
        (
            bundle
            for bundle in deliverables
            if profile in (None, bundle.profile) and any(file.role == "video" for file in bundle.files)
        ),
        None,
    )


def shards_of(samples: Iterable[Sample], most: int) -> list[Shard]:
    """The samples in shards of at most ``most`` bytes of delivered files; a larger sample has a shard of its own."""
    shards: list[Shard] = []
    held: list[Sample] = []
    size = 0
    for sample in sorted(samples, key=lambda sample: sample.key):
        if held and size + sample.size > most:
            shards.append(Shard(len(shards), tuple(held)))
            held, size = [], 0
        held.append(sample)
        size += sample.size
    return [*shards, Shard(len(shards), tuple(held))] if held else shards


def digest_of(shards: Sequence[Shard]) -> str:
    """What tells one training set from another: two with the same digest hold the same bytes."""
    told = [
        [
            shard.name,
            [
                [sample.document(), [[file.name, file.object.sha256] for file in sample.files]]
                for sample in shard.samples
            ],
        ]
        for shard in shards
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def member(sample: Sample, file: DeliverableFile) -> str:
    """The name of a delivered file in a shard; after the key everything is its kind, as WebDataset has it."""
    if file.role == "poster":
        return f"{sample.key}.jpg"
    if file.role == "captions_vtt":
        return f"{sample.key}.{_language(file)}.vtt"
    return f"{sample.key}{PurePosixPath(file.name).suffix.lower()}"


def pack(shard: Shard, read: ReadRange) -> Iterator[bytes]:
    """The shard's bytes, a piece at a time.

    Raises:
        SampleChanged: if an object is not what was delivered; what was given out by then is no shard.
    """
    for sample in shard.samples:
        words: dict[str, str] = {}
        for file in sample.files:
            yield _header(member(sample, file), file.object.size)
            if file.role == "captions_vtt":
                data = b"".join(_proven(file.object, read))
                words[_language(file)] = _words(data)
                yield data
            else:
                yield from _proven(file.object, read)
            yield _padding(file.object.size)
        document = {**sample.document(), "captions": words}
        spelt = (json.dumps(document, sort_keys=True, ensure_ascii=False) + "\n").encode()
        yield _header(f"{sample.key}.json", len(spelt)) + spelt + _padding(len(spelt))
    yield bytes(2 * tarfile.BLOCKSIZE)


def rows(shards: Sequence[Shard]) -> Iterator[dict[str, Any]]:
    """The index: for each sample its shard, its key, and what its document says."""
    for shard in shards:
        for sample in shard.samples:
            yield {"shard": shard.name, "key": sample.key, **sample.document()}


def _proven(stored: ObjectRef, read: ReadRange) -> Iterator[bytes]:
    """An object, proved to be the delivered one before its last piece is given out."""
    digest = hashlib.sha256()
    for start in range(0, stored.size, PIECE):
        end = min(start + PIECE, stored.size)
        try:
            data = read(stored.key, start, end)
        except HeatersError as error:
            raise SampleChanged(f"{stored.key} cannot be read ({error.message}); ask for the set again.") from error
        digest.update(data)
        if len(data) != end - start or (end == stored.size and digest.hexdigest() != stored.sha256):
            raise SampleChanged(f"{stored.key} is not what was delivered; ask for the set again.")
        yield data


def _words(data: bytes) -> str:
    """What captions say, a line a cue; nothing of those that cannot be read."""
    try:
        return "\n".join(" ".join(cue.text.split()) for cue in parse_captions(data))
    except HeatersError:
        return ""


def _language(file: DeliverableFile) -> str:
    """``en`` of ``talk.en.vtt``."""
    parts = file.name.split(".")
    return parts[-2] if len(parts) > 2 else "und"


def _header(name: str, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, 0, 0o644
    return entry.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
