from __future__ import annotations

from datetime import UTC, datetime

import pytest

from console import intake
from console.intake import InputError, Named
from contracts.envelope import derived_id, from_kafka, to_kafka
from contracts.values import Options

OPTIONS = Options()


@pytest.mark.parametrize(
    ("text", "is_url"),
    [("https://example.org/v", True), ("HTTP://x/y", True), ("a.mp4", False), ("C:a", False), ("/a/b:c.mp4", False)],
)
def test_addresses_are_told_from_paths(text, is_url):
    assert Named(text).is_url is is_url


def test_a_missing_file_has_its_own_code(tmp_path):
    with pytest.raises(InputError) as found:
        intake.check(Named(str(tmp_path / "absent.mp4")))
    assert found.value.code == "input.not_found"
    assert "absent.mp4" in found.value.message


def test_a_folder_is_no_video(tmp_path):
    with pytest.raises(InputError) as found:
        intake.check(Named(str(tmp_path)))
    assert found.value.code == "input.not_a_file"


def test_a_path_with_a_zero_byte_is_told_as_a_sentence():
    with pytest.raises(InputError):
        intake.check(Named("a\0b"))


def test_an_empty_file_is_left_to_the_service_that_judges_content(tmp_path):
    (tmp_path / "empty.mp4").touch()
    intake.check(Named(str(tmp_path / "empty.mp4")))


def test_the_same_content_and_options_are_the_same_request():
    assert intake.idempotency_key("x", "t", OPTIONS) == intake.idempotency_key("x", "t", Options())
    others = {
        intake.idempotency_key("y", "t", OPTIONS),
        intake.idempotency_key("x", "u", OPTIONS),
        intake.idempotency_key("x", "t", OPTIONS, 2),
        intake.idempotency_key("x", "t", Options(needs_splicing=False)),
    }
    assert len(others) == 4
    assert intake.idempotency_key("x", "t", OPTIONS) not in others


def test_the_video_id_is_the_one_that_ingest_derives():
    assert intake.video_id_of("k") == derived_id("video", "k")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], (1, False)),
        (["ready"], (1, True)),
        (["rejected"], (2, False)),
        (["rejected", "downloading"], (2, True)),
        (["download_failed"] * 3, (4, False)),
    ],
)
def test_a_request_joins_what_lives_and_starts_again_after_what_gave_up(states, expected):
    known = {intake.video_id_of(str(number)): {"state": state} for number, state in enumerate(states, 1)}
    assert intake.attempt_for(known.get, str, frozenset({"rejected", "download_failed"})) == expected


def test_requests_travel_as_events_of_the_published_language():
    source = {"kind": "upload", "upload_id": str(derived_id("upload")), "name": "a.mp4"}
    request = intake.file_request(source, "A", OPTIONS, "key", ["tag"])
    message = to_kafka(request, event_id=derived_id("x"), source="console", time=datetime.now(UTC))
    assert from_kafka(message.value, message.headers).event == request
    assert intake.url_request("https://example.org", None, OPTIONS, "key").title is None
