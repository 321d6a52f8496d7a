"""The application behind review's port, put together from its rooms. Each request is one transaction.

``/api/openapi.json`` describes it. Lists take a cursor and a limit; errors are problem documents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from services.review.api.door import Doorkeeper
from services.review.api.editing import add_editing
from services.review.api.examples import add_examples
from services.review.api.guard import Guard
from services.review.api.interchange import add_interchange
from services.review.api.media import add_media
from services.review.api.operations import add_operations
from services.review.api.pages import Pages
from services.review.api.problems import install
from services.review.api.profiles import add_profiles
from services.review.api.reading import add_reading
from services.review.api.search import add_search
from services.review.api.sessions import add_sessions
from services.review.api.stream import Feed
from services.review.api.training import add_training
from services.review.api.uploads import add_uploads

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime


def create_api(runtime: Runtime) -> ASGIApp:
    """The application behind the service's port."""
    app, door = _rooms(runtime)
    return Guard(app, runtime, door)


def openapi(runtime: Runtime) -> dict[str, Any]:
    """The document that ``/api/openapi.json`` gives."""
    return _rooms(runtime)[0].openapi()


def _rooms(runtime: Runtime) -> tuple[FastAPI, Doorkeeper]:
    app = FastAPI(
        title="Heaters review",
        summary="Videos, their clips, and what people decide about them.",
        version="1",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    install(app)
    feed = Feed(runtime)
    door = Doorkeeper(runtime)
    add_sessions(app, runtime, door)
    add_reading(app, runtime, feed)
    add_editing(app, runtime, feed)
    add_media(app, runtime)
    add_interchange(app, runtime)
    add_operations(app, runtime)
    add_profiles(app, runtime)
    add_search(app, runtime)
    add_training(app, runtime)
    add_uploads(app, runtime)
    app.mount("/", Pages())
    add_examples(app)
    return app, door
