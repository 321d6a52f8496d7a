"""Searches over the vectors and words of clips.

Few vectors, whether the model has few or the filters leave few, are all compared, which is exact. Of more, those of the clips
that pass the filters and lie near the same centroids as the query are. Of many, the model's index gives candidates, walked on
until enough of them pass the filters, and the vectors themselves decide their order. Where so little that passes lies near the
query that either way ends before enough was found, all are compared after all.
A clip is as like a query as the nearest of its vectors. Clips that are hidden by a decision are never found.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.embed import index, inverted
from services.embed.domain.fusion import fused, groups
from services.embed.domain.orders import PICTURE
from services.embed.index import kind_of
from services.embed.store import BadVectors, Model
from services.embed.vectors import spell

CANDIDATES_PER_RESULT = 4
"""Nearest vectors asked of the index for each clip wanted: several may belong to one clip. More are asked for when too
many did."""
CHEAP = 8
"""Up to ``8 * sqrt(N)`` of a model's ``N`` vectors are compared without looking for less to do: some 20 ms of a million."""
EVEN = 30
"""To compare all ``n`` vectors that pass the filters costs in proportion to ``n``; to walk the index over ``N`` until enough
pass, in proportion to ``N / n``. Both were measured to cost the same near ``n = 30 * sqrt(N)``."""
EVEN_NEAR = 45
"""The same of comparing those of the ``n`` vectors that lie near the query's centroids."""
PROBES = 75
"""Centroids nearest to the query whose clips are compared, if ``n = 25 * sqrt(N)`` vectors pass. The fewer pass, the farther the nearest
of them lie, so there are more: by ``n ** -1.5``. In proportion alone, recall at 10 was 0.975 to 0.995 where one in 80 passed."""
VECTORS_PER_CLIP = 4
"""A clip that passes the filters counts as so many vectors when it is decided whether to compare all."""
MAX_CANDIDATES = 1_000
EF_SEARCH = 1_000
"""Least breadth of a search in the graph, the most that pgvector knows. Each index built over the same million vectors is another:
in some, narrower walks had a recall at 10 of 0.945 (400) or 0.974 (600)."""
MOST_PAIRS = 100_000
"""Pairs of near-duplicates looked at for one answer."""
TEXT_FLOOR = 0.3
"""Texts less alike than this have nothing to do with each other."""
RANKED = 200
"""Clips taken from each kind of evidence when a text is searched for."""


@dataclass(frozen=True)
class Filters:
    """What a match must be besides similar. Every tag must be there, any of the states will do."""

    video_id: UUID | None = None
    tags: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    min_seconds: float | None = None
    max_seconds: float | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def clauses(self) -> tuple[str, dict[str, Any]]:
        """The filters as conditions on the clip ``c``, with what is bound in them."""
        wanted = (
            ("video_id", self.video_id, "c.video_id = :video_id"),
            ("tags", list(self.tags) or None, "c.tags @> cast(:tags AS text[])"),
            ("states", list(self.states) or None, "c.state = ANY(cast(:states AS text[]))"),
            ("min_seconds", self.min_seconds, "c.seconds >= :min_seconds"),
            ("max_seconds", self.max_seconds, "c.seconds <= :max_seconds"),
            ("since", self.since, "c.delivered_at >= :since"),
            ("until", self.until, "c.delivered_at < :until"),
        )
        used = [(name, value, clause) for name, value, clause in wanted if value is not None]
        conditions = "".join(f" AND {clause}" for _, _, clause in used)
        return conditions, {name: value for name, value, _ in used}


@dataclass(frozen=True)
class Match:
    """A clip found, with its best frame: ``score`` is the cosine, or the fused score of a text; frames are the source's."""

    clip_id: UUID
    video_id: UUID
    title: str
    tags: tuple[str, ...]
    state: str
    start_frame: int | None
    end_frame: int | None
    seconds: float | None
    delivered_at: datetime | None
    score: float
    frame: int | None = None
    object_key: str | None = None
    query_frame: int | None = None
    matched: tuple[str, ...] = ()
    snippet: str | None = None


@dataclass(frozen=True)
class Near:
    """A clip's vector nearest to the query."""

    clip_id: UUID
    score: float
    frame: int
    object_key: str
    part: int
    query_frame: int | None


@dataclass(frozen=True)
class TextQuery:
    """A text as the models see it: by a model of pictures, by the model of texts, and as words."""

    words: str
    by_pictures: tuple[Model, Sequence[float]] | None = None
    by_texts: tuple[Model, Sequence[float]] | None = None


async def similar_clips(
    session: AsyncSession,
    clip_id: UUID,
    model: Model,
    *,
    limit: int,
    filters: Filters,
    exact_rows: int,
    offset: int = 0,
) -> list[Match]:
    """The clips most similar to one, itself excluded: two clips are as similar as their most similar keyframes."""
    rows = await session.execute(
        text("SELECT frame, cast(vector AS text) AS vector FROM embedding WHERE clip_id = :clip_id AND model = :model"),
        {"clip_id": clip_id, "model": model.id},
    )
    query = [(row.frame, row.vector) for row in rows]
    near = await nearest(
        session, query, model, limit=offset + limit, filters=filters, exact_rows=exact_rows, without=clip_id
    )
    return await _matches(session, near[offset:])


async def clips_like(
    session: AsyncSession,
    vector: Sequence[float],
    model: Model,
    *,
    limit: int,
    filters: Filters,
    exact_rows: int,
    offset: int = 0,
) -> list[Match]:
    """The clips with the keyframes nearest to a vector of the model."""
    near = await nearest(
        session, [(None, spell(vector))], model, limit=offset + limit, filters=filters, exact_rows=exact_rows
    )
    return await _matches(session, near[offset:])


async def clips_told(
    session: AsyncSession, query: TextQuery, *, limit: int, filters: Filters, exact_rows: int, offset: int = 0
) -> list[Match]:
    """The clips that a text describes: by their pictures, by what is said in them, by their titles and tags."""
    rankings: dict[str, list[tuple[UUID, float]]] = {}
    best: dict[UUID, Near] = {}
    near_to = partial(nearest, session, limit=RANKED, filters=filters, exact_rows=exact_rows)
    if query.by_pictures is not None:
        model, vector = query.by_pictures
        for near in await near_to([(None, spell(vector))], model):
            rankings.setdefault("picture", []).append((near.clip_id, near.score))
            best[near.clip_id] = near
    if query.by_texts is not None:
        model, vector = query.by_texts
        for name, part in (("title", 1), ("speech", 2)):
            for near in await near_to([(None, spell(vector))], model, part=part):
                if near.score >= TEXT_FLOOR:
                    rankings.setdefault(name, []).append((near.clip_id, near.score))
                    if name == "speech":
                        best[near.clip_id] = near
    rankings["words"] = await _by_words(session, query.words, filters)
    found = fused(rankings)[offset : offset + limit]
    return await _told(session, query.words, found, best)


async def nearest(
    session: AsyncSession,
    query: Sequence[tuple[int | None, str]],
    model: Model,
    *,
    limit: int,
    filters: Filters,
    exact_rows: int,
    without: UUID | None = None,
    part: int = PICTURE,
) -> list[Near]:
    """The clips with the vectors nearest to any of the query's, ``(frame or none, vector)`` each; nearest first."""
    if not query:
        return []
    dimensions = query[0][1].count(",") + 1
    if dimensions != model.dimensions:
        raise BadVectors(
            f"The query has {dimensions} numbers and {model.model_id} has {model.dimensions}; use one model."
        )
    passing, values = filters.clauses
    await _set(session, _QUICK_WAYS)
    asked = _Asked(session, query, model, limit, part, without)
    kind = kind_of(model.dimensions)
    size = await index.size(session, model.id)
    if kind is None or (not passing and await _is_small(session, model, part, size, exact_rows)):
        return (await asked.compare(passing, values)).clips
    if passing:
        async for found, is_all in _few(asked, passing, values, size, exact_rows):
            if not found.is_over and (is_all or not found.is_short):
                return found.clips
    # Nothing but the model's index and the clips' own may be walked: the planner knows nothing of likeness, and sorting
    # what passes a filter can be a thousand times the work.
    walk = {"hnsw.iterative_scan": "relaxed_order", "hnsw.ef_search": str(EF_SEARCH)}
    await _set(session, walk | dict.fromkeys(_SLOW_WAYS, "off"))
    found = await asked.walk(passing, values, kind)
    await _set(session, dict.fromkeys(_SLOW_WAYS, "on"))
    if found.is_short:
        # What passes the filters lies far from the query: the walk ended before it met enough of it.
        found = await asked.compare(passing, values)
    return found.clips


@dataclass(frozen=True)
class _Found:
    """The nearest clips. ``is_short`` if less than enough vectors were met, ``is_over`` if too many clips passed to compare any."""

    clips: list[Near]
    is_short: bool
    is_over: bool


@dataclass(frozen=True)
class _Asked:
    """A question for the clips nearest to some vectors, and the ways to answer it: one statement each.

    Statements are made of constants and integers; what came from outside is bound. ``passing`` are conditions on the
    clip ``c``.
    """

    session: AsyncSession
    query: Sequence[tuple[int | None, str]]
    model: Model
    limit: int
    part: int
    without: UUID | None

    async def compare(self, passing: str, values: Mapping[str, Any]) -> _Found:
        """Compares all vectors of the clips that pass."""
        return await self._best(self._comparing("clip AS c", f" AND NOT c.archived{passing}"), values)

    async def compare_few(self, passing: str, values: Mapping[str, Any], most_vectors: int) -> _Found:
        """The same, if the clips that pass have no more vectors than ``most_vectors``; nothing is compared otherwise.

        They are counted no further than it matters.
        """
        most = most_vectors // VECTORS_PER_CLIP
        few = f"""
            few AS MATERIALIZED (SELECT c.clip_id FROM clip AS c WHERE NOT c.archived{passing} LIMIT {most + 1:d}),
            counted AS MATERIALIZED (SELECT count(*) > {most:d} AS is_over FROM few),
        """  # noqa: S608
        is_over = "(SELECT is_over FROM counted)"
        return await self._best(self._comparing("few AS c", f" AND NOT {is_over}"), values, few, is_over)

    async def walk(self, passing: str, values: Mapping[str, Any], kind: str) -> _Found:
        """Walks the model's index, in which vectors are of the type ``kind``, until enough of what it meets passes."""
        return await self._best(self._walking(f" AND NOT c.archived{passing}", kind), values)

    def _comparing(self, clips: str, conditions: str) -> str:
        """The nearest vectors of some clips ``c``; each is read once for all of the query's."""
        asked = ", ".join(
            f"(cast(:frame_{number:d} AS integer), cast(:vector_{number:d} AS vector))"
            for number in range(len(self.query))
        )
        return f"""
            SELECT e.clip_id, e.frame, e.part, e.object_key, asked.frame AS query_frame, e.vector <=> asked.vector AS distance
            FROM {clips} JOIN embedding AS e ON e.clip_id = c.clip_id
            CROSS JOIN (VALUES {asked}) AS asked (frame, vector)
            WHERE {self._own}{conditions} ORDER BY distance LIMIT :candidates * {len(self.query):d}
        """  # noqa: S608

    def _walking(self, conditions: str, kind: str) -> str:
        """The vectors that the index gives as nearest, by a walk for each of the query's."""
        return " UNION ALL ".join(
            f"""(
                SELECT e.clip_id, e.frame, e.part, e.object_key, cast(:frame_{number:d} AS integer) AS query_frame,
                    e.vector <=> cast(:vector_{number:d} AS vector) AS distance
                FROM embedding AS e JOIN clip AS c ON c.clip_id = e.clip_id WHERE {self._own}{conditions}
                ORDER BY e.vector::{kind} <=> cast(:vector_{number:d} AS vector)::{kind} LIMIT :candidates
            )"""  # noqa: S608
            for number in range(len(self.query))
        )

    @property
    def _own(self) -> str:
        others = "" if self.without is None else " AND e.clip_id <> :without"
        return f"e.model = {self.model.id:d} AND e.part = :part{others}"

    async def _best(self, near: str, values: Mapping[str, Any], few: str = "", is_over: str = "false") -> _Found:
        """The nearest clips among the nearest vectors, by their distance in full precision."""
        values = {**values, "part": self.part}
        if self.without is not None:
            values["without"] = self.without
        for number, (frame, vector) in enumerate(self.query):
            values |= {f"frame_{number}": frame, f"vector_{number}": vector}
        statement = text(f"""
            WITH {few} near AS MATERIALIZED ({near}),
            best AS (
                SELECT DISTINCT ON (clip_id) clip_id, frame, part, object_key, query_frame, distance
                FROM near ORDER BY clip_id, distance, frame, query_frame
            )
            SELECT best.*, (SELECT count(*) FROM near) AS met, {is_over} AS is_over
            FROM (SELECT) AS always LEFT JOIN best ON true ORDER BY distance, clip_id LIMIT {self.limit:d}
        """)  # noqa: S608
        candidates = min(MAX_CANDIDATES, self.limit * CANDIDATES_PER_RESULT)
        while True:
            rows = (await self.session.execute(statement, {**values, "candidates": candidates})).all()
            is_short = rows[0].met < candidates * len(self.query)
            if is_short or len(rows) == self.limit or candidates == MAX_CANDIDATES:
                break
            candidates = min(MAX_CANDIDATES, 4 * candidates)
        clips = [
            Near(row.clip_id, 1 - float(row.distance), row.frame, row.object_key, row.part, row.query_frame)
            for row in rows
            if row.clip_id is not None
        ]
        return _Found(clips, is_short, rows[0].is_over)


_QUICK_WAYS = {
    "plan_cache_mode": "force_custom_plan",
    "random_page_cost": "1.1",
    "max_parallel_workers_per_gather": "0",
}
"""Few rows are wanted of many, which lie in memory; starting other processes takes longer than finding them."""
_SLOW_WAYS = ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "enable_sort")


async def _set(session: AsyncSession, settings: Mapping[str, str]) -> None:
    """Settings of the database for the rest of the transaction."""
    await session.execute(
        text(
            "SELECT set_config(name, value, true) FROM unnest(cast(:names AS text[]), cast(:values AS text[])) AS s (name, value)"
        ),
        {"names": list(settings), "values": list(settings.values())},
    )


async def _is_small(session: AsyncSession, model: Model, part: int, size: int, exact_rows: int) -> bool:
    """Whether a model has so few vectors of a part that all of them are compared."""
    if size > exact_rows:
        return False
    found = await session.execute(
        text("""
            SELECT count(*) FROM (
                SELECT 1 FROM embedding AS e WHERE e.model = :model AND e.part = :part LIMIT :most
            ) AS counted
        """),
        {"model": model.id, "part": part, "most": exact_rows + 1},
    )
    return int(found.scalar_one()) <= exact_rows


async def _few(
    asked: _Asked, passing: str, values: Mapping[str, Any], size: int, exact_rows: int
) -> AsyncIterator[tuple[_Found, bool]]:
    """What comes of comparing few clips, and whether they were all that pass the filters.

    What PostgreSQL expects to pass decides what is tried: all that pass, if they are very few, or else those of them near the
    query; then all again, if comparing them is still less work than walking the index. What it expects may be far from the
    truth, so no more is looked at than is worth it.
    """
    root = size**0.5
    expected = VECTORS_PER_CLIP * await _expected(asked.session, passing, values)
    most = max(exact_rows, int(CHEAP * root))
    near: list[int] = []
    if most < expected <= EVEN_NEAR * root:
        count = int(PROBES * (25 * root / expected) ** 1.5)
        near = await inverted.probes(asked.session, asked.model.id, [vector for _, vector in asked.query], count)
    if near:
        is_near, keys = inverted.condition(near, expected // VECTORS_PER_CLIP)
        yield await asked.compare_few(f"{passing} AND {is_near}", {**values, **keys}, most), False
    most = max(most, int(EVEN * root))
    if expected <= most:
        yield await asked.compare_few(passing, values, most), True


async def _expected(session: AsyncSession, passing: str, values: Mapping[str, Any]) -> int:
    """How many clips PostgreSQL expects to pass the filters, by its statistics. One planning; nothing is read."""
    plan = await session.execute(
        text(f"EXPLAIN (FORMAT JSON) SELECT FROM clip AS c WHERE NOT c.archived{passing}"),
        values,
    )
    return int(plan.scalar_one()[0]["Plan"]["Plan Rows"])


_QUERY = "cast(replace(cast(plainto_tsquery('english', :words) AS text), '&', '|') AS tsquery)"
"""Any of the words, in any of their forms."""


async def _by_words(session: AsyncSession, words: str, filters: Filters) -> list[tuple[UUID, float]]:
    conditions, values = filters.clauses
    rows = await session.execute(
        text(f"""
            SELECT c.clip_id, ts_rank(c.words, query) AS rank FROM (SELECT {_QUERY} AS query) AS asked, clip AS c
            WHERE c.words @@ query AND NOT c.archived{conditions} ORDER BY rank DESC, c.clip_id LIMIT {RANKED:d}
        """),  # noqa: S608 - made of constants.
        {**values, "words": words},
    )
    return [(row.clip_id, float(row.rank)) for row in rows]


_FACTS = "c.clip_id, c.video_id, c.title, c.tags, c.state, c.start_frame, c.end_frame, c.seconds, c.delivered_at"


def _match(row: Any, score: float, **more: Any) -> Match:
    return Match(
        clip_id=row.clip_id,
        video_id=row.video_id,
        title=row.title,
        tags=tuple(row.tags),
        state=row.state,
        start_frame=row.start_frame,
        end_frame=row.end_frame,
        seconds=row.seconds,
        delivered_at=row.delivered_at,
        score=score,
        **more,
    )


async def _facts(session: AsyncSession, clips: Iterable[UUID]) -> dict[UUID, Any]:
    rows = await session.execute(
        text(f"SELECT {_FACTS} FROM clip AS c WHERE c.clip_id = ANY(:clips)"),  # noqa: S608 - a constant.
        {"clips": list(clips)},
    )
    return {row.clip_id: row for row in rows}


async def _matches(session: AsyncSession, near: Sequence[Near]) -> list[Match]:
    facts = await _facts(session, [one.clip_id for one in near])
    return [
        _match(facts[one.clip_id], one.score, frame=one.frame, object_key=one.object_key, query_frame=one.query_frame)
        for one in near
    ]


async def _told(
    session: AsyncSession, words: str, found: Sequence[tuple[UUID, float, tuple[str, ...]]], best: Mapping[UUID, Near]
) -> list[Match]:
    rows = await session.execute(
        text(f"""
            SELECT {_FACTS}, to_tsvector('english', speech) @@ query AS said,
                ts_headline('english', speech, query, 'StartSel="", StopSel="", MaxWords=18, MinWords=8') AS snippet,
                shown.frame, shown.object_key
            FROM (SELECT {_QUERY} AS query) AS asked, clip AS c LEFT JOIN LATERAL (
                SELECT frame, object_key FROM embedding WHERE clip_id = c.clip_id AND part = 0 ORDER BY frame LIMIT 1
            ) AS shown ON true
            WHERE c.clip_id = ANY(:clips)
        """),  # noqa: S608 - made of constants.
        {"clips": [clip_id for clip_id, _, _ in found], "words": words},
    )
    facts = {row.clip_id: row for row in rows}
    matches = []
    for clip_id, score, kinds in found:
        row, near = facts[clip_id], best.get(clip_id)
        evidence = {kind for kind in kinds if kind != "words"}
        if "words" in kinds:
            evidence.add("speech" if row.said else "title")
        matches.append(
            _match(
                row,
                score,
                frame=row.frame if near is None else near.frame,
                object_key=row.object_key if near is None else near.object_key,
                matched=tuple(sorted(evidence)),
                snippet=(row.snippet or None) if "speech" in evidence else None,
            )
        )
    return matches


async def near_duplicates(
    session: AsyncSession, model: Model, *, threshold: float, limit: int, filters: Filters, offset: int = 0
) -> list[tuple[float, list[Match]]]:
    """Groups of clips at least so alike, the largest first, each with the least likeness that holds it together."""
    conditions, values = filters.clauses
    rows = await session.execute(
        text(f"""
            SELECT one, other, likeness FROM near_duplicate
            WHERE model = :model AND likeness >= :threshold
                AND EXISTS (SELECT FROM clip AS c WHERE c.clip_id = one AND NOT c.archived{conditions})
                AND EXISTS (SELECT FROM clip AS c WHERE c.clip_id = other AND NOT c.archived{conditions})
            ORDER BY likeness DESC, one, other LIMIT {MOST_PAIRS:d}
        """),  # noqa: S608 - made of constants.
        {**values, "model": model.id, "threshold": threshold},
    )
    found = groups([(row.one, row.other, float(row.likeness)) for row in rows])[offset : offset + limit]
    stills = await session.execute(
        text("""
            SELECT DISTINCT ON (clip_id) clip_id, frame, object_key FROM embedding
            WHERE model = :model AND part = 0 AND clip_id = ANY(:clips) ORDER BY clip_id, frame
        """),
        {"model": model.id, "clips": [clip for clips, _ in found for clip in clips]},
    )
    still = {row.clip_id: row for row in stills}
    facts = await _facts(session, still)
    return [
        (
            likeness,
            [
                _match(facts[clip], likeness, frame=still[clip].frame, object_key=still[clip].object_key)
                for clip in clips
                if clip in facts
            ],
        )
        for clips, likeness in found
    ]
