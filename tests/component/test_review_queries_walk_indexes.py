"""No query of the API reads a table from end to end: each is planned again with that forbidden, and must find an index."""

from __future__ import annotations

import json
import re
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import text

from contracts.events.v1.operations import DeadLetterRecorded, StageProgress
from services.chassis import db
from tests.support.review_events import accepted, detected, downloaded, proxied, work_events
from tests.support.review_service import review_service
from tests.support.reviewers import fill

PASSED_OVER = ("pg_tables", "EXPLAIN")
"""The catalogue of the database itself."""


HISTORY = (
    """INSERT INTO event_log (id, type, video_id, clip_id, body, traceparent, origin, happened_at, recorded_at)
        SELECT gen_random_uuid(), 'heaters.clip.created.v1', video_id, id, facts->'born', '', 'decided', now(), now() FROM clip""",
    """INSERT INTO edit (id, video_id, kind, by, command, clips, events, made_at, release_at)
        SELECT gen_random_uuid(), video_id, 'approve', 'ann', '{}', ARRAY[id], '{}', now(), now() FROM clip
        WHERE state <> 'pending_review'""",
    """INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, key, headers, created_at, published_at)
        SELECT gen_random_uuid(), 'clip', id::text, 'heaters.clip.created.v1', '', '', '[]', now(), now() FROM clip""",
)
"""What clips leave behind them: an event each, an edit of those decided, what was published."""


@pytest.fixture(scope="module")
def database(servers):
    return servers.settings("127.0.0.1:9")


def scans(plan):
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for child in plan.get("Plans", ()):
        yield from scans(child)


async def tour(review):
    """Every way of reading and editing that the API has."""
    get, post = review.http.get, review.http.post
    video_id = uuid4()
    await review.hear(accepted(video_id), downloaded(video_id), proxied(video_id), detected(video_id))
    video = await review.video(video_id)
    first, second, third = video["clips"]
    for command, clips, more in (
        ("note", [first], {"note": "x"}),
        ("tag", [second], {"add": ["city"]}),
        ("split", [third], {"at": 250}),
    ):
        assert (await review.edit(video_id, command, clips, idempotency_key=command, **more)).status_code == 200
    made = (await post(f"/api/videos/{video_id}/rest", json={"command": "approve"})).json()["edit"]
    assert (await post(f"/api/edits/{made['id']}/undo")).status_code == 200
    assert (await post(f"/api/edits/{made['id']}/redo")).status_code == 200
    batch = {"command": "archive", "clips": [{"id": first["id"], "version": 5}]}
    assert (await post("/api/batch", json=batch)).json()["results"][0]["problem"] is None
    about = {"video_id": video_id, "clip_id": second["id"]}
    await review.hear(
        StageProgress(**about, stage="export", kind="render", work_id=uuid4(), done=1, total=2, fraction=0.5),
        work_events(second["id"], video_id=video_id)["exported"],
        DeadLetterRecorded(
            dead_letter_id=(letter := uuid4()),
            consumer="review",
            topic="t",
            partition=0,
            offset=1,
            code="message.bad_header",
            reason="x",
            recorded_at=review.clock(),
        ),
    )
    paths = [
        f"/api/videos/{video_id}",
        f"/api/clips?clip={first['id']}&clip={second['id']}",
        f"/api/videos/{video_id}/edits",
        f"/api/videos/{video_id}/overview",
        f"/api/videos/{video_id}/trace",
        f"/api/videos/{video_id}/interchange/csv",
        f"/api/clips/{second['id']}",
        f"/api/clips/{second['id']}/edits",
        f"/api/clips/{second['id']}/trace",
        f"/api/edits/{made['id']}",
        f"/api/dead-letters/{letter}",
        "/api/ops/stages",
        "/api/ops/running",
        "/api/ops/failures",
        "/api/tokens",
        "/api/audit",
        f"/api/events?video={video_id}",
        "/api/events?after=1-1",
        "/api/dead-letters?state=open",
        "/api/deliverables",
    ]
    paths += [f"/api/training-set{query}" for query in ("", f"?video={video_id}", f"?clip={second['id']}", "?tag=city")]
    paths += [f"/api/videos?limit=1{state}" for state in ("", "&state=ready")]
    paths += [
        f"/api/clips?limit=1&order={order}{more}"
        for order in ("oldest", "uncertain", "shortest", "longest")
        for more in (
            "",
            "&state=pending_review",
            "&state=pending_review&state=review_skipped",
            f"&video={video_id}",
            "&min_frames=2&max_frames=90",
            "&state=review_approved&tag=city",
        )
    ]
    paths.append(f"/api/clips?limit=1&video={video_id}&state=pending_review")
    for path in paths:
        answer = await get(path)
        assert answer.status_code == 200, (path, answer.text)
        if (following := answer.json().get("next") if "json" in answer.headers["content-type"] else None) is not None:
            name = "after" if path.startswith("/api/events") else "cursor"
            page = await get(path, params={**dict(answer.request.url.params), name: following})
            assert page.status_code == 200, (path, page.text)


def with_names(statement):
    """A statement with numbered places as the driver spells it, with named ones."""
    spelt = statement.query.decode().replace("%", "%%")
    return re.sub(r"\$(\d+)", lambda place: f"%({statement.names[int(place[1]) - 1]})s", spelt)


async def asked_of(review, monkeypatch) -> dict[str, dict]:
    """Every statement that reads and was sent to the database during the tour, with the values it was first sent with."""
    asked: dict[str, dict] = {}
    execute, execute_many = psycopg.AsyncCursor.execute, psycopg.AsyncCursor.executemany
    in_one_go = db.in_one_go

    def note(statement, parameters):
        spelt = statement.decode() if isinstance(statement, bytes) else statement
        if isinstance(spelt, str) and spelt.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            asked.setdefault(spelt, parameters)

    async def noted(cursor, statement, parameters=None, **more):
        note(statement, parameters)
        return await execute(cursor, statement, parameters, **more)

    async def noted_many(cursor, statement, parameters, **more):
        note(statement, parameters[0])
        return await execute_many(cursor, statement, parameters, **more)

    async def noted_together(driver, steps):
        for statement, values in steps:
            if values:
                note(with_names(statement), values[0])
        return await in_one_go(driver, steps)

    with monkeypatch.context() as patch:
        patch.setattr(db, "in_one_go", noted_together)
        patch.setattr(psycopg.AsyncCursor, "execute", noted)
        patch.setattr(psycopg.AsyncCursor, "executemany", noted_many)
        await tour(review)
    assert len(asked) > 60
    return {
        statement: values for statement, values in asked.items() if not any(word in statement for word in PASSED_OVER)
    }


async def plan_of(connection, statement, parameters):
    plan = (await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)).scalar_one()
    return (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]


async def test_no_query_reads_a_table_from_end_to_end(database, tmp_path, monkeypatch):
    async with review_service(database, tmp_path) as review:
        asked = await asked_of(review, monkeypatch)
        found = {}
        async with review.runtime.engine.connect() as connection:
            await connection.execute(text("SET enable_seqscan = off"))
            for statement, parameters in asked.items():
                if tables := set(scans(await plan_of(connection, statement, parameters))):
                    found[statement] = tables
        assert not found


def walks(plan, small, is_bounded=False):
    """Tables that are read from end to end: without an index, or along one without a place in it and without a limit.

    ``small`` are indexes of some rows only, such as those not published yet: walking one reads just these.
    """
    is_bounded = is_bounded or plan["Node Type"] == "Limit" or plan.get("Index Name") in small
    is_index_walk = plan["Node Type"] in ("Index Scan", "Index Only Scan") and "Index Cond" not in plan
    if plan["Node Type"] == "Seq Scan" or (is_index_walk and not is_bounded):
        yield plan["Relation Name"]
    for child in plan.get("Plans", ()):
        yield from walks(child, small, is_bounded)


@pytest.mark.scaled
async def test_at_size_no_query_is_planned_to_read_a_large_table_from_end_to_end(servers, tmp_path, monkeypatch, scale):
    async with review_service(servers.settings("127.0.0.1:9"), tmp_path) as review:
        await fill(review.runtime.engine, scale(20_000, 200_000))
        async with review.runtime.engine.begin() as connection:
            await connection.execute(text("SET LOCAL statement_timeout = 0"))
            for statement in HISTORY:
                await connection.execute(text(statement))
        asked = await asked_of(review, monkeypatch)
        found = {}
        async with review.runtime.engine.connect() as connection:
            await connection.execute(text("ANALYZE"))
            large = set(
                (await connection.execute(text("SELECT relname FROM pg_class WHERE reltuples > 5000"))).scalars()
            )
            assert large >= {"clip", "event_log", "edit", "outbox"}
            small = set(
                (
                    await connection.execute(
                        text("SELECT indexrelid::regclass::text FROM pg_index WHERE indpred IS NOT NULL")
                    )
                ).scalars()
            )
            for statement, parameters in asked.items():
                if tables := large & set(walks(await plan_of(connection, statement, parameters), small)):
                    found[statement] = tables
        assert not found
