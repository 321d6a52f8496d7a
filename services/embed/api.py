"""Search over HTTP: clips like a clip, clips like a picture, and the models that can be asked.

Every error is a problem document (RFC 9457) whose ``code`` never changes its meaning. Every input is bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from contracts.errors import HeatersError
from contracts.values import ErrorClass
from services.embed import store
from services.embed.domain.orders import ModelSpec
from services.embed.query_child import PictureQueries
from services.embed.settings import Settings

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime

MAX_RESULTS = 100
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
}
"""The HTTP status of an error code; any other error is the service's own fault."""


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
    configured: Annotated[bool, Field(description="Whether new clips get vectors by it.")]
    default: Annotated[bool, Field(description="Whether searches use it unless told otherwise.")]


class ModelsOut(BaseModel):
    """The configured models first, then others that still have vectors."""

    models: list[ModelOut]


class UsedModel(BaseModel):
    """The model that a search used."""

    model_id: str
    revision: str


class MatchOut(BaseModel):
    """A clip found. ``score`` is the cosine of the nearest keyframes, 1 for the same picture."""

    clip_id: UUID
    video_id: UUID
    title: str
    tags: list[str]
    score: float
    frame: Annotated[int, Field(description="The matching keyframe's frame number in the source.")]
    keyframe: Annotated[str, Field(description="That keyframe's object key.")]
    query_frame: Annotated[int | None, Field(description="The asked clip's keyframe that it matches.")] = None


class SimilarOut(BaseModel):
    """The clips like a clip, the most similar first."""

    clip_id: UUID
    model: UsedModel
    results: list[MatchOut]


class PictureOut(BaseModel):
    """The clips like a picture, the most similar first."""

    model: UsedModel
    results: list[MatchOut]


Limit = Annotated[int, Query(ge=1, le=MAX_RESULTS, description="How many clips at most.")]
ModelName = Annotated[str | None, Query(max_length=300, description="A model id; the default model without it.")]
VideoFilter = Annotated[UUID | None, Query(description="Only clips of this video.")]
TagFilter = Annotated[str | None, Query(max_length=100, description="Only clips with this tag.")]


def create_api(runtime: Runtime) -> FastAPI:
    """The service's API over its runtime."""
    api = FastAPI(title="Heaters search", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    settings: Settings = runtime.settings
    queries = PictureQueries(settings)
    _answer_problems(api)

    @api.get("/api/models")
    async def list_models() -> ModelsOut:
        """The models that can be asked."""
        async with runtime.transaction() as ledger:
            seen = await store.models(ledger.session)
        return ModelsOut(models=_merge_models(settings.models, seen))

    @api.get("/api/similar/{clip_id}")
    async def find_similar(
        clip_id: UUID,
        limit: Limit = 20,
        model: ModelName = None,
        video_id: VideoFilter = None,
        tag: TagFilter = None,
    ) -> SimilarOut:
        """The clips most similar to a clip, itself excluded."""
        name = model or settings.models[0].model_id
        async with runtime.transaction() as ledger:
            if not await store.knows_clip(ledger.session, clip_id):
                raise Refused(
                    "No delivered clip has this id; look it up in the list of clips.", code="embed.clip_unknown"
                )
            used = await store.model_of_clip(ledger.session, clip_id, name)
            if used is None:
                raise Refused(
                    f"The clip has no vectors by {name} yet; wait until it is embedded, or ask another model of /api/models.",
                    code="embed.not_embedded",
                )
            found = await store.similar_clips(
                ledger.session,
                clip_id,
                used,
                limit=limit,
                filters=store.Filters(video_id, tag),
                exact_rows=settings.embed_exact_rows,
            )
        return SimilarOut(clip_id=clip_id, model=_used(used), results=[_match(match) for match in found])

    @api.post("/api/search/image", openapi_extra=_PICTURE_BODY)
    async def search_by_picture(
        request: Request,
        limit: Limit = 20,
        model: ModelName = None,
        video_id: VideoFilter = None,
        tag: TagFilter = None,
    ) -> PictureOut:
        """The clips with keyframes like the picture that is the request's body."""
        spec = _spec(settings.models, model)
        picture = await _body(request, settings.embed_query_max_bytes)
        asked = await queries.embed(picture, spec)
        async with runtime.transaction() as ledger:
            used = await store.model_named(ledger.session, asked.model_id, asked.revision)
            found = (
                []
                if used is None
                else await store.clips_like(
                    ledger.session,
                    asked.vector,
                    used,
                    limit=limit,
                    filters=store.Filters(video_id, tag),
                    exact_rows=settings.embed_exact_rows,
                )
            )
        return PictureOut(
            model=UsedModel(model_id=asked.model_id, revision=asked.revision),
            results=[_match(match) for match in found],
        )

    return api


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
        "No such model is configured; ask /api/models which are, or add it to HEATERS_EMBED_MODELS.",
        code="embed.model_unknown",
    )


def _merge_models(configured: tuple[ModelSpec, ...], seen: list[store.Model]) -> list[ModelOut]:
    names = [spec.model_id for spec in configured]
    rows = [
        ModelOut(
            model_id=model.model_id,
            revision=model.revision,
            dimensions=model.dimensions,
            clips=model.clips,
            vectors=model.vectors,
            configured=model.model_id in names,
            default=model.model_id == names[0],
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
            configured=True,
            default=name == names[0],
        )
        for name in names
        if name not in known
    ]
    return sorted(rows, key=lambda row: names.index(row.model_id) if row.configured else len(names))


def _used(model: store.Model) -> UsedModel:
    return UsedModel(model_id=model.model_id, revision=model.revision)


def _match(match: store.Match) -> MatchOut:
    return MatchOut(
        clip_id=match.clip_id,
        video_id=match.video_id,
        title=match.title,
        tags=list(match.tags),
        score=round(match.score, 6),
        frame=match.frame,
        keyframe=match.object_key,
        query_frame=match.query_frame,
    )


def _answer_problems(api: FastAPI) -> None:
    @api.exception_handler(HeatersError)
    async def answer_refusal(_: Request, error: HeatersError) -> JSONResponse:
        status = STATUS.get(error.code, 500)
        headers = {"retry-after": "5"} if error.code in {"embed.query_busy", "embed.query_timeout"} else None
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
