"""Starts the preprocess service: ``python -m services.preprocess``."""

from __future__ import annotations

from services.chassis.app import main
from services.preprocess.app import STAGE

if __name__ == "__main__":
    main(STAGE)
