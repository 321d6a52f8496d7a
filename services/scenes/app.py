"""The scenes service as the chassis runs it."""

from __future__ import annotations

from contracts.events.v1.video import VideoPreprocessStarted
from services.chassis.stage import Stage
from services.scenes.handlers import routes
from services.scenes.jobs import DETECT
from services.scenes.settings import Settings

STAGE = Stage(name="scenes", settings=Settings, routes=routes, jobs=(DETECT,), heralds=(VideoPreprocessStarted,))
