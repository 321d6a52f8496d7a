"""An inverted file over a model's vectors (IVF): which clips lie near which centroid.

A clip carries the centroids that its vectors are nearest to, so that "near the query" is one more condition on clips, which
PostgreSQL joins with the filters' own indexes before it reads any vector. Centroids are chosen by spherical k-means over a
sample once a model has many vectors, and anew when it has four times as many; the former set serves until every clip has
been placed among the new one.

The cost: a set is chosen in seconds (rounds x sample x centroids x dimensions), a clip is placed by comparing its vectors
with every centroid, and a query compares itself with every centroid once, which is 2,000 vectors of a million.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.embed import index
from services.embed.vectors import spell

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DENSITY = 2
"""A model of ``n`` vectors gets so many times the root of ``n`` centroids."""
GROWTH = 4
"""A model's centroids are chosen anew when it has so many times the vectors it had."""
SAMPLE_PER_CENTROID = 16
SAMPLE_BYTES = 128_000_000
"""Most that a sample may take in memory, whatever the model's size."""
ROUNDS = 5
KEYS_AT_ONCE = 8
"""Keys of one scan of the index. To unite the lists of ``n`` keys costs it in proportion to ``n`` squared; bitmaps unite for less."""
CLIPS_PER_KEY = 50
"""To look one key up in the index takes as long as to look through the centroids of so many clips."""
CLIPS_AT_ONCE = 500


async def probes(session: AsyncSession, model: int, vectors: Sequence[str], count: int) -> list[int]:
    """So many centroids nearest to a query's vector, as pgvector spells it; none while no set is ready.

    Those of several vectors are mostly the same; there are never more than twice as many.
    """
    values: dict[str, object] = {"model": model, "most": 2 * count}
    near = []
    for number, vector in enumerate(vectors):
        values[f"vector_{number}"] = vector
        near.append(f"""(
            SELECT id, centre <#> cast(:vector_{number:d} AS halfvec) AS distance FROM centroid
            WHERE set = (SELECT max(id) FROM centroid_set WHERE model = :model AND ready) ORDER BY 2 LIMIT {count:d}
        )""")  # noqa: S608 - integers.
    rows = await session.execute(
        text(f"""
            SELECT id FROM ({" UNION ALL ".join(near)}) AS near GROUP BY id ORDER BY min(distance) LIMIT :most
        """),  # noqa: S608 - as above.
        values,
    )
    return list(rows.scalars())


def condition(near: Sequence[int], clips: int) -> tuple[str, dict[str, list[int]]]:
    """That a clip ``c`` lies near one of some centroids, at least one, and what is bound in it.

    ``clips`` are about as many as meet all other conditions: either each of those is looked at, or the index.
    """
    if clips < CLIPS_PER_KEY * len(near):
        is_near = "EXISTS (SELECT FROM unnest(c.centroids) AS own (id) WHERE own.id = ANY(cast(:near AS integer[])))"
        return is_near, {"near": list(near)}
    keys = {f"near_{start}": list(near[start : start + KEYS_AT_ONCE]) for start in range(0, len(near), KEYS_AT_ONCE)}
    return f"({' OR '.join(f'c.centroids && cast(:{name} AS integer[])' for name in keys)})", keys


async def place(session: AsyncSession, clips: Iterable[UUID]) -> None:
    """Notes near which centroids the vectors of some clips lie, in every set of every model."""
    wanted = list(clips)
    rows = await session.execute(
        text("""
            SELECT e.model, e.clip_id, vector_send(e.vector) FROM embedding AS e
            WHERE e.clip_id = ANY(:clips) AND EXISTS (SELECT FROM centroid_set AS s WHERE s.model = e.model)
        """),
        {"clips": wanted},
    )
    of_model: dict[int, list[tuple[UUID, bytes]]] = {}
    for model, clip, vector in rows:
        of_model.setdefault(model, []).append((clip, vector))
    if not of_model:
        return
    rows = await session.execute(
        text("""
            SELECT s.model, s.id, c.id, halfvec_send(c.centre)
            FROM centroid_set AS s JOIN centroid AS c ON c.set = s.id WHERE s.model = ANY(:models)
        """),
        {"models": list(of_model)},
    )
    sets: dict[tuple[int, int], list[tuple[int, bytes]]] = {}
    for model, number, name, centre in rows:
        sets.setdefault((model, number), []).append((name, centre))
    found: dict[UUID, set[int]] = {clip: set() for clip in wanted}
    for (model, _), centroids in sets.items():
        owners, vectors = zip(*of_model[model], strict=True)
        names, centres = zip(*centroids, strict=True)
        near = await asyncio.to_thread(_nearest, _matrix(vectors, ">f4"), _matrix(centres, ">f2"))
        for clip, nearest in zip(owners, near.tolist(), strict=True):
            found[clip].add(names[nearest])
    await session.execute(
        text("""
            UPDATE clip SET centroids = cast(placed.centroids AS integer[])
            FROM unnest(cast(:clips AS uuid[]), cast(:found AS text[])) AS placed (clip_id, centroids)
            WHERE clip.clip_id = placed.clip_id
        """),
        {"clips": wanted, "found": [f"{{{','.join(map(str, sorted(found[clip])))}}}" for clip in wanted]},
    )


async def outgrown(session: AsyncSession, least: int) -> list[tuple[int, int, int]]:
    """Models that have more than ``least`` vectors and need new centroids: ``(model, its dimensions, its vectors)``."""
    models = await session.execute(
        text("""
            SELECT id, dimensions, coalesce((SELECT max(vectors) FROM centroid_set WHERE model = model.id), 0) AS chosen_of
            FROM model ORDER BY id
        """)
    )
    found = []
    for model in models.all():
        vectors = await index.size(session, model.id)
        if vectors > least and vectors >= GROWTH * model.chosen_of:
            found.append((model.id, model.dimensions, vectors))
    return found


async def sample(session: AsyncSession, model: int, dimensions: int, vectors: int) -> NDArray[np.float32]:
    """About enough of a model's vectors to choose its centroids from, ``[count, dimensions]``."""
    import numpy as np

    wanted = min(SAMPLE_PER_CENTROID * count_of(vectors), SAMPLE_BYTES // (4 * dimensions))
    drawn = await session.execute(
        text(f"""
            SELECT vector_send(vector) FROM embedding TABLESAMPLE SYSTEM ({min(100.0, 100 * wanted / vectors):f})
            WHERE model = :model
        """),  # noqa: S608 - a number.
        {"model": model},
    )
    rows = drawn.scalars().all()
    return _matrix(rows, ">f4") if rows else np.empty((0, dimensions), np.float32)


def count_of(vectors: int) -> int:
    """How many centroids so many vectors get."""
    return max(1, int(DENSITY * vectors**0.5))


def choose(rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Centroids of unit vectors by spherical k-means, ``[at most count, dimensions]``; the same rows give the same."""
    import numpy as np

    centres = np.random.default_rng(0).choice(rows, min(count, len(rows)), replace=False)
    for _ in range(ROUNDS):
        near = _nearest(rows, centres)
        order = np.argsort(near, kind="stable")
        met, starts = np.unique(near[order], return_index=True)
        sums = np.add.reduceat(rows[order], starts)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        # What no row is nearest to stays where it is.
        centres[met] = np.divide(sums, lengths, out=centres[met], where=lengths > 0)
    return centres


async def keep_set(session: AsyncSession, model: int, vectors: int, centres: NDArray[np.float32]) -> None:
    """Writes a new set of a model down, in which no clip is placed yet; a set never finished is forgotten for it."""
    # Clips recorded at this moment either are seen by the placing, or see this set.
    await index.lock(session, model)
    await session.execute(text("DELETE FROM centroid_set WHERE model = :model AND NOT ready"), {"model": model})
    number = await session.execute(
        text("INSERT INTO centroid_set (model, vectors) VALUES (:model, :vectors) RETURNING id"),
        {"model": model, "vectors": vectors},
    )
    await session.execute(
        text("""
            INSERT INTO centroid (set, centre)
            SELECT :number, cast(centre AS halfvec) FROM unnest(cast(:centres AS text[])) AS centre
        """),
        {"number": number.scalar_one(), "centres": list(map(spell, centres.tolist()))},
    )


async def place_next(session: AsyncSession) -> bool:
    """Places the next clips among centroids that are not ready, and has a set that holds all serve. Whether there was any."""
    row = (
        await session.execute(
            text("SELECT id, model, upto FROM centroid_set WHERE NOT ready ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED")
        )
    ).one_or_none()
    if row is None:
        return False
    rows = await session.execute(
        text("""
            SELECT clip_id FROM clip WHERE cast(:upto AS uuid) IS NULL OR clip_id > :upto
            ORDER BY clip_id LIMIT :most FOR UPDATE
        """),
        {"upto": row.upto, "most": CLIPS_AT_ONCE},
    )
    clips = list(rows.scalars())
    if clips:
        await place(session, clips)
        values = {"number": row.id, "upto": clips[-1]}
        await session.execute(text("UPDATE centroid_set SET upto = :upto WHERE id = :number"), values)
    else:
        values = {"number": row.id, "model": row.model}
        await session.execute(text("UPDATE centroid_set SET ready = true WHERE id = :number"), values)
        await session.execute(text("DELETE FROM centroid_set WHERE model = :model AND id < :number"), values)
    return True


def _matrix(sent: Iterable[bytes], numbers: str) -> NDArray[np.float32]:
    """Vectors as pgvector sends them: the count and a zero, 2 bytes each, then the numbers, most significant byte first."""
    import numpy as np

    return np.stack([np.frombuffer(vector, numbers, offset=4) for vector in sent]).astype(np.float32)


def _nearest(rows: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.intp]:
    """Which centre each row is nearest to, by the cosine of unit vectors."""
    import numpy as np

    blocks = range(0, len(rows), 4096)
    return np.concatenate([(rows[start : start + 4096] @ centres.T).argmax(axis=1) for start in blocks])
