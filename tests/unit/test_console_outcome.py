from __future__ import annotations

import pytest

from console import outcome


def video(state: str, *clips: str, **facts) -> dict:
    return {
        "id": "v",
        "state": state,
        "title": "t",
        "frames": 10,
        "rate": "24/1",
        "duration": 1.0,
        "error": None,
        "clips": [
            {
                "id": f"c{n}",
                "state": clip,
                "start_frame": n,
                "end_frame": n + 1,
                "trace_id": "0",
                "deliverables": [],
                "error": None,
            }
            for n, clip in enumerate(clips)
        ],
        **facts,
    }


@pytest.mark.parametrize("state", sorted(outcome.GAVE_UP))
def test_a_video_that_gave_up_is_over_and_has_failed(state):
    assert outcome.is_final(video(state))
    assert outcome.has_failed(video(state))
    assert outcome.error_of(video(state))["code"]


@pytest.mark.parametrize(
    "state", ["new", "downloading", "downloaded", "preprocessing", "preprocessed", "detecting_scenes"]
)
def test_a_video_on_its_way_is_not_over(state):
    assert not outcome.is_final(video(state))


def test_a_ready_video_without_clips_is_not_over():
    assert not outcome.is_final(video("ready"))


@pytest.mark.parametrize(
    "state", ["pending_review", "review_approved", "exporting", "exported", "keyframed", "embedding"]
)
def test_one_clip_on_its_way_keeps_the_video_open(state):
    assert not outcome.is_final(video("ready", "embedded", state))


def test_clips_that_wait_for_a_person_end_a_run_that_waits_for_nobody():
    found = video("ready", "embedded", "pending_review", "pending_review", duplicate_of="o")
    assert outcome.is_final(found, waits=False)
    error = outcome.unmet(found, ["delivery-h264"], "http://localhost:1")
    assert error["code"] == "run.waits_for_review"
    assert "by an earlier request or decision: 2." in error["message"]
    assert "http://localhost:1/#/review/o" in error["message"]
    assert not outcome.is_final(video("ready", "exporting", "pending_review"), waits=False)


def test_what_was_delivered_otherwise_before_is_told():
    found = video("ready", "embedded", "review_skipped")
    found["clips"][0]["deliverables"] = [{"profile": "delivery-h264"}]
    assert outcome.unmet(found, ["delivery-h264"], "") is None
    error = outcome.unmet(found, ["archive-ffv1", "delivery-h264"], "")
    assert error["code"] == "run.delivered_before"
    assert error["message"].startswith("Not made: archive-ffv1. ")
    decided_against = video("ready", "review_skipped", "cleaned")
    assert outcome.unmet(decided_against, ["delivery-h264"], "")["code"] == "run.nothing_delivered"
    assert outcome.unmet(video("download_failed"), ["delivery-h264"], "") is None


def test_a_video_is_over_when_every_clip_is():
    assert outcome.is_final(video("ready", "embedded", "review_skipped", "cleaned", "export_failed"))


def test_a_failed_clip_fails_the_video_with_the_clips_own_error():
    failed = video("ready", "embedded", "export_failed")
    failed["clips"][1]["error"] = {"code": "render.broken", "message": "Mend it.", "stage": "export"}
    assert outcome.has_failed(failed)
    assert outcome.error_of(failed) == {"code": "render.broken", "message": "Mend it.", "stage": "export"}


def test_an_embedded_video_has_no_error():
    assert not outcome.has_failed(video("ready", "embedded"))
    assert outcome.error_of(video("ready", "embedded")) is None


def test_the_document_has_exactly_the_published_fields():
    entry = outcome.document(video("ready", "embedded"), "a.mp4", {})
    assert list(entry) == ["id", "source", "state", "title", "frames", "rate", "duration", "error", "clips"]
    assert list(entry["clips"][0]) == ["id", "state", "start_frame", "end_frame", "trace_id", "deliverables"]
    assert list(outcome.refused("a", "a", "input.not_found", "no")) == list(entry)


def test_progress_grows_along_the_way():
    way = [
        video(state)
        for state in ("new", "downloading", "downloaded", "preprocessing", "preprocessed", "detecting_scenes")
    ]
    way += [
        video("ready", *states) for states in (("pending_review",) * 2, ("exporting", "exported"), ("embedded",) * 2)
    ]
    shares = [outcome.progress_of(step)[0] for step in way]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1


def test_a_sentence_counts_what_a_person_must_do():
    assert outcome.sentence(video("ready", "pending_review", "embedded", "export_failed")) == (
        "1 of 3 clips done, 1 to review, 1 delivered, 1 failed"
    )
