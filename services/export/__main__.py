"""Starts the export service: ``python -m services.export``."""

from __future__ import annotations

from services.chassis.app import main
from services.export.app import STAGE

if __name__ == "__main__":
    main(STAGE)
