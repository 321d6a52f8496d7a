"""The table of media's errors and findings, the code that uses them, and the page that tells of them are one."""

from __future__ import annotations

import re
from pathlib import Path

from services.media.error_codes import ERRORS, FINDINGS, page

ROOT = Path(__file__).parents[2]


def test_every_code_that_the_house_uses_is_in_the_table() -> None:
    said = set()
    for folder in ("media", "ingest", "preprocess", "scenes", "export", "embed"):
        for path in (ROOT / "services" / folder).rglob("*.py"):
            if path.name != "error_codes.py":
                said |= set(re.findall(r"\"(media\.[a-z_]+)\"", path.read_text()))
    assert said - {"media.error"} == {each.code for each in (*ERRORS, *FINDINGS)}


def test_the_page_is_the_table() -> None:
    assert (ROOT / "docs" / "errors.md").read_text() == page(), "python -m services.media.error_codes > docs/errors.md"
