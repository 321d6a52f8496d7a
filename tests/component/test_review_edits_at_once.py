"""Many people edit one video at the same moment, through a real database: no edit is lost, none is made twice."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise
from uuid import UUID, uuid4

import pytest

from services.review.rebuild import rebuild_video
from tests.support.review_events import FRAMES, accepted, detected, downloaded, proxied
from tests.support.review_service import review_service

COMMANDS = ("approve", "skip", "archive", "split", "merge", "trim", "tag", "note", "group", "ungroup", "undo", "redo")


@pytest.fixture(scope="module")
def database(servers):
    return servers.settings("127.0.0.1:9")


def essence(video):
    return [
        (c["start_frame"], c["end_frame"], c["state"], sorted(c["grouped_with"]), c["tags"], c["note"])
        for c in video["clips"]
    ]


def check_tiling(video):
    ranges = [(clip["start_frame"], clip["end_frame"]) for clip in video["clips"]]
    assert (ranges[0][0], ranges[-1][1]) == (0, FRAMES)
    assert all(left[1] == right[0] for left, right in pairwise(ranges))


async def one_edit(review, video_id, chance, edits):
    """One person's next edit, from what they see now. The answer's status."""
    video = await review.video(video_id)
    clips = video["clips"]
    command = chance.choice(COMMANDS)
    place = chance.randrange(len(clips))
    clip, beside = clips[place], clips[min(place + 1, len(clips) - 1)]
    start, end = clip["start_frame"], clip["end_frame"]
    if command in ("undo", "redo"):
        if not edits:
            return 200
        answer = await review.http.post(f"/api/edits/{chance.choice(edits)}/{command}")
    else:
        more = {
            "split": {"at": chance.randrange(start, end)},
            "trim": {"start": start, "end": max(start + 1, end - chance.randrange(30))},
            "tag": {"add": [f"t{chance.randrange(3)}"]},
            "note": {"note": f"note {chance.randrange(9)}"},
        }.get(command, {})
        chosen = [clip, beside] if command in ("merge", "group") and clip is not beside else [clip]
        answer = await review.edit(video_id, command, chosen, idempotency_key=uuid4().hex, **more)
    assert answer.status_code in (200, 409, 422), answer.text
    if answer.status_code == 200 and answer.json()["edit"] and command != "undo":
        edits.append(answer.json()["edit"]["id"])
    return answer.status_code


@pytest.mark.scaled
async def test_edits_at_once_keep_the_tiling_and_are_all_undone_to_the_first_state(database, tmp_path, scale):
    async with review_service(database, tmp_path, database_pool=8) as review:
        video_id = uuid4()
        await review.hear(
            accepted(video_id), downloaded(video_id), proxied(video_id), detected(video_id, cuts=(60, 130, 200))
        )
        first = await review.video(video_id)
        edits: list[str] = []

        async def person(number):
            chance = random.Random(number)
            return [await one_edit(review, video_id, chance, edits) for _ in range(scale(12, 80))]

        answered = await asyncio.gather(*(person(number) for number in range(6)))
        statuses = [status for each in answered for status in each]
        # Most are refused, for six people on a few clips mostly act on what has changed; enough must have come through.
        assert statuses.count(200) > len(statuses) / 8
        shown = await review.video(video_id)
        check_tiling(shown)
        rows = await review.rows("SELECT * FROM clip WHERE video_id = :id ORDER BY id", id=video_id)
        async with review.runtime.transaction(cause="rebuild") as ledger:
            await rebuild_video(ledger, UUID(str(video_id)))
        assert await review.rows("SELECT * FROM clip WHERE video_id = :id ORDER BY id", id=video_id) == rows
        history = (await review.http.get(f"/api/videos/{video_id}/edits", params={"limit": 500})).json()["edits"]
        for edit in history:
            if edit["kind"] != "undo" and edit["undone_by"] is None:
                answer = await review.http.post(f"/api/edits/{edit['id']}/undo")
                assert answer.status_code == 200, answer.text
        last = await review.video(video_id)
        assert essence(last) == essence(first)
        assert [clip["id"] for clip in last["clips"]] == [clip["id"] for clip in first["clips"]]


async def test_a_restart_in_mid_review_loses_no_decision_and_repeats_none(database, tmp_path):
    video_id = uuid4()
    async with review_service(database, tmp_path) as review:
        await review.hear(accepted(video_id), downloaded(video_id), proxied(video_id), detected(video_id))
        video = await review.video(video_id)
        made = (await review.edit(video_id, "approve", [video["clips"][0]], idempotency_key="a")).json()
        await review.edit(video_id, "split", [video["clips"][1]], at=150)
        before = await review.video(video_id)
    async with review_service(database, tmp_path) as review:
        assert await review.video(video_id) == before
        again = (await review.edit(video_id, "approve", [video["clips"][0]], idempotency_key="a")).json()
        assert (again["repeated"], again["edit"]["id"]) == (True, made["edit"]["id"])
        undone = await review.http.post(f"/api/edits/{made['edit']['id']}/undo")
        assert undone.json()["clips"][0]["state"] == "pending_review"
