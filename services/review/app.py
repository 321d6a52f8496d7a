"""The review service as the chassis runs it: handlers, the API and the sweeper; no long work of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.chassis.stage import Stage
from services.review.handlers import routes
from services.review.settings import Settings
from services.review.sweep import sweep

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from services.chassis.runtime import Runtime


def _http(runtime: Runtime) -> ASGIApp:
    from services.review.api import create_api

    return create_api(runtime)


STAGE = Stage(name="review", settings=Settings, routes=routes, http=_http, loops=(sweep,), own_door=True)
