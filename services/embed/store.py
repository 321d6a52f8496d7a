"""The stage's own tables: what is known of clips, the models that saw them, and their vectors.

Vectors are unit vectors, so likeness is the cosine, between -1 and 1. Vectors of different models, or of different
revisions of one model, are never compared. While a model is replaced, by another revision or another model, the former's
vectors stay until the new set is whole.
"""

from __future__ import annotations

import base64
import json
import sys
from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.errors import Permanent
from contracts.events.v1.clip import ClipApproved, ClipExported, ClipKeyframed, ClipTagged
from services.embed import index, inverted
from services.embed.domain.orders import PICTURE, EmbedOrder, EmbedResult, ModelVectors
from services.embed.domain.standing import PROGRESS, Decided, Standing, heard, tagged
from services.embed.vectors import spell


class BadVectors(Permanent):
    """A result whose vectors do not have the size that it claims."""

    code = "embed.bad_vectors"


@dataclass(frozen=True)
class Model:
    """A model that has vectors. ``id`` is this database's own number for it; ``sees`` is ``pictures``, ``both`` or ``words``."""

    id: int
    model_id: str
    revision: str
    dimensions: int
    sees: str = "pictures"
    clips: int = 0
    vectors: int = 0


@dataclass(frozen=True)
class Known:
    """A clip as its events tell of it, so that it can be keyframed and embedded again."""

    clip_id: UUID
    video_id: UUID
    standing: Standing
    delivery: ClipExported | None
    keyframed: ClipKeyframed | None


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


_KEEP = text("""
    INSERT INTO clip (clip_id, video_id, title, tags) VALUES (:clip_id, :video_id, :title, :tags)
    ON CONFLICT (clip_id) DO UPDATE SET title = EXCLUDED.title,
        -- What was tagged by a person is newer than what the work was told.
        tags = CASE WHEN coalesce(cast(clip.standing->>'tagged' AS integer), 0) > 0 THEN clip.tags ELSE EXCLUDED.tags END
""")
_TAG = text("UPDATE clip SET tags = :tags, standing = cast(:standing AS jsonb) WHERE clip_id = :clip_id")
_LOCK = text("SELECT video_id, standing, delivery, keyframed FROM clip WHERE clip_id = :clip_id FOR UPDATE")
_WORDS = text("""
    UPDATE clip SET words = setweight(to_tsvector('english', regexp_replace(title, '[^[:alnum:]]+', ' ', 'g')), 'A')
        || setweight(to_tsvector('english', array_to_string(tags, ' ')), 'A')
        || setweight(to_tsvector('english', speech), 'B')
    WHERE clip_id = :clip_id
""")
_FORGET = text("DELETE FROM embedding WHERE clip_id = :clip_id")
_FORGET_WORK = text("UPDATE clip SET delivery = NULL, keyframed = NULL, delivered_at = NULL WHERE clip_id = :clip_id")
_FORGET_LIKENESS = text("DELETE FROM near_duplicate WHERE one = :clip_id OR other = :clip_id")


async def keep_clip(session: AsyncSession, clip_id: UUID, video_id: UUID, title: str, tags: Sequence[str]) -> None:
    """Remembers what a clip is called."""
    await session.execute(_KEEP, {"clip_id": clip_id, "video_id": video_id, "title": title, "tags": list(tags)})
    await session.execute(_WORDS, {"clip_id": clip_id})


async def keep_delivery(session: AsyncSession, event: ClipExported, at: datetime) -> bool:
    """Remembers a clip's delivery; ``at`` is when it was delivered. Whether the clip may be found."""
    await keep_clip(session, event.clip_id, event.video_id, event.title, event.tags)
    known = await known_clip(session, event.clip_id)
    is_hidden = known is not None and known.standing.is_hidden
    await session.execute(
        text("""
            UPDATE clip SET delivery = cast(:delivery AS jsonb), start_frame = :start, end_frame = :end, delivered_at = :at,
                archived = :hidden, state = CASE WHEN :hidden THEN state ELSE 'exported' END
            WHERE clip_id = :clip_id
        """),
        {
            "clip_id": event.clip_id,
            "delivery": event.model_dump_json(),
            "start": event.frames.start,
            "end": event.frames.end,
            "at": at,
            "hidden": is_hidden,
        },
    )
    return not is_hidden


async def keep_keyframes(session: AsyncSession, event: ClipKeyframed) -> None:
    """Remembers a clip's keyframes."""
    await keep_clip(session, event.clip_id, event.video_id, event.title, event.tags)
    await session.execute(
        text("""
            UPDATE clip SET keyframed = cast(:keyframed AS jsonb), seconds = coalesce(cast(:seconds AS float8), seconds)
            WHERE clip_id = :clip_id
        """),
        {
            "clip_id": event.clip_id,
            "keyframed": event.model_dump_json(),
            "seconds": None if event.duration is None else float(event.duration),
        },
    )


async def progress(session: AsyncSession, clip_id: UUID, state: str) -> None:
    """Notes how far the work on a clip has come; it never goes back while the clip stands."""
    await session.execute(
        text("""
            UPDATE clip SET state = cast(:state AS text) WHERE clip_id = :clip_id AND NOT archived
                AND coalesce(array_position(cast(:order AS text[]), state), 0)
                    < array_position(cast(:order AS text[]), cast(:state AS text))
        """),
        {"clip_id": clip_id, "state": state, "order": list(PROGRESS)},
    )


async def decide(session: AsyncSession, event: Decided) -> tuple[Known, Standing]:
    """Notes a decision on a clip, and hides, shows or forgets it accordingly: the clip as it was, and its new standing."""
    before = await _met(session, event.clip_id, event.video_id)
    after = heard(before.standing, event)
    if isinstance(event, ClipApproved):
        await keep_clip(session, event.clip_id, event.video_id, event.title, event.tags)
        after = await _tag(session, event, after) or after
    if after.is_hidden:
        await session.execute(_FORGET, {"clip_id": event.clip_id})
        await session.execute(_FORGET_LIKENESS, {"clip_id": event.clip_id})
    if after.is_hidden and not before.standing.is_hidden:
        await session.execute(_FORGET_WORK, {"clip_id": event.clip_id})
    await session.execute(
        text("""
            UPDATE clip SET standing = cast(:standing AS jsonb), archived = :hidden OR (archived AND delivery IS NULL),
                state = CASE WHEN :hidden THEN :verdict WHEN state = ANY(cast(:order AS text[])) THEN state ELSE 'exported' END
            WHERE clip_id = :clip_id
        """),
        {
            "clip_id": event.clip_id,
            "standing": after.model_dump_json(),
            "hidden": after.is_hidden,
            "verdict": after.verdict,
            "order": list(PROGRESS),
        },
    )
    return before, after


async def tag(session: AsyncSession, event: ClipTagged) -> Known | None:
    """Gives a clip its present tags: the clip as it was, or ``None`` if later tags are known."""
    before = await _met(session, event.clip_id, event.video_id)
    return None if await _tag(session, event, before.standing) is None else before


async def _met(session: AsyncSession, clip_id: UUID, video_id: UUID) -> Known:
    """What is known of a clip that something is decided of. One that was never delivered is not to be found."""
    await session.execute(
        text("""
            INSERT INTO clip (clip_id, video_id, title, archived) VALUES (:clip_id, :video_id, '', true)
            ON CONFLICT (clip_id) DO NOTHING
        """),
        {"clip_id": clip_id, "video_id": video_id},
    )
    known = await known_clip(session, clip_id)
    assert known is not None  # noqa: S101 - its row was just made sure of.
    return known


async def _tag(session: AsyncSession, event: ClipApproved | ClipTagged, standing: Standing) -> Standing | None:
    after = tagged(standing, event)
    if after is not None:
        values = {"clip_id": event.clip_id, "tags": list(event.tags), "standing": after.model_dump_json()}
        await session.execute(_TAG, values)
        await session.execute(_WORDS, {"clip_id": event.clip_id})
    return after


async def known_clip(session: AsyncSession, clip_id: UUID) -> Known | None:
    """What is known of a clip, its row locked until the commit; ``None`` of one never heard of."""
    row = (await session.execute(_LOCK, {"clip_id": clip_id})).one_or_none()
    if row is None:
        return None
    return Known(
        clip_id=clip_id,
        video_id=row.video_id,
        standing=Standing.model_validate(row.standing),
        delivery=None if row.delivery is None else ClipExported.model_validate(row.delivery),
        keyframed=None if row.keyframed is None else ClipKeyframed.model_validate(row.keyframed),
    )


async def is_archived(session: AsyncSession, clip_id: UUID) -> bool:
    """Whether search must leave the clip out. Its row stays locked until the commit."""
    found = await session.execute(
        text("SELECT archived FROM clip WHERE clip_id = :clip_id FOR UPDATE"), {"clip_id": clip_id}
    )
    return bool(found.scalar_one_or_none())


async def record_vectors(session: AsyncSession, order: EmbedOrder, result: EmbedResult) -> None:
    """Replaces a clip's vectors of the result's models at their revisions. A clip that is hidden gets none."""
    if await is_archived(session, order.clip_id):
        return
    # What the clip is called now is known from its events; the order may be older.
    await session.execute(
        text("""
            INSERT INTO clip (clip_id, video_id, title, tags) VALUES (:clip_id, :video_id, :title, :tags)
            ON CONFLICT (clip_id) DO NOTHING
        """),
        {"clip_id": order.clip_id, "video_id": order.video_id, "title": order.title, "tags": list(order.tags)},
    )
    if result.speech is not None:
        await session.execute(
            text("UPDATE clip SET speech = :speech WHERE clip_id = :clip_id"),
            {"clip_id": order.clip_id, "speech": result.speech},
        )
    await session.execute(_WORDS, {"clip_id": order.clip_id})
    keys = {keyframe.frame: keyframe.object.key for keyframe in order.keyframes}
    for vectors in result.models:
        rows = unpack(vectors)
        model = await _model(session, vectors)
        parts = vectors.parts or (PICTURE,) * len(vectors.frames)
        await session.execute(
            text("DELETE FROM embedding WHERE clip_id = :clip_id AND model = :model"),
            {"clip_id": order.clip_id, "model": model},
        )
        await session.execute(
            text("""
                INSERT INTO embedding (clip_id, model, part, frame, object_key, vector)
                VALUES (:clip_id, :model, :part, :frame, :object_key, cast(:vector AS vector))
            """),
            [
                {
                    "clip_id": order.clip_id,
                    "model": model,
                    "part": part,
                    "frame": frame,
                    "object_key": keys[frame],
                    "vector": spell(row),
                }
                for part, frame, row in zip(parts, vectors.frames, rows, strict=True)
            ],
        )
        await index.lock(session, model)
        if vectors.sees in {"pictures", "both"}:
            await index.note_near_duplicates(session, order.clip_id, model, vectors.model.dimensions)
    await inverted.place(session, [order.clip_id])
    await progress(session, order.clip_id, "embedded")


async def _model(session: AsyncSession, vectors: ModelVectors) -> int:
    """The model's number; a model seen for the first time gets one, and an index."""
    model = vectors.model
    values = {
        "model_id": model.model_id,
        "revision": model.revision,
        "dimensions": model.dimensions,
        "sees": vectors.sees,
    }
    known = text("SELECT id, dimensions FROM model WHERE model_id = :model_id AND revision = :revision")
    row = (await session.execute(known, values)).one_or_none()
    if row is None:
        inserted = await session.execute(
            text("""
                INSERT INTO model (model_id, revision, dimensions, sees) VALUES (:model_id, :revision, :dimensions, :sees)
                ON CONFLICT (model_id, revision) DO NOTHING RETURNING id
            """),
            values,
        )
        number = inserted.scalar_one_or_none()
        if number is not None:
            await index.create(session, int(number), model.dimensions)
            return int(number)
        row = (await session.execute(known, values)).one()
    if row.dimensions != model.dimensions:
        raise BadVectors(
            f"{model.model_id} at {model.revision} gave vectors of {model.dimensions} numbers, and {row.dimensions} before; "
            "pin its revision in HEATERS_EMBED_MODELS and retry."
        )
    return int(row.id)


_MODELS = """
    SELECT model.id, model_id, revision, dimensions, sees, count(DISTINCT clip_id), count(*)
    FROM model JOIN embedding ON embedding.model = model.id
"""


async def models(session: AsyncSession) -> list[Model]:
    """Every model that has vectors, the latest known first."""
    rows = await session.execute(text(f"{_MODELS} GROUP BY model.id ORDER BY model.id DESC"))
    return [Model(*row) for row in rows]


async def model_of_clip(session: AsyncSession, clip_id: UUID, model_id: str) -> Model | None:
    """The model, at the revision that saw the clip; of two the former, whose set is whole. ``None`` if it has not seen it."""
    row = (
        await session.execute(
            text(f"""
                {_MODELS} WHERE clip_id = :clip_id AND model_id = :model_id
                GROUP BY model.id ORDER BY model.id LIMIT 1
            """),
            {"clip_id": clip_id, "model_id": model_id},
        )
    ).one_or_none()
    return None if row is None else Model(*row)


async def current(session: AsyncSession, model_id: str) -> Model | None:
    """The model at the revision that searches use: the former one, until the new set is whole. ``None`` without vectors."""
    row = (
        await session.execute(
            text("""
                SELECT id, model_id, revision, dimensions, sees FROM model WHERE model_id = :model_id
                    AND EXISTS (SELECT FROM embedding WHERE embedding.model = model.id) ORDER BY id LIMIT 1
            """),
            {"model_id": model_id},
        )
    ).one_or_none()
    return None if row is None else Model(*row)


async def model_named(session: AsyncSession, model_id: str, revision: str) -> Model | None:
    """The model at that revision; ``None`` if it has seen no clip."""
    row = (
        await session.execute(
            text("""
                SELECT id, model_id, revision, dimensions, sees FROM model
                WHERE model_id = :model_id AND revision = :revision
            """),
            {"model_id": model_id, "revision": revision},
        )
    ).one_or_none()
    return None if row is None else Model(*row)


async def default_picture_model(session: AsyncSession, configured: Sequence[str]) -> str:
    """The model that searches use unless told otherwise.

    The first configured one, once its set is whole; before, any other whole set of a picture model, or else the first.
    """
    first = configured[0]
    rows = (
        await session.execute(text("SELECT id, model_id FROM model WHERE sees IN ('pictures', 'both') ORDER BY id"))
    ).all()
    mine = [row.id for row in rows if row.model_id == first]
    others = [row for row in rows if row.model_id != first]
    for other in others:
        if not await _covers(session, mine, other.id) and await _covers(session, [other.id], None):
            return str(other.model_id)
    return first


async def _covers(session: AsyncSession, models: Collection[int], other: int | None) -> bool:
    """Whether these models' vectors together cover every clip that another has; without another, whether there are any."""
    if other is None:
        found = await session.execute(
            text("SELECT EXISTS (SELECT FROM embedding WHERE model = ANY(:models))"), {"models": list(models)}
        )
        return bool(found.scalar_one())
    found = await session.execute(
        text("""
            SELECT NOT EXISTS (
                SELECT FROM embedding AS old WHERE old.model = :other AND NOT EXISTS (
                    SELECT FROM embedding AS new WHERE new.clip_id = old.clip_id AND new.model = ANY(:models)
                )
            )
        """),
        {"models": list(models), "other": other},
    )
    return bool(found.scalar_one())


async def retire_models(session: AsyncSession, configured: Collection[str]) -> list[str]:
    """Forgets the vectors of former revisions, and of models no longer configured, once the new sets are whole.

    The names of what was forgotten, at their revisions.
    """
    rows = (await session.execute(text("SELECT id, model_id, revision, sees FROM model ORDER BY id"))).all()
    newest = {row.model_id: row.id for row in rows}
    kept = [row for row in rows if row.model_id in configured and newest[row.model_id] == row.id]
    gone = []
    for row in rows:
        if row in kept:
            continue
        if row.model_id in configured:
            heirs = [newest[row.model_id]]
        else:
            # A model of pictures is replaced when every configured model of pictures has seen what it saw.
            heirs = [other.id for other in kept if (other.sees == "words") == (row.sees == "words")]
            if len({other.model_id for other in kept}) < len(configured):
                continue
        if heirs and all([await _covers(session, [heir], row.id) for heir in heirs]):
            await session.execute(text("DELETE FROM embedding WHERE model = :model"), {"model": row.id})
            await index.drop(session, row.id)
            await session.execute(text("DELETE FROM model WHERE id = :model"), {"model": row.id})
            gone.append(f"{row.model_id}@{row.revision}")
    return gone


async def knows_clip(session: AsyncSession, clip_id: UUID) -> bool:
    """Whether the clip was ever delivered and is not hidden."""
    found = await session.execute(
        text("SELECT 1 FROM clip WHERE clip_id = :clip_id AND NOT archived"), {"clip_id": clip_id}
    )
    return found.scalar_one_or_none() is not None


@dataclass(frozen=True)
class Campaign:
    """A re-embedding under way: of every clip, or of one video's, after ``upto`` in the order of ids."""

    id: UUID
    specs: tuple[str, ...]
    keyframes: bool
    video_id: UUID | None
    upto: UUID | None


async def new_specs(session: AsyncSession, specs: Collection[str], now: datetime) -> list[str]:
    """Those of the configured models that were not configured before; they are from now on."""
    rows = await session.execute(
        text("""
            INSERT INTO roster (spec, since) SELECT spec, :now FROM unnest(cast(:specs AS text[])) AS spec
            ON CONFLICT DO NOTHING RETURNING spec
        """),
        {"specs": list(specs), "now": now},
    )
    new = [row.spec for row in rows]
    # A model that comes back after it was taken out is new again.
    await session.execute(text("DELETE FROM roster WHERE NOT spec = ANY(:specs)"), {"specs": list(specs)})
    return new


async def open_campaign(
    session: AsyncSession,
    identity: UUID,
    specs: Sequence[str],
    *,
    keyframes: bool,
    video_id: UUID | None,
    now: datetime,
) -> int:
    """Writes a re-embedding down, to be queued bit by bit. How many clips it concerns."""
    await session.execute(
        text("""
            INSERT INTO campaign (id, specs, keyframes, video_id, created_at)
            VALUES (:id, cast(:specs AS jsonb), :keyframes, :video_id, :now)
        """),
        {"id": identity, "specs": json.dumps(list(specs)), "keyframes": keyframes, "video_id": video_id, "now": now},
    )
    found = await session.execute(
        text("""
            SELECT count(*) FROM clip WHERE NOT archived
                AND CASE WHEN :keyframes THEN delivery IS NOT NULL ELSE keyframed IS NOT NULL END
                AND (cast(:video_id AS uuid) IS NULL OR video_id = :video_id)
        """),
        {"video_id": video_id, "keyframes": keyframes},
    )
    return int(found.scalar_one())


async def open_campaigns(session: AsyncSession) -> list[Campaign]:
    """The re-embeddings that are not wholly queued; each stays locked until the commit."""
    rows = await session.execute(
        text("""
            SELECT id, specs, keyframes, video_id, upto FROM campaign WHERE NOT done
            ORDER BY created_at, id FOR UPDATE SKIP LOCKED
        """)
    )
    return [Campaign(row.id, tuple(row.specs), row.keyframes, row.video_id, row.upto) for row in rows]


async def next_clips(session: AsyncSession, campaign: Campaign, limit: int) -> list[Known]:
    """The next clips of a re-embedding, in the order of ids."""
    rows = await session.execute(
        text("""
            SELECT clip_id, video_id, standing, delivery, keyframed FROM clip WHERE NOT archived
                AND (cast(:upto AS uuid) IS NULL OR clip_id > :upto)
                AND (cast(:video_id AS uuid) IS NULL OR video_id = :video_id)
            ORDER BY clip_id LIMIT :limit
        """),
        {"upto": campaign.upto, "video_id": campaign.video_id, "limit": limit},
    )
    return [
        Known(
            clip_id=row.clip_id,
            video_id=row.video_id,
            standing=Standing.model_validate(row.standing),
            delivery=None if row.delivery is None else ClipExported.model_validate(row.delivery),
            keyframed=None if row.keyframed is None else ClipKeyframed.model_validate(row.keyframed),
        )
        for row in rows
    ]


async def advance_campaign(session: AsyncSession, campaign: Campaign, upto: UUID | None, queued: int) -> None:
    """Notes how far a re-embedding is queued; without a last clip it is wholly."""
    await session.execute(
        text("""
            UPDATE campaign SET upto = coalesce(cast(:upto AS uuid), upto), queued = queued + :queued, done = :done
            WHERE id = :id
        """),
        {"id": campaign.id, "upto": upto, "queued": queued, "done": upto is None},
    )
