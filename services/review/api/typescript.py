"""The API's answers as TypeScript, so that the pages are checked against what the service really says.

``python -m services.review.api.typescript`` writes them; a test fails when what is checked in differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contracts.manifest import Manifest
from services.chassis.runtime import open_runtime
from services.review.api.application import openapi
from services.review.app import STAGE
from services.review.settings import Settings

TYPES = Path(__file__).parents[1] / "web/src/served.ts"
HEAD = "// Made by python -m services.review.api.typescript from the API's document and the manifest's model. Not edited by hand.\n"
_PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
_PREFIX = "#/components/schemas/"


def typescript() -> str:
    """Every model of the API, and the manifest of a deliverable, as TypeScript types in the order of their names."""
    document = openapi(open_runtime(STAGE, Settings()))
    manifest = Manifest.model_json_schema(mode="serialization", ref_template=_PREFIX + "{model}")
    models = {**document["components"]["schemas"], **manifest.pop("$defs"), "Manifest": manifest}
    return "\n".join([HEAD, *(_named(name, models[name]) for name in sorted(models))])


def _named(name: str, schema: Mapping[str, Any]) -> str:
    if "properties" not in schema:
        return f"export type {name} = {_type(schema)};\n"
    fields = "".join(f"  {field}: {_type(inner)};\n" for field, inner in schema["properties"].items())
    return f"export interface {name} {{\n{fields}}}\n"


def _type(schema: Mapping[str, Any]) -> str:
    """What a value looks like in an answer, where every field is present."""
    if reference := schema.get("$ref"):
        return str(reference).removeprefix(_PREFIX)
    if "const" in schema:
        return _literal(schema["const"])
    if "enum" in schema:
        return " | ".join(_literal(value) for value in schema["enum"])
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " | ".join(dict.fromkeys(_type(choice) for choice in choices))
    kind = schema.get("type")
    if kind == "array":
        if fixed := schema.get("prefixItems"):
            return f"[{', '.join(_type(item) for item in fixed)}]"
        inner = _type(schema["items"])
        return f"({inner})[]" if "|" in inner else f"{inner}[]"
    if kind == "object":
        held = schema.get("additionalProperties")
        names = _type(schema["propertyNames"]) if "$ref" in schema.get("propertyNames", {}) else None
        values = _type(held) if isinstance(held, Mapping) else "unknown"
        return f"Partial<Record<{names}, {values}>>" if names else f"Record<string, {values}>"
    return _PLAIN.get(str(kind), "unknown")


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


if __name__ == "__main__":
    TYPES.write_text(typescript())
