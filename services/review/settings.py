"""Settings of review."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, field_validator

from services.chassis.settings import ChassisSettings, Seconds
from services.review.domain.stalls import DEFAULT_PATIENCE


class Settings(ChassisSettings):
    """What review needs to know beside what every service does."""

    review_undo_window: Seconds = Field(
        timedelta(seconds=60),
        ge=timedelta(0),
        le=timedelta(days=1),
        description="How long a person's edit stays private and can be taken back without a trace.",
    )
    review_sweep_interval: Seconds = Field(
        timedelta(seconds=30), gt=timedelta(0), description="How often the sweeper looks for what stalled."
    )
    review_patience: dict[str, timedelta] = Field(
        {},
        description="How long a state may last before it counts as stalled, where that differs; JSON, seconds by state.",
    )
    review_max_body_bytes: int = Field(
        1_000_000, ge=1_000, le=50_000_000, description="Largest request body that the API takes."
    )
    review_max_streams: int = Field(100, ge=1, le=10_000, description="Live event streams open at the same time.")

    review_part_bytes: int = Field(
        8 << 20,
        ge=5 << 20,
        le=512 << 20,
        description="Size of an upload's parts, in bytes; larger where 10,000 of them would not do.",
    )
    review_max_upload_bytes: int = Field(200_000_000_000, ge=1, description="Largest upload, in bytes.")
    review_direct_uploads: bool = Field(
        False,
        description="Whether pages send uploads straight to the object store, which must then answer CORS for their origin; "
        "otherwise through the service itself.",
    )
    review_rate: float = Field(
        200.0, gt=0, le=100_000, description="Requests a second that one caller may make for long; media count a tenth."
    )
    review_search_url: str = Field(
        "", description="Address of the service that searches; empty: this installation does not search."
    )

    @field_validator("review_patience")
    @classmethod
    def _names_states(cls, patience: dict[str, timedelta]) -> dict[str, timedelta]:
        unknown = sorted(set(patience) - set(DEFAULT_PATIENCE))
        if unknown:
            message = f"no state to wait in is called {unknown[0]!r}; there are {', '.join(sorted(DEFAULT_PATIENCE))}"
            raise ValueError(message)
        return patience
