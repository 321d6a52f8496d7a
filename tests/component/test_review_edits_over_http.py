"""Tags, notes, redo, the rest, batches over videos, histories and the orders of the queue, through the API."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from services.chassis.db import RESTED_SECONDS
from services.review import store
from tests.support.review_events import accepted, detected, downloaded, proxied
from tests.support.review_service import review_service


@pytest.fixture(scope="module")
def database(servers):
    return servers.settings("127.0.0.1:9")


@pytest.fixture
async def review(database, tmp_path):
    async with review_service(database, tmp_path) as review:
        yield review


async def three_clips(review):
    video_id = uuid4()
    await review.hear(accepted(video_id), downloaded(video_id), proxied(video_id), detected(video_id))
    return await review.video(video_id)


@pytest.fixture
async def video(review):
    return await three_clips(review)


async def post(review, path, **body):
    answer = await review.http.post(path, json=body)
    return answer.status_code, answer.json()


async def test_tags_and_notes_are_kept_told_and_taken_back(review, video):
    first, second, _ = video["clips"]
    made = await review.edit(video["id"], "tag", [first, second], add=["city", "night"], remove=["tag"])
    assert [clip["tags"] for clip in made.json()["clips"]] == [["city", "night"]] * 2
    found = (await review.http.get("/api/clips", params={"tag": "night", "video": video["id"]})).json()
    assert [clip["id"] for clip in found["clips"]] == [first["id"], second["id"]]
    noted = await review.edit(video["id"], "note", [made.json()["clips"][0]], note="Take the second half.")
    assert noted.json()["clips"][0]["note"] == "Take the second half."
    assert (noted.json()["clips"][0]["title"], noted.json()["clips"][0]["rate"]) == ("A film", "24/1")
    _, undone = await post(review, f"/api/edits/{made.json()['edit']['id']}/undo")
    assert [(clip["tags"], clip["note"]) for clip in undone["clips"]] == [
        (["tag"], "Take the second half."),
        (["tag"], ""),
    ]
    waiting = [row["type"].split(".")[-2] for row in await review.outbox(first["id"])]
    assert waiting == ["created", "noted"]


async def test_an_undo_of_a_public_tag_is_told_with_the_former_tags(review, video):
    clip = video["clips"][0]
    made = (await review.edit(video["id"], "tag", [clip], add=["city"])).json()
    review.clock.now += timedelta(seconds=61)
    await review.publish()
    await post(review, f"/api/edits/{made['edit']['id']}/undo")
    rows = [row for row in await review.outbox(clip["id"]) if "tagged" in row["type"]]
    assert ['"tags":["tag","city"]' in row["payload"] for row in rows] == [True, False]


async def test_redo_makes_an_undone_edit_again_and_has_a_window_of_its_own(review, video):
    clip = video["clips"][0]
    split = (await review.edit(video["id"], "split", [clip], at=40, by="ann")).json()
    status, problem = await post(review, f"/api/edits/{split['edit']['id']}/redo")
    assert (status, problem["code"]) == (409, "review.not_undone")
    await post(review, f"/api/edits/{split['edit']['id']}/undo")
    status, redone = await post(review, f"/api/edits/{split['edit']['id']}/redo", by="bob", idempotency_key="r")
    assert (status, redone["edit"]["kind"], redone["edit"]["by"]) == (200, "split", "bob")
    assert redone["edit"]["redo_of"] == split["edit"]["id"]
    _, again = await post(review, f"/api/edits/{split['edit']['id']}/redo", by="bob", idempotency_key="r")
    assert (again["repeated"], again["edit"]["id"]) == (True, redone["edit"]["id"])
    shown = (await review.video(video["id"]))["clips"]
    assert [(c["start_frame"], c["end_frame"]) for c in shown] == [(0, 40), (40, 100), (100, 200), (200, 300)]
    history = (await review.http.get(f"/api/clips/{clip['id']}/edits")).json()["edits"]
    assert [edit["kind"] for edit in history] == ["split", "undo", "split"]
    assert history[-1]["redone_by"] == redone["edit"]["id"]
    status, problem = await post(review, f"/api/edits/{split['edit']['id']}/redo")
    assert (status, problem["code"]) == (409, "review.edited_since")
    assert problem["clips"]


async def test_the_rest_is_decided_at_once_and_undone_at_once(review, video):
    await review.edit(video["id"], "skip", [video["clips"][1]])
    status, problem = await post(review, f"/api/videos/{video['id']}/rest", command="approve", expected=3)
    assert (status, problem["code"]) == (409, "review.rest_changed")
    body = {"command": "approve", "expected": 2, "idempotency_key": "k"}
    _, made = await post(review, f"/api/videos/{video['id']}/rest", **body)
    _, again = await post(review, f"/api/videos/{video['id']}/rest", **body)
    assert (again["repeated"], again["edit"]["id"]) == (True, made["edit"]["id"])
    states = [clip["state"] for clip in (await review.video(video["id"]))["clips"]]
    assert states == ["review_approved", "review_skipped", "review_approved"]
    status, problem = await post(review, f"/api/videos/{video['id']}/rest", command="skip")
    assert (status, problem["code"]) == (409, "review.nothing_left")
    await post(review, f"/api/edits/{made['edit']['id']}/undo")
    _, redone = await post(review, f"/api/edits/{made['edit']['id']}/redo")
    assert {clip["state"] for clip in redone["clips"]} == {"review_approved"}


async def test_a_batch_decides_over_many_videos_and_refuses_only_what_is_stale(review, video):
    other = await three_clips(review)
    await review.edit(other["id"], "skip", [other["clips"][0]])
    clips = [{"id": clip["id"], "version": 1} for each in (video, other) for clip in each["clips"][:2]]
    missing = {"id": str(uuid4()), "version": 1}
    _, made = await post(review, "/api/batch", command="approve", clips=[*clips, missing], by="ann")
    first, second, third = made["results"]
    assert (first["problem"], [clip["state"] for clip in first["clips"]]) == (None, ["review_approved"] * 2)
    assert (second["edit"], second["problem"]["code"]) == (None, "review.stale_version")
    assert [clip["state"] for clip in second["clips"]] == ["review_skipped", "pending_review"]
    assert (third["video_id"], third["problem"]["code"]) == (None, "review.unknown_clip")
    tags = [{"id": clip["id"], "version": clip["version"]} for clip in (await review.video(video["id"]))["clips"]]
    _, tagged = await post(review, "/api/batch", command="tag", clips=tags, add=["city"])
    _, undone = await post(
        review, "/api/batch/undo", edits=[tagged["results"][0]["edit"]["id"], first["edit"]["id"], str(uuid4())]
    )
    assert [result["problem"] and result["problem"]["code"] for result in undone["results"]] == [
        None,
        None,
        "review.unknown_edit",
    ]
    assert {clip["state"] for clip in (await review.video(video["id"]))["clips"]} == {"pending_review"}


async def test_histories_are_paged_and_an_edit_is_shown_by_itself(review, video):
    clip = video["clips"][0]
    for number in range(5):
        version = clip["version"] + number
        await review.edit(video["id"], "note", [{**clip, "version": version}], note=f"note {number}")
    for path in (f"/api/videos/{video['id']}/edits", f"/api/clips/{clip['id']}/edits"):
        seen, cursor = [], None
        while True:
            page = (await review.http.get(path, params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
            seen += page["edits"]
            if (cursor := page["next"]) is None:
                break
        assert [edit["command"]["note"] for edit in seen] == [f"note {number}" for number in (4, 3, 2, 1, 0)]
    shown = (await review.http.get(f"/api/edits/{seen[0]['id']}")).json()
    assert shown == seen[0]


async def test_the_queue_has_several_orders_that_all_page_alike(review, video):
    for order, key in (
        ("oldest", lambda clip: (clip["created_at"], clip["video_id"], clip["start_frame"])),
        ("uncertain", lambda clip: (clip["confidence"], clip["id"])),
        ("shortest", lambda clip: (clip["end_frame"] - clip["start_frame"], clip["id"])),
        ("longest", lambda clip: (clip["start_frame"] - clip["end_frame"], "")),
    ):
        for params in ({}, {"state": ["pending_review", "review_skipped"]}, {"video": video["id"]}, {"min_frames": 60}):
            query = {"order": order, "limit": 4, **params}
            seen, cursor = [], None
            while True:
                answer = await review.http.get("/api/clips", params={**query, **({"cursor": cursor} if cursor else {})})
                assert answer.status_code == 200, answer.text
                seen += answer.json()["clips"]
                if (cursor := answer.json()["next"]) is None:
                    break
            assert len(seen) == len({clip["id"] for clip in seen}) >= 3, (order, params)
            assert [key(clip) for clip in seen] == sorted(key(clip) for clip in seen), (order, params)
    answer = await review.http.get("/api/clips", params={"order": "frames"})
    assert (answer.status_code, answer.json()["code"]) == (422, "review.no_video")


async def test_some_clips_are_asked_for_by_name_and_a_video_without_its_clips(review, video):
    first, second, third = video["clips"]
    await review.edit(video["id"], "merge", [first, second])
    named = [second["id"], third["id"], first["id"], str(uuid4())]
    found = (await review.http.get("/api/clips", params={"clip": named})).json()
    assert [(clip["id"], clip["state"]) for clip in found["clips"]] == [
        (first["id"], "superseded"),
        (second["id"], "superseded"),
        (third["id"], "pending_review"),
    ]
    waiting = {"clip": named, "state": "pending_review", "order": "uncertain"}
    assert (await review.http.get("/api/clips", params=waiting)).json()["clips"] == [third]
    assert (await review.http.get("/api/clips", params={"clip": named * 26})).status_code == 422
    path = f"/api/videos/{video['id']}"
    whole, summary = (await review.http.get(path)).json(), (await review.http.get(path, params={"clips": False})).json()
    assert summary == {**whole, "clips": []}


async def test_what_has_not_changed_is_not_sent_again(review, video):
    path = f"/api/videos/{video['id']}"
    first = await review.http.get(path)
    known = {"If-None-Match": first.headers["etag"]}
    assert (await review.http.get(path, headers=known)).status_code == 304
    await review.edit(video["id"], "skip", [video["clips"][0]])
    assert (await review.http.get(path, headers=known)).status_code == 200


async def test_an_edit_answers_with_the_clips_that_a_reader_is_shown(review, video):
    clips = video["clips"]
    for command, chosen, more in (
        ("tag", (0, 1), {"add": ["city"]}),
        ("note", (1,), {"note": "Look again."}),
        ("skip", (0,), {}),
        ("split", (1,), {"at": (clips[1]["start_frame"] + clips[1]["end_frame"]) // 2}),
        ("group", (1, 2), {}),
        ("ungroup", (1,), {}),
    ):
        made = await review.edit(video["id"], command, [clips[number] for number in chosen], **more)
        assert made.status_code == 200, made.text
        answers = [made.json()]
        if command == "split":
            answers.append((await post(review, f"/api/edits/{made.json()['edit']['id']}/undo"))[1])
        for told in answers[-1]["clips"]:
            assert (await review.http.get(f"/api/clips/{told['id']}")).json() == told
        places = [(clip["start_frame"], clip["id"]) for clip in answers[0]["clips"]]
        assert places == sorted(places)
        clips = (await review.video(video["id"]))["clips"]


async def test_a_connection_lost_in_an_edit_is_told_and_the_next_edit_gets_another(review, video):
    async with review.runtime.transaction() as holder:
        await store.find_video(holder.session, UUID(video["id"]))
        waiting = asyncio.create_task(review.edit(video["id"], "skip", [video["clips"][0]]))
        ended = []
        while not ended:
            ended = await review.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        answer = await waiting
    assert (answer.status_code, answer.json()["code"]) == (503, "database.unavailable")
    assert (await review.edit(video["id"], "skip", [video["clips"][0]])).status_code == 200


async def test_connections_that_rested_while_the_server_ended_them_are_replaced_unseen(review, video):
    await review.rows("SELECT 1")
    await asyncio.sleep(RESTED_SECONDS)
    async with await psycopg.AsyncConnection.connect(
        review.runtime.settings.database_url.get_secret_value(), autocommit=True
    ) as other:
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert (await review.edit(video["id"], "skip", [video["clips"][0]])).status_code == 200
