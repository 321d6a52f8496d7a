"""Search, asked of the service that knows vectors and passed on path for path: pages talk to one origin, and hold one token."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import httpx
from fastapi import FastAPI, Path, Request
from fastapi.responses import Response

from contracts.errors import Transient

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime

log = logging.getLogger(__name__)
PATIENCE = httpx.Timeout(70.0, connect=2.0)
"""A picture is turned into a vector within a minute, or not at all."""
PASSED_ON = ("content-type", "retry-after")


class SearchUnavailable(Transient):
    """Nobody answers searches."""

    code = "search.unavailable"


def add_search(app: FastAPI, runtime: Runtime) -> None:
    """Adds the routes."""
    address = runtime.settings.review_search_url.rstrip("/")
    token = runtime.settings.http_token.get_secret_value()
    client = httpx.AsyncClient(
        timeout=PATIENCE,
        headers={"Authorization": f"Bearer {token}"} if token else {},
        limits=httpx.Limits(max_connections=20),
        trust_env=False,
    )
    runtime.closing.append(client.aclose)

    async def ask(request: Request, path: str) -> Response:
        if not address:
            raise SearchUnavailable("This installation does not search; name the service in HEATERS_REVIEW_SEARCH_URL.")
        headers = {"Content-Type": kind} if (kind := request.headers.get("content-type")) else {}
        try:
            answer = await client.request(
                request.method,
                f"{address}{path}",
                params=list(request.query_params.multi_items()),
                content=await request.body(),
                headers=headers,
            )
        except httpx.HTTPError as error:
            log.warning("A search met no answer.", extra={"reason": repr(error)[:300]})
            raise SearchUnavailable("The search service does not answer; try again in a moment.") from error
        kept = {name: answer.headers[name] for name in PASSED_ON if name in answer.headers}
        return Response(answer.content, status_code=answer.status_code, headers=kept)

    @app.get("/api/search", tags=["search"])
    async def search_by_text(request: Request) -> Response:
        """Clips by words, as the search service answers."""
        return await ask(request, "/api/search")

    @app.post("/api/search/image", tags=["search"])
    async def search_by_picture(request: Request) -> Response:
        """Clips like the picture that is the body."""
        return await ask(request, "/api/search/image")

    @app.get("/api/search/similar/{clip_id}", tags=["search"])
    async def search_by_clip(request: Request, clip_id: UUID) -> Response:
        """Clips like a clip."""
        return await ask(request, f"/api/search/similar/{clip_id}")

    @app.get("/api/search/{what}", tags=["search"])
    async def search_more(request: Request, what: Annotated[str, Path(pattern=r"^[a-z]{1,40}$")]) -> Response:
        """What else the search service tells: ``duplicates`` and ``models``."""
        return await ask(request, f"/api/search/{what}")

    @app.post("/api/search/reembed", tags=["search"])
    async def embed_again(request: Request) -> Response:
        """Has vectors made anew."""
        return await ask(request, "/api/search/reembed")
