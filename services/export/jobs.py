"""The work that export declares: rendering approved clips, a video's at once, and deleting what was made of archived ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from contracts.events.base import Event
from contracts.values import Failure
from services.chassis.stage import Job, Limits
from services.export.domain import (
    CleanInput,
    CleanResult,
    ExportInput,
    ExportResult,
    cleaned,
    failed,
    marker,
    started,
    succeeded,
)


def _unannounced(_order: CleanInput, _run: int) -> Sequence[Event]:
    return ()


def _not_cleaned(_order: CleanInput, _run: int, _failure: Failure) -> Sequence[Event]:
    # No fact says that cleaning failed: the failed work stays in the ledger, where an operator sees and resumes it.
    return ()


EXPORT = Job(
    kind="export",
    input=ExportInput,
    result=ExportResult,
    work="services.export.work:export_clips",
    started=started,
    succeeded=succeeded,
    failed=failed,
    marker=marker,
    settle="services.export.work:settled",
    batch=True,
    batch_limit=200,
    media=lambda order, _: len(order.frames) / order.footage.rate,
    limits=Limits(wall=timedelta(hours=12), memory_bytes=6_000_000_000),
)

CLEAN = Job(
    kind="clean",
    input=CleanInput,
    result=CleanResult,
    work="services.export.work:clean_clip",
    started=_unannounced,
    succeeded=cleaned,
    failed=_not_cleaned,
    # Beside the clip's folder, which the work empties.
    marker=lambda order: f"cleaned/{order.clip_id}/{order.version}.json",
    limits=Limits(wall=timedelta(hours=1), memory_bytes=1_000_000_000),
    priority=10,
)
