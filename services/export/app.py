"""The export service as the chassis runs it."""

from __future__ import annotations

from contracts.events.v2.video import VideoScenesDetected
from services.chassis.stage import Stage
from services.export.handlers import routes
from services.export.jobs import CLEAN, EXPORT
from services.export.settings import Settings

STAGE = Stage(name="export", settings=Settings, routes=routes, jobs=(EXPORT, CLEAN), heralds=(VideoScenesDetected,))
