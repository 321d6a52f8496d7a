"""Starts the ingest service: ``python -m services.ingest``."""

from __future__ import annotations

from services.chassis.app import main
from services.ingest.app import STAGE

if __name__ == "__main__":
    main(STAGE)
