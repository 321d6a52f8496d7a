"""What operators see and do: stages, running and failed work, timelines, searches passed on."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from services.chassis import migrations
from tests.support.review_events import accepted, detected, proxied
from tests.support.review_service import review_service


@pytest.fixture(scope="module")
def database(servers):
    settings = servers.settings("127.0.0.1:9")
    for service in ("export", "embed"):
        migrations.upgrade(settings["database_url"], service)
    return settings


@pytest.fixture
async def review(database, tmp_path):
    async with review_service(database, tmp_path) as review:
        yield review


async def put_work(review, service, state, *, minutes=0, kind="render", seconds=4.0, code="export.disk_full"):
    work_id = uuid4()
    done = review.clock.now - timedelta(minutes=minutes)
    async with review.runtime.engine.begin() as connection:
        await connection.execute(
            text(f"""
                INSERT INTO {service}.work (id, kind, dedupe_key, video_id, clip_id, input, state, lease_token, lease_until,
                    error, created_at, started_at, finished_at, attempts)
                VALUES (:id, :kind, :key, :video, :clip, '{{}}', :state,
                    CASE WHEN :state = 'running' THEN gen_random_uuid() END, now(),
                    CASE WHEN :state = 'failed' THEN jsonb_build_object('code', cast(:code AS text), 'message', 'Free some space.') END,
                    :started, CASE WHEN :state <> 'waiting' THEN cast(:started AS timestamptz) END,
                    CASE WHEN :state IN ('done', 'failed') THEN cast(:done AS timestamptz) END, 5)
            """),
            {
                "id": work_id,
                "kind": kind,
                "key": str(work_id),
                "video": uuid4(),
                "clip": uuid4(),
                "state": state,
                "code": code,
                "started": done - timedelta(seconds=seconds),
                "done": done,
            },
        )
    return str(work_id)


async def test_stages_tell_depth_age_speed_and_failures(review):
    await put_work(review, "export", "waiting", seconds=90)
    await put_work(review, "export", "waiting")
    await put_work(review, "export", "running")
    for seconds in (2.0, 4.0, 6.0):
        await put_work(review, "export", "done", seconds=seconds)
    await put_work(review, "export", "done", minutes=120)
    await put_work(review, "export", "failed", minutes=5)
    await put_work(review, "export", "failed", minutes=500)
    found = (await review.http.get("/api/ops/stages")).json()
    (line,) = [stage for stage in found["stages"] if (stage["service"], stage["kind"]) == ("export", "render")]
    assert (line["waiting"], line["running"], line["failed"], line["failures_last_hour"]) == (2, 1, 2, 1)
    assert 90 <= line["oldest_seconds"] < 100
    assert (line["done_last_hour"], line["seconds_p50"]) == (3, 4.0)
    assert set(found["unpublished"]) == {"embed", "export", "review"}
    running = (await review.http.get("/api/ops/running")).json()["running"]
    assert [piece["kind"] for piece in running] == ["render"]


async def test_failed_work_is_listed_resumed_and_given_up(review):
    first = await put_work(review, "embed", "failed", minutes=1, kind="embed", code="embed.no_model")
    second = await put_work(review, "export", "failed", minutes=2, kind="one")
    third = await put_work(review, "export", "failed", minutes=3, kind="two")
    seen, cursor = [], None
    while True:
        query = {"limit": 1, **({"cursor": cursor} if cursor else {})}
        page = (await review.http.get("/api/ops/failures", params=query)).json()
        seen += page["failures"]
        if (cursor := page["next"]) is None:
            break
    ids = [failure["work_id"] for failure in seen]
    assert [each for each in ids if each in (first, second, third)] == [first, second, third]
    assert (seen[0]["code"], seen[0]["message"], seen[0]["attempts"]) == ("embed.no_model", "Free some space.", 5)
    answer = await review.http.post(f"/api/ops/failures/embed/{first}/retry")
    assert answer.json() == {"work_id": first, "service": "embed", "state": "waiting"}
    rows = await review.rows("SELECT state, run, attempts, error FROM embed.work WHERE id = :id", id=first)
    assert rows == [{"state": "waiting", "run": 2, "attempts": 0, "error": None}]
    assert (await review.http.post(f"/api/ops/failures/export/{second}/discard")).json()["state"] == "cancelled"
    for path in (
        f"export/{second}/retry",
        f"embed/{third}/retry",
        f"nobody/{third}/retry",
        f"export/{uuid4()}/discard",
    ):
        answer = await review.http.post(f"/api/ops/failures/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "review.unknown_work")
    assert (await review.http.post("/api/ops/failures/retry", json={"service": "export"})).json()["resumed"] >= 1
    assert (await review.http.post("/api/ops/failures/retry")).json()["resumed"] == 0
    left = (await review.http.get("/api/ops/failures")).json()["failures"]
    assert not [failure for failure in left if failure["work_id"] in (first, second, third)]


async def test_a_clips_timeline_is_drawn_from_stored_spans(review):
    video_id = uuid4()
    await review.hear(accepted(video_id), proxied(video_id), detected(video_id))
    clip = (await review.video(video_id))["clips"][0]
    await review.runtime.telemetry.flush(review.runtime.engine)
    found = (await review.http.get(f"/api/clips/{clip['id']}/trace")).json()
    assert found["trace_id"] == clip["trace_id"]
    names = [line["name"] for line in found["lines"]]
    assert "clip" in names
    assert all(line["start"] <= line["end"] <= found["seconds"] for line in found["lines"])
    assert (await review.http.get(f"/api/videos/{video_id}/trace")).status_code == 200
    assert (await review.http.get(f"/api/clips/{uuid4()}/trace")).status_code == 404


async def test_searches_are_passed_on_path_for_path(database, tmp_path):
    async with review_service(database, tmp_path) as review:
        answer = await review.http.get("/api/search", params={"q": "rabbit"})
        assert (answer.status_code, answer.json()["code"]) == (503, "search.unavailable")
    async with review_service(database, tmp_path, review_search_url="http://127.0.0.1:9") as review:
        answer = await review.http.get("/api/search/models")
        assert (answer.status_code, answer.json()["code"]) == (503, "search.unavailable")
    seen = []

    async def search(scope, receive, send):
        body = (await receive()).get("body", b"")
        seen.append((scope["method"], scope["path"], scope["query_string"], body))
        start = {
            "type": "http.response.start",
            "status": 422,
            "headers": [(b"content-type", b"application/problem+json")],
        }
        await send(start)
        await send({"type": "http.response.body", "body": b'{"code":"request.invalid"}'})

    async with review_service(database, tmp_path, review_search_url="http://search/") as review:
        client = next(
            close.__self__ for close in review.runtime.closing if isinstance(close.__self__, httpx.AsyncClient)
        )
        client._transport = httpx.ASGITransport(search)
        client._mounts = {}
        answer = await review.http.get("/api/search", params=[("q", "a b"), ("tag", "x"), ("tag", "y")])
        assert (answer.status_code, answer.json()["code"]) == (422, "request.invalid")
        await review.http.post(
            "/api/search/image?limit=3", content=b"jpeg" * 400_000, headers={"Content-Type": "image/jpeg"}
        )
        clip = uuid4()
        await review.http.get(f"/api/search/similar/{clip}")
    assert [each[:3] for each in seen] == [
        ("GET", "/api/search", b"q=a+b&tag=x&tag=y"),
        ("POST", "/api/search/image", b"limit=3"),
        ("GET", f"/api/search/similar/{clip}", b""),
    ]
    assert len(seen[1][3]) == 1_600_000
