"""Many clips and many reviewers: rows made by SQL, and people who decide at a steady pace, timed inside the service."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import defaultdict
from pathlib import Path

import httpx
import uvicorn
from sqlalchemy import text

CLIPS_OF_A_VIDEO = 1_000

_VIDEOS = """
    INSERT INTO video (id, facts, state, title, tags, frames, rate, duration, mastered, trace_id, created_at, state_since,
        changed_at)
    SELECT id, jsonb_build_object('video_id', id), 'ready', 'Film ' || n, '{}', 100 * :clips, '24/1', '100/1', true, '',
        now() - n * interval '1 second', now(), now()
    FROM (SELECT n, md5('video' || n)::uuid AS id FROM generate_series(1, cast(:videos AS int)) AS n) AS made
"""
_CLIPS = """
    INSERT INTO clip (id, video_id, slot, start_frame, end_frame, occupies, facts, state, version, origin, parents, children,
        grouped_with, tags, confidence, is_virtual, traceparent, created_at, state_since, changed_at)
    SELECT made.id, video.id, int8range((video.ordinal << 26) + made.start, (video.ordinal << 26) + made.start + made.length),
        made.start, made.start + made.length, true,
        jsonb_build_object('clip_id', made.id, 'video_id', video.id, 'born', jsonb_build_object(
            'video_id', video.id, 'clip_id', made.id, 'origin', 'detected', 'confidence', made.confidence,
            'frames', jsonb_build_object('start', made.start, 'end', made.start + made.length))),
        CASE WHEN made.n % 5 < 3 THEN 'pending_review' WHEN made.n % 5 = 3 THEN 'review_skipped' ELSE 'embedded' END,
        1, 'detected', '{}', '{}', '{}', ARRAY['tag' || made.n % 50], made.confidence, true, '',
        video.created_at, now(), now()
    FROM video, LATERAL (
        SELECT n, md5(video.id::text || n)::uuid AS id, n * 100 AS start, 1 + (n * 37) % 100 AS length,
            ((n * 7919) % 1000) / 1000.0::float AS confidence
        FROM generate_series(0, :clips - 1) AS n
    ) AS made
    WHERE video.id = ANY(:ids)
"""


_INDEXES = """
    SELECT bound.conname, pg_get_constraintdef(bound.oid) AS constrained, index.relname, pg_get_indexdef(index.oid) AS indexed
    FROM pg_index JOIN pg_class AS index ON index.oid = pg_index.indexrelid
    LEFT JOIN pg_constraint AS bound ON bound.conindid = index.oid AND bound.conrelid = pg_index.indrelid
    WHERE pg_index.indrelid = 'clip'::regclass AND NOT pg_index.indisprimary
"""


async def fill(engine, clips: int) -> None:
    """That many clips, a thousand in each video, three fifths of them waiting. Indexes are made when the rows are there."""
    videos = max(20, clips // CLIPS_OF_A_VIDEO)
    each = clips // videos
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL statement_timeout = 0"))
        await connection.execute(text("SET LOCAL maintenance_work_mem = '256MB'"))
        await connection.execute(text(_VIDEOS), {"videos": videos, "clips": each})
        ids = list((await connection.execute(text("SELECT id FROM video"))).scalars())
        indexes = (await connection.execute(text(_INDEXES))).all()
        for index in indexes:
            drop = (
                f"ALTER TABLE clip DROP CONSTRAINT {index.conname}" if index.conname else f"DROP INDEX {index.relname}"
            )
            await connection.execute(text(drop))
        await connection.execute(text(_CLIPS), {"ids": ids, "clips": each})
        for index in indexes:
            if index.conname:
                make = f"ALTER TABLE clip ADD CONSTRAINT {index.conname} {index.constrained}"
            else:
                make = index.indexed
            await connection.exec_driver_sql(make)
    async with engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(text("SET statement_timeout = 0"))
        await autocommit.execute(text("VACUUM ANALYZE"))
        await autocommit.execute(text("CHECKPOINT"))


class Stopwatch:
    """Milliseconds inside the service, by kind of request."""

    def __init__(self, app) -> None:
        self._app = app
        self.times = defaultdict(list)

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, path = time.perf_counter(), scope["path"]
        await self._app(scope, receive, send)
        kind = "page" if path == "/api/clips" else "undo" if path.endswith("/undo") else "edit"
        kind = "video" if scope["method"] == "GET" and path != "/api/clips" else kind
        self.times[kind].append((time.perf_counter() - begun) * 1000)

    def at(self, kind: str, share: float) -> float:
        """The time that this share of the requests of a kind stayed within."""
        ordered = sorted(self.times[kind])
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def watch(app, *, reviewers: int, seconds: float, pause: float) -> tuple[Stopwatch, dict]:
    """People in a process of their own, who review over HTTP for a while. The times, and what they saw."""
    stopwatch = Stopwatch(app)
    config = uvicorn.Config(stopwatch, port=0, log_config=None, access_log=False, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    import socket

    listening = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server._serve([listening]))
    try:
        people = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.reviewers",
            f"http://127.0.0.1:{listening.getsockname()[1]}",
            str(reviewers),
            str(seconds),
            str(pause),
            cwd=Path(__file__).parents[2],
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await people.communicate()
        assert people.returncode == 0
    finally:
        server.should_exit = True
        await serving
        listening.close()
    return stopwatch, json.loads(output)


async def _person(client: httpx.AsyncClient, number: int, until: float, pause: float, seen: dict) -> None:
    chance = random.Random(number)
    queue: list[dict] = []
    cursor = None
    await asyncio.sleep(chance.random() * pause)
    while time.monotonic() < until:
        begun = time.monotonic()
        if not queue:
            query = {"state": "pending_review", "order": "uncertain", "limit": 100}
            if cursor:
                query["cursor"] = cursor
            page = (await client.get("/api/clips", params=query)).json()
            cursor = page["next"]
            queue = page["clips"][number::20]
            if not queue:
                continue
        clip = queue.pop(0)
        command = chance.choice(("approve", "approve", "skip", "tag", "note", "split"))
        middle = (clip["start_frame"] + clip["end_frame"]) // 2
        if command == "split" and middle == clip["start_frame"]:
            command = "skip"
        more = {"tag": {"add": ["x"]}, "note": {"note": "x"}, "split": {"at": middle}}.get(command, {})
        answer = await client.post(
            f"/api/videos/{clip['video_id']}/edits",
            json={"command": command, "clips": [clip["id"]], "versions": [clip["version"]], **more},
        )
        seen[str(answer.status_code)] = seen.get(str(answer.status_code), 0) + 1
        if answer.status_code == 200 and answer.json()["edit"] and chance.random() < 0.1:
            await client.post(f"/api/edits/{answer.json()['edit']['id']}/undo")
        await asyncio.sleep(max(0.0, pause - (time.monotonic() - begun)))


async def _people(address: str, reviewers: int, seconds: float, pause: float) -> dict:
    seen: dict = {}
    until = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=reviewers, max_keepalive_connections=reviewers)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=30) as client:
        await asyncio.gather(*(_person(client, number, until, pause, seen) for number in range(reviewers)))
    return seen


if __name__ == "__main__":
    found = asyncio.run(_people(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
    sys.stdout.write(json.dumps(found))
