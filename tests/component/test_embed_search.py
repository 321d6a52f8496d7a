"""Vectors in a real PostgreSQL: recording, searching, forgetting; and the API over them."""

from __future__ import annotations

import asyncio
import base64
import io
from array import array
from datetime import UTC, datetime
from fractions import Fraction
from uuid import UUID

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import text

from contracts.events.v1.clip import ClipApproved, ClipArchived, ClipEditUndone, ClipExported, ClipKeyframed, ClipTagged
from contracts.values import Deliverable, DeliverableFile, EmbeddingModel, FrameRange, Keyframe, ObjectRef, Verdict
from services.chassis import migrations
from services.chassis.runtime import open_runtime
from services.embed import index, inverted, searching, store, upkeep
from services.embed.api import create_api
from services.embed.app import STAGE
from services.embed.domain.orders import TEXT_MODEL, EmbedOrder, EmbedResult, ModelSpec, ModelVectors
from services.embed.settings import PACKAGED_MODEL, Settings
from services.embed.vectors import spell

VIDEO, OTHER_VIDEO = UUID(int=1), UUID(int=2)
EXACT = {"exact_rows": 1_000_000}
ANYTHING = searching.Filters()


@pytest.fixture(scope="module")
def settings(servers) -> Settings:
    settings = Settings(**servers.settings("127.0.0.1:9"))
    migrations.upgrade(settings.database_url.get_secret_value(), "embed")
    return settings


@pytest.fixture
async def runtime(settings):
    runtime = open_runtime(STAGE, settings)
    async with runtime.transaction() as ledger:
        await ledger.session.execute(text("TRUNCATE clip, model, embedding, roster, campaign CASCADE"))
    yield runtime
    await runtime.close()


def order(clip: int, frames: int = 2, *, video: UUID = VIDEO, tags: tuple[str, ...] = ()) -> EmbedOrder:
    return EmbedOrder(
        video_id=video,
        clip_id=UUID(int=clip),
        title=f"Clip {clip}",
        tags=tags,
        keyframes=tuple(
            Keyframe(frame=100 * clip + number, object=ObjectRef(key=f"k/{clip}/{number}.jpg", size=1, sha256="a" * 64))
            for number in range(frames)
        ),
        models=(ModelSpec(model_id="m"),),
    )


def result(order: EmbedOrder, rows, *, model_id: str = "m", revision: str = "r1") -> EmbedResult:
    rows = np.asarray(rows, dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return EmbedResult(
        models=(
            ModelVectors(
                model=EmbeddingModel(model_id=model_id, revision=revision, dimensions=rows.shape[1], vectors=len(rows)),
                frames=tuple(keyframe.frame for keyframe in order.keyframes),
                vectors=base64.b64encode(rows.astype("<f4").tobytes()).decode(),
            ),
        )
    )


async def record(runtime, order: EmbedOrder, rows, **how) -> None:
    async with runtime.transaction() as ledger:
        await store.record_vectors(ledger.session, order, result(order, rows, **how))


async def test_the_nearest_pair_of_keyframes_decides_and_a_clip_is_not_like_itself(runtime):
    await record(runtime, order(1), [[1, 0, 0], [0, 1, 0]])
    await record(runtime, order(2), [[0, 0, 1], [0.1, 1, 0]])
    await record(runtime, order(3), [[0, 0, 1], [0.5, 0, 1]])
    async with runtime.transaction() as ledger:
        model = await store.model_of_clip(ledger.session, UUID(int=1), "m")
        found = await searching.similar_clips(ledger.session, UUID(int=1), model, limit=10, filters=ANYTHING, **EXACT)
    assert [match.clip_id.int for match in found] == [2, 3]
    best = found[0]
    assert (best.frame, best.query_frame, best.object_key, best.title) == (201, 101, "k/2/1.jpg", "Clip 2")
    assert best.score == pytest.approx(1 / np.hypot(0.1, 1), abs=1e-6)


async def test_recording_again_replaces_and_a_former_revision_is_kept_until_the_new_set_is_whole(runtime):
    for clip in (1, 2):
        await record(runtime, order(clip), [[1, 0], [0, 1]])
        await record(runtime, order(clip), [[1, 0], [0, 1]])
    await record(runtime, order(1), [[1, 0, 0], [0, 1, 0]], revision="r2")

    async def revisions(session) -> list[tuple[str, int, int]]:
        return [(model.revision, model.dimensions, model.vectors) for model in await store.models(session)]

    async with runtime.transaction() as ledger:
        assert await store.retire_models(ledger.session, ["m"]) == []
        assert await revisions(ledger.session) == [("r2", 3, 2), ("r1", 2, 4)]
        former = await store.current(ledger.session, "m")
        assert former.revision == "r1", "searches use the whole set"
    await record(runtime, order(2), [[1, 0, 0], [0, 1, 0]], revision="r2")
    async with runtime.transaction() as ledger:
        assert await store.retire_models(ledger.session, ["m"]) == ["m@r1"]
        assert await revisions(ledger.session) == [("r2", 3, 4)]
        indexes = await ledger.session.execute(text("SELECT indexname FROM pg_indexes WHERE indexname LIKE '%hnsw%'"))
        assert index.name_of(former.id) not in indexes.scalars().all()


async def test_a_model_taken_out_serves_until_the_one_put_in_has_seen_every_clip(runtime):
    for clip in (1, 2):
        await record(runtime, order(clip), [[1, 0], [0, 1]], model_id="old")
    await record(runtime, order(1), [[1, 0, 0], [0, 1, 0]], model_id="new")
    async with runtime.transaction() as ledger:
        assert await store.default_picture_model(ledger.session, ["new"]) == "old"
        assert await store.retire_models(ledger.session, ["new"]) == []
    await record(runtime, order(2), [[1, 0, 0], [0, 1, 0]], model_id="new")
    async with runtime.transaction() as ledger:
        assert await store.default_picture_model(ledger.session, ["new"]) == "new"
        assert await store.retire_models(ledger.session, ["new"]) == ["old@r1"]


async def test_vectors_of_different_models_are_never_compared(runtime):
    await record(runtime, order(1), [[1, 0], [0, 1]])
    await record(runtime, order(2), [[1, 0], [0, 1]], model_id="other")
    async with runtime.transaction() as ledger:
        model = await store.model_of_clip(ledger.session, UUID(int=1), "m")
        assert (
            await searching.similar_clips(ledger.session, UUID(int=1), model, limit=10, filters=ANYTHING, **EXACT) == []
        )
        assert await store.model_of_clip(ledger.session, UUID(int=1), "other") is None


async def test_filters_by_video_and_tag(runtime):
    await record(runtime, order(1), [[1, 0], [0, 1]])
    await record(runtime, order(2, tags=("sea",)), [[1, 0], [0, 1]])
    await record(runtime, order(3, video=OTHER_VIDEO), [[1, 0], [0, 1]])
    async with runtime.transaction() as ledger:
        model = await store.model_of_clip(ledger.session, UUID(int=1), "m")

        async def found(**filters):
            matches = await searching.similar_clips(
                ledger.session, UUID(int=1), model, limit=10, filters=searching.Filters(**filters), **EXACT
            )
            return [match.clip_id.int for match in matches]

        assert await found() == [2, 3]
        assert await found(tags=("sea",)) == [2]
        assert await found(video_id=OTHER_VIDEO) == [3]


def decision(kind, clip: int, version: int, **more):
    return kind(
        video_id=VIDEO, clip_id=UUID(int=clip), edit_id=UUID(int=90 + clip), version=version, by="someone", **more
    )


async def test_an_archived_clip_is_found_no_more_and_late_vectors_bring_nothing_back(runtime):
    await record(runtime, order(1), [[1, 0], [0, 1]])
    await record(runtime, order(2), [[1, 0], [0, 1]])
    async with runtime.transaction() as ledger:
        await store.decide(ledger.session, decision(ClipArchived, 2, 3))
    await record(runtime, order(2), [[1, 0], [0, 1]])
    async with runtime.transaction() as ledger:
        model = await store.model_of_clip(ledger.session, UUID(int=1), "m")
        assert (
            await searching.similar_clips(ledger.session, UUID(int=1), model, limit=10, filters=ANYTHING, **EXACT) == []
        )
        assert not await store.knows_clip(ledger.session, UUID(int=2))
        assert (await store.models(ledger.session))[0].vectors == 2
        assert await near_pairs(ledger.session) == []


def delivered(clip: int, *, length: int = 50, title: str = "A holiday by the sea") -> ClipExported:
    video = ObjectRef(key=f"clips/{clip}/video.mp4", size=1, sha256="b" * 64)
    return ClipExported(
        video_id=VIDEO,
        clip_id=UUID(int=clip),
        frames=FrameRange(start=100 * clip, end=100 * clip + length),
        title=title,
        deliverables=(
            Deliverable(
                profile="p",
                manifest=video,
                files=(DeliverableFile(role="video", name="v.mp4", object=video),),
                verdict=Verdict.PASS,
            ),
        ),
    )


async def test_a_clip_is_found_by_its_words_from_its_delivery_on_and_not_while_a_decision_hides_it(runtime):
    async def found() -> list[int]:
        async with runtime.transaction() as ledger:
            query = searching.TextQuery("holidays")
            matches = await searching.clips_told(ledger.session, query, limit=5, filters=ANYTHING, **EXACT)
        return [match.clip_id.int for match in matches]

    async def hear(event) -> None:
        async with runtime.transaction() as ledger:
            if isinstance(event, ClipExported):
                await store.keep_delivery(ledger.session, event, ledger.now)
            else:
                await store.decide(ledger.session, event)

    approved = decision(
        ClipApproved, 1, 2, frames=FrameRange(start=0, end=9), title="A holiday by the sea", profiles=("p",)
    )
    await hear(approved)
    assert await found() == [], "an approved clip has nothing to show yet"
    await hear(delivered(1))
    assert await found() == [1]
    await hear(decision(ClipEditUndone, 1, 3, undone="approve"))
    assert await found() == []
    await hear(delivered(1))
    assert await found() == [], "a delivery that was under way changes nothing"
    await hear(approved.model_copy(update={"edit_id": UUID(int=5), "version": 4}))
    assert await found() == [1]


async def test_the_tags_that_a_person_gave_stay_whatever_order_events_come_in(runtime):
    async def hear(event) -> None:
        async with runtime.transaction() as ledger:
            match event:
                case ClipExported():
                    await store.keep_delivery(ledger.session, event, ledger.now)
                case ClipTagged():
                    await store.tag(ledger.session, event)
                case _:
                    await store.decide(ledger.session, event)

    frames = FrameRange(start=0, end=9)
    approved = decision(ClipApproved, 1, 2, frames=frames, title="A holiday", tags=("old",), profiles=("p",))
    late, early = decision(ClipTagged, 1, 4, tags=("beach",)), decision(ClipTagged, 1, 3, tags=("wrong",))
    for event in (approved, late, early, delivered(1), approved):
        await hear(event)
    async with runtime.transaction() as ledger:
        for words, count in (("beach", 1), ("old", 0), ("wrong", 0)):
            query = searching.TextQuery(words)
            found = await searching.clips_told(ledger.session, query, limit=5, filters=ANYTHING, **EXACT)
            assert len(found) == count
        await store.keep_clip(ledger.session, UUID(int=1), VIDEO, "A holiday", ("old",))
        ((tags,),) = (await ledger.session.execute(text("SELECT tags FROM clip"))).all()
        assert tags == ["beach"]


async def test_filters_by_state_length_and_date(runtime):
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    async with runtime.transaction() as ledger:
        for clip, at, seconds in ((1, early, 2), (2, late, 5), (3, late, 9)):
            await store.keep_delivery(ledger.session, delivered(clip), at)
            keyframed = ClipKeyframed(
                video_id=VIDEO,
                clip_id=UUID(int=clip),
                strategy="uniform-2",
                title="A holiday by the sea",
                keyframes=order(clip).keyframes,
                duration=Fraction(seconds),
            )
            await store.keep_keyframes(ledger.session, keyframed)
            await store.progress(ledger.session, UUID(int=clip), "keyframed")
    await record(runtime, order(3), [[1, 0], [0, 1]])

    async def found(**filters) -> list[int]:
        async with runtime.transaction() as ledger:
            query = searching.TextQuery("sea")
            matches = await searching.clips_told(
                ledger.session, query, limit=5, filters=searching.Filters(**filters), **EXACT
            )
        return sorted(match.clip_id.int for match in matches)

    assert await found(min_seconds=5) == [2, 3]
    assert await found(max_seconds=5) == [1, 2]
    assert await found(since=late) == [2, 3]
    assert await found(until=late) == [1]
    assert await found(states=("embedded",)) == [3]
    assert await found(states=("keyframed", "embedded"), min_seconds=3, max_seconds=6) == [2]


async def near_pairs(session) -> list[tuple[int, int]]:
    rows = await session.execute(text("SELECT one, other FROM near_duplicate ORDER BY one, other"))
    return [(row.one.int, row.other.int) for row in rows]


async def test_near_duplicates_are_noted_as_clips_come_and_grouped(runtime):
    random = np.random.default_rng(3)
    scene = random.normal(size=(2, 32))
    await record(runtime, order(1), scene)
    await record(runtime, order(2), scene + 0.02 * random.normal(size=(2, 32)))
    await record(runtime, order(3), random.normal(size=(2, 32)))
    await record(runtime, order(4), scene + 0.02 * random.normal(size=(2, 32)))
    # One keyframe of it is the scene's and the other is not: it holds the scene, and is no duplicate of it.
    await record(runtime, order(5), np.stack([scene[0], random.normal(size=32)]))
    async with runtime.transaction() as ledger:
        assert await near_pairs(ledger.session) == [(1, 2), (1, 4), (2, 4)]
        model = await store.current(ledger.session, "m")
        found = await searching.near_duplicates(ledger.session, model, threshold=0.95, limit=5, filters=ANYTHING)
        ((likeness, clips),) = found
        assert [clip.clip_id.int for clip in clips] == [1, 2, 4]
        assert 0.99 < likeness <= 1


async def test_two_runners_that_meet_a_new_model_at_once_make_one(runtime):
    await asyncio.gather(*(record(runtime, order(clip), [[1, 0], [0, 1]]) for clip in range(1, 7)))
    async with runtime.transaction() as ledger:
        (model,) = await store.models(ledger.session)
    assert model.clips == 6


@pytest.mark.parametrize("dimensions", [16, 2_500])
async def test_the_index_gives_what_comparing_all_gives(runtime, dimensions):
    random = np.random.default_rng(5)
    centres = random.normal(size=(8, dimensions))
    count = 200
    for clip in range(1, count + 1):
        await record(runtime, order(clip), centres[clip % 8] + 0.05 * random.normal(size=(2, dimensions)))
    async with runtime.transaction() as ledger:
        session = ledger.session
        await session.execute(text("ANALYZE"))
        model = await store.model_of_clip(session, UUID(int=1), "m")
        exact = await searching.similar_clips(
            session, UUID(int=1), model, limit=10, filters=ANYTHING, exact_rows=count * 2
        )
        indexed = await searching.similar_clips(session, UUID(int=1), model, limit=10, filters=ANYTHING, exact_rows=0)
        used = await session.execute(text("SELECT idx_scan FROM pg_stat_xact_user_tables WHERE relname = 'embedding'"))
        assert used.scalar_one() > 0
        name = await session.execute(
            text("SELECT indexdef FROM pg_indexes WHERE indexname = :name"), {"name": f"embedding_hnsw_{model.id}"}
        )
        assert "halfvec" in name.scalar_one()
    same = {match.clip_id for match in exact} & {match.clip_id for match in indexed}
    assert len(indexed) == 10
    assert len(same) >= 9
    assert all(match.clip_id.int % 8 == 1 for match in indexed)


async def test_a_model_too_long_for_any_index_is_compared_exactly(runtime):
    await record(runtime, order(1), np.eye(2, 5_000))
    await record(runtime, order(2), np.eye(2, 5_000))
    async with runtime.transaction() as ledger:
        model = await store.model_of_clip(ledger.session, UUID(int=1), "m")
        found = await searching.similar_clips(
            ledger.session, UUID(int=1), model, limit=10, filters=ANYTHING, exact_rows=0
        )
    assert [match.score for match in found] == [pytest.approx(1)]


async def test_vectors_come_back_bit_for_bit(runtime):
    row = np.random.default_rng(1).normal(size=(2, 64))
    await record(runtime, order(1), row)
    expected = store.unpack(result(order(1), row).models[0])
    async with runtime.transaction() as ledger:
        rows = await ledger.session.execute(text("SELECT cast(vector AS real[]) FROM embedding ORDER BY frame"))
        assert [array("f", kept) for (kept,) in rows] == expected


async def test_what_lies_far_from_the_query_is_found_behind_filters_all_the_same(runtime, monkeypatch):
    """The walk ends before it meets what passes: then all are compared."""
    monkeypatch.setattr(searching, "EVEN", 0)
    monkeypatch.setattr(searching, "EF_SEARCH", 10)
    near, far = np.eye(2, 16)
    noise = np.random.default_rng(1).normal(scale=0.01, size=(160, 2, 16))
    for clip, offsets in enumerate(noise, 1):
        tagged = clip > 150
        await record(runtime, order(clip, tags=("far",) if tagged else ()), (far if tagged else near) + offsets)
    async with runtime.transaction() as ledger:
        model = await store.current(ledger.session, "m")
        await ledger.session.execute(text("ANALYZE"))
        await ledger.session.execute(text("SET LOCAL hnsw.max_scan_tuples = 1"))
        found = await searching.clips_like(
            ledger.session, near.tolist(), model, limit=10, filters=searching.Filters(tags=("far",)), exact_rows=0
        )
    assert {match.clip_id.int for match in found} == set(range(151, 161))


CLUSTERS = np.random.default_rng(7).normal(size=(8, 32))
CLUSTERS /= np.linalg.norm(CLUSTERS, axis=1, keepdims=True)


def in_cluster(clip: int) -> np.ndarray:
    """Two vectors of a clip in the cluster of its number."""
    return CLUSTERS[clip % 8] + 0.05 * np.random.default_rng(clip).normal(size=(2, 32))


async def choose_centroids(runtime) -> None:
    """Centroids for the model that needs some; no clip is placed among them yet."""
    async with runtime.transaction() as ledger:
        await ledger.session.execute(text("ANALYZE"))
        ((model, dimensions, vectors),) = await inverted.outgrown(ledger.session, 0)
        rows = await inverted.sample(ledger.session, model, dimensions, vectors)
        await inverted.keep_set(ledger.session, model, vectors, inverted.choose(rows, inverted.count_of(vectors)))


async def place_all(runtime) -> None:
    is_busy = True
    while is_busy:
        async with runtime.transaction() as ledger:
            is_busy = await inverted.place_next(ledger.session)


async def lost(runtime) -> list[int]:
    """Clips that have vectors and lie near no centroid of some set of their models."""
    async with runtime.transaction() as ledger:
        rows = await ledger.session.execute(
            text("""
                SELECT DISTINCT clip_id FROM embedding JOIN centroid_set AS s USING (model) JOIN clip USING (clip_id)
                WHERE NOT EXISTS (SELECT FROM centroid WHERE set = s.id AND id = ANY(centroids)) ORDER BY clip_id
            """)
        )
        return [row.clip_id.int for row in rows]


async def centroid_sets(runtime) -> list[tuple[int, bool]]:
    async with runtime.transaction() as ledger:
        rows = await ledger.session.execute(text("SELECT vectors, ready FROM centroid_set ORDER BY id"))
        return [(row.vectors, row.ready) for row in rows]


@pytest.mark.parametrize("clips_per_key", [0, 50], ids=["told-by-the-index", "told-by-each-clip"])
async def test_of_many_that_pass_a_filter_those_near_the_querys_centroids_are_compared(
    runtime, monkeypatch, clips_per_key
):
    monkeypatch.setattr(inverted, "CLIPS_PER_KEY", clips_per_key)
    monkeypatch.setattr(searching, "PROBES", 6)
    monkeypatch.setattr(searching, "EVEN", 0)
    for clip in range(1, 161):
        await record(runtime, order(clip, tags=("even",) if clip % 2 == 0 else ()), in_cluster(clip))

    async def ask(limit: int = 5, exact_rows: int = 0) -> list[int]:
        async with runtime.transaction() as ledger:
            model = await store.current(ledger.session, "m")
            filters = searching.Filters(tags=("even",))
            found = await searching.clips_like(
                ledger.session, CLUSTERS[2].tolist(), model, limit=limit, filters=filters, exact_rows=exact_rows
            )
        return [match.clip_id.int for match in found]

    best = await ask(exact_rows=1_000)
    assert all(clip % 8 == 2 for clip in best)
    await choose_centroids(runtime)
    assert await ask() == best, "a set that is not whole is not used"
    await place_all(runtime)
    assert await ask() == best
    assert len(await ask(80)) == 80, "where too few lie near, all that pass are looked through"
    # A clip whose place is forgotten shows which way was gone.
    async with runtime.transaction() as ledger:
        await ledger.session.execute(
            text("UPDATE clip SET centroids = '{}' WHERE clip_id = :best"), {"best": UUID(int=best[0])}
        )
    assert await ask() == [*best[1:], (await ask(6, exact_rows=1_000))[5]]
    monkeypatch.setattr(searching, "EVEN_NEAR", 0)
    assert await ask() == best, "of too many near the query, the index is walked"


async def test_a_clip_has_its_place_whenever_it_is_recorded(runtime):
    for clip in range(1, 31):
        await record(runtime, order(clip), in_cluster(clip))
    assert await centroid_sets(runtime) == []
    await choose_centroids(runtime)
    await record(runtime, order(31), in_cluster(31))
    assert await lost(runtime) == list(range(1, 31))
    await place_all(runtime)
    await record(runtime, order(32), in_cluster(32))
    assert await lost(runtime) == []
    assert await centroid_sets(runtime) == [(60, True)]


async def test_a_clip_that_is_recorded_while_centroids_are_chosen_has_its_place(runtime):
    for clip in range(2, 31):
        await record(runtime, order(clip), in_cluster(clip))
    async with runtime.transaction() as ledger:
        await store.record_vectors(ledger.session, order(1), result(order(1), in_cluster(1)))
        choosing = asyncio.create_task(choose_centroids(runtime))
        done, _ = await asyncio.wait([choosing], timeout=1)
        assert not done, "it must wait for whoever cannot see it"
    await choosing
    await place_all(runtime)
    assert await lost(runtime) == []


async def test_centroids_are_chosen_anew_for_four_times_the_vectors_and_the_former_serve_until_then(runtime):
    for clip in range(1, 11):
        await record(runtime, order(clip), in_cluster(clip))
    async with runtime.transaction() as ledger:
        assert await inverted.outgrown(ledger.session, 20) == []
    await choose_centroids(runtime)
    await place_all(runtime)
    for clip in range(11, 40):
        await record(runtime, order(clip), in_cluster(clip))

    async def outgrown() -> list[int]:
        async with runtime.transaction() as ledger:
            await ledger.session.execute(text("ANALYZE"))
            return [vectors for _, _, vectors in await inverted.outgrown(ledger.session, 0)]

    async def probes() -> list[int]:
        async with runtime.transaction() as ledger:
            model = await store.current(ledger.session, "m")
            return await inverted.probes(ledger.session, model.id, [spell(CLUSTERS[0].tolist())], 6)

    assert await outgrown() == []
    await record(runtime, order(40), in_cluster(40))
    assert await outgrown() == [80]
    former = await probes()
    await choose_centroids(runtime)
    assert await outgrown() == [], "a set that is being filled is not begun again"
    assert await probes() == former
    assert await centroid_sets(runtime) == [(20, True), (80, False)]
    await place_all(runtime)
    assert await centroid_sets(runtime) == [(80, True)]
    assert not set(await probes()) & set(former)
    assert await lost(runtime) == []


async def test_the_upkeep_chooses_centroids_and_places_every_clip(runtime, monkeypatch):
    for clip in range(1, 11):
        await record(runtime, order(clip), in_cluster(clip))
    async with runtime.transaction() as ledger:
        await ledger.session.execute(text("ANALYZE"))
    await upkeep.keep_centroids(runtime)
    assert await centroid_sets(runtime) == [], "few vectors are compared all the same"
    monkeypatch.setattr(runtime, "settings", runtime.settings.model_copy(update={"embed_exact_rows": 5}))
    monkeypatch.setattr(inverted, "CLIPS_AT_ONCE", 3)
    await upkeep.keep_centroids(runtime)
    assert await centroid_sets(runtime) == [(20, True)]
    assert await lost(runtime) == []


@pytest.fixture
async def api(runtime):
    transport = httpx.ASGITransport(create_api(runtime), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_similar_clips_over_http(runtime, api):
    await record(runtime, order(1), [[1, 0], [0, 1]], model_id=PACKAGED_MODEL)
    await record(runtime, order(2), [[1, 0], [0.2, 1]], model_id=PACKAGED_MODEL)
    for path in ("/api/search/similar", "/api/similar"):
        answer = await api.get(f"{path}/{UUID(int=1)}", params={"limit": 5})
        assert answer.status_code == 200
        body = answer.json()
        assert body["model"] == {"model_id": PACKAGED_MODEL, "revision": "r1", "sees": "pictures"}
        assert [found["clip_id"] for found in body["results"]] == [str(UUID(int=2))]
        assert body["results"][0]["score"] == pytest.approx(1)
        assert body["results"][0]["keyframe_url"].startswith("http")
    models = (await api.get("/api/search/models")).json()["models"]
    assert [(model["model_id"], model["clips"], model["vectors"]) for model in models] == [
        (PACKAGED_MODEL, 2, 4),
        (TEXT_MODEL, 0, 0),
    ]
    assert [model["default"] for model in models] == [True, False]


async def test_pages_follow_each_other_without_gap_or_repetition(runtime, api):
    for clip in range(1, 9):
        await record(runtime, order(clip, 1), [[1, clip / 10]], model_id=PACKAGED_MODEL)
    seen, cursor = [], None
    for _ in range(4):
        query = {"limit": 2} if cursor is None else {"limit": 2, "cursor": cursor}
        body = (await api.get(f"/api/search/similar/{UUID(int=1)}", params=query)).json()
        seen += [UUID(found["clip_id"]).int for found in body["results"]]
        cursor = body["next"]
    assert seen == [2, 3, 4, 5, 6, 7, 8]
    assert cursor is None


async def test_duplicates_over_http(runtime, api):
    for clip in (1, 2):
        await record(runtime, order(clip), [[1, 0], [0, 1]], model_id=PACKAGED_MODEL)
    body = (await api.get("/api/search/duplicates", params={"threshold": 0.99})).json()
    (group,) = body["groups"]
    assert [UUID(found["clip_id"]).int for found in group["clips"]] == [1, 2]
    assert (await api.get("/api/search/duplicates", params={"video_id": str(OTHER_VIDEO)})).json()["groups"] == []


async def test_words_without_any_vectors_search_titles_and_say_how_to_find_more(runtime, api):
    async with runtime.transaction() as ledger:
        await store.keep_delivery(ledger.session, delivered(1, title="Sea_and-holiday.2026"), ledger.now)
    body = (await api.get("/api/search", params={"q": "a holiday\0 "}, timeout=60)).json()
    (found,) = body["results"]
    assert (found["clip_id"], found["matched"], found["frame"]) == (str(UUID(int=1)), ["title"], None)
    assert "vision-language model" in body["advice"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/api/similar/{UUID(int=9)}", 404, "embed.clip_unknown"),
        (f"/api/similar/{UUID(int=1)}?model=absent", 409, "embed.not_embedded"),
        ("/api/similar/no-id", 422, "request.invalid"),
        (f"/api/similar/{UUID(int=1)}?limit=1000", 422, "request.invalid"),
        ("/api/nothing", 404, "request.no_such_page"),
        ("/api/search/image", 405, "request.method_not_allowed"),
        ("/api/search?q=", 422, "request.invalid"),
        ("/api/search?q=%20", 422, "search.empty_query"),
        ("/api/search?q=a&state=none", 422, "request.invalid"),
        ("/api/search?q=a&model=org/other", 404, "embed.model_unknown"),
        (f"/api/search/similar/{UUID(int=1)}?cursor=abc", 422, "search.bad_cursor"),
        (f"/api/search/similar/{UUID(int=1)}?since=yesterday", 422, "request.invalid"),
        ("/api/search/duplicates?threshold=0.1", 422, "request.invalid"),
    ],
)
async def test_every_error_is_a_problem_with_a_code(runtime, api, path, status, code):
    await record(runtime, order(1), [[1, 0], [0, 1]])
    answer = await api.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert answer.json()["detail"]


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


async def test_a_picture_finds_the_clip_it_was_taken_from(runtime, api):
    from services.embed.compute import Compute
    from services.embed.models import load_model

    random = np.random.default_rng(2)
    pictures = [Image.fromarray(random.integers(0, 255, (60, 90, 3), dtype=np.uint8)) for _ in range(3)]
    model = load_model(ModelSpec(model_id=PACKAGED_MODEL), Compute())
    for clip, picture in enumerate(pictures, start=1):
        rows = model.embed_images([picture])
        await record(runtime, order(clip, 1), rows, model_id=PACKAGED_MODEL, revision=model.revision)
    answer = await api.post(
        "/api/search/image?limit=2", content=png(pictures[1]), headers={"content-type": "image/png"}, timeout=60
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"]["revision"] == model.revision
    assert answer.json()["next"] is not None
    results = answer.json()["results"]
    assert len(results) == 2
    assert results[0]["clip_id"] == str(UUID(int=2))
    assert results[0]["score"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"not a picture", "image/png", 422, "embed.bad_picture"),
        (png(Image.new("RGB", (40, 40)))[:60], "image/png", 422, "embed.bad_picture"),
        (png(Image.new("L", (9_000, 9_000))), "image/png", 422, "embed.bad_picture"),
        (b"text", "text/plain", 415, "embed.not_a_picture"),
        (b"0" * 20_000_001, "image/png", 413, "embed.picture_too_large"),
    ],
)
async def test_what_is_no_picture_is_refused(api, content, content_type, status, code):
    answer = await api.post("/api/search/image", content=content, headers={"content-type": content_type}, timeout=30)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_search_fetches_no_model_that_is_not_configured(api):
    answer = await api.post("/api/search/image?model=org/other", content=b"x", headers={"content-type": "image/png"})
    assert (answer.status_code, answer.json()["code"]) == (404, "embed.model_unknown")
