"""Every state of a video meets every event about it; the table below is the specification."""

import pytest

from contracts.events.v1.clip import ClipSkipped
from services.review.domain import policy, video
from services.review.domain.marks import NoOp, Refused
from services.review.domain.video import VideoState, births, evolve, status, transition
from tests.support.review_events import (
    CLIP,
    EDIT,
    FRAMES,
    OTHER_VIDEO,
    VIDEO,
    accepted,
    detected,
    downloaded,
    mastered,
    proxied,
    video_events,
)

PATHS = {
    VideoState.NEW: ("accepted",),
    VideoState.DOWNLOADING: ("accepted", "download_started"),
    VideoState.DOWNLOAD_FAILED: ("accepted", "download_started", "download_failed"),
    VideoState.DOWNLOADED: ("accepted", "download_started", "downloaded"),
    VideoState.PREPROCESSING: ("accepted", "downloaded", "proxy_started"),
    VideoState.PREPROCESS_FAILED: ("accepted", "downloaded", "proxy_started", "proxy_failed"),
    VideoState.PREPROCESSED: ("accepted", "downloaded", "proxied"),
    VideoState.DETECTING_SCENES: ("accepted", "downloaded", "proxied", "scenes_started"),
    VideoState.DETECT_SCENES_FAILED: ("accepted", "downloaded", "proxied", "scenes_failed"),
    VideoState.READY: ("accepted", "downloaded", "proxied", "detected"),
    VideoState.REJECTED: ("accepted", "rejected"),
}

# One row for each event, one column for each state, in the order of PATHS. A name is the state it leads to;
# "=" is a no-op of which nothing is new; "+" a fact that is noted and moves nothing.
EVENTS_BY_STATE = """
event             new                downloading        download_failed    downloaded         preprocessing      preprocess_failed  preprocessed       detecting          detect_failed      ready              rejected
accepted          =                  =                  =                  =                  =                  =                  =                  =                  =                  =                  =
rejected          rejected           rejected           rejected           rejected           rejected           rejected           rejected           rejected           rejected           rejected           =
download_started  downloading        =                  =                  =                  =                  =                  =                  =                  =                  =                  +
downloaded        downloaded         downloaded         downloaded         =                  =                  =                  =                  =                  =                  =                  +
download_failed   download_failed    download_failed    =                  =                  =                  =                  =                  =                  =                  =                  +
proxy_started     preprocessing      preprocessing      preprocessing      preprocessing      =                  =                  =                  =                  =                  =                  +
proxied           preprocessed       preprocessed       preprocessed       preprocessed       preprocessed       preprocessed       =                  =                  =                  =                  +
proxy_failed      preprocess_failed  preprocess_failed  preprocess_failed  preprocess_failed  preprocess_failed  =                  =                  =                  =                  =                  +
master_started    preprocessing      preprocessing      preprocessing      preprocessing      +                  +                  +                  +                  +                  +                  +
mastered          preprocessing      preprocessing      preprocessing      preprocessing      +                  +                  +                  +                  +                  +                  +
master_failed     preprocess_failed  preprocess_failed  preprocess_failed  preprocess_failed  preprocess_failed  +                  preprocess_failed  preprocess_failed  preprocess_failed  preprocess_failed  +
scenes_started    detecting          detecting          detecting          detecting          detecting          +                  detecting          =                  =                  =                  +
detected          detecting          detecting          detecting          detecting          detecting          +                  ready              ready              ready              =                  +
scenes_failed     detect_failed      detect_failed      detect_failed      detect_failed      detect_failed      +                  detect_failed      detect_failed      =                  =                  +
"""


def folded(*names, **how):
    events = video_events(**how)
    facts = video.Facts(video_id=VIDEO)
    for name in names:
        facts = evolve(facts, events[name])
    return facts


def table():
    rows = [line.split() for line in EVENTS_BY_STATE.strip().splitlines()[1:]]
    return [(state, row[0], cell) for row in rows for state, cell in zip(PATHS, row[1:], strict=True)]


def test_the_table_covers_every_state_and_every_event():
    assert set(PATHS) == set(VideoState)
    assert {(state, name) for state, name, _ in table()} == {(s, n) for s in VideoState for n in video_events()}


@pytest.mark.parametrize("state", VideoState)
def test_each_path_leads_to_its_state(state):
    assert status(folded(*PATHS[state])) is state


@pytest.mark.parametrize(("state", "name", "cell"), table())
def test_an_event_moves_a_video_as_the_table_says(state, name, cell):
    before = folded(*PATHS[state])
    _, outcome = transition(before, video_events()[name])
    full = {"detecting": "detecting_scenes", "detect_failed": "detect_scenes_failed"}.get(cell, cell)
    assert outcome == ({"=": NoOp.NOTHING_NEW, "+": NoOp.NOTED}.get(cell) or video.Moved(state, VideoState(full)))


def test_events_of_other_videos_and_of_clips_are_refused_by_name():
    facts = video.Facts(video_id=VIDEO)
    with pytest.raises(Refused) as other:
        evolve(facts, accepted(OTHER_VIDEO))
    with pytest.raises(Refused) as clip:
        evolve(facts, ClipSkipped(video_id=VIDEO, clip_id=CLIP, edit_id=EDIT, by="ann"))
    assert other.value.code == clip.value.code == "review.foreign_event"


def test_a_late_failure_of_the_first_run_never_hides_the_success_of_the_second():
    facts = folded("accepted", "downloaded")
    second, first = video_events(run=2), video_events(run=1)
    for event in (second["proxied"], first["proxy_started"], first["proxy_failed"]):
        facts = evolve(facts, event)
    assert status(facts) is VideoState.PREPROCESSED
    assert video.error(facts) is None


def test_a_resumed_run_leaves_the_failure_behind_and_may_fail_anew():
    facts = folded("accepted", "download_started", "download_failed")
    facts = evolve(facts, video_events(run=2)["download_started"])
    assert status(facts) is VideoState.DOWNLOADING
    assert video.error(facts) is None
    facts = evolve(facts, video_events(run=2)["download_failed"])
    assert status(facts) is VideoState.DOWNLOAD_FAILED


def test_a_failed_master_shows_although_review_goes_on():
    facts = folded("accepted", "downloaded", "proxied", "detected", "master_failed")
    assert status(facts) is VideoState.PREPROCESS_FAILED
    assert video.error(facts).code == "media.corrupt"
    assert len(births(facts)) == 3


def test_clips_tile_the_video_and_carry_the_certainty_of_their_edges():
    clips = births(folded("detected", "proxied"))
    assert [(c.frames.start, c.frames.end) for c in clips] == [(0, 100), (100, 200), (200, 300)]
    assert [c.confidence for c in clips] == [0.5, 0.5, 0.6]
    assert {c.tags for c in clips} == {("tag",)}
    assert clips == births(folded("proxied", "detected", "mastered"))


def test_clip_ids_differ_by_video_range_and_detector():
    ids = {c.clip_id for c in births(folded("proxied", "detected"))}
    facts = evolve(evolve(video.Facts(video_id=OTHER_VIDEO), proxied(OTHER_VIDEO)), detected(OTHER_VIDEO))
    assert len(ids | {c.clip_id for c in births(facts)}) == 6


def test_an_already_cut_video_is_one_clip_as_soon_as_it_is_proxied():
    facts = folded("accepted", "downloaded", "proxied", needs_splicing=False)
    assert status(facts) is VideoState.READY
    (whole,) = births(facts)
    assert (whole.frames.start, whole.frames.end, whole.origin) == (0, FRAMES, "whole")


def test_a_duplicate_is_ready_at_once_and_has_no_clips_of_its_own():
    facts = evolve(folded("accepted"), downloaded(duplicate_of=OTHER_VIDEO))
    assert status(facts) is VideoState.READY
    assert facts.duplicate_of == OTHER_VIDEO
    assert births(evolve(evolve(facts, proxied()), detected())) == ()


def test_detection_that_counted_other_frames_is_never_cut_by():
    facts = evolve(folded("accepted", "proxied"), detected(frames=299))
    assert births(facts) == ()
    assert status(facts) is VideoState.DETECT_SCENES_FAILED
    assert video.error(facts).code == "review.frames_disagree"


def test_nothing_is_due_before_both_proxy_and_shots_are_known():
    assert births(folded("accepted", "detected")) == ()
    assert births(folded("accepted", "proxied")) == ()


def test_the_auto_policy_approves_every_clip_and_the_human_one_none():
    automatic = folded("proxied", "detected", review="auto")
    approvals = policy.approvals(automatic, births(automatic))
    assert [a.clip_id for a in approvals] == [c.clip_id for c in births(automatic)]
    assert {(a.version, a.by, a.title, a.profiles) for a in approvals} == {
        (2, "policy:auto", "A film", ("delivery-h264",))
    }
    assert len({a.edit_id for a in approvals}) == 3
    human = folded("proxied", "detected")
    assert policy.approvals(human, births(human)) == ()


def test_mastered_is_a_fact_and_no_state():
    facts = evolve(folded("accepted", "downloaded", "proxied"), mastered())
    assert status(facts) is VideoState.PREPROCESSED
    assert facts.mastered is not None
