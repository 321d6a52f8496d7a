"""Starts the review service: ``python -m services.review``."""

from __future__ import annotations

from services.chassis.app import main
from services.review.app import STAGE

if __name__ == "__main__":
    main(STAGE)
