"""What the player costs in a real browser, beside the budget of each figure.

./heaters test tests/benchmarks/test_player.py -s

The delay of 40 ms is put before each answer's first byte by a proxy of this test; everything lies on one machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import urllib.parse
from fractions import Fraction

import pytest

from services.media.recipes import ReviewSettings
from tests.support.browser import BrowserThread, chromium, open_review, wait_for
from tests.support.made_videos import make_video
from tests.support.review_site import ReviewSite
from tests.support.servers import own_broker

SEEK = """
async (places) => {
  const waits = [];
  for (const place of places) {
    const begun = performance.now();
    await window.__player.seek(place);
    waits.push(performance.now() - begun);
  }
  return waits;
}
"""
SCRUB = """
() => new Promise((done) => {
  const player = window.__player;
  player.reset();
  const begun = performance.now();
  const turn = () => {
    const at = performance.now() - begun;
    if (at < 3000) {
      void player.seek(Math.round(150 + 149 * Math.sin(at / 3000 * 2 * Math.PI)));
      requestAnimationFrame(turn);
    } else done(player.metrics.draws.filter((draw) => draw.at <= begun + 3000).length / 3);
  };
  turn();
})
"""
VERDICT = """
(frame) => new Promise((done) => {
  const begun = performance.now();
  window.dispatchEvent(new KeyboardEvent('keydown', { code: 'KeyA', bubbles: true }));
  const look = () => window.__player.state.frame === frame ? done(performance.now() - begun) : setTimeout(look, 1);
  look();
})
"""


def report(what: str, measured: float, limit: float, unit: str) -> None:
    print(f"\n{what:<58} {measured:10.3f} {unit:<8} (limit {limit:g})")


def share(waits: list[float], part: float = 0.95) -> float:
    return sorted(waits)[int(len(waits) * part)]


class Delay:
    """Passes connections on and holds back the beginning of each answer, as a distant server would."""

    def __init__(self, port: int, seconds: float) -> None:
        self._target, self._seconds = port, seconds
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self.port = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._ready.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        async with server:
            await self._stop.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_connection("127.0.0.1", self._target)
        asked = 0.0

        async def pump(source, sink, *, is_answer: bool) -> None:
            nonlocal asked
            loop = asyncio.get_running_loop()
            while data := await source.read(65_536):
                if is_answer:
                    await asyncio.sleep(max(0.0, asked + self._seconds - loop.time()))
                else:
                    asked = loop.time()
                sink.write(data)
                await sink.drain()
            sink.close()

        with contextlib.suppress(OSError):
            await asyncio.gather(
                pump(reader, their_writer, is_answer=False), pump(their_reader, writer, is_answer=True)
            )

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture(scope="module")
def bench(servers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("player")
    with own_broker() as broker, contextlib.closing(ReviewSite(servers, broker, folder)) as site:
        site.start()
        films = {}
        for name, size in (("360p", (640, 360)), ("720p", (1280, 720))):
            source = make_video(
                folder / f"{name}.mp4",
                frames=300,
                size=size,
                rate=Fraction(30),
                options={"preset": "ultrafast", "crf": "20"},
            )
            films[name] = site.film(source, name, ReviewSettings(max_height=size[1]))
        yield site, films


def with_page(bench, name, work, *, delay: float = 0.0, cuts=()):
    """Does some work on a review page of a new video."""
    site, films = bench
    video = site.video(films[name], list(cuts), name)
    with contextlib.ExitStack() as stack:
        thread = stack.enter_context(contextlib.closing(BrowserThread()))
        url = site.url
        if delay:
            slow = stack.enter_context(contextlib.closing(Delay(site.port, delay)))
            url = urllib.parse.urlunsplit(("http", f"127.0.0.1:{slow.port}", "", "", ""))

        def go():
            with chromium() as browser:
                page = browser.new_page(viewport={"width": 1280, "height": 720}, base_url=url)
                open_review(page, video)
                page.wait_for_timeout(700)
                return work(page)

        return thread(go)


@pytest.mark.parametrize(
    ("name", "delay", "limit"), [("360p", 0, 15), ("720p", 0, 25), ("360p", 0.04, 70), ("720p", 0.04, 70)]
)
def test_cold_seek(bench, name, delay, limit):
    places = random.Random(1).sample(range(20, 300), 150)
    waits = with_page(bench, name, lambda page: page.evaluate(SEEK, places), delay=delay)
    report(f"cold seek, {name}, {delay * 1000:.0f} ms away, p95", share(waits), limit, "ms")
    assert share(waits) <= limit


def test_step_inside_what_is_loaded(bench):
    def work(page):
        page.evaluate("() => window.__player.source.prefetch(0, 300)")
        wait_for(page, "() => window.__player.source.loaded(0, 300)[0][1] === 300")
        return page.evaluate(SEEK, list(range(1, 150)))

    waits = with_page(bench, "720p", work)
    report("step to a loaded frame, 720p, p95", share(waits), 1000 / 60, "ms")
    assert share(waits) <= 1000 / 60


@pytest.mark.parametrize("delay", [0, 0.04])
def test_scrub(bench, delay):
    drawn = with_page(bench, "720p", lambda page: page.evaluate(SCRUB), delay=delay)
    report(f"exact frames drawn while scrubbing, 720p, {delay * 1000:.0f} ms away", drawn, 50, "1/s")
    assert drawn >= 50


def test_verdict_to_the_next_clips_first_frame(bench):
    def work(page):
        waits = []
        for number in range(1, 28):
            waits.append(page.evaluate(VERDICT, number * 10))
            page.wait_for_timeout(150)
        return waits

    waits = with_page(bench, "720p", work, cuts=range(10, 300, 10))
    report("verdict key to the next clip's first frame, 720p, p95", share(waits), 50, "ms")
    assert share(waits) <= 50


@pytest.mark.parametrize("rate", [1, -1, 2])
def test_play(bench, rate):
    def work(page):
        page.evaluate(
            "(rate) => { const p = window.__player; p.setLoop(false); p.reset(); return p.seek(rate > 0 ? 0 : 299).then(() => p.play(rate)); }",
            rate,
        )
        wait_for(page, "() => !window.__player.state.playing", timeout=60_000)
        return page.evaluate("() => window.__player.count()")

    told = with_page(bench, "720p", work)
    most = 0 if abs(rate) == 1 else 3
    report(f"frames left out of 300, 720p30 at {rate}x", told["dropped"], most, "frames")
    report(f"waits for the picture, 720p30 at {rate}x", told["slips"], 1, "times")
    report(f"first picture after play, 720p30 at {rate}x", told["startMs"], 200, "ms")
    assert told["dropped"] <= most
