"""What every ledger does, the real one and the fake that unit tests use."""

from __future__ import annotations

from uuid import uuid4

import pytest
from sqlalchemy import text

from contracts.events.v1.video import VideoScenesStarted
from services.chassis import migrations
from services.chassis.runtime import open_runtime
from services.chassis.settings import ChassisSettings
from tests.support import toy
from tests.support.fake_ledger import FakeLedger

VIDEO, CLIP = uuid4(), uuid4()


class Real:
    """The real ledger, with the same view of what it holds."""

    def __init__(self, ledger) -> None:
        self.ledger = ledger

    async def work(self):
        rows = await self.ledger.session.execute(text("SELECT dedupe_key FROM work WHERE state = 'waiting'"))
        return sorted(rows.scalars().all())

    async def events(self):
        return (await self.ledger.session.execute(text("SELECT id FROM outbox ORDER BY seq"))).scalars().all()


class Fake:
    def __init__(self) -> None:
        self.ledger = FakeLedger()

    async def work(self):
        return sorted(asked.key for asked in self.ledger.work)

    async def events(self):
        return list(self.ledger._ids)


@pytest.fixture(scope="module")
def runtime_settings(servers):
    settings = ChassisSettings(**servers.settings("127.0.0.1:9"))
    migrations.upgrade(settings.database_url.get_secret_value(), "ingest")
    return settings


@pytest.fixture(params=["real", "fake"])
async def view(request):
    if request.param == "fake":
        yield Fake()
        return
    runtime = open_runtime(toy.stage(), request.getfixturevalue("runtime_settings"))
    async with runtime.transaction(cause=str(uuid4())) as ledger:
        await ledger.session.execute(text("TRUNCATE work, outbox"))
        yield Real(ledger)
    await runtime.engine.dispose()


def order(name):
    return toy.Order(video_id=VIDEO, name=name)


async def enqueue(view, name, **more):
    await view.ledger.enqueue(toy.TOY, order(name), key=name, video_id=VIDEO, **more)


async def test_work_with_the_same_key_is_kept_once(view):
    await enqueue(view, "a")
    await enqueue(view, "a")
    await enqueue(view, "b", clip_id=CLIP)
    assert await view.work() == ["a", "b"]


async def test_an_event_of_the_same_cause_is_kept_once_and_of_another_cause_again(view):
    event = VideoScenesStarted(video_id=VIDEO)
    first = await view.ledger.emit(event)
    assert await view.ledger.emit(event) == first
    assert await view.ledger.emit(event, cause="another") != first
    assert len(await view.events()) == 2


async def test_cancelling_takes_what_fits_and_leaves_the_rest(view):
    await enqueue(view, "a")
    await enqueue(view, "b", clip_id=CLIP)
    assert await view.ledger.cancel(clip_id=CLIP) == 1
    assert await view.work() == ["a"]
    assert await view.ledger.cancel(video_id=VIDEO, kinds=["another"]) == 0
    assert await view.ledger.cancel(video_id=VIDEO, kinds=["toy"]) == 1
    assert await view.work() == []


async def test_cancelled_work_that_is_asked_for_again_waits_again(view):
    await enqueue(view, "a")
    await view.ledger.cancel(video_id=VIDEO)
    await enqueue(view, "a")
    assert await view.work() == ["a"]


async def test_cancelling_everything_is_refused(view):
    with pytest.raises(ValueError, match="video or a clip"):
        await view.ledger.cancel()
