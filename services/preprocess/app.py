"""The preprocess service as the chassis runs it."""

from __future__ import annotations

from contracts.events.v1.video import VideoAccepted
from services.chassis.stage import Stage
from services.preprocess.handlers import routes
from services.preprocess.jobs import MASTER, PART, PROXY
from services.preprocess.settings import Settings

STAGE = Stage(name="preprocess", settings=Settings, routes=routes, jobs=(PROXY, PART, MASTER), heralds=(VideoAccepted,))
