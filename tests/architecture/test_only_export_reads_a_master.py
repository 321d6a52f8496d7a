"""Whether a master exists decides when a clip can be delivered, and nothing else: nobody but export ever reads one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from contracts.catalog import entry_of
from contracts.events.v1.clip import ClipMastered
from contracts.events.v1.video import VideoMastered

SERVICES = Path(__file__).parents[2] / "services"
READERS = re.compile(r"\.master\b(?!_)|FrameSource\([^)]*master|[\"']master\.mkv")


@pytest.mark.parametrize("event", [VideoMastered, ClipMastered])
def test_masters_are_announced_to_export_and_shown_by_review(event):
    assert set(entry_of(event).consumers) == {"review", "export"}


@pytest.mark.parametrize("service", ["ingest", "scenes", "embed"])
def test_a_service_that_makes_no_master_and_cuts_from_none_does_not_know_of_any(service):
    for path in (SERVICES / service).rglob("*.py"):
        assert not READERS.search(path.read_text()), path


def test_review_knows_that_a_master_exists_and_never_where():
    for path in (SERVICES / "review").rglob("*.py"):
        # The domain keeps how far mastering came, as a mark; an object's reference it has no use for.
        found = [
            line for line in path.read_text().splitlines() if re.search(r"master(ed)?\.(master|index|key)\b", line)
        ]
        assert not found, (path, found)
