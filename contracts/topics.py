"""The Kafka topics, one per aggregate: types that need a shared order share a topic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Topic:
    """A topic and how it is created. Names hold no dots.

    The ``warden`` is the one consumer that records what nobody can decode, so that garbage makes one dead letter, not one
    for each consumer.
    """

    name: str
    partitions: int
    retention: timedelta | None
    purpose: str
    warden: str = "review"


INGEST_REQUESTS = Topic(
    "heaters-ingest-requests", 6, timedelta(days=14), "Requests to ingest a video; any system may publish.", "ingest"
)
VIDEOS = Topic("heaters-videos", 6, timedelta(days=14), "Facts about source videos, keyed by video.")
CLIPS = Topic("heaters-clips", 6, timedelta(days=14), "Facts about clips, keyed by video.")
PROGRESS = Topic("heaters-progress", 3, timedelta(hours=6), "Progress of long work, and what stalled; lossy.")
DEAD_LETTERS = Topic(
    "heaters-dead-letters", 1, timedelta(days=90), "Messages that no consumer can use, with the reason."
)
GENERATION = Topic("heaters-generation", 1, None, "One record that names the life of the broker's log.")

TOPICS = (INGEST_REQUESTS, VIDEOS, CLIPS, PROGRESS, DEAD_LETTERS, GENERATION)
