"""Creates the bucket when it is not there: a short job of the embedded stack. Safe to repeat."""

from __future__ import annotations

import sys

from contracts.errors import HeatersError
from services.chassis.objects import open_store
from services.chassis.settings import ChassisSettings, load


def main() -> int:
    """The job's command line."""
    settings = load(ChassisSettings)
    try:
        open_store(settings).ensure_bucket()
    except HeatersError as error:
        print(f"bucket: {settings.s3_endpoint} does not give {settings.s3_bucket}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
