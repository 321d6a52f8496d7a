from __future__ import annotations

from fractions import Fraction

import pytest

from contracts.errors import Permanent, Transient
from contracts.values import AudioFacts, Finding, MediaFacts, VideoFacts
from services.ingest.domain import Attempt, Next, check_expectations, next_step


def permanent(code):
    return Permanent("x", code=code)


def transient(code):
    return Transient("x", code=code)


@pytest.mark.parametrize(
    ("attempt", "following"),
    [
        (Attempt("primary"), Next.KEEP),
        (Attempt("fallback", normalised=True), Next.KEEP),
        # A merge whose fault encoding mends is mended, once; damage and loss are not.
        (Attempt("primary", permanent("ingest.broken_timestamps"), chosen=True, downloaded=True, merged=True), Next.NORMALISE),
        (Attempt("primary", permanent("ingest.broken_timestamps"), chosen=True, downloaded=True, merged=True, normalised=True), Next.FALL_BACK),
        (Attempt("primary", permanent("media.truncated"), chosen=True, downloaded=True, merged=True), Next.FALL_BACK),
        (Attempt("primary", permanent("ingest.missing_stream"), chosen=True, downloaded=True, merged=True), Next.FALL_BACK),
        (Attempt("primary", permanent("media.truncated"), chosen=True, downloaded=True), Next.FALL_BACK),
        (Attempt("primary", permanent("media.not_a_video"), chosen=True, downloaded=True), Next.FALL_BACK),
        (Attempt("primary", transient("ingest.wrong_duration"), chosen=True, downloaded=True), Next.FALL_BACK),
        # A fault of the primary formats alone leads to the others.
        (Attempt("primary", permanent("ingest.format_unavailable")), Next.FALL_BACK),
        (Attempt("primary", permanent("ingest.http_403"), chosen=True), Next.FALL_BACK),
        (Attempt("primary", transient("ingest.missing_fragment"), chosen=True), Next.FALL_BACK),
        # No format helps against a bad network, a full disk, or a page that refuses.
        (Attempt("primary", transient("ingest.unreachable")), Next.GIVE_UP),
        (Attempt("primary", transient("ingest.unreachable"), chosen=True), Next.GIVE_UP),
        (Attempt("primary", permanent("ingest.http_404")), Next.GIVE_UP),
        (Attempt("primary", transient("media.disk_full"), chosen=True, downloaded=True, merged=True), Next.GIVE_UP),
        *((Attempt("primary", permanent(f"ingest.{code}")), Next.GIVE_UP)
          for code in ("drm", "live", "premiere", "private", "geo", "bot_check", "forbidden_address", "over_limits")),
        (Attempt("primary", permanent("media.over_limits"), chosen=True, downloaded=True, merged=True), Next.GIVE_UP),
        # After the fallback there is nothing left.
        (Attempt("fallback", permanent("media.truncated"), chosen=True, downloaded=True, merged=True), Next.GIVE_UP),
        (Attempt("fallback", transient("ingest.missing_fragment")), Next.GIVE_UP),
    ],
)  # fmt: skip
def test_what_follows_an_attempt(attempt, following):
    assert next_step(attempt) is following


def facts(seconds, *, audio):
    return MediaFacts(
        container="mp4",
        duration=Fraction(seconds),
        video=VideoFacts(
            stream_index=0, codec="h264", width=2, height=2, pixel_format="yuv420p", rate=Fraction(25),
            timebase=Fraction(1, 25), packets=1,
        ),
        audio=AudioFacts(stream_index=1, codec="aac", sample_rate=48000, channels=2, packets=1) if audio else None,
    )  # fmt: skip


def test_missing_sound_is_a_fault_where_the_page_offers_some():
    fault = check_expectations(facts(10, audio=False), expects_audio=True, expected_duration=None)
    assert fault is not None
    assert fault.code == "ingest.missing_stream"
    assert check_expectations(facts(10, audio=False), expects_audio=False, expected_duration=None) is None


@pytest.mark.parametrize(
    ("lasts", "said", "faulty"),
    [
        ("10", "10", False),
        ("8", "10", False),
        ("7.9", "10", True),
        ("12", "10", False),
        ("980", "1000", False),
        ("979", "1000", True),
    ],
)
def test_a_file_much_shorter_than_its_page_says_is_at_fault(lasts, said, faulty):
    fault = check_expectations(facts(lasts, audio=True), expects_audio=True, expected_duration=Fraction(said))
    assert (fault is not None and fault.code == "ingest.wrong_duration") is faulty


def test_only_a_merge_is_blamed_for_broken_times():
    broken = [Finding(code="media.timestamps_mended", message="x")]
    expected = {"expects_audio": True, "expected_duration": None}
    fault = check_expectations(facts(10, audio=True), broken, merged=True, **expected)
    assert fault is not None
    assert fault.code == "ingest.broken_timestamps"
    assert check_expectations(facts(10, audio=True), broken, merged=False, **expected) is None
