"""Settings of export."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import Field, field_validator

from contracts.errors import Permanent
from services.chassis.settings import ChassisSettings, Seconds
from services.export.plans import Plan, read_plan


class Settings(ChassisSettings):
    """What export needs to know beside what every service does."""

    export_profiles: tuple[str, ...] = Field((), description="Profiles that may be asked for; none named means all.")
    export_longest_clip: Seconds = Field(timedelta(hours=6), description="Longest clip that is exported.")
    export_largest_picture: int = Field(
        8192 * 4320, ge=16, description="Most pixels a source picture may have to be exported."
    )
    export_plan: Path | None = Field(
        None,
        description="TOML or JSON document of the plan: limits, profiles, watermark. It replaces the three settings above.",
    )
    export_qc_limits: Path | None = Field(
        None, description="JSON document with the limits of quality control; none means the house's own."
    )

    @field_validator("export_plan")
    @classmethod
    def _is_a_plan(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                read_plan(path)
            except Permanent as error:
                raise ValueError(error.message) from error
        return path

    @property
    def plan(self) -> Plan:
        """What this installation lets be exported. Raises ``Permanent``: ``plan.unreadable``, ``plan.invalid``."""
        if self.export_plan is not None:
            return read_plan(self.export_plan)
        return Plan(
            profiles=self.export_profiles,
            longest_seconds=int(self.export_longest_clip.total_seconds()),
            largest_picture=self.export_largest_picture,
        )
