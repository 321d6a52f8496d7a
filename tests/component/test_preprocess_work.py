"""Both passes as the worker runs them, over a folder as object store."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest

from contracts.errors import Permanent
from contracts.values import FrameRange, Options
from services.chassis.desk import Desk
from services.chassis.objects import FolderStore
from services.media.decode import AudioSource, FrameSource
from services.media.frame_index import FrameIndex
from services.media.probe import probe
from services.media.recipes import MasterSettings, ReviewSettings
from services.preprocess.domain import MasterInput, ProxyInput
from services.preprocess.jobs import MASTER, PROXY
from services.preprocess.work import make_lossless_master, make_proxy
from tests.support.made_videos import luma_of, make_video, read_number

VIDEO = UUID(int=9)
FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = FolderStore(tmp_path / "objects")
    store.ensure_bucket()
    return store


def desk(store: FolderStore, folder: Path) -> Desk:
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    return Desk(settings=None, objects=store, scratch=scratch, kept=folder)


def orders(store: FolderStore, path: Path) -> tuple[ProxyInput, MasterInput]:
    source = store.put_file(path, f"videos/{VIDEO}/source/x{path.suffix}", "video/mp4")
    proxy = ProxyInput(
        video_id=VIDEO,
        title="A film",
        options=Options(),
        source=source,
        media=probe(path).facts,
        settings=ReviewSettings(),
    )
    return proxy, MasterInput(video_id=VIDEO, source=source, settings=MasterSettings())


def test_what_is_announced_lies_in_the_store_and_a_repetition_writes_the_same(store, tmp_path):
    proxy_order, master_order = orders(store, make_video(tmp_path / "a.mp4", frames=60, audio="aac"))
    results = []
    for go in ("first", "second"):
        made = make_proxy(proxy_order, desk(store, tmp_path / go / "proxy"))
        gold = make_lossless_master(master_order, desk(store, tmp_path / go / "master"))
        results.append((made, gold))
    assert results[0] == results[1]
    made, gold = results[0]
    for ref in (made.proxy, made.index, made.features, *made.sprites, made.sprite_map, made.audio, made.peaks):
        assert ref.key.startswith(PROXY.marker(proxy_order).removesuffix("result.json"))
        head = store.head(ref.key)
        assert (head.size, head.sha256) == (ref.size, ref.sha256)
    for ref in (gold.master, gold.index):
        assert ref.key.startswith(MASTER.marker(master_order).removesuffix("result.json"))
        assert store.head(ref.key).sha256 == ref.sha256
    layout = json.loads(store.get_bytes(made.sprite_map.key))
    assert layout["sheets"] == [Path(ref.key).name for ref in made.sprites]
    assert layout["tiles"] == -(-60 // layout["every"])


def test_frames_and_sound_are_read_from_the_store_by_ranges(store, tmp_path):
    proxy_order, master_order = orders(
        store, make_video(tmp_path / "a.mp4", frames=100, audio="aac", options={"g": "25"})
    )
    made = make_proxy(proxy_order, desk(store, tmp_path / "p"))
    gold = make_lossless_master(master_order, desk(store, tmp_path / "m"))
    proxy_index = FrameIndex.from_bytes(store.get_bytes(made.index.key))
    master_index = FrameIndex.from_bytes(store.get_bytes(gold.index.key))
    wanted = FrameRange(start=61, end=70)
    for key, index in (
        (made.proxy.key, proxy_index),
        (gold.master.key, master_index),
        (master_order.source.key, proxy_index.without_addresses()),
    ):
        with store.open(key) as file, FrameSource(file, index) as frames:
            assert [read_number(luma_of(frame)) for _, frame in frames.frames(wanted)] == list(range(61, 70))
    with store.open(gold.master.key) as file, AudioSource(file, 1) as sound:
        start, end = master_index.time(61), master_index.time(70)
        assert sum(part.samples for part in sound.samples(start, end)) == (end - start) * 48_000


def test_a_damaged_source_leaves_nothing_behind(store, tmp_path):
    proxy_order, master_order = orders(store, FIXTURES / "decord_corrupted.mp4")
    before = list(store.list(""))
    for work, order in ((make_proxy, proxy_order), (make_lossless_master, master_order)):
        with pytest.raises(Permanent) as caught:
            work(order, desk(store, tmp_path / work.__name__))
        assert caught.value.code == "media.corrupt"
    assert list(store.list("")) == before
