"""Preprocess's handlers on a real PostgreSQL: proxies and approvals in any order become the masters that are due."""

from __future__ import annotations

import asyncio
import itertools
from uuid import uuid4

import pytest

from contracts.events.v1.clip import ClipApproved, ClipArchived, ClipEditUndone
from contracts.values import FrameRange, MasteringPolicy
from services.preprocess.app import STAGE
from services.preprocess.domain import PartInput
from tests.support.hearing import TRACE, hear, migrated, opened, proxied, said, work

APPROVED = MasteringPolicy.APPROVED


@pytest.fixture(scope="module")
def settings(servers):
    return migrated(STAGE, servers)


@pytest.fixture
async def runtime(settings):
    async with opened(STAGE, settings) as runtime:
        yield runtime


def approved(video, clip, version=2, start=0):
    frames = FrameRange(start=start, end=start + 10)
    return ClipApproved(**said(video, clip, version), frames=frames, title="t", profiles=("delivery-h264",))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_all_approved_clips_of_a_video_are_mastered_together_in_their_own_traces(runtime, order):
    video, clips = uuid4(), [uuid4(), uuid4()]
    events = [proxied(video, APPROVED), approved(video, clips[0]), approved(video, clips[1], start=40)]
    for place in (*order, *order):
        await hear(runtime, events[place], TRACE if place else "00-" + "11" * 16 + "-" + "22" * 8 + "-01")
    rows = await work(runtime, video)
    assert {row.clip_id for row in rows} == set(clips)
    assert {(row.kind, row.state, row.batch, row.traceparent) for row in rows} == {
        ("part", "waiting", str(video), TRACE)
    }
    orders = [PartInput.model_validate(row.input) for row in rows]
    assert sorted((order.frames.start, order.frames.end) for order in orders) == [(0, 10), (40, 50)]


async def test_an_approval_and_a_proxy_at_the_same_moment_see_each_other(runtime):
    for _ in range(5):
        video, clips = uuid4(), [uuid4() for _ in range(3)]
        await asyncio.gather(
            *(hear(runtime, approved(video, clip, start=10 * place)) for place, clip in enumerate(clips)),
            hear(runtime, proxied(video, APPROVED)),
        )
        assert {row.clip_id for row in await work(runtime, video)} == set(clips)


@pytest.mark.parametrize("policy", [MasteringPolicy.EAGER, MasteringPolicy.NONE])
async def test_with_another_policy_approvals_ask_for_nothing(runtime, policy):
    video = uuid4()
    for event in (proxied(video, policy), approved(video, uuid4())):
        await hear(runtime, event)
    assert await work(runtime, video) == []


async def test_an_undone_approval_withdraws_the_work_and_an_archiving_taken_back_asks_anew(runtime):
    video, clip = uuid4(), uuid4()
    for event in (proxied(video, APPROVED), approved(video, clip)):
        await hear(runtime, event)
    await hear(runtime, ClipEditUndone(**said(video, clip, 3), undone="approve"))
    assert [row.state for row in await work(runtime, video)] == ["cancelled"]
    for event in (
        approved(video, clip, 4),
        ClipArchived(**said(video, clip, 5)),
        ClipEditUndone(**said(video, clip, 6), undone="archive"),
        approved(video, clip, 4),
    ):
        await hear(runtime, event)
    rows = await work(runtime, video)
    assert sorted((PartInput.model_validate(row.input).version, row.state) for row in rows) == [
        (2, "cancelled"),
        (4, "cancelled"),
        (6, "waiting"),
    ]
