"""Settings of scenes."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from services.chassis.settings import ChassisSettings
from services.scenes.detectors.declared import (
    ADAPTIVE,
    CONTENT,
    FUSED,
    HISTOGRAM,
    TRANSNETV2,
    Declaration,
    Parameters,
)
from services.scenes.domain import Grouping, Tiling

Changes = dict[str, float | int | bool]


class Settings(ChassisSettings):
    """What scenes needs to know beside what every service does."""

    scenes_minimum_clip: int = Field(8, ge=1, le=10_000, description="Shortest clip, in frames.")
    scenes_maximum_clip: int = Field(
        18_000, ge=2, le=50_000_000, description="Longest clip, in frames; longer shots are divided."
    )
    scenes_group_reach: int = Field(
        4, ge=0, le=50, description="How many shots ahead a likeness joins shots to a scene; 0 joins none."
    )
    scenes_group_likeness: float = Field(
        0.6, ge=0, le=1, description="Least overlap of colours for two shots to be alike."
    )
    scenes_adaptive: Changes = Field({}, description='Parameters of "adaptive" that differ from its defaults, as JSON.')
    scenes_content: Changes = Field({}, description='Parameters of "content" that differ from its defaults, as JSON.')
    scenes_histogram: Changes = Field(
        {}, description='Parameters of "histogram" that differ from its defaults, as JSON.'
    )

    scenes_transnetv2: Changes = Field(
        {}, description='Parameters of "transnetv2" that differ from its defaults, as JSON.'
    )
    scenes_fused: Changes = Field({}, description='Parameters of "fused" that differ from its defaults, as JSON.')

    @field_validator("scenes_adaptive")
    @classmethod
    def _fit_adaptive(cls, changes: Changes) -> Changes:
        ADAPTIVE.parameters.model_validate(changes)
        return changes

    @field_validator("scenes_content")
    @classmethod
    def _fit_content(cls, changes: Changes) -> Changes:
        CONTENT.parameters.model_validate(changes)
        return changes

    @field_validator("scenes_histogram")
    @classmethod
    def _fit_histogram(cls, changes: Changes) -> Changes:
        HISTOGRAM.parameters.model_validate(changes)
        return changes

    @field_validator("scenes_transnetv2")
    @classmethod
    def _fit_transnetv2(cls, changes: Changes) -> Changes:
        TRANSNETV2.parameters.model_validate(changes)
        return changes

    @field_validator("scenes_fused")
    @classmethod
    def _fit_fused(cls, changes: Changes) -> Changes:
        FUSED.parameters.model_validate(changes)
        return changes

    @model_validator(mode="after")
    def _can_tile(self) -> Settings:
        _ = self.tiling
        return self

    @property
    def tiling(self) -> Tiling:
        """How long clips may be."""
        return Tiling(minimum=self.scenes_minimum_clip, maximum=self.scenes_maximum_clip)

    @property
    def grouping(self) -> Grouping:
        """When shots form a scene."""
        return Grouping(reach=self.scenes_group_reach, likeness=self.scenes_group_likeness)

    def parameters_of(self, detector: Declaration) -> Parameters:
        """The parameters that a detector shall run with."""
        changes = {
            ADAPTIVE.name: self.scenes_adaptive,
            CONTENT.name: self.scenes_content,
            HISTOGRAM.name: self.scenes_histogram,
            TRANSNETV2.name: self.scenes_transnetv2,
            FUSED.name: self.scenes_fused,
        }
        return detector.parameters.model_validate(changes.get(detector.name, {}))
