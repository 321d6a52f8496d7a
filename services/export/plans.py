"""Plans: what an installation lets be exported, and what it demands of every deliverable. Data, in a document.

Guarantees: a plan that contradicts itself is refused when the service starts, with one sentence for each fault; an unknown
word in the document is an error.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, ValidationError

from contracts.errors import Permanent
from contracts.values import ProfileName, Value
from services.media.watermark import LARGEST_PICTURE, Watermark

LARGEST_DOCUMENT = 64 * 1024


class Plan(Value):
    """What may be exported. No profiles named means all; durations in seconds, pictures in pixels.

    ``watermark`` is drawn into every deliverable but those of the ``unmarked_profiles``. A lossless profile cannot hold one:
    it is refused, unless it is named there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)] = "unlimited"
    profiles: tuple[ProfileName, ...] = ()
    longest_seconds: Annotated[int, Field(ge=1)] = 6 * 3600
    largest_picture: Annotated[int, Field(ge=16, description="Pixels of the source.")] = 8192 * 4320
    largest_delivery: Annotated[int | None, Field(ge=16, description="Pixels of a deliverable.")] = None
    highest_rate: Annotated[int | None, Field(ge=1, description="Frames a second of the source.")] = None
    most_profiles: Annotated[int, Field(ge=1, le=16, description="Profiles of one clip.")] = 16
    watermark: Watermark | None = None
    unmarked_profiles: tuple[ProfileName, ...] = ()


def read_plan(path: Path) -> Plan:
    """The plan of a TOML or JSON file; a watermark's ``picture`` names a file beside it.

    Raises:
        Permanent: ``plan.unreadable`` or ``plan.invalid``, saying what to correct.
    """
    data = _bytes_of(path, LARGEST_DOCUMENT)
    try:
        said: Any = json.loads(data) if path.suffix == ".json" else tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise Permanent(
            f"The plan {path.name} is no {'JSON' if path.suffix == '.json' else 'TOML'} ({str(error)[:200]}). Correct the "
            "file that HEATERS_EXPORT_PLAN names.",
            code="plan.unreadable",
        ) from error
    mark = said.get("watermark") if isinstance(said, dict) else None
    if isinstance(mark, dict) and isinstance(mark.get("picture"), str):
        said = {**said, "watermark": {**mark, "picture": _bytes_of(path.parent / mark["picture"], LARGEST_PICTURE)}}
    try:
        return Plan.model_validate(said)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)[:20]
        )
        raise Permanent(
            f"The plan {path.name} is not valid: {faults}. Correct the file that HEATERS_EXPORT_PLAN names.",
            code="plan.invalid",
        ) from error


def _bytes_of(path: Path, most: int) -> bytes:
    try:
        size = path.stat().st_size
        if size <= most:
            return path.read_bytes()
    except OSError as error:
        raise Permanent(
            f"{path} cannot be read ({error.strerror}). Correct HEATERS_EXPORT_PLAN, or what the plan names.",
            code="plan.unreadable",
        ) from error
    raise Permanent(f"{path} has {size} bytes, and {most} are the most. Make it smaller.", code="plan.unreadable")
