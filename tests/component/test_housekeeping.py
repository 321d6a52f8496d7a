"""Tables do not grow for ever, and what may still be needed stays."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from services.chassis import migrations
from services.chassis.housekeeping import KEPT_INBOX, KEPT_OUTBOX, forget
from services.chassis.runtime import open_runtime
from services.chassis.settings import ChassisSettings
from tests.support import toy


@pytest.fixture
async def runtime(servers):
    settings = ChassisSettings(**servers.settings("127.0.0.1:9"))
    migrations.upgrade(settings.database_url.get_secret_value(), "ingest")
    runtime = open_runtime(toy.stage(), settings)
    yield runtime
    await runtime.engine.dispose()


async def test_only_what_is_published_and_old_is_forgotten(runtime):
    async with runtime.transaction(cause="test") as ledger:
        for age, published in ((timedelta(), True), (KEPT_OUTBOX * 2, True), (KEPT_OUTBOX * 2, False)):
            event_id = await ledger.emit(toy.VideoDownloadStarted(video_id=uuid4()))
            if published:
                at = {"at": ledger.now - age, "id": event_id}
                await ledger.session.execute(text("UPDATE outbox SET published_at = :at WHERE id = :id"), at)
        for age in (KEPT_OUTBOX * 1.5, KEPT_INBOX * 1.1):
            row = {"id": uuid4(), "at": ledger.now - age}
            await ledger.session.execute(
                text("INSERT INTO inbox (event_id, type, received_at) VALUES (:id, 'x', :at)"), row
            )
    assert await forget(runtime) == 2
    async with runtime.engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM outbox"))).scalar_one() == 2
        assert (await connection.execute(text("SELECT count(*) FROM inbox"))).scalar_one() == 1
