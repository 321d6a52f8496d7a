"""The work that ingest knows, put together from its pure parts and its table."""

from __future__ import annotations

from datetime import timedelta

from services.chassis.stage import Job, Limits
from services.ingest.domain import FetchInput, FetchResult, failed, marker_of, started, succeeded
from services.ingest.store import record_content

FETCH = Job(
    kind="fetch",
    input=FetchInput,
    result=FetchResult,
    work="services.ingest.work:fetch_source",
    started=started,
    succeeded=succeeded,
    failed=failed,
    marker=marker_of,
    record=record_content,
    media=lambda _, result: result.media.duration if result.media else None,
    # A slow server may take a day over a large file.
    limits=Limits(wall=timedelta(hours=24)),
)
