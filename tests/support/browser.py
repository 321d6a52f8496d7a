"""The system's Chromium under Playwright, and what tests ask of a page: the number in its picture, its player, its keys."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from playwright.sync_api import Browser, BrowserType, Page, sync_playwright

Made = TypeVar("Made")

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
)

READ_NUMBER = """
() => {
  const canvas = document.querySelector('.picture canvas');
  const { width, height } = canvas;
  const pixels = canvas.getContext('2d').getImageData(0, 0, width, height).data;
  const mean = (x, y) => {
    let sum = 0;
    for (let dy = -2; dy <= 2; dy++) for (let dx = -2; dx <= 2; dx++) sum += pixels[4 * ((y + dy) * width + x + dx) + 1];
    return sum / 25;
  };
  let code = 0;
  for (let place = 0; place < 24; place++) {
    const row = Math.floor(place / 6), column = place % 6;
    if (mean(Math.floor((2 * column + 1) * width / 12), Math.floor((2 * row + 1) * height / 8)) > 128) code |= 1 << place;
  }
  const number = code >> 8;
  return ((number * 37 + 11) & 255) === (code & 255) ? number : -1;
}
"""
"""The number that ``made_videos`` burnt into the picture on the canvas; -1 if its checksum does not fit."""


class BrowserThread:
    """A thread for everything that touches a browser: its driver keeps an event loop running in its thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="browser")

    def __call__(self, work: Callable[..., Made], *arguments: Any, **named: Any) -> Made:
        """The result of some work done there."""
        return self._thread.submit(work, *arguments, **named).result()

    def close(self) -> None:
        self._thread.shutdown()


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium of its own."""
    with sync_playwright() as playwright, another(playwright.chromium) as browser:
        yield browser


@contextlib.contextmanager
def another(kind: BrowserType, *flags: str) -> Iterator[Browser]:
    """One more browser of the same driver, with flags of its own."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "These tests need Chromium; install the package 'chromium'."
    browser = kind.launch(executable_path=path, args=[*FLAGS, *flags])
    try:
        yield browser
    finally:
        browser.close()


def open_review(page: Page, video: str, clip: str = "") -> None:
    """The review page with its first picture on the screen."""
    page.goto(f"/#/review/{video}" + (f"/{clip}" if clip else ""))
    page.wait_for_selector(f'.review[data-video="{video}"]')
    wait_for(page, "() => window.__player && window.__player.state.frame >= 0")


def wait_for(page: Page, condition: str, argument: object = None, timeout: float = 15_000) -> None:
    """Waits until an expression of the page is true."""
    page.wait_for_function(condition, arg=argument, timeout=timeout, polling=20)


def shown(page: Page) -> int:
    """The frame that the page says it shows."""
    return page.evaluate("() => window.__player.state.frame")


def press_action(page: Page, keys: str) -> None:
    """Presses a key of the action table, such as ``Shift+KeyA``."""
    page.keyboard.press("+".join({"Ctrl": "Control"}.get(part, part) for part in keys.split("+")))
