"""Many clips and many reviewers: rows made by SQL, and people who decide at a steady pace, timed inside the service."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import random
import sys
import time
from collections import defaultdict
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path

import httpx
import psycopg
from sqlalchemy import text

from contracts.envelope import derived_id
from services.chassis import health
from services.chassis.app import run_loops
from services.chassis.runtime import open_runtime
from services.review.api import create_api
from services.review.app import STAGE

CLIPS_OF_A_VIDEO = 1_000

_VIDEOS = """
    INSERT INTO video (id, facts, state, title, tags, frames, rate, duration, mastered, trace_id, created_at, state_since,
        changed_at)
    SELECT id, jsonb_build_object('video_id', id, 'detected', cuts.told || jsonb_build_object('video_id', id)), 'ready',
        'Film ' || n, '{}', 100 * :clips, '24/1', '100/1', true, '', now() - n * interval '1 second', now(), now()
    FROM (SELECT n, md5('video' || n)::uuid AS id FROM generate_series(1, cast(:videos AS int)) AS n) AS made, (
        SELECT jsonb_build_object(
            'run', 1, 'detector', jsonb_build_object('name', 'adaptive', 'version', '1'), 'frames', 100 * :clips,
            'clips', jsonb_agg(jsonb_build_object('start', 100 * k, 'end', 100 * k + 100)),
            'transitions', jsonb_agg(jsonb_build_object('kind', 'cut', 'confidence', 0.5,
                'frames', jsonb_build_object('start', 100 * k, 'end', 100 * k + 1)))
        ) AS told
        FROM generate_series(0, :clips - 1) AS k
    ) AS cuts
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
    """Milliseconds inside the service, by kind of request: until it has answered, without waiting for the request's body.

    ``own`` are the same without the waits for the database.
    """

    def __init__(self, app) -> None:
        self._app = app
        self.times = defaultdict(list)
        self.own = defaultdict(list)

    def clear(self) -> None:
        """Forgets what was measured."""
        self.times.clear()
        self.own.clear()

    async def __call__(self, scope, receive, send) -> None:
        begun = time.perf_counter()
        waited = 0.0

        async def received():
            nonlocal waited
            since = time.perf_counter()
            message = await receive()
            waited += time.perf_counter() - since
            return message

        waits = []
        token = _waits.set(waits)
        try:
            await self._app(scope, received, send)
        finally:
            _waits.reset(token)
        if kind := scope["type"] == "http" and kind_of(scope["method"], scope["path"]):
            took = time.perf_counter() - begun - waited
            self.times[kind].append(took * 1000)
            self.own[kind].append((took - sum(waits)) * 1000)


_waits: ContextVar[list[float] | None] = ContextVar("waits", default=None)


@contextlib.contextmanager
def database_watched():
    """Has every request's waits for the database noted."""
    wait = psycopg.AsyncConnection.wait

    async def timed(self, *arguments, **named):
        begun = time.perf_counter()
        try:
            return await wait(self, *arguments, **named)
        finally:
            if (waits := _waits.get()) is not None:
                waits.append(time.perf_counter() - begun)

    psycopg.AsyncConnection.wait = timed
    try:
        yield
    finally:
        psycopg.AsyncConnection.wait = wait


async def bare_commits(engine, *, seconds: float, rate: float) -> list[float]:
    """Milliseconds of a changed row and its commit and nothing else, so many times a second at random moments."""
    chance, taken = random.Random(1), []
    async with engine.connect() as connection:
        await connection.execute(text("CREATE TABLE IF NOT EXISTS bare_commit AS SELECT 0 AS times"))
        await connection.commit()
        for _ in range(int(seconds * rate)):
            await asyncio.sleep(chance.expovariate(rate))
            begun = time.perf_counter()
            await connection.execute(text("UPDATE bare_commit SET times = times + 1"))
            await connection.commit()
            taken.append((time.perf_counter() - begun) * 1000)
        await connection.execute(text("DROP TABLE bare_commit"))
        await connection.commit()
    return taken


def kind_of(method: str, path: str) -> str:
    """What a request is counted as; nothing if it is not counted."""
    if method == "POST":
        return "undo" if path.endswith("/undo") else "edit"
    return {"/api/clips": "queue of clips", "/api/videos": "queue of videos"}.get(path, "")


def at(times: list[float], share: float) -> float:
    """The time that this share of them stayed within."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextlib.asynccontextmanager
async def watched_service(settings):
    """Review as it runs, with all its loops, and a stopwatch in front of its application. Its runtime, watch and address."""
    watches = []

    def timed(runtime):
        watches.append(Stopwatch(create_api(runtime)))
        return watches[0]

    runtime = open_runtime(replace(STAGE, http=timed), settings)
    stop = asyncio.Event()
    listening = health.bind(settings, has_api=True)
    with database_watched():
        async with health.serve(runtime, listening):
            # As the service does when it has started: the collector does not look through the libraries again.
            gc.collect()
            gc.freeze()
            loops = asyncio.create_task(run_loops(runtime, stop))
            try:
                yield runtime, watches[0], f"http://127.0.0.1:{listening.getsockname()[1]}"
            finally:
                stop.set()
                await loops
                gc.unfreeze()


async def review_for(address: str, *, reviewers: int, seconds: float, rate: float) -> dict:
    """People in a process of their own, who review over HTTP for a while, each ``rate`` times a second; 0: without a pause."""
    people = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.reviewers",
        address,
        str(reviewers),
        str(seconds),
        str(rate),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await people.communicate()
    assert people.returncode == 0
    return json.loads(output)


class People:
    """Reviewers of one queue, what they saw, and how long they waited for it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.seen: dict[str, int] = defaultdict(int)
        self.waited: dict[str, list[float]] = defaultdict(list)
        self.sent: dict[str, float] = {}

    async def send(self, method: str, path: str, since: float | None = None, **more):
        begun = since or time.monotonic()
        answer = await self.client.request(method, path, **more)
        self.seen[str(answer.status_code)] += 1
        if kind := kind_of(method, path):
            self.waited[kind].append((time.monotonic() - begun) * 1000)
        return answer

    async def queue(self, clips: int) -> list[dict]:
        """The first clips of the queue, by its pages."""
        found, cursor = [], None
        while len(found) < clips:
            query = {"state": "pending_review", "order": "uncertain", "limit": 100}
            page = await self.send("GET", "/api/clips", params=query | ({"cursor": cursor} if cursor else {}))
            found += page.json()["clips"]
            cursor = page.json()["next"]
        return found

    async def listen(self, ready: asyncio.Event) -> None:
        """Hears what the others do: how long after an edit was sent."""
        url = self.client.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(f"GET /api/stream HTTP/1.1\r\nHost: {url.host}\r\n\r\n".encode())
        try:
            while line := await reader.readline():
                if line == b"event: hello\n":
                    ready.set()
                if line.startswith(b"data: ") and (edit := json.loads(line[6:]).get("edit")) in self.sent:
                    self.waited["heard by others"].append((time.monotonic() - self.sent[edit]) * 1000)
        finally:
            writer.close()

    async def decide(self, clip: dict, chance: random.Random, since: float) -> None:
        command = chance.choice(("approve", "approve", "skip", "tag", "note", "split"))
        middle = (clip["start_frame"] + clip["end_frame"]) // 2
        if command == "split" and middle == clip["start_frame"]:
            command = "skip"
        more = {"tag": {"add": ["x"]}, "note": {"note": "x"}, "split": {"at": middle}}.get(command, {})
        path, key = f"/api/videos/{clip['video_id']}/edits", chance.randbytes(12).hex()
        self.sent[str(derived_id("edit", clip["video_id"], key))] = time.monotonic()
        body = {
            "command": command,
            "clips": [clip["id"]],
            "versions": [clip["version"]],
            "idempotency_key": key,
            **more,
        }
        answer = await self.send("POST", path, since, json=body)
        edit = answer.json()["edit"] if answer.status_code == 200 else None
        if edit and chance.random() < 0.1:
            await self.send("POST", f"/api/edits/{edit['id']}/undo")

    async def review(self, number: int, clips: list[dict], begun: float, seconds: float, rate: float) -> None:
        """One person: decisions at a steady pace, whether or not the last was answered, and a look at the queue now and then."""
        chance = random.Random(number)
        if not rate:
            while clips and time.monotonic() < begun + seconds:
                await self.decide(clips.pop(0), chance, time.monotonic())
            return
        async with asyncio.TaskGroup() as group:
            for turn in range(int(seconds * rate)):
                due = begun + (turn + chance.random()) / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(self.decide(clips[turn], chance, due))
                if (turn + number) % 20 == 0:
                    group.create_task(self.send("GET", "/api/videos", params={"limit": 50}))
                    query = {"state": "pending_review", "order": "uncertain", "limit": 100}
                    group.create_task(self.send("GET", "/api/clips", params=query))


async def _people(address: str, reviewers: int, seconds: float, rate: float) -> dict:
    limits = httpx.Limits(max_connections=5 * reviewers, max_keepalive_connections=4 * reviewers)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=30) as client:
        people = People(client)
        each = int(seconds * (rate or 30)) + 1
        clips = await people.queue(reviewers * each)
        ready = [asyncio.Event() for _ in range(reviewers)]
        listeners = [asyncio.create_task(people.listen(event)) for event in ready]
        await asyncio.gather(*(event.wait() for event in ready))
        begun = time.monotonic()
        await asyncio.gather(*(people.review(n, clips[n::reviewers], begun, seconds, rate) for n in range(reviewers)))
        took = time.monotonic() - begun
        await asyncio.sleep(0.5)
        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)
    return {"seen": people.seen, "took": took, "waited": people.waited}


if __name__ == "__main__":
    if len(processors := sorted(os.sched_getaffinity(0))) > 1:
        # People are elsewhere: they take turns on one processor, and the service is not pushed about by all of them.
        os.sched_setaffinity(0, processors[-1:])
    found = asyncio.run(_people(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
    sys.stdout.write(json.dumps(found))
