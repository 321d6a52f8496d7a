"""A watermark as data: what a plan wants drawn over every frame of a deliverable, and where.

Guarantees: the mark has the same place and size, relative to the picture, in every size of deliverable. Drawing it is
done elsewhere (``overlay``); nothing in here loads a picture library, so that services may read plans.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from contracts.values import Value

LARGEST_PICTURE = 4_000_000
"""Bytes of a watermark's picture file."""

Position = Literal["top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right"]


class Watermark(Value):
    """What is drawn, and where. ``height`` and ``margin`` are shares of the picture's shorter side."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    text: Annotated[str, StringConstraints(max_length=200, strip_whitespace=True)] = ""
    picture: Annotated[bytes, Field(max_length=LARGEST_PICTURE, description="A PNG, JPEG or WebP file.")] = b""
    position: Position = "bottom-right"
    opacity: Annotated[float, Field(gt=0, le=1)] = 0.6
    height: Annotated[float, Field(ge=0.01, le=1)] = 0.06
    margin: Annotated[float, Field(ge=0, le=0.4)] = 0.03

    @model_validator(mode="after")
    def _shows_one_thing(self) -> Self:
        if bool(self.text) == bool(self.picture):
            message = "a watermark is either a text or a picture"
            raise ValueError(message)
        return self

    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything that decides the mark's look."""
        said = self.model_dump(mode="json", exclude={"picture"})
        said["picture"] = hashlib.sha256(self.picture).hexdigest() if self.picture else ""
        return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
