"""The three mastering policies give the same deliverables: same frames, same samples, bit for bit."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from contracts.errors import Permanent
from contracts.values import FrameRange, Options
from services.chassis.desk import Desk
from services.chassis.objects import FolderStore
from services.export.domain import ExportInput, ExportResult, Footage, Part
from services.export.settings import Settings
from services.export.work import export_clips
from services.media.decode import AudioSource, FrameSource
from services.media.digest import FrameDigest
from services.media.frame_index import FrameIndex
from services.media.part import PartFrames
from services.media.probe import probe
from services.media.recipes import MasterSettings, ReviewSettings
from services.preprocess.domain import MasterInput, PartInput, PartResult, ProxyInput
from services.preprocess.jobs import PART
from services.preprocess.work import make_lossless_master, make_masters_of_clips, make_proxy
from tests.support.made_videos import luma_of, make_video, read_number

VIDEO = uuid.UUID(int=3)
CLIPS = ((0, 1), (1, 17), (33, 71), (88, 90))
SOURCES = {
    "aac_44100_late.mp4": {
        "pts": [n * 512 + 700 for n in range(90)], "timebase": Fraction(1, 12_800), "audio": "aac", "sample_rate": 44_100,
        "audio_start": Fraction(1, 7), "options": {"bf": "3", "g": "30"},
    },
    "opus_open_gop.mkv": {
        "frames": 90, "rate": Fraction(30_000, 1001), "audio": "libopus", "layout": "5.1",
        "options": {"bf": "2", "g": "25", "x264-params": "open-gop=1"},
    },
    "negative.mp4": {
        "pts": [n * 512 - 3 for n in range(93)], "timebase": Fraction(1, 12_800), "audio": "flac", "options": {"bf": "0"},
    },
    "interlaced.mkv": {
        "frames": 90, "audio": "aac", "sample_rate": 44_100, "options": {"flags": "+ildct+ilme", "x264-params": "tff=1"},
    },
    "deep.mov": {"frames": 90, "codec": "prores_ks", "pixel_format": "yuv422p10le", "audio": "pcm_s24le"},
}  # fmt: skip


@dataclass(frozen=True)
class Shelf:
    store: FolderStore
    index: FrameIndex
    source: Path
    parts: tuple[PartResult, ...]
    footages: dict[str, list[Footage]]


def desk(store: FolderStore, scratch: Path) -> Desk:
    scratch.mkdir(parents=True, exist_ok=True)
    return Desk(Settings(_env_file=None), store, scratch, scratch)


@pytest.fixture(scope="module", params=SOURCES)
def shelf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """One source, preprocessed by each policy."""
    folder = tmp_path_factory.mktemp("shelf")
    path = make_video(folder / request.param, size=(160, 96), **SOURCES[request.param])
    store = FolderStore(folder / "store")
    source = store.put_file(path, f"videos/v/source/a{path.suffix}", "video/mp4")
    media, settings = probe(path).facts, MasterSettings()
    proxy_order = ProxyInput(
        video_id=VIDEO, title="t", options=Options(), source=source, media=media, settings=ReviewSettings()
    )
    proxied = make_proxy(proxy_order, desk(store, folder / "proxy"))
    whole = make_lossless_master(
        MasterInput(video_id=VIDEO, source=source, settings=settings), desk(store, folder / "master")
    )
    orders = [
        PartInput(
            video_id=VIDEO, clip_id=uuid.UUID(int=start), version=2, frames=FrameRange(start=start, end=end),
            source=source, media=media, index=proxied.index, settings=settings,
        )
        for start, end in CLIPS
    ]  # fmt: skip
    made = dict(make_masters_of_clips(orders, desk(store, folder / "parts")))
    parts = tuple(made[place] for place in range(len(orders)))
    plain = Footage(frames=proxied.frames, rate=proxied.rate, source=source, media=media, index=proxied.index)
    eager = plain.model_copy(
        update={"index": whole.index, "master": whole.master, "master_frames_sha256": whole.frames_sha256}
    )
    own = [
        plain.model_copy(update={"part": Part(frames=order.frames, **part.model_dump())})
        for order, part in zip(orders, parts, strict=True)
    ]
    footages = {"eager": [eager] * len(CLIPS), "approved": own, "none": [plain] * len(CLIPS)}
    return Shelf(store, FrameIndex.from_bytes(store.get_bytes(proxied.index.key)), path, parts, footages)


def delivered(shelf: Shelf, policy: str, profile: str, folder: Path) -> list[Path]:
    orders = [
        ExportInput(
            video_id=VIDEO, clip_id=uuid.UUID(int=start), frames=FrameRange(start=start, end=end), title="t",
            profiles=(profile,), footage=footage,
        )
        for (start, end), footage in zip(CLIPS, shelf.footages[policy], strict=True)
    ]  # fmt: skip
    outcomes = dict(export_clips(orders, desk(shelf.store, folder / f"{policy}-{profile}")))
    paths = []
    for place in range(len(orders)):
        outcome = outcomes[place]
        assert isinstance(outcome, ExportResult), outcome
        file = next(file for file in outcome.deliverables[0].files if file.role == "video")
        paths.append(
            shelf.store.fetch(file.object, folder / f"{policy}-{profile}-{place}{Path(file.object.key).suffix}")
        )
    return paths


def content(path: Path) -> tuple[str, np.ndarray]:
    """The digest of all frames, and all samples."""
    digest, blocks = FrameDigest(), []
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            digest.add(frame)
    with av.open(str(path)) as file:
        blocks = [frame.to_ndarray() for frame in file.decode(audio=0)]
    if blocks[0].shape[0] == 1:
        return digest.hexdigest(), np.concatenate([block.reshape(-1) for block in blocks])
    return digest.hexdigest(), np.concatenate(blocks, axis=1)


def test_archives_are_the_same_bit_for_bit_whatever_was_mastered(shelf: Shelf, tmp_path: Path) -> None:
    made = {policy: delivered(shelf, policy, "archive-ffv1", tmp_path) for policy in shelf.footages}
    for place, (start, end) in enumerate(CLIPS):
        eager, approved, none = (content(made[policy][place]) for policy in ("eager", "approved", "none"))
        assert eager[0] == approved[0] == none[0]
        assert np.array_equal(eager[1], approved[1])
        assert np.array_equal(eager[1], none[1])
        digest = FrameDigest()
        with FrameSource(shelf.source, shelf.index.without_addresses(), 0) as frames:
            for _, frame in frames.frames(FrameRange(start=start, end=end)):
                digest.add(frame)
        assert digest.hexdigest() == shelf.parts[place].frames_sha256 == eager[0]


def test_deliveries_are_the_same_files_whatever_was_mastered(shelf: Shelf, tmp_path: Path) -> None:
    made = {policy: delivered(shelf, policy, "delivery-h264", tmp_path) for policy in shelf.footages}
    left_out = int(shelf.source.name == "negative.mp4")  # Its edit list leaves out the first picture.
    for place, (start, end) in enumerate(CLIPS):
        eager, approved, none = (content(made[policy][place]) for policy in ("eager", "approved", "none"))
        assert eager[0] == approved[0] == none[0]
        assert np.array_equal(eager[1], approved[1])
        assert np.array_equal(eager[1], none[1])
        assert len({made[policy][place].read_bytes() for policy in made}) == 1
        with av.open(str(made["approved"][place])) as file:
            assert [read_number(luma_of(frame)) for frame in file.decode(video=0)] == list(
                range(start + left_out, end + left_out)
            )


def test_a_part_is_small_and_lies_among_the_clips_own_objects(shelf: Shelf) -> None:
    for (start, _), part in zip(CLIPS, shelf.parts, strict=True):
        assert part.master.key.startswith(f"clips/{uuid.UUID(int=start)}/")
        index = FrameIndex.from_bytes(shelf.store.get_bytes(part.index.key))
        assert index.first_pts == int(shelf.index.pts[start])
    whole = shelf.footages["eager"][0].master.size
    assert sum(part.master.size for part in shelf.parts) < whole


def test_frames_outside_a_part_are_an_error(shelf: Shelf) -> None:
    part = shelf.parts[1]
    index = FrameIndex.from_bytes(shelf.store.get_bytes(part.index.key))
    held = FrameRange(start=CLIPS[1][0], end=CLIPS[1][1])
    with shelf.store.open(part.master.key) as file, FrameSource(file, index) as frames:
        pictures = PartFrames(frames, held)
        assert [number for number, _ in pictures.frames(held)] == list(range(held.start, held.end))
        with pytest.raises(Permanent) as caught:
            list(pictures.frames(FrameRange(start=held.start, end=held.end + 1)))
    assert caught.value.code == "media.incomplete"


def test_a_part_repeated_is_the_same_and_its_sound_is_as_long_as_its_pictures(shelf: Shelf, tmp_path: Path) -> None:
    footage, part = shelf.footages["approved"][2], shelf.parts[2]
    order = PartInput(
        video_id=VIDEO, clip_id=uuid.UUID(int=CLIPS[2][0]), version=2, frames=footage.part.frames, source=footage.source,
        media=footage.media, index=footage.index, settings=MasterSettings(),
    )  # fmt: skip
    [(_, again)] = make_masters_of_clips([order], desk(shelf.store, tmp_path))
    assert again == part
    assert PART.marker(order).startswith(order.folder)
    length = shelf.index.time(CLIPS[2][1]) - shelf.index.time(CLIPS[2][0])
    with shelf.store.open(part.master.key) as file, AudioSource(file, 1) as sound:
        samples = sum(block.samples for block in sound.samples(Fraction(0), length + 1))
        assert sound.holes
        assert abs(samples - sound.sample_rate * (length + 1)) <= 1
        hole = sound.holes[-1]
        assert abs(hole[0] - length) <= Fraction(1, sound.sample_rate)
