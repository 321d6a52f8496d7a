"""Twenty reviewers over a million clips: how long an edit, a page of the queue and a video take inside the service."""

from __future__ import annotations

import time

import pytest

from services.review.api import create_api
from tests.support.review_service import review_service
from tests.support.reviewers import fill, watch


@pytest.mark.timeout(1800)
async def test_edits_and_pages_at_size(servers, tmp_path, scale, capsys):
    clips = scale(20_000, 1_000_000)
    async with review_service(servers.settings("127.0.0.1:9"), tmp_path, database_pool=8) as review:
        begun = time.perf_counter()
        await fill(review.runtime.engine, clips)
        built = time.perf_counter() - begun
        stopwatch, seen = await watch(create_api(review.runtime), reviewers=20, seconds=scale(10, 60), pause=1.0)
    with capsys.disabled():
        print(f"\n{clips:,} clips, built in {built:.0f} s; 20 reviewers; answers {seen}")
        for kind, times in sorted(stopwatch.times.items()):
            shares = ", ".join(f"p{int(share * 100)} {stopwatch.at(kind, share):.1f}" for share in (0.5, 0.95, 0.99))
            print(f"  {kind}: {len(times)} requests, {shares} ms")
    assert set(seen) <= {"200", "409"}
    assert stopwatch.at("edit", 0.99) <= 10
    assert stopwatch.at("page", 0.99) <= 100
