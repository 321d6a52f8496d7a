"""The same page in Firefox, whose decoder and keys are its own."""

from __future__ import annotations

import pytest

from tests.support.browser import READ_NUMBER
from tests.support.firefox import firefox


@pytest.fixture(scope="module")
def fox(beside, tmp_path_factory):
    with firefox(tmp_path_factory.mktemp("firefox")) as page:
        yield page


def opened(fox, site, video: str, question: str = "") -> None:
    # Between pages that differ in what stands behind the hash alone nothing would be loaded.
    fox.goto("about:blank")
    fox.goto(f"{site.url}/{question}#/review/{video}")
    fox.wait_for("() => !!window.__player && window.__player.state.frame >= 0")


def shown(fox, place: int) -> int:
    fox.evaluate("(place) => window.__player.seek(place)", place)
    return fox.evaluate(READ_NUMBER)


@pytest.mark.parametrize("question", ["", "?stills=1"])
def test_firefox_shows_exact_frames_with_its_decoder_and_without(fox, site, numbers, question):
    opened(fox, site, site.video(numbers, [], "Firefox"), question)
    banner = fox.evaluate("() => document.querySelector('.stage .banner')?.innerText ?? ''")
    assert bool(banner) is bool(question), banner
    for place in (250, 3, 299, 0, 142, 143, 141, 77, 200, 12):
        assert shown(fox, place) == place


def test_a_video_is_reviewed_by_keys_in_firefox(fox, site, numbers):
    video = site.video(numbers, [100, 200], "Firefox by keys")
    opened(fox, site, video)
    fox.press("a")
    fox.wait_for("() => window.__player.in === 100 && window.__player.state.frame === 100")
    assert fox.evaluate(READ_NUMBER) == 100
    fox.press("s")
    fox.wait_for("() => window.__player.in === 200 && window.__player.state.frame === 200")
    fox.press("z")
    fox.wait_for("() => window.__player.in === 100 && window.__player.state.frame === 100")
    fox.press("x")
    fox.wait_for("() => window.__player.in === 200")
    fox.press("a")
    site.wait(
        lambda: (
            [clip["state"] for clip in site.get(f"/api/videos/{video}")["clips"]]
            == ["review_approved", "review_archived", "review_approved"]
        ),
        "the decisions",
    )
    fox.wait_for("() => !!document.querySelector('.link.live')")
    fox.press(" ")
    fox.wait_for("() => window.__player.state.playing")
