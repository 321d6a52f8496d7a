"""Writes ``.env.example`` from the settings themselves, so that each has one home.

python -m console.settings_file > .env.example
"""

from __future__ import annotations

import importlib
import tempfile
import textwrap
from datetime import timedelta
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from console.home import SERVICES
from services.chassis.settings import PREFIX, ChassisSettings

HEAD = """\
# Settings of Heaters, each with its default. Copy this file to .env and uncomment what you change.
# A secret may be read from a file instead: HEATERS_<NAME>_FILE=/path/to/secret.
# Without addresses of other servers, ./heaters starts its own and chooses their ports.

# Of the embedded stack

# Where everything is kept. [default: .heaters in this folder]
# HEATERS_DATA=

# Where ./heaters keeps its virtual environment. [default: .venv in this folder]
# HEATERS_VENV=

# Package index that holds torch for processors alone, where pip's own indexes do not.
# HEATERS_TORCH_INDEX=

# Which services it runs, for example "ingest,review"; "none" starts the servers alone. [default: all]
# HEATERS_STACK_SERVICES=
"""


def text() -> str:
    """The file's whole text."""
    parts = [HEAD, _section("Of every service", ChassisSettings, set())]
    shared = set(ChassisSettings.model_fields)
    for service in sorted(SERVICES):
        kind = importlib.import_module(f"services.{service}.settings").Settings
        if set(kind.model_fields) - shared:
            parts.append(_section(f"Of {service}", kind, shared))
    return "\n".join(parts)


def _section(title: str, kind: type[ChassisSettings], without: set[str]) -> str:
    lines = [f"# {title}", ""]
    for name, field in kind.model_fields.items():
        if name in without:
            continue
        lines += textwrap.wrap(field.description or "", 118, initial_indent="# ", subsequent_indent="# ")
        lines += [f"# {PREFIX}{name.upper()}={_spell(field)}", ""]
    return "\n".join(lines)


def _spell(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list | dict):
        import json

        return json.dumps(value, default=str)
    return str(value).replace(tempfile.gettempdir(), "/tmp") if value is not None else ""  # noqa: S108 - an example.


if __name__ == "__main__":
    print(text(), end="")
