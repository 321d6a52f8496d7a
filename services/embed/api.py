"""Search over HTTP: clips by words, by a picture, by likeness; near-duplicates; the models; embedding again.

Everything lies under ``/api/search``. Every error is a problem document (RFC 9457) whose ``code`` never changes its
meaning. Every input is bounded.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel, Field
from starlette.exceptions import HTTPException

from contracts.errors import HeatersError
from contracts.values import ErrorClass
from services.embed import searching, store
from services.embed.domain.orders import NAMED_THINGS, TEXT_MODEL, ModelSpec
from services.embed.domain.standing import STATES
from services.embed.queries import Queries, QueryVector
from services.embed.searching import Filters, Match, TextQuery
from services.embed.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from services.chassis.runtime import Runtime

MAX_RESULTS = 100
MAX_OFFSET = 900
"""A search is refined, not paged through: further than this no page goes."""
PROBLEM = "application/problem+json"

STATUS = {
    "embed.clip_unknown": 404,
    "embed.model_unknown": 404,
    "embed.not_embedded": 409,
    "embed.picture_too_large": 413,
    "embed.not_a_picture": 415,
    "embed.bad_picture": 422,
    "embed.query_busy": 503,
    "embed.query_timeout": 503,
    "embed.model_unavailable": 503,
    "embed.text_model_unavailable": 503,
    "embed.model_unsuitable": 409,
    "search.bad_cursor": 422,
    "search.empty_query": 422,
}
"""The HTTP status of an error code; any other error is the service's own fault."""
BUSY = frozenset({"embed.query_busy", "embed.query_timeout"})
"""Errors that pass by themselves."""


class Refused(HeatersError):  # noqa: N818 - named as the roots are, for what the caller should know.
    """A request that cannot be answered."""

    error_class = ErrorClass.PERMANENT


class ModelOut(BaseModel):
    """A model that can be asked. Without clips it has no revision yet: that is known when it has been loaded."""

    model_id: str
    revision: str | None
    dimensions: int | None
    clips: int
    vectors: int
    sees: Annotated[
        Literal["pictures", "both", "words"] | None,
        Field(description="What its vectors can be compared with: pictures, pictures and texts, or texts alone."),
    ]
    configured: Annotated[bool, Field(description="Whether new clips get vectors by it.")]
    default: Annotated[bool, Field(description="Whether searches by likeness use it unless told otherwise.")]


class ModelsOut(BaseModel):
    """The configured models first, then others that still have vectors."""

    models: list[ModelOut]


class UsedModel(BaseModel):
    """The model that a search used, and what it sees."""

    model_id: str
    revision: str
    sees: Literal["pictures", "both", "words"]


class MatchOut(BaseModel):
    """A clip found. ``score`` is the cosine of the nearest keyframes, 1 for the same picture; of a text, only its order counts."""

    clip_id: UUID
    video_id: UUID
    title: str
    tags: list[str]
    state: str
    start_frame: int | None
    end_frame: int | None
    seconds: float | None
    delivered_at: datetime | None
    score: float
    frame: Annotated[int | None, Field(description="The matching keyframe's frame number in the source.")]
    keyframe: Annotated[str | None, Field(description="That keyframe's object key.")]
    keyframe_url: Annotated[str | None, Field(description="A signed, short-lived address of that keyframe.")]
    query_frame: Annotated[int | None, Field(description="The asked clip's keyframe that it matches.")] = None
    matched: Annotated[list[str], Field(description="What a text was found by: picture, speech, title.")] = []
    snippet: Annotated[str | None, Field(description="What is said there, as plain text.")] = None


class Found(BaseModel):
    """A page of clips, the best first."""

    model: UsedModel | None
    advice: Annotated[str | None, Field(description="How searches of this kind would find better.")] = None
    notice: Annotated[str | None, Field(description="Why clips may be missing just now.")] = None
    results: list[MatchOut]
    next: Annotated[str | None, Field(description="The cursor of the next page.")] = None


class TextOut(Found):
    """The clips that a text describes."""

    query: str


class SimilarOut(Found):
    """The clips like a clip."""

    clip_id: UUID


class GroupOut(BaseModel):
    """Clips that are near-duplicates; ``likeness`` is the least that holds the group together."""

    likeness: float
    clips: list[MatchOut]


class DuplicatesOut(BaseModel):
    """Groups of near-duplicates, the largest first."""

    threshold: float
    model: UsedModel | None
    groups: list[GroupOut]
    next: str | None = None


class ReembedIn(BaseModel):
    """What to embed again: by one configured model or all, of one video or all; with new keyframes or those there are."""

    model: Annotated[str | None, Field(max_length=300)] = None
    video_id: UUID | None = None
    keyframes: bool = False


class ReembedOut(BaseModel):
    """How many clips will be embedded again, after those that have no vectors."""

    clips: int


Limit = Annotated[int, Query(ge=1, le=MAX_RESULTS, description="How many clips at most.")]
Cursor = Annotated[str | None, Query(max_length=40, description="Where the page before ended.")]
ModelName = Annotated[str | None, Query(max_length=300, description="A model id; the default model without it.")]
State = Annotated[str, Field(pattern="^(" + "|".join(STATES) + ")$")]

ADVICE = (
    "Pictures are found by the thousand things that the packaged model can name. A vision-language model, one of the CLIP or "
    "SigLIP families named in HEATERS_EMBED_MODELS, would do better."
)


def _filters(
    video_id: Annotated[UUID | None, Query(description="Only clips of this video.")] = None,
    tag: Annotated[
        list[Annotated[str, Field(max_length=100)]] | None,
        Query(max_length=20, description="Only clips with every tag."),
    ] = None,
    state: Annotated[list[State] | None, Query(max_length=9, description="Only clips in one of these states.")] = None,
    min_seconds: Annotated[float | None, Query(ge=0, le=1e6, description="Only clips at least so long.")] = None,
    max_seconds: Annotated[float | None, Query(ge=0, le=1e6, description="Only clips at most so long.")] = None,
    since: Annotated[AwareDatetime | None, Query(description="Only clips delivered then or later.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Only clips delivered before.")] = None,
) -> Filters:
    return Filters(video_id, tuple(tag or ()), tuple(state or ()), min_seconds, max_seconds, since, until)


FiltersOf = Annotated[Filters, Depends(_filters)]


def create_api(runtime: Runtime) -> FastAPI:
    """The service's API over its runtime."""
    api = FastAPI(title="Heaters search", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    settings: Settings = runtime.settings
    queries = Queries(settings)
    runtime.closing.append(queries.close)
    _answer_problems(api)

    def shown(matches: Sequence[Match]) -> list[MatchOut]:
        lifetime = settings.media_url_lifetime
        return [
            _match(match, match.object_key and runtime.objects.presign_get(match.object_key, lifetime))
            for match in matches
        ]

    async def page(matches: Sequence[Match], limit: int, offset: int) -> tuple[list[MatchOut], str | None]:
        """The page's clips; one more than the limit was asked for, which tells whether there is a next."""
        following = offset + limit
        more = len(matches) > limit and following <= MAX_OFFSET
        return await asyncio.to_thread(shown, matches[:limit]), _cursor(following) if more else None

    async def text_query(words: str, name: str | None) -> tuple[TextQuery, UsedModel | None, str | None]:
        """A text as the models see it, the model that compares it with pictures, and why clips may be missing."""
        if name is not None:
            _spec(settings.models, name)
        async with runtime.transaction() as ledger:
            picture_model = await _text_side(ledger.session, settings, name)
        told, notice = await understood(words, ModelSpec(model_id=TEXT_MODEL))
        async with runtime.transaction() as ledger:
            texts = None if told is None else await store.model_named(ledger.session, told.model_id, told.revision)
            named = await store.current(ledger.session, NAMED_THINGS)
        by_texts = None if texts is None or told is None else (texts, told.vector)
        if picture_model is not None:
            spec = _pinned(_spec(settings.models, picture_model.model_id), picture_model)
            asked, notice = await understood(words, spec)
            if asked is not None:
                used, notice = await _set_of(runtime, asked, picture_model)
                if used is not None:
                    return TextQuery(words, (used, asked.vector), by_texts), _used(used), notice
        if named is None or told is None:
            return TextQuery(words, None, by_texts), None, notice
        return TextQuery(words, (named, told.vector), by_texts), _used(named), notice

    async def understood(words: str, spec: ModelSpec) -> tuple[QueryVector | None, str | None]:
        """A text's vector, or why there is none: what cannot be had must not keep the other evidence from being used."""
        try:
            return await queries.embed_text(words, spec), None
        except HeatersError as error:
            if error.code in BUSY:
                raise
            return None, error.message

    @api.get("/api/search")
    async def search_by_text(
        filters: FiltersOf,
        q: Annotated[str, Query(min_length=1, max_length=500, description="What is to be found, in words.")],
        limit: Limit = 20,
        cursor: Cursor = None,
        model: ModelName = None,
    ) -> TextOut:
        """The clips that a text describes: by their pictures, by what is said in them, by their titles and tags."""
        offset, words = _offset(cursor), " ".join(q.replace("\0", " ").split())
        if not words:
            raise Refused("There are no words to search for; write what the clip shows.", code="search.empty_query")
        query, used, notice = await text_query(words, model)
        async with runtime.transaction() as ledger:
            found = await searching.clips_told(
                ledger.session,
                query,
                limit=limit + 1,
                offset=offset,
                filters=filters,
                exact_rows=settings.embed_exact_rows,
            )
        results, following = await page(found, limit, offset)
        advice = None if used is not None and used.sees == "both" else ADVICE
        return TextOut(query=q, model=used, advice=advice, notice=notice, results=results, next=following)

    @api.post("/api/search/image", openapi_extra=_PICTURE_BODY)
    async def search_by_picture(
        request: Request, filters: FiltersOf, limit: Limit = 20, cursor: Cursor = None, model: ModelName = None
    ) -> Found:
        """The clips with keyframes like the picture that is the request's body."""
        offset = _offset(cursor)
        if model is not None:
            _spec(settings.models, model)
        async with runtime.transaction() as ledger:
            names = [spec.model_id for spec in settings.models]
            name = model or await store.default_picture_model(ledger.session, names)
            former = await store.current(ledger.session, name)
        spec = next((spec for spec in settings.models if spec.model_id == name), ModelSpec(model_id=name))
        picture = await _body(request, settings.embed_query_max_bytes)
        asked = await queries.embed_picture(picture, _pinned(spec, former))
        used, notice = await _set_of(runtime, asked, former)
        async with runtime.transaction() as ledger:
            found = (
                []
                if used is None
                else await searching.clips_like(
                    ledger.session,
                    asked.vector,
                    used,
                    limit=limit + 1,
                    offset=offset,
                    filters=filters,
                    exact_rows=settings.embed_exact_rows,
                )
            )
        results, following = await page(found, limit, offset)
        model_used = UsedModel(
            model_id=asked.model_id, revision=asked.revision, sees="pictures" if used is None else _sees(used)
        )
        return Found(model=model_used, notice=notice, results=results, next=following)

    @api.get("/api/search/similar/{clip_id}")
    @api.get("/api/similar/{clip_id}", include_in_schema=False)
    async def find_similar(
        clip_id: UUID, filters: FiltersOf, limit: Limit = 20, cursor: Cursor = None, model: ModelName = None
    ) -> SimilarOut:
        """The clips most similar to a clip, itself excluded."""
        offset = _offset(cursor)
        async with runtime.transaction() as ledger:
            if not await store.knows_clip(ledger.session, clip_id):
                raise Refused(
                    "No delivered clip has this id; look it up in the list of clips.", code="embed.clip_unknown"
                )
            names = [spec.model_id for spec in settings.models]
            name = model or await store.default_picture_model(ledger.session, names)
            used = await store.model_of_clip(ledger.session, clip_id, name)
            if used is None or used.model_id == TEXT_MODEL:
                raise Refused(
                    f"The clip has no vectors by {name} yet; wait until it is embedded, or ask another model of "
                    "/api/search/models.",
                    code="embed.not_embedded",
                )
            found = await searching.similar_clips(
                ledger.session,
                clip_id,
                used,
                limit=limit + 1,
                offset=offset,
                filters=filters,
                exact_rows=settings.embed_exact_rows,
            )
        results, following = await page(found, limit, offset)
        return SimilarOut(clip_id=clip_id, model=_used(used), results=results, next=following)

    @api.get("/api/search/duplicates")
    async def find_duplicates(
        filters: FiltersOf,
        threshold: Annotated[float, Query(ge=0.9, le=1, description="The least likeness.")] = 0.95,
        limit: Limit = 20,
        cursor: Cursor = None,
        model: ModelName = None,
    ) -> DuplicatesOut:
        """Groups of clips that are near-duplicates of each other."""
        offset = _offset(cursor)
        async with runtime.transaction() as ledger:
            names = [spec.model_id for spec in settings.models]
            name = model or await store.default_picture_model(ledger.session, names)
            used = await store.current(ledger.session, name)
            found = (
                []
                if used is None
                else await searching.near_duplicates(
                    ledger.session, used, threshold=threshold, limit=limit + 1, offset=offset, filters=filters
                )
            )
        groups = await asyncio.to_thread(
            lambda: [GroupOut(likeness=round(likeness, 6), clips=shown(clips)) for likeness, clips in found[:limit]]
        )
        return DuplicatesOut(
            threshold=threshold,
            model=None if used is None else _used(used),
            groups=groups,
            next=_cursor(offset + limit) if len(found) > limit and offset + limit <= MAX_OFFSET else None,
        )

    @api.get("/api/search/models")
    @api.get("/api/models", include_in_schema=False)
    async def list_models() -> ModelsOut:
        """The models that can be asked."""
        async with runtime.transaction() as ledger:
            seen = await store.models(ledger.session)
            names = [spec.model_id for spec in settings.models]
            default = await store.default_picture_model(ledger.session, names)
        return ModelsOut(models=_merge_models(settings.specs, seen, default))

    @api.post("/api/search/reembed", status_code=202)
    async def reembed(asked: ReembedIn) -> ReembedOut:
        """Has clips embedded again, as ordinary work; the former vectors serve searches until the new ones are whole."""
        specs = settings.specs if asked.model is None else (_spec(settings.specs, asked.model),)
        async with runtime.transaction() as ledger:
            clips = await store.open_campaign(
                ledger.session,
                uuid4(),
                [str(spec) for spec in specs],
                keyframes=asked.keyframes,
                video_id=asked.video_id,
                now=ledger.now,
            )
        return ReembedOut(clips=clips)

    return api


async def _text_side(session: AsyncSession, settings: Settings, name: str | None) -> store.Model | None:
    """The first configured model that compares texts with pictures and has vectors, or the one named; ``None`` without."""
    for spec in settings.models:
        if name in {None, spec.model_id}:
            model = await store.current(session, spec.model_id)
            if model is not None and model.sees == "both":
                return model
    return None


def _pinned(spec: ModelSpec, former: store.Model | None) -> ModelSpec:
    """The model at the revision whose vectors are whole, where that can be had: a commit of the hub can, a package cannot."""
    is_commit = former is not None and len(former.revision) == 40 and former.revision.isalnum()
    return spec.model_copy(update={"revision": former.revision}) if former is not None and is_commit else spec


async def _set_of(
    runtime: Runtime, asked: QueryVector, former: store.Model | None
) -> tuple[store.Model | None, str | None]:
    """The vectors that a query's can be compared with, and a word if they are not whole yet."""
    async with runtime.transaction() as ledger:
        used = await store.model_named(ledger.session, asked.model_id, asked.revision)
    if former is not None and former.revision != asked.revision:
        return (
            used,
            "The clips are being embedded again by a newer revision of the model; those not yet done are not found.",
        )
    return used, None


def _cursor(offset: int) -> str:
    return base64.urlsafe_b64encode(f"from {offset}".encode()).decode().rstrip("=")


def _offset(cursor: str | None) -> int:
    """The place a cursor names; ``search.bad_cursor`` if it is none of ours."""
    if cursor is None:
        return 0
    try:
        word, _, number = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition(" ")
        if word == "from" and number.isascii() and number.isdecimal() and int(number) <= MAX_OFFSET:
            return int(number)
    except ValueError:
        pass
    raise Refused("That cursor is none of this search's; start from the first page.", code="search.bad_cursor")


_PICTURE_BODY = {
    "requestBody": {
        "required": True,
        "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
    }
}


async def _body(request: Request, limit: int) -> bytes:
    """The request's body, refused as soon as it proves too large."""
    if not request.headers.get("content-type", "").startswith("image/"):
        raise Refused(
            "Send the picture itself as the body, with its own content type, for example image/jpeg.",
            code="embed.not_a_picture",
        )
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Refused(
                f"The picture has more than {limit} bytes; send a smaller one.", code="embed.picture_too_large"
            )
    return bytes(body)


def _spec(configured: tuple[ModelSpec, ...], name: str | None) -> ModelSpec:
    """The configured model of a name; a search must not make the service fetch whatever a client names."""
    for spec in configured:
        if name in {None, spec.model_id}:
            return spec
    raise Refused(
        "No such model is configured; ask /api/search/models which are, or add it to HEATERS_EMBED_MODELS.",
        code="embed.model_unknown",
    )


def _merge_models(configured: tuple[ModelSpec, ...], seen: list[store.Model], default: str) -> list[ModelOut]:
    names = [spec.model_id for spec in configured]
    rows = [
        ModelOut(
            model_id=model.model_id,
            revision=model.revision,
            dimensions=model.dimensions,
            clips=model.clips,
            vectors=model.vectors,
            sees=_sees(model),
            configured=model.model_id in names or model.model_id == NAMED_THINGS,
            default=model.model_id == default,
        )
        for model in seen
    ]
    known = {row.model_id for row in rows}
    rows += [
        ModelOut(
            model_id=name,
            revision=None,
            dimensions=None,
            clips=0,
            vectors=0,
            sees=None,
            configured=True,
            default=name == default,
        )
        for name in names
        if name not in known
    ]
    return sorted(rows, key=lambda row: names.index(row.model_id) if row.model_id in names else len(names))


def _sees(model: store.Model) -> Literal["pictures", "both", "words"]:
    return "both" if model.sees == "both" else "words" if model.sees == "words" else "pictures"


def _used(model: store.Model) -> UsedModel:
    return UsedModel(model_id=model.model_id, revision=model.revision, sees=_sees(model))


def _match(match: Match, url: str | None) -> MatchOut:
    return MatchOut(
        clip_id=match.clip_id,
        video_id=match.video_id,
        title=match.title,
        tags=list(match.tags),
        state=match.state,
        start_frame=match.start_frame,
        end_frame=match.end_frame,
        seconds=match.seconds,
        delivered_at=match.delivered_at,
        score=round(match.score, 6),
        frame=match.frame,
        keyframe=match.object_key,
        keyframe_url=url,
        query_frame=match.query_frame,
        matched=list(match.matched),
        snippet=match.snippet,
    )


def _answer_problems(api: FastAPI) -> None:
    @api.exception_handler(HeatersError)
    async def answer_refusal(_: Request, error: HeatersError) -> JSONResponse:
        status = STATUS.get(error.code, 500)
        headers = {"retry-after": "5"} if error.code in BUSY else None
        return _problem(status, error.code, error.message, headers)

    @api.exception_handler(RequestValidationError)
    async def answer_invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        found = error.errors()[0]
        where = ".".join(str(part) for part in found["loc"][1:])
        return _problem(422, "request.invalid", f"{where}: {found['msg']}; correct it and ask again.")

    @api.exception_handler(HTTPException)
    async def answer_http(_: Request, error: HTTPException) -> JSONResponse:
        codes = {404: "request.no_such_page", 405: "request.method_not_allowed"}
        return _problem(error.status_code, codes.get(error.status_code, "request.refused"), str(error.detail))


def _problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    body = {"type": f"urn:heaters:problem:{code}", "title": code, "status": status, "code": code, "detail": detail}
    return JSONResponse(body, status, headers, PROBLEM)
