"""Archiving under errors, kills and late listings leaves no orphan and takes nothing that lives; an audit proves and mends.

The handlers, work functions and tables are the real ones, on a real database; the store is a folder on a bad day, and for
the batch call a real S3 server behind a proxy that misbehaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID, uuid4

import psutil
import pytest
from sqlalchemy import text

from console import audit
from console.ledger import connect
from contracts.envelope import derived_id
from contracts.events.v1.clip import ClipApproved, ClipArchived
from contracts.values import FrameRange, ObjectRef, Options, UploadSource
from services.chassis import migrations
from services.chassis.desk import Desk
from services.chassis.objects import FolderStore, S3Store, StillThere, StoreUnavailable, clear
from services.chassis.runtime import open_runtime
from services.chassis.settings import ChassisSettings
from services.embed.app import STAGE as EMBED_STAGE
from services.embed.domain.orders import CleanOrder, KeyframeOrder
from services.embed.jobs import CLEAN as EMBED_CLEAN
from services.embed.jobs import KEYFRAME
from services.embed.settings import Settings as EmbedSettings
from services.embed.work import clean_clip as clean_embed
from services.export.app import STAGE as EXPORT_STAGE
from services.export.settings import Settings as ExportSettings
from services.export.work import clean_clip as clean_export
from services.ingest.domain import FetchInput
from services.ingest.jobs import FETCH
from services.ingest.settings import Settings as IngestSettings
from tests.support import review_events
from tests.support.services import at_work
from tests.support.wayward import Killed, WaywardProxy, WaywardStore

SERVICES = {"export": (EXPORT_STAGE, ExportSettings), "embed": (EMBED_STAGE, EmbedSettings)}
CLEANING = {"export": clean_export, "embed": clean_embed}


@pytest.fixture
def database(servers):
    found = servers.settings("127.0.0.1:9")
    for schema in ("ingest", "export", "embed", "review"):
        migrations.upgrade(found["database_url"], schema)
    return found


@asynccontextmanager
async def service(name, database):
    from services.ingest.app import STAGE

    stage, settings = {**SERVICES, "ingest": (STAGE, IngestSettings)}[name]
    runtime = open_runtime(stage, settings(**database))
    try:
        yield runtime
    finally:
        await runtime.engine.dispose()


async def hear(runtime, event):
    async with runtime.transaction(cause=f"test:{uuid4()}", event_id=uuid4()) as ledger:
        await runtime.stage.routes.handlers[type(event)](event, ledger)


async def waiting(runtime, kind):
    async with runtime.transaction() as ledger:
        rows = await ledger.session.execute(
            text("SELECT id, clip_id, input FROM work WHERE kind = :kind AND state = 'waiting' ORDER BY id"),
            {"kind": kind},
        )
        return rows.all()


async def finish(runtime, work_id, result):
    async with runtime.transaction() as ledger:
        await ledger.session.execute(
            text(
                "UPDATE work SET state = 'done', result = cast(:result AS jsonb), finished_at = clock_timestamp() WHERE id = :id"
            ),
            {"id": work_id, "result": json.dumps(result)},
        )


def until_done(work):
    """Does work again and again, as the ledger does after errors and deaths."""
    for _ in range(500):
        try:
            return work()
        except (StoreUnavailable, StillThere, Killed):
            continue
    raise AssertionError("the work never came to its end")


def put(store, key, size=10):
    return store.put_bytes(b"x" * size, key, "application/octet-stream")


async def make(runtime, kind, store, names):
    """Does all waiting work of a kind: puts objects and the marker, then finishes the row."""
    job = runtime.stage.job(kind)
    made = {}
    for row in await waiting(runtime, kind):
        order = job.input.model_validate(row.input)
        folder = job.marker(order).rpartition("/")[0]

        def work(folder=folder, order=order):
            refs = [put(store, f"{folder}/{name}") for name in names]
            put(store, job.marker(order))
            return refs

        refs = until_done(work)
        await finish(runtime, row.id, {"files": [ref.model_dump(mode="json") for ref in refs]})
        made[row.clip_id] = [*(ref.key for ref in refs), job.marker(order)]
    return made


async def clean(runtime, store, tmp_path):
    job = runtime.stage.job("clean")
    for row in await waiting(runtime, "clean"):
        order = job.input.model_validate(row.input)
        desk = Desk(runtime.settings, store, tmp_path, tmp_path)

        def work(order=order, desk=desk):
            result = CLEANING[runtime.stage.name](order, desk)
            put(store, job.marker(order))
            return result

        result = until_done(work)
        await finish(runtime, row.id, result.model_dump(mode="json"))


def approved(video, clip, version=2):
    return ClipApproved(
        video_id=video,
        clip_id=clip,
        edit_id=derived_id("edit", clip, version),
        version=version,
        by="test",
        frames=FrameRange(start=0, end=10),
        title="t",
        profiles=("delivery-h264",),
    )


def archived(video, clip, version=3):
    return ClipArchived(
        video_id=video, clip_id=clip, edit_id=derived_id("edit", clip, version), version=version, by="test"
    )


@pytest.mark.scaled
async def test_archiving_under_errors_and_kills_leaves_no_orphan_and_takes_nothing_that_lives(
    database, tmp_path, scale
):
    many = scale(30, 1_000)
    store = WaywardStore(tmp_path / "store", seed=7, trouble=0.04)
    store.ensure_bucket()
    videos = [UUID(int=1 + number) for number in range(3)]
    clips = {derived_id("clip", number): videos[number % 3] for number in range(many)}
    async with service("export", database) as export, service("embed", database) as embed:
        for video in videos:
            await hear(export, review_events.proxied(video))
            await hear(export, review_events.mastered(video))
            until_done(lambda video=video: put(store, f"videos/{video}/source/a.mp4"))
        for clip, video in clips.items():
            await hear(export, approved(video, clip))
            await order_keyframes(embed, video, clip)
        bundles = await make(export, "export", store, ["video.mp4", "captions.vtt", "poster.jpg", "manifest.json"])
        stills = await make(embed, "keyframe", store, ["000.jpg", "001.jpg"])
        assert len(bundles) == len(stills) == many
        gone = [clip for number, clip in enumerate(clips) if number % 2]
        for clip in gone:
            await hear(export, archived(clips[clip], clip))
            await order_cleaning(embed, clips[clip], clip)
        for runtime in (export, embed):
            await clean(runtime, store, tmp_path)
    assert store.told["error"] > many // 5
    assert store.told["kill"] > many // 5
    assert store.told["listed late"]
    assert store.told["listed though gone"]
    calm = FolderStore(tmp_path / "store")
    for clip in clips:
        left = set(calm.list(f"clips/{clip}/"))
        assert left == (set() if clip in set(gone) else {*bundles[clip], *stills[clip]})
    assert all(calm.head(f"videos/{video}/source/a.mp4") for video in videos)
    with connect(database["database_url"]) as connection:
        found = audit.examine(connection, calm, grace=timedelta(0))
    assert found.orphans == ()
    assert found.missing == ()


@pytest.fixture
async def archive(database, tmp_path):
    """A store and tables with one ingested video and two exported clips, nothing amiss."""
    store = FolderStore(tmp_path / "store")
    store.ensure_bucket()
    video, upload = uuid4(), uuid4()
    put(store, f"uploads/{upload}/film.mp4")
    async with service("ingest", database) as ingest:
        order = FetchInput(video_id=video, source=UploadSource(upload_id=upload), options=Options())
        async with ingest.transaction(cause="test") as ledger:
            await ledger.enqueue(FETCH, order, key=f"fetch:{video}", video_id=video)
        await make(ingest, "fetch", store, ["film.mp4"])
    async with service("export", database) as export:
        await export_two(export, video, store)
        async with export.transaction() as ledger:
            await ledger.session.execute(
                text(
                    "INSERT INTO review.upload (id, name, size, part_bytes, content_type, object_key, handle, state, "
                    "created_at, changed_at) VALUES (:id, 'film', 10, 10, 'video/mp4', :key, '', 'complete', now(), now())"
                ),
                {"id": upload, "key": f"uploads/{upload}/film.mp4"},
            )
    with connect(database["database_url"]) as connection:
        assert audit.examine(connection, store, grace=timedelta(0)).orphans == ()
        yield connection, store, video, upload


async def export_two(export, video, store):
    await hear(export, review_events.proxied(video))
    await hear(export, review_events.mastered(video))
    for _ in range(2):
        await hear(export, approved(video, uuid4()))
    await make(export, "export", store, ["video.mp4", "manifest.json"])


async def test_an_object_that_no_row_knows_is_found_and_deleted(archive):
    connection, store, _, _ = archive
    strays = [f"clips/{uuid4()}/exports/a/video.mp4", f"videos/{uuid4()}/proxy/x/proxy.mp4", f"uploads/{uuid4()}/a.mp4"]
    for key in strays:
        put(store, key)
    put(store, "somebody/elses.txt")
    assert audit.examine(connection, store).orphans == (), "what is young is not judged"
    found = audit.examine(connection, store, grace=timedelta(0))
    assert sorted(orphan.key for orphan in found.orphans) == sorted(strays)
    assert found.missing == ()
    mended = audit.mend(connection, store, found)
    assert sorted(mended.deleted) == sorted(strays)
    assert store.head("somebody/elses.txt")
    assert audit.examine(connection, store, grace=timedelta(0)).orphans == ()


async def test_a_row_whose_object_is_missing_is_found_and_its_work_done_again(archive):
    connection, store, _, _ = archive
    manifests = [key for key in store.list("clips/") if key.endswith("manifest.json")]
    store.delete(manifests[:1])
    found = audit.examine(connection, store, grace=timedelta(0))
    assert [(each.key, each.maker.service, each.maker.kind) for each in found.missing] == [
        (manifests[0], "export", "export")
    ]
    mended = audit.mend(connection, store, found)
    assert [each.key for each in mended.redone] == manifests[:1]
    row = connection.execute(
        "SELECT state, run FROM export.work WHERE id = %s", [found.missing[0].maker.work_id]
    ).fetchone()
    assert row == {"state": "waiting", "run": 2}
    assert store.head(found.missing[0].maker.marker) is None
    # What the unfinished work left is not judged, and nothing is due of it.
    again = audit.examine(connection, store, grace=timedelta(0))
    assert (again.orphans, again.missing) == ((), ())


async def test_a_source_is_fetched_again_from_its_upload_or_told_as_lost(archive):
    connection, store, video, upload = archive
    (source,) = [key for key in store.list(f"videos/{video}/source/") if key.endswith("film.mp4")]
    store.delete([source, f"uploads/{upload}/film.mp4"])
    found = audit.examine(connection, store, grace=timedelta(0))
    assert [each.key for each in audit.mend(connection, store, found).lost] == [source]
    put(store, f"uploads/{upload}/film.mp4")
    found = audit.examine(connection, store, grace=timedelta(0))
    assert [each.key for each in audit.mend(connection, store, found).redone] == [source]


async def test_an_object_known_by_the_time_of_mending_is_left_alone(archive, database):
    connection, store, video, _ = archive
    clip = uuid4()
    async with service("export", database) as export:
        stray = f"clips/{clip}/exports/a/video.mp4"
        put(store, stray)
        found = audit.examine(connection, store, grace=timedelta(0))
        assert [orphan.key for orphan in found.orphans] == [stray]
        await hear(export, approved(video, clip))
    assert audit.mend(connection, store, found).deleted == ()
    assert store.head(stray)


# What the S3 client does on a bad day


@pytest.fixture(scope="module")
def wayward(servers):
    proxy = WaywardProxy(servers.s3_endpoint)
    settings = {**servers.settings("127.0.0.1:9"), "s3_endpoint": proxy.endpoint}
    yield proxy, settings
    proxy.close()


@pytest.fixture(params=["", "missing", "partial", "throttled"])
def bad_day(request, wayward):
    proxy, settings = wayward
    proxy.batch, proxy.throttled = "", 0
    store = S3Store(ChassisSettings(**settings))
    store.ensure_bucket()
    keys = [f"clips/{uuid4()}/{number}" for number in range(12)]
    for key in keys:
        put(store, key)
    proxy.batch = request.param if request.param != "throttled" else ""
    proxy.throttled = 2 if request.param == "throttled" else 0
    proxy.asked.clear()
    yield request.param, proxy, store, keys
    proxy.batch, proxy.throttled = "", 0


def test_many_objects_are_deleted_whatever_the_batch_call_does(bad_day):
    mood, proxy, store, keys = bad_day
    assert store.delete([*keys, "clips/never/there"]) == len(keys) + 1
    assert [key for key in keys if store.head(key)] == []
    assert proxy.asked["batch"] >= 1
    if mood == "missing":
        assert store.delete(keys) == len(keys)
        assert proxy.asked["batch"] == 1, "a store without the call is not asked for it again"
    if mood == "":
        assert proxy.asked["DELETE"] == 0


def test_everything_under_a_prefix_goes_and_nothing_else(bad_day):
    _, _, store, keys = bad_day
    folder = keys[0].rpartition("/")[0] + "/"
    assert clear(store, [folder], [*keys, "videos/not/mine"]) == 1
    assert store.head(keys[0]) is None
    assert store.head(keys[1]) is not None


def test_entries_tell_sizes_and_ages(wayward, tmp_path):
    _, settings = wayward
    for store in (S3Store(ChassisSettings(**settings)), FolderStore(tmp_path / "f")):
        store.ensure_bucket()
        put(store, "entries/a", 3)
        (entry,) = store.entries("entries/")
        assert (entry.key, entry.size) == ("entries/a", 3)
        assert entry.modified.tzinfo is not None


# What real kills leave


class Killable:
    """A service as a process of its own, which may be killed, or a child of it, and started again."""

    def __init__(self, name, settings) -> None:
        self._module = f"services.{name}"
        told = {f"HEATERS_{name.upper()}": str(value) for name, value in settings.items()}
        self._environment = {**os.environ, **told}
        self._process = None
        self.killed = Counter()

    def start(self) -> None:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                env=self._environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def kill(self, part: str) -> bool:
        """SIGKILL for the service, or for a child of it that is at work; whether there was one."""
        children = at_work(self._process.pid)
        if children:
            with contextlib.suppress(psutil.NoSuchProcess):
                (psutil.Process(self._process.pid) if part == "service" else children[-1]).kill()
                self.killed[part] += 1
                return True
        return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


async def archived_half(name, own, store, clips):
    """All clips made by a service, every other one archived; what was made of each."""
    video = uuid4()
    async with service(name, own) as runtime:
        if name == "export":
            await hear(runtime, review_events.proxied(video))
            await hear(runtime, review_events.mastered(video))
        for clip in clips:
            if name == "export":
                await hear(runtime, approved(video, clip))
            else:
                await order_keyframes(runtime, video, clip)
        kind, files = {
            "export": ("export", ["video.mp4", "captions.vtt", "manifest.json"]),
            "embed": ("keyframe", ["000.jpg", "001.jpg"]),
        }[name]
        made = await make(runtime, kind, store, files)
        for clip in clips[::2]:
            if name == "export":
                await hear(runtime, archived(video, clip))
            else:
                await order_cleaning(runtime, video, clip)
    return made


async def order_keyframes(embed, video, clip):
    order = KeyframeOrder(
        video_id=video,
        clip_id=clip,
        frames=FrameRange(start=0, end=10),
        title="t",
        video=ObjectRef(key=f"clips/{clip}/exports/x/video.mp4", size=1, sha256="a" * 64),
        strategy="uniform:3",
    )
    async with embed.transaction(cause="test") as ledger:
        await ledger.enqueue(KEYFRAME, order, key=f"keyframe/{clip}", video_id=video, clip_id=clip)


async def order_cleaning(embed, video, clip):
    async with embed.transaction(cause="test") as ledger:
        keys = await ledger.keys_made(clip, KEYFRAME)
        assert len(keys) == 3
        order = CleanOrder(video_id=video, clip_id=clip, edit_id=uuid4(), keys=keys)
        await ledger.enqueue(EMBED_CLEAN, order, key=f"clean/{clip}", video_id=video, clip_id=clip)


@pytest.mark.scaled
@pytest.mark.timeout(900)  # Under --full: forty kills, and what each costs.
@pytest.mark.parametrize(
    ("name", "most", "most_kills"), [("export", 120, 40), ("embed", 30, 12)], ids=["export", "embed"]
)
async def test_archiving_under_real_kills_leaves_no_orphan_and_takes_nothing_that_lives(
    name, most, most_kills, servers, broker, tmp_path, scale
):
    many, kills = scale(8, most), scale(4, most_kills)
    chance = random.Random(7)
    own = {**servers.settings(broker.address), "worker_lease": "PT3S", "worker_retry_base": "PT0.1S"}
    own |= {"temp_dir": tmp_path / "scratch", "poll_interval": "PT0.5S", "min_free_bytes": 0}
    for schema in ("ingest", "export", "embed", "review"):
        migrations.upgrade(own["database_url"], schema)
    store = S3Store(ChassisSettings(**own))
    store.ensure_bucket()
    clips = [derived_id("clip", number) for number in range(2 * many)]
    made = await archived_half(name, own, store, clips)
    with connect(own["database_url"]) as connection:

        def left() -> int:
            query = f"SELECT count(*) AS pieces FROM {name}.work WHERE kind = 'clean' AND state <> 'done'"
            return connection.execute(query).fetchone()["pieces"]

        assert left() == many
        killable = Killable(name, own)
        parts = ["service" if number % 4 == 3 else "child" for number in range(kills)]
        deadline = time.monotonic() + 300 + 10 * kills
        try:
            while left():
                assert time.monotonic() < deadline, f"{left()} of {many} are left after {killable.killed}"
                killable.start()
                await asyncio.sleep(chance.uniform(0.05, 1.0))
                if parts and killable.kill(parts[0]):
                    parts.pop(0)
        finally:
            killable.stop()
        assert killable.killed["child"] >= kills // 4
        assert killable.killed["service"] >= kills // 8
        for number, clip in enumerate(clips):
            assert set(store.list(f"clips/{clip}/")) == (set() if number % 2 == 0 else set(made[clip]))
        found = audit.examine(connection, store, grace=timedelta(0))
        assert (found.orphans, found.missing) == ((), ())
        told = connection.execute(
            f"SELECT aggregateid FROM {name}.outbox WHERE type LIKE '%%cleaned%%' ORDER BY aggregateid"
        ).fetchall()
        # Search tells nobody that it has tidied up.
        cleaned = clips[::2] if name == "export" else []
        assert [row["aggregateid"] for row in told] == sorted(str(clip) for clip in cleaned)
