"""When a video or clip counts as stalled: it has stood in a state that moves by itself for longer than that takes.

States in which a person, an operator or nothing at all is waited for are not listed and never stall.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

DEFAULT_PATIENCE: Mapping[str, timedelta] = {
    "new": timedelta(minutes=10),
    "downloading": timedelta(minutes=30),
    "downloaded": timedelta(minutes=30),
    "preprocessing": timedelta(hours=1),
    "preprocessed": timedelta(minutes=30),
    "detecting_scenes": timedelta(minutes=30),
    "review_approved": timedelta(hours=2),
    "exporting": timedelta(hours=1),
    "exported": timedelta(minutes=30),
    "keyframing": timedelta(minutes=30),
    "keyframed": timedelta(minutes=30),
    "embedding": timedelta(minutes=30),
    "review_archived": timedelta(minutes=30),
}
"""Longest time without a change of state or any progress, by state."""

WAITS_FOR: Mapping[str, str] = {
    "new": "ingest",
    "downloading": "ingest",
    "downloaded": "preprocess",
    "preprocessing": "preprocess",
    "preprocessed": "scenes",
    "detecting_scenes": "scenes",
    "review_approved": "export",
    "exporting": "export",
    "exported": "embed",
    "keyframing": "embed",
    "keyframed": "embed",
    "embedding": "embed",
    "review_archived": "export",
}
"""The service that should move a video or clip on, by state."""


def deadlines(patience: Mapping[str, timedelta], now: datetime) -> dict[str, datetime]:
    """For each state, the moment before which its last sign of life must lie for it to count as stalled."""
    return {state: now - patience.get(state, longest) for state, longest in DEFAULT_PATIENCE.items()}


def message_of(kind: str, state: str, since: datetime) -> str:
    """What to tell a person of a stalled video or clip."""
    service = WAITS_FOR[state]
    return (
        f"The {kind} has been {state} since {since.isoformat(timespec='seconds')} without a sign of life. "
        f"Look at the {service} service and its failed work; then retry."
    )
