"""The stage's own tables: searchable clips, models and vectors, and the searches over them.

Vectors are unit vectors, so similarity is the cosine, ``1 - (a <=> b)``, between -1 and 1. Vectors of different models,
or of different revisions of one model, are never compared. Each model has an HNSW index of its own; up to a set number
of rows all vectors are compared instead, which is exact.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.errors import Permanent
from services.embed.domain.orders import EmbedOrder, EmbedResult, ModelVectors

HNSW_MAX_DIMENSIONS = 2_000
"""pgvector's bound for indexing single precision; a longer vector is indexed in half precision."""
HNSW_MAX_HALF_DIMENSIONS = 4_000
"""pgvector's bound for indexing half precision; a longer vector is compared exactly."""

CANDIDATES_PER_RESULT = 8
"""Nearest frames asked of the index for each clip wanted: several may belong to one clip."""
MAX_CANDIDATES = 1_000


class BadVectors(Permanent):
    """A result whose vectors do not have the size that it claims."""

    code = "embed.bad_vectors"


@dataclass(frozen=True)
class Model:
    """A model that has vectors. ``id`` is this database's own number for it."""

    id: int
    model_id: str
    revision: str
    dimensions: int
    clips: int = 0
    vectors: int = 0


@dataclass(frozen=True)
class Match:
    """A clip found, with its best frame: ``score`` is the cosine, ``frame`` the source's frame number."""

    clip_id: UUID
    video_id: UUID
    title: str
    tags: tuple[str, ...]
    score: float
    frame: int
    object_key: str
    query_frame: int | None = None


@dataclass(frozen=True)
class Filters:
    """What a match must be besides similar."""

    video_id: UUID | None = None
    tag: str | None = None


def unpack(vectors: ModelVectors) -> list[array[float]]:
    """The rows of a result, ``[len(frames)][dimensions]`` float32; ``BadVectors`` if the bytes do not fit."""
    values = array("f")
    values.frombytes(base64.b64decode(vectors.vectors))
    if sys.byteorder == "big":
        values.byteswap()
    dimensions = vectors.model.dimensions
    if len(values) != dimensions * len(vectors.frames) or vectors.model.vectors != len(vectors.frames):
        raise BadVectors(
            f"{vectors.model.model_id} gave {len(values)} numbers for {len(vectors.frames)} frames of {dimensions}; "
            "delete the clip's embeddings in the object store and retry."
        )
    return [values[start : start + dimensions] for start in range(0, len(values), dimensions)]


def spell(vector: Sequence[float]) -> str:
    """A vector as pgvector reads it."""
    return f"[{','.join(map(repr, vector))}]"


async def keep_clip(session: AsyncSession, clip_id: UUID, video_id: UUID, title: str, tags: Sequence[str]) -> None:
    """Remembers what a clip is called; an archived clip lives again."""
    await session.execute(
        text("""
            INSERT INTO clip (clip_id, video_id, title, tags) VALUES (:clip_id, :video_id, :title, :tags)
            ON CONFLICT (clip_id) DO UPDATE SET title = EXCLUDED.title, tags = EXCLUDED.tags, archived = false
        """),
        {"clip_id": clip_id, "video_id": video_id, "title": title, "tags": list(tags)},
    )


async def archive_clip(session: AsyncSession, clip_id: UUID, video_id: UUID) -> None:
    """Forgets a clip's vectors and remembers that it is archived, so that late events bring nothing back."""
    await session.execute(text("DELETE FROM embedding WHERE clip_id = :clip_id"), {"clip_id": clip_id})
    await session.execute(
        text("""
            INSERT INTO clip (clip_id, video_id, title, archived) VALUES (:clip_id, :video_id, '', true)
            ON CONFLICT (clip_id) DO UPDATE SET archived = true
        """),
        {"clip_id": clip_id, "video_id": video_id},
    )


async def is_archived(session: AsyncSession, clip_id: UUID) -> bool:
    """Whether the clip's archiving is the last that was heard of it. Its row stays locked until the commit."""
    found = await session.execute(
        text("SELECT archived FROM clip WHERE clip_id = :clip_id FOR UPDATE"), {"clip_id": clip_id}
    )
    return bool(found.scalar_one_or_none())


async def record_vectors(session: AsyncSession, order: EmbedOrder, result: EmbedResult) -> None:
    """Replaces a clip's vectors of the result's models, and forgets those of other revisions of them.

    An archived clip gets none.
    """
    if await is_archived(session, order.clip_id):
        return
    await session.execute(
        text("""
            INSERT INTO clip (clip_id, video_id, title, tags) VALUES (:clip_id, :video_id, :title, :tags)
            ON CONFLICT (clip_id) DO UPDATE SET title = EXCLUDED.title, tags = EXCLUDED.tags
        """),
        {"clip_id": order.clip_id, "video_id": order.video_id, "title": order.title, "tags": list(order.tags)},
    )
    keys = {keyframe.frame: keyframe.object.key for keyframe in order.keyframes}
    for vectors in result.models:
        rows = unpack(vectors)
        model = await _model(session, vectors)
        await session.execute(
            text("""
                DELETE FROM embedding USING model WHERE embedding.model = model.id
                    AND embedding.clip_id = :clip_id AND model.model_id = :model_id
            """),
            {"clip_id": order.clip_id, "model_id": vectors.model.model_id},
        )
        await session.execute(
            text("""
                INSERT INTO embedding (clip_id, model, frame, object_key, vector)
                VALUES (:clip_id, :model, :frame, :object_key, cast(:vector AS vector))
            """),
            [
                {
                    "clip_id": order.clip_id,
                    "model": model,
                    "frame": frame,
                    "object_key": keys[frame],
                    "vector": spell(row),
                }
                for frame, row in zip(vectors.frames, rows, strict=True)
            ],
        )


async def _model(session: AsyncSession, vectors: ModelVectors) -> int:
    """The model's number; a model seen for the first time gets one, and an index."""
    model = vectors.model
    values = {"model_id": model.model_id, "revision": model.revision, "dimensions": model.dimensions}
    known = text("SELECT id, dimensions FROM model WHERE model_id = :model_id AND revision = :revision")
    row = (await session.execute(known, values)).one_or_none()
    if row is None:
        inserted = await session.execute(
            text("""
                INSERT INTO model (model_id, revision, dimensions) VALUES (:model_id, :revision, :dimensions)
                ON CONFLICT (model_id, revision) DO NOTHING RETURNING id
            """),
            values,
        )
        number = inserted.scalar_one_or_none()
        if number is not None:
            await _index(session, int(number), model.dimensions)
            return int(number)
        row = (await session.execute(known, values)).one()
    if row.dimensions != model.dimensions:
        raise BadVectors(
            f"{model.model_id} at {model.revision} gave vectors of {model.dimensions} numbers, and {row.dimensions} before; "
            "pin its revision in HEATERS_EMBED_MODELS and retry."
        )
    return int(row.id)


def _searched(dimensions: int) -> tuple[str, str] | None:
    """The type under which vectors of a size are indexed, with its operator class; ``None`` if they cannot be."""
    if dimensions <= HNSW_MAX_DIMENSIONS:
        return f"vector({dimensions:d})", "vector_cosine_ops"
    if dimensions <= HNSW_MAX_HALF_DIMENSIONS:
        return f"halfvec({dimensions:d})", "halfvec_cosine_ops"
    return None


async def _index(session: AsyncSession, model: int, dimensions: int) -> None:
    searched = _searched(dimensions)
    if searched is not None:
        kind, operators = searched
        # The names are made of integers and constants only; PostgreSQL takes no parameters here.
        await session.execute(
            text(
                f"CREATE INDEX IF NOT EXISTS embedding_hnsw_{model:d} ON embedding "
                f"USING hnsw ((vector::{kind}) {operators}) WHERE model = {model:d}"
            )
        )


async def models(session: AsyncSession) -> list[Model]:
    """Every model that has vectors, the latest known first."""
    rows = await session.execute(
        text("""
            SELECT model.id, model_id, revision, dimensions, count(DISTINCT clip_id) AS clips, count(*) AS vectors
            FROM model JOIN embedding ON embedding.model = model.id GROUP BY model.id ORDER BY model.id DESC
        """)
    )
    return [Model(*row) for row in rows]


async def model_of_clip(session: AsyncSession, clip_id: UUID, model_id: str) -> Model | None:
    """The model, at the revision that saw the clip; ``None`` if it has not seen it."""
    row = (
        await session.execute(
            text("""
                SELECT model.id, model_id, revision, dimensions, 1, count(*) FROM model
                JOIN embedding ON embedding.model = model.id
                WHERE clip_id = :clip_id AND model_id = :model_id GROUP BY model.id ORDER BY model.id DESC LIMIT 1
            """),
            {"clip_id": clip_id, "model_id": model_id},
        )
    ).one_or_none()
    return None if row is None else Model(*row)


async def model_named(session: AsyncSession, model_id: str, revision: str) -> Model | None:
    """The model at that revision; ``None`` if it has seen no clip."""
    row = (
        await session.execute(
            text(
                "SELECT id, model_id, revision, dimensions FROM model WHERE model_id = :model_id AND revision = :revision"
            ),
            {"model_id": model_id, "revision": revision},
        )
    ).one_or_none()
    return None if row is None else Model(*row)


async def knows_clip(session: AsyncSession, clip_id: UUID) -> bool:
    """Whether the clip was ever delivered and is not archived."""
    found = await session.execute(
        text("SELECT 1 FROM clip WHERE clip_id = :clip_id AND NOT archived"), {"clip_id": clip_id}
    )
    return found.scalar_one_or_none() is not None


async def similar_clips(
    session: AsyncSession, clip_id: UUID, model: Model, *, limit: int, filters: Filters, exact_rows: int
) -> list[Match]:
    """The clips most similar to one, itself excluded: two clips are as similar as their most similar keyframes."""
    query = "SELECT frame, vector FROM embedding WHERE clip_id = :clip_id AND model = :model"
    return await _search(
        session, query, {"clip_id": clip_id}, model, limit=limit, filters=filters, exact_rows=exact_rows
    )


async def clips_like(
    session: AsyncSession, vector: Sequence[float], model: Model, *, limit: int, filters: Filters, exact_rows: int
) -> list[Match]:
    """The clips with the keyframes nearest to a vector of the model."""
    if len(vector) != model.dimensions:
        raise BadVectors(
            f"The query has {len(vector)} numbers and {model.model_id} has {model.dimensions}; use one model."
        )
    query = "SELECT cast(NULL AS integer) AS frame, cast(:vector AS vector) AS vector"
    values = {"vector": spell(vector), "clip_id": None}
    return await _search(session, query, values, model, limit=limit, filters=filters, exact_rows=exact_rows)


async def _search(
    session: AsyncSession,
    query: str,
    values: Mapping[str, object],
    model: Model,
    *,
    limit: int,
    filters: Filters,
    exact_rows: int,
) -> list[Match]:
    searched = _searched(model.dimensions)
    rows = await session.execute(
        text("SELECT count(*) FROM (SELECT 1 FROM embedding WHERE model = :model LIMIT :bound) AS counted"),
        {"model": model.id, "bound": exact_rows + 1},
    )
    exact = searched is None or rows.scalar_one() <= exact_rows
    candidates = min(MAX_CANDIDATES, limit * CANDIDATES_PER_RESULT)
    if exact or searched is None:
        distance, bound = "e.vector <=> query.vector", ""
    else:
        # The cast and the literal model number are what the model's partial index is recognised by.
        kind, _ = searched
        distance, bound = f"e.vector::{kind} <=> query.vector::{kind}", f"ORDER BY {{}} LIMIT {candidates:d}"
        bound = bound.format(distance)
        await session.execute(text("SET LOCAL hnsw.iterative_scan = 'strict_order'"))
        await session.execute(text(f"SET LOCAL hnsw.ef_search = {min(MAX_CANDIDATES, max(40, candidates)):d}"))
    # Every interpolated part is built above from constants and integers; what came from outside is bound.
    statement = f"""
        WITH query AS ({query}),
        near AS (
            SELECT found.*, query.frame AS query_frame FROM query CROSS JOIN LATERAL (
                SELECT e.clip_id, e.frame, e.object_key, {distance} AS distance
                FROM embedding AS e JOIN clip AS c ON c.clip_id = e.clip_id
                WHERE e.model = {model.id:d} AND NOT c.archived
                    AND (cast(:clip_id AS uuid) IS NULL OR e.clip_id <> :clip_id)
                    AND (cast(:video_id AS uuid) IS NULL OR c.video_id = :video_id)
                    AND (cast(:tag AS text) IS NULL OR :tag = ANY(c.tags))
                {bound}
            ) AS found
        ),
        best AS (SELECT DISTINCT ON (clip_id) * FROM near ORDER BY clip_id, distance, frame, query_frame)
        SELECT best.clip_id, clip.video_id, clip.title, clip.tags, 1 - best.distance AS score, best.frame,
            best.object_key, best.query_frame
        FROM best JOIN clip ON clip.clip_id = best.clip_id ORDER BY best.distance, best.clip_id LIMIT :limit
    """  # noqa: S608
    bound_values = {"clip_id": None, "model": model.id, **values}
    bound_values |= {"limit": limit, "video_id": filters.video_id, "tag": filters.tag}
    found = await session.execute(text(statement), bound_values)
    return [
        Match(
            row.clip_id,
            row.video_id,
            row.title,
            tuple(row.tags),
            float(row.score),
            row.frame,
            row.object_key,
            row.query_frame,
        )
        for row in found
    ]
