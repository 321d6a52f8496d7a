"""Indexes of vectors, one per model, and the near-duplicates that are found with them.

Each model's index is an HNSW of its own, in half precision: two bytes a dimension instead of four for candidates, whose
order is then decided by the vectors themselves in full precision.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

MAX_DIMENSIONS = 4_000
"""pgvector's bound for indexing half precision; longer vectors are compared exactly."""
LINKS = 16
"""Neighbours that a vector keeps in each layer of the graph."""
BUILD_BREADTH = 100
"""Candidates looked at for each vector while the graph is built."""
NEAR_DUPLICATE = 0.9
"""Clips at least this alike are noted as near-duplicates; searches may ask for more."""
NEIGHBOURS = 8
"""Nearest keyframes looked at for each keyframe of a new clip."""


def kind_of(dimensions: int) -> str | None:
    """The type under which vectors of a size are indexed; ``None`` if they cannot be."""
    return f"halfvec({dimensions:d})" if dimensions <= MAX_DIMENSIONS else None


def name_of(model: int) -> str:
    """The name of a model's index."""
    return f"embedding_hnsw_{model:d}"


async def create(session: AsyncSession, model: int, dimensions: int) -> None:
    """Makes a model's index, unless it is there or cannot be."""
    kind = kind_of(dimensions)
    if kind is not None:
        # The names are made of integers and constants only; PostgreSQL takes no parameters here.
        await session.execute(
            text(
                f"CREATE INDEX IF NOT EXISTS {name_of(model)} ON embedding "
                f"USING hnsw ((vector::{kind}) halfvec_cosine_ops) WITH (m = {LINKS}, ef_construction = {BUILD_BREADTH}) "
                f"WHERE model = {model:d}"
            )
        )


async def drop(session: AsyncSession, model: int) -> None:
    """Removes a model's index, if there is one."""
    await session.execute(text(f"DROP INDEX IF EXISTS {name_of(model)}"))


async def create_missing(session: AsyncSession) -> None:
    """Makes the index of every model that has none."""
    rows = await session.execute(text("SELECT id, dimensions FROM model ORDER BY id"))
    for row in rows.all():
        await create(session, row.id, row.dimensions)


async def size(session: AsyncSession, model: int) -> int:
    """About how many vectors a model's index holds, as PostgreSQL last counted; 0 without one."""
    found = await session.execute(
        text("SELECT reltuples FROM pg_class WHERE oid = to_regclass(:name)"), {"name": name_of(model)}
    )
    return max(0, int(found.scalar() or 0))


async def lock(session: AsyncSession, model: int) -> None:
    """Lets nobody else record vectors of a model until the commit, for two clips recorded at once do not see each other."""
    await session.execute(text("SELECT pg_advisory_xact_lock(:room, :model)"), {"room": 0x4E44, "model": model})


async def note_near_duplicates(session: AsyncSession, clip_id: UUID, model: int, dimensions: int) -> None:
    """Writes down which clips a clip is a near-duplicate of, by one model.

    Two clips are as alike as, on average, the keyframes of one are to their nearest of the other; of the two ways to look
    at it the lesser counts, so that a short clip is no duplicate of a long one that merely contains its picture.
    """
    await session.execute(
        text("DELETE FROM near_duplicate WHERE model = :model AND (one = :clip_id OR other = :clip_id)"),
        {"clip_id": clip_id, "model": model},
    )
    kind = kind_of(dimensions)
    distance = "e.vector <=> mine.vector" if kind is None else f"e.vector::{kind} <=> mine.vector::{kind}"
    await session.execute(
        text(f"""
            WITH mine AS (SELECT frame, vector FROM embedding WHERE clip_id = :clip_id AND model = :model AND part = 0),
            near AS (
                SELECT DISTINCT found.clip_id FROM mine CROSS JOIN LATERAL (
                    SELECT e.clip_id, e.vector FROM embedding AS e WHERE e.model = {model:d} AND e.clip_id <> :clip_id
                    ORDER BY {distance} LIMIT {NEIGHBOURS:d}
                ) AS found WHERE 1 - (found.vector <=> mine.vector) >= :least
            ),
            pairs AS (
                SELECT theirs.clip_id, mine.frame AS my_frame, theirs.frame AS their_frame,
                    1 - (theirs.vector <=> mine.vector) AS likeness
                FROM near JOIN embedding AS theirs
                    ON theirs.clip_id = near.clip_id AND theirs.model = :model AND theirs.part = 0
                CROSS JOIN mine
            ),
            mine_in_theirs AS (
                SELECT clip_id, avg(best) AS likeness
                FROM (SELECT clip_id, my_frame, max(likeness) AS best FROM pairs GROUP BY 1, 2) AS a GROUP BY 1
            ),
            theirs_in_mine AS (
                SELECT clip_id, avg(best) AS likeness
                FROM (SELECT clip_id, their_frame, max(likeness) AS best FROM pairs GROUP BY 1, 2) AS b GROUP BY 1
            )
            INSERT INTO near_duplicate (model, one, other, likeness)
            SELECT :model, least(clip_id, :clip_id), greatest(clip_id, :clip_id),
                least(mine_in_theirs.likeness, theirs_in_mine.likeness)
            FROM mine_in_theirs JOIN theirs_in_mine USING (clip_id)
            WHERE least(mine_in_theirs.likeness, theirs_in_mine.likeness) >= :least
        """),  # noqa: S608 - every interpolated part is an integer or made of one.
        {"clip_id": clip_id, "model": model, "least": NEAR_DUPLICATE},
    )
