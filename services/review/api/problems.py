"""Errors as problem documents (RFC 9457): a stable ``code``, a status, and a sentence that says what to do."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from contracts.errors import HeatersError, Transient

log = logging.getLogger(__name__)

PROBLEM = "application/problem+json"

STATUS = {
    "review.unknown_video": 404,
    "review.unknown_clip": 404,
    "review.unknown_edit": 404,
    "review.unknown_dead_letter": 404,
    "review.unknown_file": 404,
    "review.no_media": 404,
    "review.bad_cursor": 422,
    "review.no_video": 422,
    "review.too_many_tags": 422,
    "review.note_too_long": 422,
    "review.unknown_work": 404,
    "review.unknown_token": 404,
    "review.unknown_frame": 404,
    "review.no_trace": 404,
    "http.unauthorized": 401,
    "media.expired": 403,
    "media.bad_address": 403,
    "media.changed": 412,
    "media.bad_range": 416,
    "objects.missing": 404,
    "review.no_clips": 422,
    "review.repeated_clip": 422,
    "review.group_too_small": 422,
    "review.merge_too_few": 422,
    "review.split_outside": 422,
    "review.trim_outside": 422,
    "review.not_neighbours": 422,
    "profile.unknown": 404,
    "review.unknown_profile": 422,
    "profile.invalid": 422,
    "profile.other_name": 422,
    "profile.refused_by_encoder": 422,
    "profile.name_taken": 409,
    "profile.not_removable": 409,
    "profile.version_not_raised": 409,
    "profile.too_many": 409,
    "review.too_many_streams": 503,
    "training.unknown_shard": 404,
    "training.empty": 404,
    "training.too_large": 422,
    "training.changed": 409,
    "upload.unknown": 404,
    "upload.empty": 422,
    "upload.wrong_part": 422,
    "upload.too_large": 413,
    "upload.incomplete": 409,
    "upload.complete": 409,
}
"""The status of a code; of the others, those of review are conflicts with the present state."""

CODES = {404: "http.not_found", 405: "http.method_not_allowed", 413: "http.too_large"}
"""Codes of errors that the framework finds."""


class EditConflict(HeatersError):  # noqa: N818 - named as the roots are.
    """An edit that was refused, with the present state of the clips it named."""

    def __init__(self, cause: HeatersError, clips: list[Any]) -> None:
        super().__init__(cause.message, code=cause.code)
        self.error_class = cause.error_class
        self.clips = clips


def problem(status: int, code: str, detail: str, **more: Any) -> JSONResponse:
    """A problem document."""
    body = {"type": "about:blank", "title": _title(status), "status": status, "code": code, "detail": detail, **more}
    return JSONResponse(jsonable_encoder(body), status_code=status, media_type=PROBLEM)


def status_of(error: HeatersError) -> int:
    """The HTTP status of an error."""
    if error.code in STATUS:
        return STATUS[error.code]
    if isinstance(error, Transient):
        return 503
    return 409 if error.code.startswith("review.") else 500


def install(app: FastAPI) -> None:
    """Lets every error of the application be answered by a problem document."""

    @app.exception_handler(HeatersError)
    async def _known(_: Request, error: HeatersError) -> JSONResponse:
        more = {"clips": error.clips} if isinstance(error, EditConflict) else {}
        return problem(status_of(error), error.code, error.message, **more)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        found = [
            {"where": ".".join(str(part) for part in item["loc"]), "message": item["msg"]}
            for item in error.errors()[:20]
        ]
        detail = "; ".join(f"{item['where']}: {item['message']}" for item in found[:3])
        return problem(422, "http.invalid", f"The request is not as the API wants it: {detail}.", errors=found)

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, CODES.get(error.status_code, f"http.{error.status_code}"), str(error.detail))

    @app.exception_handler(OperationalError)
    @app.exception_handler(OSError)
    async def _away(_: Request, error: Exception) -> JSONResponse:
        log.warning("A request met no database.", extra={"reason": repr(error)[:300]})
        return problem(503, "database.unavailable", "The database does not answer; try again in a moment.")


def _title(status: int) -> str:
    from http import HTTPStatus

    return HTTPStatus(status).phrase
