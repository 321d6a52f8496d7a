"""Review's edges without a socket: what it listens to, what it stores, cursors, patience, settings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from contracts.catalog import CATALOG
from contracts.events.base import ClipEvent, VideoEvent
from contracts.topics import GENERATION
from services.review.api import cursors
from services.review.app import STAGE
from services.review.domain import clip, video
from services.review.domain.clip import ClipState
from services.review.domain.marks import Refused
from services.review.domain.stalls import DEFAULT_PATIENCE, WAITS_FOR, deadlines, message_of
from services.review.domain.video import VideoState
from services.review.settings import Settings
from tests.support.review_events import CLIP, VIDEO, edit_events, video_events, work_events

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_every_event_of_the_catalogue_that_names_review_has_a_handler():
    heard = [entry for entry in CATALOG if "review" in entry.consumers and entry.superseded_by is None]
    # The broker's generation is watched by the chassis, for every service.
    wanted = {entry.model for entry in heard if entry.topic is not GENERATION}
    assert set(STAGE.routes.handlers) == wanted


def test_the_projections_understand_every_event_about_videos_and_clips():
    of_videos = {type(event) for event in video_events().values()}
    of_clips = {type(event) for event in (*edit_events().values(), *work_events().values())}
    newest = {entry.model for entry in CATALOG if entry.superseded_by is None}
    assert of_videos == {model for model in newest if issubclass(model, VideoEvent)}
    assert of_clips == {model for model in newest if issubclass(model, ClipEvent)}
    for event in video_events().values():
        video.evolve(video.Facts(video_id=VIDEO), event)
    for event in (*edit_events().values(), *work_events().values()):
        clip.evolve(clip.Facts(clip_id=CLIP, video_id=VIDEO), event)


def test_cursors_survive_the_round_and_nonsense_is_refused():
    spelt = cursors.spell((NOW.isoformat(), VIDEO))
    assert cursors.read(spelt, cursors.moment, cursors.identifier) == [NOW, VIDEO]
    for wrong in (
        "",
        "é",
        "W10",
        "bnVsbA",
        cursors.spell(("2030-01-01", VIDEO)),
        cursors.spell((NOW.isoformat(), "x")),
    ):
        with pytest.raises(Refused) as refusal:
            cursors.read(wrong, cursors.moment, cursors.identifier)
        assert refusal.value.code == "review.bad_cursor"


def test_positions_of_the_log_are_two_numbers():
    assert cursors.position("12-7") == (12, 7)
    assert cursors.position(None) is None
    for wrong in ("12", "-", "a-b", "1-2-3", "9" * 30 + "-1", "²-1"):
        with pytest.raises(Refused):
            cursors.position(wrong)


def test_only_states_that_move_by_themselves_stall():
    waiting = {ClipState.PENDING_REVIEW, ClipState.REVIEW_SKIPPED, ClipState.SUPERSEDED, ClipState.CLEANED}
    done = {ClipState.EMBEDDED, VideoState.READY, VideoState.REJECTED}
    failed = {state for state in (*ClipState, *VideoState) if state.endswith("_failed")}
    assert set(DEFAULT_PATIENCE) == set(WAITS_FOR) == {*ClipState, *VideoState} - waiting - done - failed


def test_patience_is_the_settings_where_they_say_something():
    before = deadlines({"new": timedelta(minutes=1)}, NOW)
    assert before["new"] == NOW - timedelta(minutes=1)
    assert before["exporting"] == NOW - DEFAULT_PATIENCE["exporting"]
    assert "export service" in message_of("clip", "exporting", NOW)


def test_settings_refuse_patience_with_a_state_that_never_moves():
    assert Settings(review_patience={"new": 5}).review_patience == {"new": timedelta(seconds=5)}
    with pytest.raises(ValidationError, match="no state to wait in"):
        Settings(review_patience={"ready": 5})
