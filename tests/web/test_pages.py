"""Every page in both themes: nothing serious for axe, at 1280x720 and on a tablet; and a picture of each for the docs."""

from __future__ import annotations

import tarfile
from pathlib import Path
from uuid import UUID, uuid4

import axe_playwright_python
import pytest

from contracts.events.v1.video import VideoRejected
from tests.support.browser import open_review, wait_for
from tests.support.review_events import accepted, downloaded, failure

SCREENS = Path(__file__).parents[2] / "docs/screens"
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
MOST_NODES = 6000
"""Elements on a page. Axe's time grows with them, so pages keep their lists short."""

RUN_AXE = """
() => Promise.race([
  axe.run(document, { resultTypes: ['violations'], iframes: false, elementRef: false }).then((found) =>
    found.violations.map((violation) => ({
      id: violation.id, impact: violation.impact,
      nodes: violation.nodes.slice(0, 3).map((node) => [node.html.slice(0, 300), node.failureSummary]),
    }))),
  new Promise((_, fail) => setTimeout(() => fail(new Error('axe took more than 25 s')), 25000)),
])
"""
"""Only what is wrong leaves the page: axe's whole result of a page is large enough to stop its driver."""

PAGES = ["queue", "queue-clips", "review", "video", "search", "deliverables", "submit", "ops", "ops-failures",
         "ops-letters", "ops-trace", "help", "palette", "approve-as"]  # fmt: skip


@pytest.fixture(scope="module")
def stocked(site, film, numbers, tmp_path_factory):
    """A site in which something has happened: decisions, deliveries, hundreds of failures."""
    site.video(numbers, [100, 200], "Numbers to count by")
    video = site.video(film, [22, 41, 60, 83, 104, 131, 158, 187, 215], "Big Buck Bunny, ten seconds")
    clips = site.get(f"/api/videos/{video}")["clips"]

    site.decide(video, "approve", clips[0])
    site.decide(video, "skip", clips[1])
    site.decide(video, "group", clips[3], clips[4])
    noted = site.decide(video, "note", clips[5], note="The wing blurs here")["clips"][0]
    site.decide(video, "tag", noted, add=["bird", "sky"], remove=[])
    site.deliver(video, clips[3], film, "Big Buck Bunny, ten seconds")
    site.fail_work(400, video)
    return video, [clip["id"] for clip in clips]


def show(page, name, video, clips):
    """Goes to a page and waits until it has come to rest."""
    over = {"help": "Shift+Slash", "palette": "Control+KeyK", "approve-as": "Alt+KeyA"}
    if name == "review" or name in over:
        open_review(page, video, clips[5])
        page.evaluate("() => window.__player.seek(window.__player.in + 9)")
        wait_for(page, "() => window.__player.source.loaded(131, 158).length > 0")
        if name in over:
            page.keyboard.press(over[name])
            page.wait_for_selector("dialog[open]")
        if name == "approve-as":
            page.wait_for_selector("dialog input")
    else:
        address = {
            "queue-clips": "#/queue?show=clips",
            "video": f"#/video/{video}",
            "ops-failures": "#/ops/failures",
            "ops-letters": "#/ops/letters",
            "ops-trace": f"#/ops/trace?clip={clips[0]}",
        }.get(name, f"#/{name}")
        page.goto("/" + address)
    page.wait_for_selector("main h1, .review, main .empty")
    wait_for(page, "() => document.querySelector('.link.live') && !document.body.innerText.includes('Loading ')")
    wait_for(page, "() => [...document.images].every((image) => image.complete || image.loading === 'lazy')")


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious_in_either_theme(page, stocked, name, request):
    video, clips = stocked
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        if theme == "light":
            show(page, name, video, clips)
            assert page.evaluate("() => document.querySelectorAll('*').length") < MOST_NODES
            # A script element would be refused by the page's own policy, and rightly.
            page.evaluate(AXE)
        if request.config.getoption("--screens"):
            page.wait_for_timeout(400)
            SCREENS.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=SCREENS / f"{name}-{theme}.jpg", type="jpeg", quality=72)
        found = page.evaluate(RUN_AXE)
        assert [violation for violation in found if violation["impact"] in ("serious", "critical")] == [], theme


@pytest.mark.parametrize("name", ["review", "queue", "submit"])
def test_a_tablet_shows_everything_without_scrolling_sideways(pages, stocked, name):
    page = pages(viewport={"width": 768, "height": 1024}, has_touch=True)
    show(page, name, *stocked)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 768


def test_a_deliverable_shows_its_pictures_its_findings_and_its_report(page, stocked):
    video, clips = stocked
    page.goto(f"/#/deliverables/{video}")
    bundle = page.locator(".bundle")
    bundle.get_by_text("Quality: warn").wait_for()
    assert "Quality: warn too quiet" in bundle.inner_text()
    bundle.locator("summary", has_text="Pictures and quality").click()
    bundle.get_by_text("The clip is quieter than the limit.").wait_for()
    assert "measured -37.1 LUFS, limit -36 LUFS" in bundle.inner_text()
    wait_for(page, "() => document.querySelector('.bundle .sheet')?.naturalWidth > 0")
    with page.context.expect_page() as opened:
        bundle.get_by_role("link", name="report.html").click()
    report = opened.value
    report.wait_for_load_state()
    # The report keeps its own looks, though it may run nothing: it is served in a sandbox.
    assert report.evaluate("() => getComputedStyle(document.querySelector('.verdict')).textTransform") == "uppercase"
    assert report.evaluate("() => [...document.images].every((image) => image.naturalWidth > 0)")
    assert report.evaluate("() => self.origin") == "null"
    report.close()
    bundle.get_by_text("Big Buck Bunny, ten seconds").click()
    page.wait_for_url(f"**/#/review/{video}/{clips[3]}")


def test_a_list_that_could_not_be_had_once_still_follows_what_happens(page, site, numbers):
    video = site.video(numbers, [100, 200], "After a failure")
    row = ".video-row:has-text('After a failure'):has-text('%d to decide')"
    page.goto("/#/queue")
    page.wait_for_selector(row % 3)
    page.wait_for_selector(".link.live")
    failed = []

    def fail_once(route):
        failed.append(route.request.url)
        route.abort()

    page.route("**/api/videos?*", fail_once, times=1)
    for clip, left in zip(site.get(f"/api/videos/{video}")["clips"], (2, 1), strict=False):
        site.decide(video, "approve", clip)
        page.wait_for_selector(row % left)
    assert len(failed) == 1


def test_a_video_that_came_before_and_a_list_lead_to_where_the_clips_are(page, site, numbers):
    original, twin, listing = site.video(numbers, [100], "The first of two"), uuid4(), uuid4()
    site.tell(
        accepted(twin),
        downloaded(twin, duplicate_of=UUID(original)),
        VideoRejected(video_id=listing, failure=failure("ingest.playlist", "ingest"), entries=(UUID(original), twin)),
    )
    site.wait(lambda: site.get(f"/api/videos/{twin}")["duplicate_of"] == original, "the duplicate")
    site.wait(lambda: site.get(f"/api/videos/{listing}")["entries"], "the list")
    page.goto(f"/#/video/{twin}")
    page.get_by_role("link", name="came before").click()
    page.wait_for_url(f"**/#/video/{original}")
    page.goto(f"/#/video/{listing}")
    page.get_by_role("link", name="2", exact=True).click()
    page.wait_for_url(f"**/#/video/{twin}")


def test_delivered_clips_are_had_as_a_training_set(page, stocked):
    video, clips = stocked
    page.goto(f"/#/deliverables/{video}")
    page.locator("summary", has_text="Training set").click()
    with page.expect_download() as begun:
        page.get_by_role("link", name="00000.tar").click()
    with tarfile.open(begun.value.path()) as shard:
        assert f"{clips[3]}.json" in shard.getnames()
