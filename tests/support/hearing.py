"""A stage's handlers on a real database, without a broker: what they hear, and the work that they queue."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from uuid import UUID

from sqlalchemy import text

from contracts.events.v1.video import Proxy, VideoProxied
from contracts.values import MasteringPolicy, MediaFacts, ObjectRef, Options, VideoFacts
from services.chassis import migrations
from services.chassis.runtime import open_runtime

TRACE = f"00-{'ab' * 16}-{'cd' * 8}-01"


def migrated(stage, servers):
    """Settings of a stage whose schema lies in a database of its own."""
    settings = stage.settings(**servers.settings("127.0.0.1:9"))
    migrations.upgrade(settings.database_url.get_secret_value(), stage.name)
    return settings


@contextlib.asynccontextmanager
async def opened(stage, settings):
    runtime = open_runtime(stage, settings)
    try:
        yield runtime
    finally:
        await runtime.engine.dispose()


async def hear(runtime, event, traceparent=""):
    async with runtime.transaction() as ledger:
        ledger.traceparent = traceparent
        await runtime.stage.routes.handlers[type(event)](event, ledger)


async def work(runtime, video):
    async with runtime.transaction() as ledger:
        query = text("SELECT * FROM work WHERE video_id = :video ORDER BY kind, dedupe_key")
        return (await ledger.session.execute(query, {"video": video})).all()


def ref(name):
    return ObjectRef(key=name, size=1, sha256="a" * 64)


def proxied(video, policy=MasteringPolicy.EAGER):
    facts = VideoFacts(
        stream_index=0, codec="h264", width=2, height=2, pixel_format="yuv420p", rate=Fraction(25),
        timebase=Fraction(1, 25), packets=100,
    )  # fmt: skip
    return VideoProxied(
        video_id=video, title="t", options=Options(mastering=policy), source=ref("s"), frames=100, rate=Fraction(25),
        duration=Fraction(4), index=ref("i"), features=ref("f"),
        proxy=Proxy(key="p", size=1, sha256="b" * 64, codec="avc1.42c01f", width=48, height=28),
        media=MediaFacts(container="mp4", duration=Fraction(4), video=facts),
    )  # fmt: skip


def said(video, clip, version):
    return {"video_id": video, "clip_id": clip, "edit_id": UUID(int=version), "version": version, "by": "me"}
