"""The stage as the chassis runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.events.v1.clip import ClipExportStarted
from services.chassis.stage import Stage
from services.embed.handlers import routes
from services.embed.jobs import CLEAN, EMBED, KEYFRAME, REEMBED
from services.embed.settings import Settings
from services.embed.upkeep import upkeep

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from services.chassis.runtime import Runtime


def _http(runtime: Runtime) -> ASGIApp:
    from services.embed.api import create_api

    return create_api(runtime)


STAGE = Stage(
    name="embed",
    settings=Settings,
    routes=routes,
    jobs=(KEYFRAME, EMBED, REEMBED, CLEAN),
    http=_http,
    loops=(upkeep,),
    late=("torch",),
    heralds=(ClipExportStarted,),
)
