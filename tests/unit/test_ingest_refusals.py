from __future__ import annotations

import pytest

from contracts.values import ErrorClass
from services.ingest.domain import FetchInput, failed
from services.ingest.refusals import REFUSED_FOR_GOOD, classify

RETRY, NEVER = ErrorClass.RETRYABLE, ErrorClass.PERMANENT


@pytest.mark.parametrize(
    ("message", "status", "kinds", "code", "error_class"),
    [
        ("ERROR: [generic] Unable to download webpage: HTTP Error 404: Not Found (caused by <HTTPError 404>)", 404, (), "http_404", NEVER),
        ("HTTP Error 403: Forbidden", 403, (), "http_403", NEVER),
        ("HTTP Error 410: Gone", 410, (), "http_410", NEVER),
        ("HTTP Error 503: Service Unavailable", 503, (), "http_503", RETRY),
        ("HTTP Error 429: Too Many Requests", 429, (), "rate_limited", RETRY),
        ("HTTP Error 401: Unauthorized", 401, (), "private", NEVER),
        ("[youtube] x: Private video. Sign in if you've been granted access to this video", None, (), "private", NEVER),
        ("[youtube] x: Sign in to confirm you’re not a bot. Use --cookies", None, (), "bot_check", NEVER),
        ("[youtube] x: Sign in to confirm your age. This video may be inappropriate for some users.", None, (), "age_restricted", NEVER),
        ("[youtube] x: Join this channel to get access to members-only content", None, (), "private", NEVER),
        ("[youtube] x: Video unavailable. This video has been removed by the uploader", None, (), "not_found", NEVER),
        ("[youtube] x: Premieres in 3 hours", None, (), "premiere", NEVER),
        ("[youtube] x: This live event will begin in 2 days.", None, (), "premiere", NEVER),
        ("The channel is not currently live", None, ("UserNotLive",), "live", NEVER),
        ("[x] 1: This video is DRM protected", None, (), "drm", NEVER),
        ("[x] 1: This video is not available from your location due to geo restriction", None, ("GeoRestrictedError",), "geo", NEVER),
        ("Unsupported URL: http://x/", None, ("UnsupportedError", "ExtractorError"), "unsupported_url", NEVER),
        ("[x] 1: Requested format is not available. Use --list-formats", None, (), "format_unavailable", NEVER),
        ("fragment 3 not found, unable to continue", None, (), "missing_fragment", RETRY),
        ("<urlopen error [Errno 111] Connection refused>", None, ("TransportError",), "unreachable", RETRY),
        ("Failed to resolve 'x.invalid' ([Errno -2] Name or service not known)", None, (), "unreachable", RETRY),
        ("certificate verify failed: self-signed certificate", None, ("CertificateVerifyError", "SSLError", "TransportError"), "certificate", NEVER),
        ("unable to write data: [Errno 28] No space left on device", None, (), "disk_full", RETRY),
        ("an extractor tripped over its own feet", None, (), "download_failed", RETRY),
        ("", None, (), "download_failed", RETRY),
    ],
)  # fmt: skip
def test_every_known_sentence_has_its_code(message, status, kinds, code, error_class):
    error = classify(message, status=status, kinds=kinds)
    assert (error.code, error.error_class) == (f"ingest.{code}", error_class)
    assert error.failure("ingest").message


def test_messages_lose_colour_prefix_and_advice_for_developers():
    error = classify("\x1b[0;31mERROR:\x1b[0m [x] odd thing; please report this issue on https://example.org")
    assert "odd thing" in error.message
    assert "\x1b" not in error.message
    assert "report" not in error.message


@pytest.mark.parametrize("code", sorted(REFUSED_FOR_GOOD))
def test_a_source_at_fault_is_rejected(code, fetch_order):
    (event,) = failed(fetch_order, 1, _failure(code))
    assert event.TYPE == "heaters.video.rejected.v1"


@pytest.mark.parametrize(
    "code", ["ingest.http_404", "ingest.private", "ingest.unreachable", "media.truncated", "work.timeout"]
)
def test_anything_else_may_be_resumed(code, fetch_order):
    (event,) = failed(fetch_order, 3, _failure(code))
    assert event.TYPE == "heaters.video.download_failed.v1"
    assert event.run == 3


def _failure(code):
    from contracts.values import Failure

    return Failure(stage="ingest", error_class=NEVER, code=code, message="x")


@pytest.fixture
def fetch_order():
    from uuid import uuid4

    from contracts.values import ObjectSource, Options

    return FetchInput(video_id=uuid4(), source=ObjectSource(key="k"), options=Options())
