"""What yt-dlp's own extractors raise and tell, by its own classes and methods, becomes one of the house's codes."""

from __future__ import annotations

from typing import Any

import pytest
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import ExtractorError, GeoRestrictedError, UserNotLive

from contracts.errors import HeatersError
from services.ingest import download
from services.ingest.network import guarded
from services.ingest.settings import Settings

PAGE = "https://place.example/watch/1"


class PlaceIE(InfoExtractor):  # type: ignore[misc]
    """A site of which each test says what it answers."""

    _VALID_URL = r"https?://place\.example/watch/(?P<id>\d+)"
    answer: Any = None

    def _real_extract(self, url: str) -> dict[str, Any]:
        return {"id": self._match_id(url), "title": "A film", **type(self).answer(self)}


@pytest.fixture
def looked_at(monkeypatch):
    """Looks at a page whose extractor does what it is given; returns the code of the refusal."""
    monkeypatch.setattr(download._Ydl, "add_default_info_extractors", lambda ydl: ydl.add_info_extractor(PlaceIE()))

    def look(answer) -> str:
        monkeypatch.setattr(PlaceIE, "answer", answer)
        with (
            guarded(allow_private=False) as guard,
            pytest.raises(HeatersError) as caught,
            download.opened_page(PAGE, "best", guard, Settings()),
        ):
            pytest.fail("the page was opened")
        assert caught.value.message
        return caught.value.code

    return look


def raising(error):
    def answer(_):
        raise error

    return answer


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda ie: ie.raise_geo_restricted(countries=["NZ"]), "geo"),
        (raising(GeoRestrictedError("Sign in to see whether this is shown where you are")), "geo"),
        (lambda ie: ie.raise_login_required(), "private"),
        (lambda ie: ie.raise_login_required("This video is for members", method="cookies"), "private"),
        (lambda ie: ie.report_drm("1"), "drm"),
        (raising(UserNotLive(video_id="1")), "live"),
        (raising(ExtractorError("Sign in to confirm your age", expected=True)), "age_restricted"),
        (raising(ExtractorError("Sign in to confirm you are not a bot", expected=True)), "bot_check"),
        (lambda ie: ie.raise_no_formats("Premieres in 3 hours", expected=True), "premiere"),
    ],
)
def test_what_extractors_raise(looked_at, answer, code):
    assert looked_at(answer) == f"ingest.{code}"


FORMAT = {"format_id": "a", "url": "https://place.example/a.mp4", "ext": "mp4"}


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"live_status": "is_upcoming"}, "premiere"),
        ({"live_status": "is_upcoming", "formats": [FORMAT]}, "premiere"),
        ({"live_status": "is_upcoming", "availability": "needs_auth"}, "premiere"),
        ({"is_live": True, "formats": [FORMAT]}, "live"),
        ({"live_status": "is_live"}, "live"),
        ({"live_status": "post_live", "formats": [FORMAT]}, "live"),
        ({"availability": "private"}, "private"),
        ({"availability": "premium_only"}, "private"),
        ({"availability": "subscriber_only"}, "private"),
        ({"availability": "needs_auth"}, "private"),
        ({"availability": "needs_auth", "age_limit": 18}, "age_restricted"),
        ({"availability": "needs_auth", "formats": [{**FORMAT, "has_drm": True}]}, "drm"),
        ({"availability": "public"}, "unsupported_url"),
        ({"formats": [{**FORMAT, "has_drm": True}]}, "drm"),
        ({"duration": 10**7, "formats": [FORMAT]}, "over_limits"),
    ],
)
def test_what_pages_tell(looked_at, told, code):
    assert looked_at(lambda _: {"formats": [], **told}) == f"ingest.{code}"
