"""The search page over a real search service, with clips that were really embedded."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.support.browser import wait_for

SCREENS = Path(__file__).parents[2] / "docs/screens"

GIVE = """
([how, data]) => {
  const file = new File([Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))], 'frame.jpg', { type: 'image/jpeg' });
  const transfer = new DataTransfer();
  transfer.items.add(file);
  if (how === 'drop') document.querySelector('main .page').dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
  else document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true }));
}
"""
"""Drops or pastes a picture on the page, as a person does."""


TITLES = ("Rabbit in a meadow", "Meadow once more", "Counting squares")


@pytest.fixture(scope="module")
def found(site, film, numbers):
    """Three delivered clips, the first two of the same pictures, once they can be searched for."""
    with site.searching():
        clips = []
        for made, title in zip((film, film, numbers), TITLES, strict=True):
            video = site.video(made, [], title)
            clip = site.get(f"/api/videos/{video}")["clips"][0]
            site.decide(video, "approve", clip)
            site.deliver(video, clip, made, title)
            clips.append(clip["id"])
        # The last clip's vectors are there when all are like it. What other tests have delivered is there as well.
        for clip in clips:
            others = set(clips) - {clip}
            site.wait(
                lambda clip=clip, others=others: (
                    others
                    <= {found["clip_id"] for found in site.get(f"/api/search/similar/{clip}?limit=100")["results"]}
                ),
                "the vectors",
                timeout=90,
            )
        yield clips


def titles(page) -> list[str]:
    """Which of this module's clips the page shows, in its order."""
    return [title for title in page.locator(".card .title").all_inner_texts() if title in TITLES]


def test_clips_are_found_by_words_by_likeness_and_by_a_picture(page, site, found, request):
    page.goto("/#/search")
    page.locator("input[type=search]").fill("meadow")
    page.keyboard.press("Enter")
    wait_for(page, "() => document.querySelectorAll('.card').length >= 2")
    assert set(titles(page)[:2]) == set(TITLES[:2])
    wait_for(
        page, "() => [...document.querySelectorAll('.card img')].every((image) => image.complete && image.naturalWidth)"
    )
    if request.config.getoption("--screens"):
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            page.wait_for_timeout(300)
            page.screenshot(path=SCREENS / f"search-found-{theme}.jpg", type="jpeg", quality=72)
    page.locator(".card", has_text="Rabbit").get_by_text("Alike").click()
    wait_for(
        page, "() => document.querySelector('main .page > [role=status]')?.innerText.includes('like the chosen clip')"
    )
    assert titles(page) == list(TITLES[1:])
    page.get_by_text("Near duplicates").click()
    wait_for(page, "() => document.querySelector('h2')?.innerText.includes('% alike')")
    assert set(titles(page)) == set(TITLES[:2])
    video = site.get(f"/api/clips/{found[2]}")["video_id"]
    for how in ("drop", "paste"):
        page.goto("/#/queue")
        page.goto("/#/search")
        wait_for(page, "() => document.querySelector('input[type=search]') && !document.querySelector('.card')")
        still = page.request.get(f"/api/videos/{video}/frames/100.jpg").body()
        page.evaluate(GIVE, [how, base64.b64encode(still).decode()])
        wait_for(
            page,
            "() => document.querySelector('main .page > [role=status]')?.innerText.includes('like the picture frame.jpg')",
        )
        assert titles(page)[0] == "Counting squares"


def test_filters_narrow_what_is_found_and_more_comes_page_by_page(page, site, found):
    status = "document.querySelector('main .page > [role=status]')?.innerText"
    page.goto("/#/search?q=meadow")
    wait_for(page, f"() => {status}?.includes('for “meadow”')")
    shown = len(titles(page))
    page.get_by_text("Filters").click()
    page.locator("[name=min_seconds]").fill("1000")
    page.keyboard.press("Enter")
    wait_for(page, "() => document.body.innerText.includes('Nothing was found.')")
    page.locator("[name=min_seconds]").fill("0.1")
    page.keyboard.press("Enter")
    wait_for(page, "() => document.querySelector('.card')")
    assert len(titles(page)) == shown
    page.locator("[name=state]").select_option("keyframe_failed")
    wait_for(page, "() => document.body.innerText.includes('Nothing was found.')")
    assert "state=keyframe_failed" in page.url
    page.locator("[name=state]").select_option("")
    wait_for(page, "() => document.querySelector('.card')")
    page.locator("[name=min_seconds]").fill("")
    page.locator("[name=until]").fill("2001-01-01")
    wait_for(page, "() => document.body.innerText.includes('Nothing was found.')")
    video = site.get(f"/api/clips/{found[0]}")["video_id"]
    page.goto(f"/#/search?q=meadow&video_id={video}")
    wait_for(page, "() => document.querySelectorAll('.card').length === 1")
    assert titles(page) == ["Rabbit in a meadow"]
    page.locator("[name=video_id]").click()
    wait_for(page, "() => document.querySelectorAll('.card').length > 1")
    # A small page of the service's stands for many clips.
    page.route("**/api/search?*", lambda route: route.continue_(url=route.request.url.replace("limit=40", "limit=1")))
    page.goto("/#/search?q=counting+squares")
    wait_for(page, f"() => {status}?.startsWith('The first 1 clip')")
    for count in (2, 3):
        page.get_by_role("button", name="More").click()
        wait_for(page, f"() => document.querySelectorAll('.card').length === {count}")
    assert len(set(titles(page))) == len(titles(page))
