"""Review against a real database: events in any order, births, rebuild, constraints, stalls."""

from __future__ import annotations

import importlib
import itertools
import json
import random
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from contracts.events.v1 import clip as clip_events
from contracts.events.v1 import video as video_events
from contracts.events.v1.operations import DeadLetterRecorded, StageProgress
from services.review import rebuild
from services.review.sweep import sweep_once
from tests.support.review_events import accepted, detected, downloaded, failure, mastered, proxied, work_events
from tests.support.review_service import review_service

ROWS = "SELECT id, {columns} FROM {table} WHERE video_id = :id ORDER BY id"
CLIP_COLUMNS = """state, version, start_frame, end_frame, occupies, is_virtual, manifest_key, approved_by, tags, confidence,
    origin, parents, children, grouped_with, last_edit, error, facts, slot"""


@pytest.fixture(scope="module")
def database(servers):
    return servers.settings("127.0.0.1:9")


@pytest.fixture
async def review(database, tmp_path):
    async with review_service(database, tmp_path) as review:
        yield review


def story(video_id, **how):
    return [
        accepted(video_id, **how),
        video_events.VideoDownloadStarted(video_id=video_id),
        downloaded(video_id, **how),
        video_events.VideoPreprocessStarted(video_id=video_id, phase="proxy"),
        proxied(video_id, **how),
        mastered(video_id),
        video_events.VideoScenesStarted(video_id=video_id),
        detected(video_id),
    ]


async def state_of(review, video_id):
    videos = await review.rows(
        "SELECT id, state, title, profiles, frames, rate, duration, error, facts, mastered FROM video WHERE id = :id",
        id=video_id,
    )
    return videos, await review.rows(ROWS.format(columns=CLIP_COLUMNS, table="clip"), id=video_id)


async def test_a_detected_video_becomes_ready_and_has_clips_that_tile_it(review):
    video_id = uuid4()
    await review.hear(*story(video_id))
    video = await review.video(video_id)
    assert (video["state"], video["frames"], video["rate"], video["duration"]) == ("ready", 300, "24/1", 12.5)
    assert [(c["start_frame"], c["end_frame"], c["state"]) for c in video["clips"]] == [
        (0, 100, "pending_review"),
        (100, 200, "pending_review"),
        (200, 300, "pending_review"),
    ]
    assert video["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert (video["source"]["kind"], video["source"]["url"]) == ("url", "https://example.org/v")


async def test_each_clip_is_born_in_a_trace_of_its_own_whose_id_is_the_clips(review):
    video_id = uuid4()
    await review.hear(*story(video_id, review="auto"))
    for clip in (await review.video(video_id))["clips"]:
        told = await review.outbox(clip["id"])
        assert [row["type"] for row in told] == ["heaters.clip.created.v1", "heaters.clip.approved.v1"]
        assert all(row["release_at"] is None for row in told)
        for row in told:
            headers = dict(row["headers"])
            traceparent = await review.rows(
                "SELECT convert_from(decode(:v, 'base64'), 'UTF8') AS t", v=headers["traceparent"]
            )
            assert traceparent[0]["t"].split("-")[1] == clip["trace_id"] == clip["id"].replace("-", "")


async def test_the_auto_policy_approves_in_the_same_transaction(review):
    video_id = uuid4()
    await review.hear(*story(video_id, review="auto"))
    clips = (await review.video(video_id))["clips"]
    assert {(clip["state"], clip["approved_by"], clip["version"]) for clip in clips} == {
        ("review_approved", "policy:auto", 2)
    }
    edits = (await review.http.get(f"/api/videos/{video_id}/edits")).json()["edits"]
    assert len(edits) == 3


@pytest.mark.parametrize("seed", range(6))
async def test_shuffled_and_doubled_events_give_the_same_rows(review, seed):
    how = {"review": "auto"} if seed % 2 else {}
    plain, shuffled = uuid4(), uuid4()
    await review.hear(*story(plain, **how))
    events = story(shuffled, **how)
    twice = [*events, *events]
    random.Random(seed).shuffle(twice)
    for number, event in enumerate(twice):
        await review.hear(event, copy=number % 2)
    clip_ids = []
    for video_id in (plain, shuffled):
        clips = (await review.video(video_id))["clips"]
        clip_ids.append([clip["id"] for clip in clips])
        for clip in clips:
            work = list(work_events(clip["id"], video_id=video_id).values())[:2]
            for event in itertools.chain(*itertools.repeat(work if video_id == plain else work[::-1], 2)):
                await review.hear(event, copy=uuid4())
    assert len(clip_ids[0]) == len(clip_ids[1]) == 3

    def comparable(rows):
        """Rows in order, without what tells one video from the other."""
        own = ("id", "facts", "slot", "last_edit")
        plain = [{name: str(value) for name, value in row.items() if name not in own} for row in rows]
        return sorted(plain, key=lambda row: int(row.get("start_frame", 0)))

    first, second = await state_of(review, plain), await state_of(review, shuffled)
    assert [comparable(rows) for rows in first] == [comparable(rows) for rows in second]


async def test_an_already_cut_video_is_one_clip(review):
    video_id = uuid4()
    how = {"needs_splicing": False}
    await review.hear(accepted(video_id, **how), downloaded(video_id, **how), proxied(video_id, **how))
    video = await review.video(video_id)
    assert video["state"] == "ready"
    assert [(c["start_frame"], c["end_frame"], c["origin"]) for c in video["clips"]] == [(0, 300, "whole")]


async def test_a_duplicate_shows_the_clips_of_its_original(review):
    original, duplicate = uuid4(), uuid4()
    await review.hear(*story(original))
    await review.hear(accepted(duplicate), downloaded(duplicate, duplicate_of=original))
    video = await review.video(duplicate)
    assert (video["state"], video["duplicate_of"], video["frames"]) == ("ready", str(original), 300)
    assert [clip["video_id"] for clip in video["clips"]] == [str(original)] * 3
    listed = (await review.http.get("/api/clips", params={"video": str(duplicate)})).json()["clips"]
    assert [clip["id"] for clip in listed] == [clip["id"] for clip in video["clips"]]
    made = (await review.edit(original, "skip", video["clips"][:1])).json()["edit"]
    assert made["id"] in {
        edit["id"] for edit in (await review.http.get(f"/api/videos/{duplicate}/edits")).json()["edits"]
    }
    await review.hear(accepted(twin := uuid4()), downloaded(twin, duplicate_of=(broken := uuid4())))
    assert (await review.video(twin))["clips"] == []
    await review.hear(
        video_events.VideoPreprocessFailed(video_id=broken, phase="proxy", failure=failure("media.corrupt"))
    )
    video = await review.video(twin)
    assert (video["state"], video["error"]["code"]) == ("preprocess_failed", "media.corrupt")


async def test_a_rejected_video_says_why(review):
    video_id = uuid4()
    await review.hear(video_events.VideoRejected(video_id=video_id, failure=failure("ingest.live", "ingest")))
    video = await review.video(video_id)
    assert video["state"] == "rejected"
    assert video["error"] == {
        "code": "ingest.live",
        "message": "Get a whole file and try again.",
        "stage": "ingest",
    }


async def test_a_title_that_the_database_cannot_hold_stops_nothing(review):
    video_id = uuid4()
    await review.hear(accepted(video_id).model_copy(update={"title": "a\x00b"}))
    assert (await review.video(video_id))["title"] == "a\ufffdb"


async def test_an_exported_clip_is_physical_and_lists_its_deliverables(review):
    video_id = uuid4()
    await review.hear(*story(video_id, review="auto"))
    clip = (await review.video(video_id))["clips"][0]
    events = work_events(clip["id"], video_id=video_id)
    await review.hear(events["export_started"], events["exported"], events["keyframed"], events["embedded"])
    clip = (await review.http.get(f"/api/clips/{clip['id']}")).json()
    assert (clip["state"], clip["is_virtual"]) == ("embedded", False)
    assert clip["deliverables"][0]["profile"] == "delivery-h264"
    assert clip["deliverables"][0]["files"][0]["role"] == "video"


async def test_work_heard_of_before_the_clips_birth_is_not_lost(review):
    video_id = uuid4()
    other = uuid4()
    await review.hear(*story(other, review="auto"))
    *rest, scenes = story(video_id, review="auto")
    from services.review.domain.video import clip_id_of

    frames = scenes.clips[0]
    clip_id = clip_id_of(video_id, frames, "detected:adaptive-1")
    await review.hear(*rest, work_events(clip_id, video_id=video_id)["exported"], scenes)
    clips = (await review.video(video_id))["clips"]
    assert [clip["state"] for clip in clips] == ["exported", "review_approved", "review_approved"]


async def test_a_rebuild_gives_the_same_rows(review):
    video_id = uuid4()
    await review.hear(*story(video_id))
    clips = (await review.video(video_id))["clips"]
    assert (await review.edit(video_id, "split", clips[:1], at=40)).status_code == 200
    assert (await review.edit(video_id, "approve", clips[1:])).status_code == 200
    await review.hear(work_events(clips[1]["id"], video_id=video_id)["exported"])
    undo = (await review.edit(video_id, "archive", [(await review.video(video_id))["clips"][0]])).json()["edit"]["id"]
    assert (await review.http.post(f"/api/edits/{undo}/undo")).status_code == 200
    await review.hear(accepted(other := uuid4()))
    everything = "SELECT * FROM {} ORDER BY id"
    before = [await review.rows(everything.format(table)) for table in ("video", "clip", "edit")]
    assert len(before[1]) > 3
    assert await rebuild.rebuild(review.runtime) >= 2
    after = [await review.rows(everything.format(table)) for table in ("video", "clip", "edit")]
    assert after == before
    assert any(row["id"] == other for row in after[0])


async def test_the_database_refuses_overlapping_live_clips_and_physical_ones_without_a_file(review):
    video_id = uuid4()
    await review.hear(*story(video_id))
    clip_id = (await review.video(video_id))["clips"][0]["id"]
    copied = """
        INSERT INTO clip SELECT gen_random_uuid(), video_id, slot, start_frame, end_frame, {occupies}, facts, state, version,
            origin, parents, children, grouped_with, tags, confidence, approved_by, last_edit, {is_virtual}, manifest_key,
            error, traceparent, created_at, state_since, changed_at, stall_told
        FROM clip WHERE id = :id
    """
    for how, constraint in (
        ({"occupies": "true", "is_virtual": "true"}, "clip_no_overlap"),
        ({"occupies": "false", "is_virtual": "false"}, "clip_physical_has_file"),
    ):
        with pytest.raises(IntegrityError, match=constraint):
            async with review.runtime.engine.begin() as connection:
                await connection.execute(text(copied.format(**how)), {"id": clip_id})


async def test_progress_is_shown_until_the_work_ends(review):
    video_id = uuid4()
    await review.hear(accepted(video_id), downloaded(video_id))
    work = uuid4()
    for done in (10.0, 200.0):
        await review.hear(
            StageProgress(
                stage="preprocess",
                kind="proxy",
                work_id=work,
                video_id=video_id,
                done=done,
                total=300.0,
                fraction=done / 300,
            )
        )
    progress = (await review.video(video_id))["progress"]
    assert [(told["kind"], told["done"]) for told in progress] == [("proxy", 200.0)]
    await review.hear(proxied(video_id))
    assert (await review.video(video_id))["progress"] == []


async def test_what_stalls_is_told_once_until_it_moves_and_stalls_again(review):
    video_id = uuid4()
    await review.hear(accepted(video_id))

    async def stalls():
        async with review.runtime.transaction(cause="sweep") as ledger:
            await sweep_once(ledger, {"new": timedelta(minutes=1)})
        return [row for row in await review.outbox(video_id) if "stalled" in row["type"]]

    assert await stalls() == []
    review.clock.now += timedelta(minutes=2)
    assert len(await stalls()) == 1
    assert len(await stalls()) == 1
    told = json.loads((await stalls())[0]["payload"])
    assert (told["state"], told["stage"], told["clip_id"]) == ("new", "ingest", None)
    await review.hear(video_events.VideoDownloadStarted(video_id=video_id))
    await review.hear(
        StageProgress(stage="ingest", kind="fetch", work_id=uuid4(), video_id=video_id, done=1.0, unit="bytes")
    )
    review.clock.now += timedelta(minutes=20)
    assert len(await stalls()) == 1
    review.clock.now += timedelta(minutes=31)
    assert len(await stalls()) == 2


async def test_a_dead_letter_told_by_several_consumers_is_one(review):
    letter = uuid4()
    for consumer in ("ingest", "export"):
        await review.hear(
            DeadLetterRecorded(
                dead_letter_id=letter,
                consumer=consumer,
                topic="heaters-videos",
                partition=1,
                offset=5,
                code="message.not_json",
                reason="The body is no JSON: \x00.",
                value_base64="/w==",
                headers=({"name": "ce_id", "value_base64": "/w=="},),
                recorded_at=review.clock(),
            )
        )
    shown = (await review.http.get(f"/api/dead-letters/{letter}")).json()
    assert shown["consumers"] == ["export", "ingest"]
    assert (shown["state"], shown["value_base64"], shown["text"]) == ("open", "/w==", None)


async def test_edits_and_what_is_heard_of_clips_leave_the_cuts_of_a_whole_film_unread(review):
    video_id = uuid4()
    await review.hear(*story(video_id, profiles=("prores-lt", "delivery-h265")))
    first, second, _ = (await review.video(video_id))["clips"]
    async with review.runtime.engine.begin() as connection:
        await connection.execute(text("UPDATE video SET facts = '\"cuts\"' WHERE id = :id"), {"id": video_id})
    made = await review.edit(video_id, "approve", [first])
    assert (made.status_code, made.json()["clips"][0]["title"], made.json()["clips"][0]["rate"]) == (
        200,
        "A film",
        "24/1",
    )
    (approved,) = [row for row in await review.outbox(first["id"]) if "approved" in row["type"]]
    assert json.loads(approved["payload"])["profiles"] == ["prores-lt", "delivery-h265"]
    assert (await review.edit(video_id, "split", [second], at=140)).status_code == 200
    heard = clip_events.ClipExportStarted(video_id=video_id, clip_id=first["id"])
    await review.hear(heard)
    assert (await review.http.get(f"/api/clips/{first['id']}")).json()["state"] == "exporting"


async def test_profiles_of_videos_heard_before_there_was_a_place_for_them_are_found(review):
    asked, unknown = uuid4(), uuid4()
    await review.hear(*story(asked, profiles=("prores-lt",)), video_events.VideoDownloadStarted(video_id=unknown))
    kept = await state_of(review, asked)
    found = importlib.import_module("services.review.migrations.0004_profiles").FOUND
    async with review.runtime.engine.begin() as connection:
        await connection.execute(text("UPDATE video SET profiles = NULL"))
        await connection.execute(text(found))
    assert await state_of(review, asked) == kept
    assert kept[0][0]["profiles"] == ["prores-lt"]
    assert (await state_of(review, unknown))[0][0]["profiles"] is None
