"""Review as it runs: events off a real broker, clips and decisions back onto it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest

from contracts.envelope import from_kafka
from contracts.topics import CLIPS, DEAD_LETTERS, VIDEOS
from services.chassis import health, migrations
from services.chassis.app import run_loops
from services.chassis.runtime import open_runtime
from services.review.app import STAGE
from services.review.settings import Settings
from tests.support import wire
from tests.support.review_events import accepted, detected, downloaded, proxied
from tests.support.services import publish

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def review(servers, broker, tmp_path):
    """A running review service and a client of its port."""
    settings = Settings(
        **servers.settings(broker.address),
        temp_dir=tmp_path,
        poll_interval="PT1S",
        generation_interval="PT0.3S",
        review_undo_window="PT1.5S",
    )
    await asyncio.to_thread(migrations.upgrade, settings.database_url.get_secret_value(), "review")
    runtime = open_runtime(STAGE, settings)
    listening = health.bind(settings, has_api=True)
    stop = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(health.serve(runtime, listening))
        loops = asyncio.create_task(run_loops(runtime, stop))
        host, port = listening.getsockname()[:2]
        yield await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=10))
        stop.set()
        await loops


async def shown(review, path, until):
    async with asyncio.timeout(20):
        while True:
            answer = await review.get(path)
            if answer.status_code == 200 and until(answer.json()):
                return answer.json()
            await asyncio.sleep(0.1)


def told_of(records, clip_id):
    envelopes = [from_kafka(record.value, record.headers) for record in records]
    return [(e.type.split(".")[-2], e.traceparent.split("-")[1]) for e in envelopes if str(e.event.clip_id) == clip_id]


async def test_a_video_on_the_wire_becomes_clips_on_the_wire_and_approvals_follow_after_the_window(review, broker):
    video_id = uuid4()
    await publish(
        broker.address,
        detected(video_id),
        proxied(video_id),
        downloaded(video_id),
        accepted(video_id),
        traceparent=TRACE,
    )
    video = await shown(review, f"/api/videos/{video_id}", lambda v: v["state"] == "ready" and v["source"])
    first, second, _ = video["clips"]

    async def edit(command, clip):
        body = {"command": command, "clips": [clip["id"]], "versions": [clip["version"]]}
        return (await review.post(f"/api/videos/{video_id}/edits", json=body)).json()["edit"]

    kept, taken_back = await edit("approve", first), await edit("skip", second)
    assert (await review.post(f"/api/edits/{taken_back['id']}/undo")).status_code == 200
    records = await wire.read_all(
        broker.address,
        CLIPS.name,
        until=lambda found: any("approved" in wire.type_of(record) for record in found),
    )
    assert datetime.now(UTC) >= datetime.fromisoformat(kept["release_at"])
    assert told_of(records, first["id"]) == [("created", first["trace_id"]), ("approved", first["trace_id"])]
    assert told_of(records, second["id"]) == [("created", second["trace_id"])]
    undone = await review.post(f"/api/edits/{kept['id']}/undo")
    assert undone.json()["clips"][0]["state"] == "pending_review"
    records = await wire.read_all(
        broker.address,
        CLIPS.name,
        until=lambda found: any("edit_undone" in wire.type_of(record) for record in found),
    )
    assert [name for name, _ in told_of(records, first["id"])] == ["created", "approved", "edit_undone"]


async def test_garbage_becomes_a_dead_letter_that_an_operator_can_replay(review, broker):
    async with wire.producer(broker.address) as producer:
        await producer.send_and_wait(VIDEOS.name, b"\xff garbage", b"k", headers=[("ce_id", b"\xff")])
    listed = await shown(review, "/api/dead-letters", lambda page: page["dead_letters"])
    letter = listed["dead_letters"][0]
    assert letter["topic"] == VIDEOS.name
    assert (await review.post(f"/api/dead-letters/{letter['id']}/replay")).json()["state"] == "replayed"
    again = await wire.read_all(broker.address, VIDEOS.name, until=lambda found: len(found) >= 2)
    assert [(record.key, record.value, tuple(record.headers)) for record in again] == [
        (b"k", b"\xff garbage", (("ce_id", b"\xff"),))
    ] * 2
    letters = await wire.read_all(broker.address, DEAD_LETTERS.name, until=lambda found: len(found) >= 2)
    assert json.loads(letters[0].value)["consumer"] == "review"


async def test_health_and_page_answer_on_the_same_port(review):
    await shown(review, "/health/ready", lambda answer: answer["ready"])
    page = await review.get("/")
    assert page.status_code == 200
    assert "Heaters" in page.text
