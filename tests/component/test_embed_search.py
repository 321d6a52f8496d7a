"""Vectors in a real PostgreSQL: recording, searching, forgetting; and the API over them."""

from __future__ import annotations

import asyncio
import base64
import io
from array import array
from uuid import UUID

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import text

from contracts.values import EmbeddingModel, Keyframe, ObjectRef
from services.chassis import migrations
from services.chassis.runtime import open_runtime
from services.embed import store
from services.embed.api import create_api
from services.embed.app import STAGE
from services.embed.domain.orders import EmbedOrder, EmbedResult, ModelSpec, ModelVectors
from services.embed.settings import PACKAGED_MODEL, Settings

VIDEO, OTHER_VIDEO = UUID(int=1), UUID(int=2)
EXACT = {"exact_rows": 1_000_000}
ANYTHING = store.Filters()


@pytest.fixture(scope="module")
def settings(servers) -> Settings:
    settings = Settings(**servers.settings("127.0.0.1:9"))
    migrations.upgrade(settings.database_url.get_secret_value(), "embed")
    return settings


@pytest.fixture
async def runtime(settings):
    runtime = open_runtime(STAGE, settings)
    async with runtime.transaction() as ledger:
        await ledger.session.execute(text("TRUNCATE clip, model, embedding CASCADE"))
    yield runtime
    await runtime.engine.dispose()


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
        found = await store.similar_clips(ledger.session, UUID(int=1), model, limit=10, filters=ANYTHING, **EXACT)
    assert [match.clip_id.int for match in found] == [2, 3]
    best = found[0]
    assert (best.frame, best.query_frame, best.object_key, best.title) == (201, 101, "k/2/1.jpg", "Clip 2")
    assert best.score == pytest.approx(1 / np.hypot(0.1, 1), abs=1e-6)


async def test_recording_again_replaces_and_another_revision_forgets_the_former(runtime):
    await record(runtime, order(1), [[1, 0], [0, 1]])
    await record(runtime, order(1), [[1, 0], [0, 1]])
    await record(runtime, order(1), [[1, 0, 0], [0, 1, 0]], revision="r2")
    async with runtime.transaction() as ledger:
        (model,) = await store.models(ledger.session)
    assert (model.revision, model.dimensions, model.clips, model.vectors) == ("r2", 3, 1, 2)


async def test_vectors_of_different_models_are_never_compared(runtime):
    await record(runtime, order(1), [[1, 0], [0, 1]])
    await record(runtime, order(2), [[1, 0], [0, 1]], model_id="other")
    async with runtime.transaction() as ledger:
        model = await store.model_of_clip(ledger.session, UUID(int=1), "m")
        assert await store.similar_clips(ledger.session, UUID(int=1), model, limit=10, filters=ANYTHING, **EXACT) == []
        assert await store.model_of_clip(ledger.session, UUID(int=1), "other") is None


async def test_filters_by_video_and_tag(runtime):
    await record(runtime, order(1), [[1, 0], [0, 1]])
    await record(runtime, order(2, tags=("sea",)), [[1, 0], [0, 1]])
    await record(runtime, order(3, video=OTHER_VIDEO), [[1, 0], [0, 1]])
    async with runtime.transaction() as ledger:
        model = await store.model_of_clip(ledger.session, UUID(int=1), "m")

        async def found(**filters):
            matches = await store.similar_clips(
                ledger.session, UUID(int=1), model, limit=10, filters=store.Filters(**filters), **EXACT
            )
            return [match.clip_id.int for match in matches]

        assert await found() == [2, 3]
        assert await found(tag="sea") == [2]
        assert await found(video_id=OTHER_VIDEO) == [3]


async def test_an_archived_clip_is_found_no_more_and_late_vectors_bring_nothing_back(runtime):
    await record(runtime, order(1), [[1, 0], [0, 1]])
    await record(runtime, order(2), [[1, 0], [0, 1]])
    async with runtime.transaction() as ledger:
        await store.archive_clip(ledger.session, UUID(int=2), VIDEO)
    await record(runtime, order(2), [[1, 0], [0, 1]])
    async with runtime.transaction() as ledger:
        model = await store.model_of_clip(ledger.session, UUID(int=1), "m")
        assert await store.similar_clips(ledger.session, UUID(int=1), model, limit=10, filters=ANYTHING, **EXACT) == []
        assert not await store.knows_clip(ledger.session, UUID(int=2))
        assert (await store.models(ledger.session))[0].vectors == 2


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
        exact = await store.similar_clips(session, UUID(int=1), model, limit=10, filters=ANYTHING, exact_rows=count * 2)
        await session.execute(text("SET LOCAL enable_seqscan = off"))
        await session.execute(text("SET LOCAL enable_bitmapscan = off"))
        await session.execute(text("SET LOCAL enable_sort = off"))
        indexed = await store.similar_clips(session, UUID(int=1), model, limit=10, filters=ANYTHING, exact_rows=0)
        used = await session.execute(text("SELECT idx_scan FROM pg_stat_xact_user_tables WHERE relname = 'embedding'"))
        assert used.scalar_one() > 0
        name = await session.execute(
            text("SELECT indexdef FROM pg_indexes WHERE indexname = :name"), {"name": f"embedding_hnsw_{model.id}"}
        )
        assert "hnsw" in name.scalar_one()
    same = {match.clip_id for match in exact} & {match.clip_id for match in indexed}
    assert len(indexed) == 10
    assert len(same) >= 9
    assert all(match.clip_id.int % 8 == 1 for match in indexed)


async def test_a_model_too_long_for_any_index_is_compared_exactly(runtime):
    await record(runtime, order(1), np.eye(2, 5_000))
    await record(runtime, order(2), np.eye(2, 5_000))
    async with runtime.transaction() as ledger:
        model = await store.model_of_clip(ledger.session, UUID(int=1), "m")
        found = await store.similar_clips(ledger.session, UUID(int=1), model, limit=10, filters=ANYTHING, exact_rows=0)
    assert [match.score for match in found] == [pytest.approx(1)]


async def test_vectors_come_back_bit_for_bit(runtime):
    row = np.random.default_rng(1).normal(size=(2, 64))
    await record(runtime, order(1), row)
    expected = store.unpack(result(order(1), row).models[0])
    async with runtime.transaction() as ledger:
        rows = await ledger.session.execute(text("SELECT cast(vector AS real[]) FROM embedding ORDER BY frame"))
        assert [array("f", kept) for (kept,) in rows] == expected


@pytest.fixture
async def api(runtime):
    transport = httpx.ASGITransport(create_api(runtime), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_similar_clips_over_http(runtime, api):
    await record(runtime, order(1), [[1, 0], [0, 1]], model_id=PACKAGED_MODEL)
    await record(runtime, order(2), [[1, 0], [0.2, 1]], model_id=PACKAGED_MODEL)
    answer = await api.get(f"/api/similar/{UUID(int=1)}", params={"limit": 5})
    assert answer.status_code == 200
    body = answer.json()
    assert body["model"] == {"model_id": PACKAGED_MODEL, "revision": "r1"}
    assert [found["clip_id"] for found in body["results"]] == [str(UUID(int=2))]
    assert body["results"][0]["score"] == pytest.approx(1)
    models = (await api.get("/api/models")).json()["models"]
    assert models == [
        {
            "model_id": PACKAGED_MODEL,
            "revision": "r1",
            "dimensions": 2,
            "clips": 2,
            "vectors": 4,
            "configured": True,
            "default": True,
        }
    ]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/api/similar/{UUID(int=9)}", 404, "embed.clip_unknown"),
        (f"/api/similar/{UUID(int=1)}?model=absent", 409, "embed.not_embedded"),
        ("/api/similar/no-id", 422, "request.invalid"),
        (f"/api/similar/{UUID(int=1)}?limit=1000", 422, "request.invalid"),
        ("/api/nothing", 404, "request.no_such_page"),
        ("/api/search/image", 405, "request.method_not_allowed"),
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
