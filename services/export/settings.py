"""Settings of export."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import Field

from services.chassis.settings import ChassisSettings, Seconds
from services.export.domain import Plan


class Settings(ChassisSettings):
    """What export needs to know beside what every service does."""

    export_profiles: tuple[str, ...] = Field((), description="Profiles that may be asked for; none named means all.")
    export_longest_clip: Seconds = Field(timedelta(hours=6), description="Longest clip that is exported.")
    export_largest_picture: int = Field(
        8192 * 4320, ge=16, description="Most pixels a source picture may have to be exported."
    )
    export_qc_limits: Path | None = Field(
        None, description="JSON document with the limits of quality control; none means the house's own."
    )

    @property
    def plan(self) -> Plan:
        """What this installation lets be exported."""
        return Plan(
            profiles=self.export_profiles,
            longest_seconds=int(self.export_longest_clip.total_seconds()),
            largest_picture=self.export_largest_picture,
        )
