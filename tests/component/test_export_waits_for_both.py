"""Export's handlers on a real PostgreSQL: approvals and masters in any order become exactly the work that is due."""

from __future__ import annotations

import asyncio
import itertools
from uuid import uuid4

import pytest

from contracts.events.v1.clip import ClipApproved, ClipArchived, ClipEditUndone, ClipMastered
from contracts.events.v1.video import VideoMastered
from contracts.values import FrameRange, MasteringPolicy
from services.export.app import STAGE
from services.export.domain import ExportInput
from tests.support.hearing import TRACE, hear, migrated, opened, proxied, ref, said, work


@pytest.fixture(scope="module")
def settings(servers):
    return migrated(STAGE, servers)


@pytest.fixture
async def runtime(settings):
    async with opened(STAGE, settings) as runtime:
        yield runtime


def mastered(video):
    return VideoMastered(
        video_id=video,
        policy=MasteringPolicy.EAGER,
        frames=100,
        master=ref("m"),
        index=ref("mi"),
        frames_sha256="c" * 64,
    )


def approved(video, clip, version=2):
    frames = FrameRange(start=0, end=10)
    return ClipApproved(**said(video, clip, version), frames=frames, title="t", profiles=("delivery-h264",))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_work_is_queued_when_the_last_of_three_facts_arrives(runtime, order):
    video, clip = uuid4(), uuid4()
    events = [proxied(video), mastered(video), approved(video, clip)]
    for place in order[:2]:
        await hear(runtime, events[place], TRACE)
    assert await work(runtime, video) == []
    for place in (order[2], *order):
        await hear(runtime, events[place], TRACE)
    (row,) = await work(runtime, video)
    assert (row.kind, row.state, row.clip_id, row.batch) == ("export", "waiting", clip, str(video))
    assert ExportInput.model_validate(row.input).footage.master == ref("m")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_where_approved_clips_are_mastered_each_waits_for_its_own(runtime, order):
    video, clip, other = uuid4(), uuid4(), uuid4()
    frames = FrameRange(start=0, end=10)
    part = ClipMastered(
        video_id=video, clip_id=clip, version=2, frames=frames, master=ref("m"), index=ref("mi"), frames_sha256="c" * 64
    )
    events = [proxied(video, MasteringPolicy.APPROVED), approved(video, clip), part]
    await hear(runtime, approved(video, other))
    for place in (*order, *order):
        await hear(runtime, events[place], TRACE)
    (row,) = await work(runtime, video)
    assert (row.kind, row.clip_id, row.traceparent) == ("export", clip, TRACE)
    assert ExportInput.model_validate(row.input).footage.part.frames == frames


async def test_an_approval_and_a_master_at_the_same_moment_see_each_other(runtime):
    for _ in range(10):
        video, clips = uuid4(), [uuid4() for _ in range(3)]
        await hear(runtime, proxied(video))
        await asyncio.gather(
            *(hear(runtime, approved(video, clip)) for clip in clips[:2]),
            hear(runtime, mastered(video)),
            hear(runtime, approved(video, clips[2])),
        )
        assert {row.clip_id for row in await work(runtime, video)} == set(clips)


async def test_waiting_work_belongs_to_the_trace_of_its_clip(runtime):
    video, clip = uuid4(), uuid4()
    await hear(runtime, approved(video, clip), TRACE)
    await hear(runtime, proxied(video), "00-" + "11" * 16 + "-" + "22" * 8 + "-01")
    await hear(runtime, mastered(video), "00-" + "33" * 16 + "-" + "44" * 8 + "-01")
    (row,) = await work(runtime, video)
    assert row.traceparent == TRACE


async def test_an_undone_approval_withdraws_the_work_and_another_one_queues_it_anew(runtime):
    video, clip = uuid4(), uuid4()
    for event in (proxied(video), mastered(video), approved(video, clip)):
        await hear(runtime, event)
    undo = ClipEditUndone(**said(video, clip, 3), undone="approve")
    for heard in (undo, approved(video, clip)):
        await hear(runtime, heard)
        rows = await work(runtime, video)
        # The export may have been running: what it made goes when it has surely ended.
        assert [(row.kind, row.state) for row in rows] == [("clean", "waiting"), ("export", "cancelled")]
        assert (rows[0].input["version"], rows[0].not_before > rows[0].created_at) == (3, True)
    await hear(runtime, approved(video, clip, 4))
    await hear(runtime, undo)
    states = sorted((row.kind, row.state) for row in await work(runtime, video))
    assert states == [("clean", "cancelled"), ("export", "cancelled"), ("export", "waiting")]
    wanted = [row.input.get("wanted") for row in await work(runtime, video) if row.kind == "export"]
    assert sorted(wanted) == [2, 4]


async def test_an_undo_that_comes_before_its_approval_still_counts(runtime):
    video, clip = uuid4(), uuid4()
    events = (
        proxied(video), mastered(video), ClipEditUndone(**said(video, clip, 3), undone="approve"), approved(video, clip),
    )  # fmt: skip
    for event in events:
        await hear(runtime, event)
    assert await work(runtime, video) == []


async def test_an_archived_clip_is_cleaned_and_one_taken_back_is_exported_again(runtime):
    video, clip = uuid4(), uuid4()
    for event in (proxied(video), mastered(video), approved(video, clip)):
        await hear(runtime, event)
    archived = ClipArchived(**said(video, clip, 3))
    for _ in range(2):
        await hear(runtime, archived)
    rows = await work(runtime, video)
    assert {row.kind: row.state for row in rows} == {"clean": "waiting", "export": "cancelled"}
    # The export may have been running: cleaning waits until it has surely ended.
    assert next(row.not_before > row.created_at for row in rows if row.kind == "clean")
    await hear(runtime, ClipEditUndone(**said(video, clip, 4), undone="archive"))
    await hear(runtime, archived)
    states = sorted((row.kind, row.state) for row in await work(runtime, video))
    assert states == [("clean", "cancelled"), ("export", "cancelled"), ("export", "waiting")]


async def test_a_clip_that_was_never_exported_is_cleaned_all_the_same(runtime):
    video, clip = uuid4(), uuid4()
    await hear(runtime, ClipArchived(**said(video, clip, 2)))
    assert [row.kind for row in await work(runtime, video)] == ["clean"]
