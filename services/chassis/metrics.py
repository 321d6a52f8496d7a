"""Every metric of the chassis, declared once, with its unit and meaning, for Prometheus to scrape at ``/metrics``."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

DURATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, float("inf"))
EDIT_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, float("inf"))
HOP_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, float("inf"))

EVENTS_ACCEPTED = Counter("heaters_events_accepted_total", "Events handled, by type.", ["type"], registry=REGISTRY)
EVENTS_DUPLICATE = Counter(
    "heaters_events_duplicate_total", "Events that had already been handled, by type.", ["type"], registry=REGISTRY
)
DEAD_LETTERS = Counter(
    "heaters_dead_letters_total", "Messages that could not be used, by reason code.", ["code"], registry=REGISTRY
)
HOP_SECONDS = Histogram(
    "heaters_hop_seconds",
    "Seconds from an event's time (its outbox row) to the start of its handler.",
    ["type"],
    buckets=HOP_BUCKETS,
    registry=REGISTRY,
)
EVENTS_PUBLISHED = Counter("heaters_events_published_total", "Outbox rows published.", registry=REGISTRY)
OUTBOX_WAITING = Gauge("heaters_outbox_waiting", "Outbox rows due and not yet published.", registry=REGISTRY)
OUTBOX_AGE_SECONDS = Gauge("heaters_outbox_age_seconds", "Age of the oldest such row, in seconds.", registry=REGISTRY)
WORK_DEPTH = Gauge("heaters_work_depth", "Pieces of work, by kind and state.", ["kind", "state"], registry=REGISTRY)
WORK_AGE_SECONDS = Gauge(
    "heaters_work_age_seconds",
    "Age of the oldest waiting piece of work, in seconds, by kind.",
    ["kind"],
    registry=REGISTRY,
)
WORK_SECONDS = Histogram(
    "heaters_work_seconds",
    "Wall seconds of one go at a piece of work, by kind and outcome.",
    ["kind", "outcome"],
    buckets=DURATION_BUCKETS,
    registry=REGISTRY,
)
QUEUE_SECONDS = Histogram(
    "heaters_queue_seconds",
    "Seconds a piece of work waited for a runner, by kind.",
    ["kind"],
    buckets=DURATION_BUCKETS,
    registry=REGISTRY,
)
MEDIA_SECONDS = Counter(
    "heaters_media_seconds_total",
    "Seconds of media that finished work went through, by kind; beside heaters_work_seconds_sum it tells the throughput.",
    ["kind"],
    registry=REGISTRY,
)
EDIT_SECONDS = Histogram(
    "heaters_edit_seconds",
    "Seconds of an edit's transaction, by what was asked for: what a virtual edit costs, beside heaters_work_seconds of export.",
    ["edit"],
    buckets=EDIT_BUCKETS,
    registry=REGISTRY,
)
CONSUMER_LAG = Gauge(
    "heaters_consumer_lag",
    "Messages that lie in a topic's partitions unread by this consumer.",
    ["topic"],
    registry=REGISTRY,
)
LOOP_BEAT = Gauge("heaters_loop_beat_seconds", "Unix time at which each loop last turned.", ["loop"], registry=REGISTRY)
