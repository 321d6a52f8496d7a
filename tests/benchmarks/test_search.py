"""What search costs at size: recall against exact answers, latency with filters, and the price of the index. Printed.

HEATERS_BENCH_VECTORS=1000000 ./heaters test tests/benchmarks/test_search.py -s

The vectors are synthetic: 512 numbers, in clusters of very different sizes, as shots of the same places are; queries lie
near them. Four vectors belong to a clip, a tenth of the clips carry the wide tag and one in five hundred the narrow one.
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import time
from uuid import UUID

import numpy as np
import psycopg
import pytest
from pgvector.psycopg import register_vector

from services.chassis import migrations
from services.chassis.runtime import open_runtime
from services.embed import index, searching, store, upkeep
from services.embed.app import STAGE
from services.embed.settings import Settings

DIMENSIONS = 512
PER_CLIP = 4
QUERIES = 100
VIDEOS = 200
FILTERS = {
    "no filter": searching.Filters(),
    "a tag of every tenth clip": searching.Filters(tags=("wide",)),
    "a tag of one clip in 500": searching.Filters(tags=("narrow",)),
    "one video of 200": searching.Filters(video_id=UUID(int=7)),
    "half of the lengths": searching.Filters(min_seconds=5),
    "a tag and a length": searching.Filters(tags=("wide",), max_seconds=3),
    "a tag and a short length": searching.Filters(tags=("wide",), max_seconds=2),
}


def report(what: str, measured: float, limit: float | None, unit: str) -> None:
    bound = "" if limit is None else f"(limit {limit:g})"
    print(f"\n{what:<58} {measured:10.3f} {unit:<8} {bound}")


def centres_of(random: np.random.Generator, vectors: int) -> np.ndarray:
    return random.normal(size=(max(20, vectors // 500), DIMENSIONS)).astype(np.float32)


def sample(random: np.random.Generator, centres: np.ndarray, count: int) -> np.ndarray:
    """Unit vectors around centres; some centres are met far oftener than others."""
    chosen = (len(centres) * random.random(count) ** 2).astype(int)
    rows = centres[chosen] + 0.7 * random.standard_normal(size=(count, DIMENSIONS), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


async def keep_centroids(settings: Settings) -> None:
    runtime = open_runtime(STAGE, settings)
    try:
        await upkeep.keep_centroids(runtime)
    finally:
        await runtime.engine.dispose()


@pytest.fixture(scope="module")
def filled(servers, scale):
    vectors = int(os.environ.get("HEATERS_BENCH_VECTORS", scale(50_000, 1_000_000)))
    settings = Settings(**servers.settings("127.0.0.1:9"))
    url = settings.database_url.get_secret_value()
    migrations.upgrade(url, "embed")
    random = np.random.default_rng(11)
    centres = centres_of(random, vectors)
    clips = vectors // PER_CLIP
    lengths = random.uniform(1, 9, size=clips)
    with psycopg.connect(url, options="-c search_path=embed,public") as connection:
        register_vector(connection)
        connection.execute("INSERT INTO model (model_id, revision, dimensions) VALUES ('bench', 'r', %s)", [DIMENSIONS])
        copy = "COPY clip (clip_id, video_id, title, tags, state, seconds, delivered_at) FROM STDIN"
        with connection.cursor().copy(copy) as rows:
            for clip in range(clips):
                tags = [name for name, every in (("wide", 10), ("narrow", 500)) if clip % every == 0]
                rows.write_row(
                    (
                        UUID(int=clip + 1),
                        UUID(int=clip % VIDEOS),
                        "A clip",
                        tags,
                        "embedded",
                        float(lengths[clip]),
                        "2026-01-01",
                    )
                )
        began = time.monotonic()
        copy = "COPY embedding (clip_id, model, frame, object_key, vector) FROM STDIN WITH (FORMAT BINARY)"
        with connection.cursor().copy(copy) as rows:
            rows.set_types(["uuid", "int4", "int4", "text", "vector"])
            for start in range(0, vectors, 10_000):
                for number, vector in enumerate(sample(random, centres, min(10_000, vectors - start)), start=start):
                    rows.write_row((UUID(int=number // PER_CLIP + 1), 1, number % PER_CLIP, "k.jpg", vector))
        connection.commit()
        report(f"{vectors} vectors of {DIMENSIONS} written", time.monotonic() - began, None, "s")
        connection.execute("SET maintenance_work_mem = '4GB'; SET max_parallel_maintenance_workers = 1")
        kind = index.kind_of(DIMENSIONS)
        began = time.monotonic()
        connection.execute(
            f"CREATE INDEX {index.name_of(1)} ON embedding USING hnsw ((vector::{kind}) halfvec_cosine_ops) "
            f"WITH (m = {index.LINKS}, ef_construction = {index.BUILD_BREADTH}) WHERE model = 1"
        )
        connection.commit()
        report("index built, two processes", time.monotonic() - began, None, "s")
        for what, name in (("index", index.name_of(1)), ("table", "embedding")):
            size = connection.execute("SELECT pg_total_relation_size(cast(%s AS regclass))", [name]).fetchone()[0]
            report(f"size of the {what}", size / 1e6, None, "MB")
        connection.commit()
        connection.autocommit = True
        connection.execute("ANALYZE")
        began = time.monotonic()
        asyncio.run(keep_centroids(settings))
        report("centroids chosen, clips placed among them", time.monotonic() - began, None, "s")
        connection.execute("VACUUM ANALYZE clip")
    return settings, sample(random, centres, QUERIES), sample(random, centres, QUERIES)


@pytest.mark.timeout(3600)
async def test_search_at_size(filled):
    settings, queries, others = filled
    runtime = open_runtime(STAGE, settings)
    try:
        async with runtime.transaction() as ledger:
            model = await store.current(ledger.session, "bench")

        async def ask(vector: np.ndarray, filters: searching.Filters, exact_rows: int) -> tuple[list[UUID], float]:
            async with runtime.transaction() as ledger:
                began = time.perf_counter()
                found = await searching.clips_like(
                    ledger.session, vector.tolist(), model, limit=10, filters=filters, exact_rows=exact_rows
                )
                return [match.clip_id for match in found], time.perf_counter() - began

        slow, forgotten = [], []
        for name, filters in FILTERS.items():
            # What was compared last drove out of the cache what is walked.
            for vector in others:
                await ask(vector, FILTERS["no filter"], settings.embed_exact_rows)
            answers = [await ask(vector, filters, settings.embed_exact_rows) for vector in queries]
            seconds = [took for _, took in answers]
            # Afterwards: to compare all drives out of the cache what is walked.
            recalls = []
            for vector, (found, _) in zip(queries, answers, strict=True):
                truth, _ = await ask(vector, filters, 10**9)
                recalls.append(len(set(found) & set(truth)) / max(1, len(truth)))
            p95 = 1000 * statistics.quantiles(seconds, n=20)[-1]
            report(f"{name}: recall at 10", statistics.mean(recalls), 0.98, "")
            report(f"{name}: p50", 1000 * statistics.median(seconds), None, "ms")
            report(f"{name}: p95", p95, 50, "ms")
            if p95 > 50:
                slow.append((name, p95))
            if statistics.mean(recalls) < 0.98:
                forgotten.append((name, statistics.mean(recalls)))
        report("memory of this process", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, None, "MB")
        assert not forgotten
        assert not slow
    finally:
        await runtime.engine.dispose()
