"""Starts the scenes service: ``python -m services.scenes``."""

from __future__ import annotations

from services.chassis.app import main
from services.scenes.app import STAGE

if __name__ == "__main__":
    main(STAGE)
