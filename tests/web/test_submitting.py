"""Handing videos in: by address, and as files whose transfer is cut and goes on."""

from __future__ import annotations

import json
import os
import re

from services.scenes.detectors.declared import DECLARED
from tests.support.browser import wait_for

PART = re.compile(r"/api/uploads/[^/]+/parts/(\d+)$")


def test_an_address_is_submitted(page, site):
    page.goto("/#/submit")
    page.get_by_label("prores-proxy").check()
    detectors = page.get_by_label("Scenes are found by")
    offered = detectors.locator("option").evaluate_all("(options) => options.map((option) => option.value)")
    assert set(offered) == set(DECLARED)
    detectors.select_option("fused")
    page.get_by_label("The master is made").select_option("none")
    page.get_by_label("Caption languages").fill("en, de")
    page.locator("input[type=url]").fill("https://example.org/film")
    page.keyboard.press("Enter")
    page.wait_for_selector(".toast.good")
    link = page.locator("main ul a", has_text="https://example.org/film")
    assert re.fullmatch(r"#/video/[0-9a-f-]{36}", link.get_attribute("href"))
    (told,) = site.rows(
        "SELECT convert_from(payload, 'UTF8') FROM review.outbox WHERE type = 'heaters.ingest.requested.v1'"
        " AND convert_from(payload, 'UTF8') LIKE '%%example.org/film%%'"
    )
    asked = json.loads(told[0])
    assert asked["source"]["url"] == "https://example.org/film"
    assert asked["options"] == {
        "needs_splicing": True,
        "review": "human",
        "mastering": "none",
        "detector": "fused",
        "profiles": ["delivery-h264", "prores-proxy"],
        "caption_languages": ["en", "de"],
    }


def test_a_file_goes_on_where_its_transfer_stopped(page, site, tmp_path):
    path = tmp_path / "holiday.mp4"
    path.write_bytes(os.urandom(20_000_000))
    sent: list[int] = []
    refuse = [True]

    def part(route):
        number = int(PART.search(route.request.url).group(1))
        if number > 1 and refuse[0]:
            route.abort()
        else:
            sent.append(number)
            route.continue_()

    page.route(PART, part)
    page.goto("/#/submit")
    # Where files are dropped stays where it is while one is held over it.
    place = page.locator(".drop").bounding_box()
    page.locator(".drop").dispatch_event("dragover")
    page.wait_for_selector(".drop.over")
    assert page.locator(".drop").bounding_box() == place
    page.set_input_files("input[type=file]", path)
    wait_for(page, "() => document.querySelector('.sendings progress').value > 0.3")
    page.get_by_role("button", name="Pause").click()
    page.wait_for_selector("text=Paused")
    refuse[0] = False
    # The same file is chosen again on a page that knows nothing of the first try.
    page.reload()
    page.set_input_files("input[type=file]", path)
    page.wait_for_selector("text=See the video", timeout=40_000)
    assert sorted(sent) == [1, 2, 3]
    stored = [key for key in site.store.list("") if "holiday" in key or "upload" in key]
    assert any(site.store.head(key).size == 20_000_000 for key in stored)
