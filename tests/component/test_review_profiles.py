"""Export profiles over the review API: listed, shown, kept once their encoder took them, refused with reasons."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from services.media.profiles import PROFILES
from tests.support.review_events import accepted, detected, downloaded, proxied
from tests.support.review_service import review_service


@pytest.fixture
async def review(servers, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "filed.json").write_text(json.dumps({**PROFILES["prores-lt"].document(), "name": "filed"}))
    async with review_service(servers.settings("127.0.0.1:9"), tmp_path, profile_folder=folder) as review:
        yield review


def document(**changes: object) -> dict[str, object]:
    return {**json.loads(json.dumps(PROFILES["delivery-h264"].document())), "name": "mine", **changes}


async def test_profiles_are_kept_changed_and_removed(review):
    listed = (await review.http.get("/api/profiles")).json()["profiles"]
    assert {each["name"]: each["origin"] for each in listed} == {
        **dict.fromkeys(PROFILES, "house"),
        "filed": "folder",
    }
    answer = await review.http.put("/api/profiles/mine", json=document())
    assert answer.status_code == 200, answer.text
    assert (answer.json()["origin"], answer.json()["version"]) == ("store", 1)
    again = await review.http.put("/api/profiles/mine", json=document())
    assert again.json() == answer.json()
    changed = await review.http.put("/api/profiles/mine", json=document(purpose="Another"))
    assert (changed.status_code, changed.json()["code"]) == (409, "profile.version_not_raised")
    raised = await review.http.put("/api/profiles/mine", json=document(purpose="Another", version=2))
    assert raised.status_code == 200
    shown = (await review.http.get("/api/profiles/mine")).json()
    assert shown["document"]["purpose"] == "Another"
    assert (await review.http.delete("/api/profiles/mine")).status_code == 204
    gone = await review.http.get("/api/profiles/mine")
    assert (gone.status_code, gone.json()["code"]) == (404, "profile.unknown")


@pytest.mark.parametrize(
    ("name", "changes", "status", "code"),
    [
        ("mine", {"container": "avi"}, 422, "profile.invalid"),
        ("mine", {"more": 1}, 422, "profile.invalid"),
        ("yours", {}, 422, "profile.other_name"),
        ("delivery-h264", {"name": "delivery-h264", "version": 9}, 409, "profile.name_taken"),
        ("filed", {"name": "filed"}, 409, "profile.name_taken"),
        ("No%20Name", {}, 422, "http.invalid"),
        (
            "mine",
            {"video": {"encoder": "libx264", "pixel_format": "yuv420p", "crf": 20, "options": {"preset": "warp"}}},
            422,
            "profile.refused_by_encoder",
        ),
    ],
)
async def test_what_cannot_be_kept_is_refused_with_a_reason(review, name, changes, status, code):
    answer = await review.http.put(f"/api/profiles/{name}", json=document(**changes))
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await review.http.get("/api/profiles/mine")).status_code == 404


async def test_only_kept_profiles_are_removed(review):
    for name, status, code in (
        ("delivery-h264", 409, "profile.not_removable"),
        ("filed", 409, "profile.not_removable"),
        ("mine", 404, "profile.unknown"),
    ):
        answer = await review.http.delete(f"/api/profiles/{name}")
        assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_clip_is_approved_in_profiles_of_its_own_and_again_so_when_that_is_redone(review):
    video = await heard_of_a_video(review)
    first, second, _ = video["clips"]
    asked = ["prores-lt", "delivery-h264", "prores-lt"]
    made = (await review.edit(video["id"], "approve", [first], profiles=asked)).json()["edit"]
    assert made["command"]["profiles"] == asked
    assert (await approval(review, first))["profiles"] == ["prores-lt", "delivery-h264"]
    await review.http.post(f"/api/edits/{made['id']}/undo")
    await review.http.post(f"/api/edits/{made['id']}/redo")
    assert (await approval(review, first))["profiles"] == ["prores-lt", "delivery-h264"]
    await review.edit(video["id"], "approve", [second])
    assert (await approval(review, second))["profiles"] == ["delivery-h264"]


async def test_profiles_go_with_an_approval_and_have_to_be_there(review):
    video = await heard_of_a_video(review)
    answer = await review.edit(video["id"], "approve", video["clips"][:1], profiles=["delivery-mpeg1"])
    assert (answer.status_code, answer.json()["code"]) == (422, "review.unknown_profile")
    for command, profiles in (("skip", ["delivery-h264"]), ("approve", [])):
        answer = await review.edit(video["id"], command, video["clips"][:1], profiles=profiles)
        assert answer.status_code == 422, command


async def heard_of_a_video(review) -> dict:
    video_id = uuid4()
    await review.hear(accepted(video_id), downloaded(video_id), proxied(video_id), detected(video_id))
    return await review.video(video_id)


async def approval(review, clip) -> dict:
    (event,) = [row for row in await review.outbox(clip["id"]) if row["type"].split(".")[-2] == "approved"]
    return json.loads(event["payload"])


async def test_a_request_that_names_an_unknown_profile_is_refused(review):
    def request(*profiles: str) -> dict[str, object]:
        return {"source": {"kind": "url", "url": "https://example.org/v.mp4"}, "options": {"profiles": profiles}}

    answer = await review.http.post("/api/requests", json=request("delivery-h264", "mine"))
    assert (answer.status_code, answer.json()["code"]) == (422, "review.unknown_profile")
    assert "delivery-h264" in answer.json()["detail"]
    await review.http.put("/api/profiles/mine", json=document())
    for name in ("mine", "filed", "prores-hq"):
        assert (await review.http.post("/api/requests", json=request(name))).status_code == 202
