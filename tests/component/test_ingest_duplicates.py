"""Equal content has exactly one original, however close together two copies arrive. On a real database."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from contracts.values import MediaFacts, ObjectRef, ObjectSource, Options, VideoFacts
from services.chassis import migrations
from services.ingest.domain import FetchInput, FetchResult
from services.ingest.store import record_content


@pytest.fixture
async def engine(servers):
    url = servers.settings("unused")["database_url"]
    await asyncio.to_thread(migrations.upgrade, url, "ingest")
    made = create_async_engine(
        url.replace("postgresql://", "postgresql+psycopg://"),
        connect_args={"options": "-c search_path=ingest,public"},
    )
    yield made
    await made.dispose()


def arrival(sha256):
    video_id = uuid4()
    order = FetchInput(video_id=video_id, source=ObjectSource(key="x"), options=Options())
    result = FetchResult(
        title="t", method="object",
        object=ObjectRef(key=f"videos/{video_id}/source/{sha256}.mp4", size=1, sha256=sha256),
        media=MediaFacts(
            container="mp4", duration=Fraction(1),
            video=VideoFacts(
                stream_index=0, codec="h264", width=2, height=2, pixel_format="yuv420p", rate=Fraction(25),
                timebase=Fraction(1, 25), packets=1,
            ),
        ),
    )  # fmt: skip
    return order, result


async def test_the_first_is_the_original_and_the_next_are_its_duplicates(engine):
    first, again = arrival("a" * 64), arrival("a" * 64)
    async with AsyncSession(engine) as session, session.begin():
        assert await record_content(session, *first) is None
    async with AsyncSession(engine) as session, session.begin():
        changed = await record_content(session, *again)
        assert changed.duplicate_of == first[0].video_id
        assert changed.model_copy(update={"duplicate_of": None}) == again[1]
        assert await record_content(session, *arrival("b" * 64)) is None


async def test_a_repetition_of_the_original_is_no_duplicate(engine):
    first = arrival("a" * 64)
    for _ in range(2):
        async with AsyncSession(engine) as session, session.begin():
            assert await record_content(session, *first) is None


async def test_of_equal_files_that_finish_at_once_one_is_the_original(engine):
    arrivals = [arrival("c" * 64) for _ in range(6)]
    ready = asyncio.Barrier(len(arrivals))

    async def finish(order, result):
        async with AsyncSession(engine) as session, session.begin():
            await session.execute(text("SELECT 1"))
            await ready.wait()
            changed = await record_content(session, order, result)
            await asyncio.sleep(0.02)
        return order.video_id if changed is None else changed.duplicate_of

    async with engine.connect() as warm:
        await warm.execute(text("SELECT 1"))
    originals = await asyncio.gather(*(finish(*each) for each in arrivals))
    assert len(set(originals)) == 1
    assert originals[0] in {order.video_id for order, _ in arrivals}


async def test_an_original_that_is_rolled_back_leaves_its_place_to_the_next(engine):
    lost, kept = arrival("d" * 64), arrival("d" * 64)
    async with AsyncSession(engine) as session:
        await record_content(session, *lost)
        await session.rollback()
    async with AsyncSession(engine) as session, session.begin():
        assert await record_content(session, *kept) is None
