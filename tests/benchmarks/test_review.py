"""Twenty reviewers over a million clips: how long an edit and the pages of the queue take inside the running service.

Each person decides once a second, three times the pace that review is built for, at moments that do not wait for the last
answer; all of them listen to what the others do. How much the service can take is a figure beside it, without a bound.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from services.chassis import migrations
from services.review.settings import Settings
from tests.support.reviewers import at, fill, review_for, watched_service

REVIEWERS = 20


def spell(times):
    return f"{len(times)} times, " + ", ".join(
        f"p{share * 100:g} {at(times, share):.1f}" for share in (0.5, 0.95, 0.99)
    )


@pytest.mark.timeout(1800)
async def test_edits_and_pages_at_size(servers, broker, tmp_path, scale, capsys):
    clips = scale(20_000, 1_000_000)
    places = servers.settings(broker.address) | {"kafka_fetch_wait_ms": 500}
    settings = Settings(**places, temp_dir=tmp_path, review_rate=10_000)
    await asyncio.to_thread(migrations.upgrade, settings.database_url.get_secret_value(), "review")
    async with watched_service(settings) as (runtime, watch, address):
        begun = time.perf_counter()
        await fill(runtime.engine, clips)
        built = time.perf_counter() - begun
        await review_for(address, reviewers=REVIEWERS, seconds=2, rate=1)
        watch.times.clear()
        steady = await review_for(address, reviewers=REVIEWERS, seconds=scale(10, 60), rate=1)
        inside = dict(watch.times)
        watch.times.clear()
        most = await review_for(address, reviewers=REVIEWERS, seconds=5, rate=0)
    with capsys.disabled():
        print(f"\n{clips:,} clips, built in {built:.0f} s; {REVIEWERS} reviewers, one decision a second each")
        print(f"  answers {steady['seen']}; milliseconds:")
        for kind, times in sorted(inside.items()):
            print(f"  {kind}, inside the service: {spell(times)}")
        for kind, times in sorted(steady["waited"].items()):
            print(f"  {kind}, as the people saw it: {spell(times)}")
        made = len(watch.times["edit"]) / most["took"]
        print(f"  without a pause: {made:.0f} edits a second; inside the service: {spell(watch.times['edit'])}")
    assert set(steady["seen"]) <= {"200", "409"}
    assert at(inside["edit"], 0.99) <= 10
    assert at(inside["queue of clips"], 0.99) <= 100
    assert at(inside["queue of videos"], 0.99) <= 100
    assert at(steady["waited"]["heard by others"], 0.95) <= 300
