"""The ingest service as the chassis runs it."""

from __future__ import annotations

from services.chassis.stage import Stage
from services.ingest.handlers import routes
from services.ingest.jobs import FETCH
from services.ingest.settings import Settings

STAGE = Stage(name="ingest", settings=Settings, routes=routes, jobs=(FETCH,))
