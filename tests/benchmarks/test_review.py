"""Twenty reviewers over a million clips: how long an edit and the pages of the queue take inside the running service.

Each person decides once a second, three times the pace that review is built for, at moments that do not wait for the last
answer; all of them listen to what the others do. How much the service can take is a figure beside it, without a bound.

Beside an edit's whole time stands what is left of it without the waits for the database, which write to the disk: the service's
own work. And beside both, what a bare commit of one changed row takes at the same pace on the same machine.

To make a million clips takes minutes, to measure takes one: ``HEATERS_BENCH_REVIEW_URL`` names a database that is filled when
it is empty and kept, so that the second run measures only.
"""

from __future__ import annotations

import asyncio
import os
import time

import psycopg
import pytest

from services.chassis import migrations
from services.chassis.db import connect_options
from services.review.settings import Settings
from tests.support.reviewers import at, bare_commits, fill, review_for, watched_service

REVIEWERS = 20


def spell(times):
    return f"{len(times)} times, " + ", ".join(
        f"p{share * 100:g} {at(times, share):.1f}" for share in (0.5, 0.95, 0.99)
    )


def take_over(url: str) -> int:
    """How many clips a database has; what an earlier broker was told of them is of no concern to this run's."""
    with psycopg.connect(url, options=connect_options("review")) as connection:
        connection.execute("DELETE FROM relay")
        return connection.execute("SELECT count(*) FROM clip").fetchone()[0]


@pytest.mark.timeout(1800)
async def test_edits_and_pages_at_size(servers, broker, tmp_path, scale, capsys):
    clips = scale(20_000, 1_000_000)
    places = servers.settings(broker.address) | {"kafka_fetch_wait_ms": 500}
    if kept := os.environ.get("HEATERS_BENCH_REVIEW_URL"):
        places["database_url"] = kept
    settings = Settings(**places, temp_dir=tmp_path, review_rate=10_000)
    await asyncio.to_thread(migrations.upgrade, settings.database_url.get_secret_value(), "review")
    there = await asyncio.to_thread(take_over, settings.database_url.get_secret_value())
    async with watched_service(settings) as (runtime, watch, address):
        begun = time.perf_counter()
        if not there:
            await fill(runtime.engine, clips)
        built = time.perf_counter() - begun
        bare = await bare_commits(runtime.engine, seconds=scale(5, 20), rate=REVIEWERS)
        await review_for(address, reviewers=REVIEWERS, seconds=2, rate=1)
        watch.clear()
        steady = await review_for(address, reviewers=REVIEWERS, seconds=scale(10, 60), rate=1)
        inside, own = dict(watch.times), dict(watch.own)
        watch.clear()
        most = await review_for(address, reviewers=REVIEWERS, seconds=5, rate=0)
    with capsys.disabled():
        stock = f"{there:,} clips of an earlier run" if there else f"{clips:,} clips, built in {built:.0f} s"
        print(f"\n{stock}; {REVIEWERS} reviewers, one decision a second each")
        print(f"  answers {steady['seen']}; milliseconds:")
        for kind, times in sorted(inside.items()):
            print(f"  {kind}, inside the service: {spell(times)}; without the database: {spell(own[kind])}")
        for kind, times in sorted(steady["waited"].items()):
            print(f"  {kind}, as the people saw it: {spell(times)}")
        print(f"  a bare commit at that pace, beforehand: {spell(bare)}")
        made = len(watch.times["edit"]) / most["took"]
        print(f"  without a pause: {made:.0f} edits a second; inside the service: {spell(watch.times['edit'])}")
    assert set(steady["seen"]) <= {"200", "409"}
    assert at(inside["edit"], 0.99) <= 10
    assert at(inside["queue of clips"], 0.99) <= 100
    assert at(inside["queue of videos"], 0.99) <= 100
    assert at(steady["waited"]["heard by others"], 0.95) <= 300
