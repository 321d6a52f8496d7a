"""The review service without its loops: a real database, a folder for a store, and a broker that only remembers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from datetime import UTC, datetime, timedelta

import httpx
from aiokafka import ConsumerRecord
from sqlalchemy import text

from contracts.envelope import derived_id, to_kafka
from services.chassis import migrations
from services.chassis.broker import Consumer
from services.chassis.objects import FolderStore
from services.chassis.runtime import open_runtime
from services.review.api import create_api
from services.review.app import STAGE
from services.review.settings import Settings

_offsets = itertools.count()
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Clock:
    """A wall clock that tests move."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


class Review:
    """A review service under test."""

    def __init__(self, runtime) -> None:
        self.runtime = runtime
        self.clock = runtime.clock
        self.replayed: list[tuple] = []

        async def replay(topic, key, value, headers):
            self.replayed.append((topic, key, value, list(headers)))

        runtime.replay = replay
        transport = httpx.ASGITransport(app=create_api(runtime))
        self.http = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")

    async def hear(self, *events, copy: object = 0) -> None:
        """Takes events in as the consumer does. The same event with the same ``copy`` has the same id."""
        for event in events:
            event_id = derived_id("test", event.TYPE, event.model_dump_json(), copy)
            message = to_kafka(
                event, event_id=event_id, source="test", time=datetime(2029, 1, 1, tzinfo=UTC), traceparent=TRACE
            )
            record = ConsumerRecord(
                topic=message.topic,
                partition=0,
                offset=next(_offsets),
                timestamp=0,
                timestamp_type=0,
                key=message.key,
                value=message.value,
                checksum=None,
                serialized_key_size=0,
                serialized_value_size=0,
                headers=message.headers,
            )
            await asyncio.wait_for(Consumer(self.runtime).receive(record), 10)

    async def rows(self, query: str, **values):
        async with self.runtime.engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(text(query), values)).mappings()]

    async def outbox(self, about) -> list[dict]:
        """What waits to be published about a video or clip."""
        return await self.rows(
            "SELECT type, convert_from(payload, 'UTF8') AS payload, headers, release_at FROM outbox"
            " WHERE aggregateid = :about ORDER BY seq",
            about=str(about),
        )

    async def publish(self) -> None:
        """Marks what is due as published, as the relay does."""
        async with self.runtime.engine.begin() as connection:
            await connection.execute(
                text("UPDATE outbox SET published_at = :now WHERE release_at IS NULL OR release_at <= :now"),
                {"now": self.clock.now},
            )

    async def video(self, video_id):
        answer = await self.http.get(f"/api/videos/{video_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def edit(self, video_id, command, clips, **more):
        body = {
            "command": command,
            "clips": [clip["id"] for clip in clips],
            "versions": [clip["version"] for clip in clips],
            **more,
        }
        return await self.http.post(f"/api/videos/{video_id}/edits", json=body)


@contextlib.asynccontextmanager
async def review_service(settings: dict, folder, **more):
    """A migrated review service. ``settings`` name its database."""
    chosen = Settings(**settings, **more)
    await asyncio.to_thread(migrations.upgrade, chosen.database_url.get_secret_value(), "review")
    runtime = open_runtime(STAGE, chosen)
    runtime.objects = FolderStore(folder)
    runtime.clock = Clock()
    review = Review(runtime)
    try:
        yield review
    finally:
        await review.http.aclose()
        await runtime.close()
