"""The work that preprocess declares: review media first, masters of approved clips next, masters of whole videos last."""

from __future__ import annotations

from datetime import timedelta

from services.chassis.stage import Job, Limits
from services.preprocess.domain import (
    MasterInput,
    MasterResult,
    PartInput,
    PartResult,
    ProxyInput,
    ProxyResult,
    marker,
    master_failed,
    master_started,
    mastered,
    part_failed,
    part_mastered,
    part_started,
    proxied,
    proxy_failed,
    proxy_started,
)

PROXY = Job(
    kind="proxy",
    input=ProxyInput,
    result=ProxyResult,
    work="services.preprocess.work:make_proxy",
    started=proxy_started,
    succeeded=proxied,
    failed=proxy_failed,
    marker=marker,
    limits=Limits(wall=timedelta(hours=12), memory_bytes=4_000_000_000),
    media=lambda _, result: result.duration,
    # Review waits for this and for no master, of whichever video.
    priority=10,
)

MASTER = Job(
    kind="master",
    input=MasterInput,
    result=MasterResult,
    work="services.preprocess.work:make_lossless_master",
    started=master_started,
    succeeded=mastered,
    failed=master_failed,
    marker=marker,
    media=lambda _, result: result.duration,
    limits=Limits(wall=timedelta(hours=48), memory_bytes=4_000_000_000),
)

PART = Job(
    kind="part",
    input=PartInput,
    result=PartResult,
    work="services.preprocess.work:make_masters_of_clips",
    started=part_started,
    succeeded=part_mastered,
    failed=part_failed,
    marker=marker,
    batch=True,
    media=lambda order, _: len(order.frames) / order.media.video.rate,
    limits=Limits(wall=timedelta(hours=24), memory_bytes=4_000_000_000),
    # Somebody waits for the clip; nobody waits for a particular whole master.
    priority=5,
)
