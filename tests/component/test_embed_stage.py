"""The stage end to end on real servers: delivered clips become searchable, archived ones vanish."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from uuid import UUID, uuid4

import av
import numpy as np
import pytest
from sqlalchemy import text

from contracts.events.v1.clip import ClipArchived, ClipExported
from contracts.topics import CLIPS
from contracts.values import Deliverable, DeliverableFile, FrameRange, Verdict
from services.chassis.desk import Desk
from services.chassis.objects import FolderStore
from services.embed import searching, store, work
from services.embed.app import STAGE
from services.embed.domain.orders import NAMED_THINGS, TEXT_MODEL, CleanOrder, EmbedOrder, KeyframeOrder, parse_models
from services.embed.settings import PACKAGED_MODEL, Settings
from tests.support import wire
from tests.support.services import publish, running

FRAMES = 50


def make_clip(path, hue: int) -> None:
    """A second of a disc that moves over a coloured ground."""
    down, across = np.mgrid[0:120, 0:160]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "20", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(FRAMES):
            disc = ((down - 60) ** 2 + (across - 20 - 2 * number) ** 2 < 500)[..., None]
            picture = np.where(disc, [250, 200, 40], [hue, 255 - hue, 90]).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def exported(objects, tmp_path, clip: int, hue: int) -> ClipExported:
    path = tmp_path / f"{clip}.mp4"
    make_clip(path, hue)
    video = objects.put_file(path, f"clips/{UUID(int=clip)}/exports/delivery-h264/r/video.mp4", "video/mp4")
    return ClipExported(
        video_id=UUID(int=1),
        clip_id=UUID(int=clip),
        frames=FrameRange(start=1_000 * clip, end=1_000 * clip + FRAMES),
        title=f"Clip {clip}",
        deliverables=(
            Deliverable(
                profile="delivery-h264",
                manifest=video,
                files=(DeliverableFile(role="video", name="video.mp4", object=video),),
                verdict=Verdict.PASS,
            ),
        ),
    )


@pytest.fixture
def settings(servers, broker, tmp_path) -> Settings:
    return Settings(
        **servers.settings(broker.address),
        temp_dir=tmp_path / "scratch",
        worker_lease="PT5S",
        worker_retry_base="PT0.1S",
        poll_interval="PT1S",
        generation_interval="PT0.3S",
        min_free_bytes=0,
    )


async def heard(settings, ending: str, count: int) -> list[dict]:
    """The bodies of the clip events whose type ends so, once there are as many."""

    def matching(records):
        return [record for record in records if wire.type_of(record).endswith(ending)]

    records = await wire.read_all(
        settings.kafka_bootstrap, CLIPS.name, until=lambda records: len(matching(records)) >= count, timeout=60.0
    )
    return [json.loads(record.value) for record in matching(records)]


async def test_delivered_clips_become_searchable_and_an_archived_one_vanishes(settings, tmp_path):
    async with running(STAGE, settings) as runtime:
        clips = [
            await asyncio.to_thread(exported, runtime.objects, tmp_path, clip, hue)
            for clip, hue in ((1, 30), (2, 35), (3, 220))
        ]
        ids = [uuid4() for _ in clips]
        await publish(settings.kafka_bootstrap, *clips, event_ids=ids)
        await publish(settings.kafka_bootstrap, *clips, event_ids=ids)
        # Once by the model of pictures, once by that of texts.
        embedded = await heard(settings, "embedded.v1", 6)
        keyframed = await heard(settings, "keyframed.v1", 3)

        first = next(body for body in keyframed if body["clip_id"] == str(UUID(int=1)))
        assert [keyframe["frame"] for keyframe in first["keyframes"]] == [1_005, 1_018, 1_030, 1_043]
        seen = Counter((model["model_id"], model["vectors"]) for body in embedded for model in body["models"])
        assert seen == {(PACKAGED_MODEL, 4): 3, (NAMED_THINGS, 4): 3, (TEXT_MODEL, 1): 3}

        async with runtime.transaction() as ledger:
            model = await store.model_of_clip(ledger.session, UUID(int=1), PACKAGED_MODEL)
            found = await searching.similar_clips(
                ledger.session, UUID(int=1), model, limit=5, filters=searching.Filters(), exact_rows=1_000
            )
            kinds = (await ledger.session.execute(text("SELECT kind, state FROM work ORDER BY kind"))).all()
        assert [match.clip_id.int for match in found] == [2, 3]
        assert kinds == [("embed", "done")] * 6 + [("keyframe", "done")] * 3

        await publish(
            settings.kafka_bootstrap,
            ClipArchived(video_id=UUID(int=1), clip_id=UUID(int=2), edit_id=UUID(int=7), by="someone"),
        )
        await asyncio.to_thread(wait_until_nothing_is_left, runtime.objects, 2)
        async with runtime.transaction() as ledger:
            found = await searching.similar_clips(
                ledger.session, UUID(int=1), model, limit=5, filters=searching.Filters(), exact_rows=1_000
            )
        assert [match.clip_id.int for match in found] == [3]
        assert await asyncio.to_thread(list_made, runtime.objects, 1)


def list_made(objects, clip: int) -> list[str]:
    return [key for part in ("keyframes", "embeddings") for key in objects.list(f"clips/{UUID(int=clip)}/{part}/")]


def wait_until_nothing_is_left(objects, clip: int) -> None:
    deadline = time.monotonic() + 30
    while list_made(objects, clip):
        assert time.monotonic() < deadline, list_made(objects, clip)
        time.sleep(0.2)


async def test_a_model_that_cannot_be_had_fails_by_itself_and_everything_else_goes_on(settings, tmp_path):
    models = f"{PACKAGED_MODEL},example/absent@1234abcd"
    some = settings.model_copy(update={"embed_models": models, "embed_offline": True, "embed_texts": False})
    async with running(STAGE, some) as runtime:
        await publish(some.kafka_bootstrap, await asyncio.to_thread(exported, runtime.objects, tmp_path, 1, 30))
        (failed,) = await heard(some, "embedding_failed.v1", 1)
        (embedded,) = await heard(some, "embedded.v1", 1)
        async with runtime.transaction() as ledger:
            model = await store.model_of_clip(ledger.session, UUID(int=1), PACKAGED_MODEL)
            found = await searching.clips_like(
                ledger.session,
                np.ones(model.dimensions).tolist(),
                model,
                limit=5,
                filters=searching.Filters(),
                exact_rows=1_000,
            )
    assert [match.clip_id.int for match in found] == [1]
    assert (PACKAGED_MODEL, 4) in {(each["model_id"], each["vectors"]) for each in embedded["models"]}
    assert failed["failure"]["code"] == "embed.model_unavailable"
    assert failed["failure"]["error_class"] == "permanent"
    assert failed["failure"]["attempts"] == 1
    assert "HEATERS_EMBED_MODELS" in failed["failure"]["message"]
    assert "example/absent" in failed["failure"]["message"]


@pytest.fixture
def desk(tmp_path) -> Desk:
    objects = FolderStore(tmp_path / "objects")
    for folder in ("scratch", "kept"):
        (tmp_path / folder).mkdir()
    return Desk(Settings(_env_file=None), objects, tmp_path / "scratch", tmp_path / "kept")


def keyframe_order(event: ClipExported, strategy: str) -> KeyframeOrder:
    return KeyframeOrder(
        video_id=event.video_id,
        clip_id=event.clip_id,
        frames=event.frames,
        title=event.title,
        video=event.deliverables[0].files[0].object,
        strategy=strategy,
    )


@pytest.mark.parametrize(
    ("strategy", "frames"),
    [
        ("percent-0-100", [1_000, 1_049]),
        ("named-start-middle-end", [1_000, 1_024, 1_049]),
        ("uniform-2", [1_012, 1_037]),
    ],
)
def test_keyframes_are_the_frames_that_the_strategy_names(desk, tmp_path, strategy, frames):
    event = exported(desk.objects, tmp_path, 1, 30)
    result = work.take_keyframes(keyframe_order(event, strategy), desk)
    assert [keyframe.frame for keyframe in result.keyframes] == frames
    for keyframe in result.keyframes:
        picture = np.asarray(work._picture(desk.objects.get_bytes(keyframe.object.key)), dtype=int)
        disc = np.argwhere(picture[60, :, 0] > 150)
        assert abs(disc.mean() - 20 - 2 * (keyframe.frame - 1_000)) < 3, "the picture is of another frame"


def test_cleaning_leaves_other_clips_alone_and_may_be_repeated(desk):
    for clip in (1, 2):
        for part in ("keyframes/uniform-4-a/000.jpg", "embeddings/m/result.json", "exports/p/video.mp4"):
            desk.objects.put_bytes(b"x", f"clips/{UUID(int=clip)}/{part}", "image/jpeg")
    order = CleanOrder(video_id=UUID(int=9), clip_id=UUID(int=1), edit_id=UUID(int=7))
    assert work.clean_clip(order, desk) == work.clean_clip(order, desk)
    assert list_made(desk.objects, 1) == []
    assert len(list_made(desk.objects, 2)) == 2
    assert list(desk.objects.list(f"clips/{UUID(int=1)}/")) == [f"clips/{UUID(int=1)}/exports/p/video.mp4"]


def test_taking_keyframes_again_writes_the_same_bytes(desk, tmp_path):
    order = keyframe_order(exported(desk.objects, tmp_path, 1, 30), "sharpest-3")
    assert work.take_keyframes(order, desk) == work.take_keyframes(order, desk)


def test_the_sharpest_candidate_is_taken(desk, tmp_path):
    flat, busy = np.full((64, 64, 3), 90, np.uint8), np.zeros((64, 64, 3), np.uint8)
    busy[::2] = 255
    assert work.sharpness(jpeg(busy)) > work.sharpness(jpeg(flat))


def jpeg(pixels) -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def test_a_clips_vectors_do_not_depend_on_its_batch_and_a_bad_still_fails_its_own_clip_only(desk, tmp_path):
    orders = []
    for clip in (1, 2, 3):
        event = exported(desk.objects, tmp_path, clip, 60 * clip)
        result = work.take_keyframes(keyframe_order(event, "uniform-4"), desk)
        orders.append(
            EmbedOrder(
                video_id=event.video_id,
                clip_id=event.clip_id,
                title=event.title,
                keyframes=result.keyframes,
                models=parse_models(PACKAGED_MODEL),
            )
        )
    desk.objects.put_bytes(b"no picture", orders[1].keyframes[0].object.key, "image/jpeg")
    together = dict(work.embed_clips(orders, desk))
    assert together[1].code == "embed.bad_still"
    alone = dict(work.embed_clips(orders[2:], desk))
    assert together[2].model_dump_json() == alone[0].model_dump_json()
