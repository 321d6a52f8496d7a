"""The work that scenes knows, put together from its pure parts."""

from __future__ import annotations

from datetime import timedelta

from services.chassis.stage import Job, Limits
from services.scenes.domain import DetectInput, DetectResult, failed, marker_of, started, succeeded

DETECT = Job(
    kind="detect",
    input=DetectInput,
    result=DetectResult,
    work="services.scenes.work:detect_scenes",
    started=started,
    succeeded=succeeded,
    failed=failed,
    marker=marker_of,
    media=lambda order, _: order.duration,
    limits=Limits(wall=timedelta(hours=1)),
)
