"""The work that ingest knows, put together from its pure parts and its table."""

from __future__ import annotations

from services.chassis.stage import Job
from services.ingest.domain import (
    FETCH_KIND,
    FETCH_LIMITS,
    FetchInput,
    FetchResult,
    failed,
    marker_of,
    started,
    succeeded,
)
from services.ingest.store import record_content

FETCH = Job(
    kind=FETCH_KIND,
    input=FetchInput,
    result=FetchResult,
    work="services.ingest.work:fetch_source",
    started=started,
    succeeded=succeeded,
    failed=failed,
    marker=marker_of,
    record=record_content,
    limits=FETCH_LIMITS,
)
