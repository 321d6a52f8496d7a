"""The player in a real browser: it shows exactly the frame it says, and costs what it must."""

from __future__ import annotations

import hashlib
import random

import av
import pytest

from tests.support.browser import READ_NUMBER, open_review, shown, wait_for
from tests.support.made_videos import planes_of

SLACK = 3
"""Times are measured by the benchmark; here they may be this many times the budget."""

WATCH = f"""
() => {{
  const read = {READ_NUMBER};
  const seen = [];
  const draw = window.__player.draw;
  window.__player.draw = function (picture, frame) {{
    draw.call(this, picture, frame);
    seen.push([frame, read()]);
  }};
  window.__seen = seen;
}}
"""
"""Reads the number back after everything that is drawn."""


@pytest.fixture(scope="module")
def video(site, numbers):
    return site.video(numbers, [30, 77, 140, 200, 251], "Numbers")


@pytest.fixture
def open_page(page, video, beside):
    beside(open_review, page, video)
    beside(page.evaluate, "() => window.__player.setMuted(true)")
    return page


def seen(page) -> list[int]:
    """The frames that were drawn since ``WATCH``, each proved to be in the picture."""
    pairs = page.evaluate("() => window.__seen.splice(0)")
    assert [pair for pair in pairs if pair[0] != pair[1]] == []
    return [frame for frame, _ in pairs]


@pytest.mark.scaled
def test_random_seeks_show_the_frame_they_name(open_page, scale):
    places = [random.Random(7).randrange(300) for _ in range(scale(150, 1000))]
    wrong = open_page.evaluate(
        f"""async (places) => {{
          const read = {READ_NUMBER};
          const wrong = [];
          for (const place of places) {{
            await window.__player.seek(place);
            if (read() !== place || window.__player.state.frame !== place) wrong.push([place, read()]);
          }}
          return wrong;
        }}""",
        places,
    )
    assert wrong == []


@pytest.mark.scaled
def test_steps_by_key_show_every_frame(open_page, scale):
    page, count = open_page, scale(60, 250)
    page.evaluate("() => window.__player.seek(20)")
    page.evaluate(WATCH)
    for key, place, step in (("ArrowRight", 20, 1), ("ArrowLeft", 20 + count, -1)):
        for number in range(1, count + 1):
            page.keyboard.press(key)
            wait_for(page, "(frame) => window.__player.state.frame === frame", place + step * number)
        assert seen(page) == [place + step * number for number in range(1, count + 1)]


def test_a_held_key_scrolls_through_exact_frames(open_page):
    page = open_page
    page.evaluate("() => window.__player.seek(40)")
    page.evaluate(WATCH)
    for _ in range(90):
        page.keyboard.down("ArrowRight")
    page.keyboard.up("ArrowRight")
    wait_for(page, "() => window.__player.state.frame === 130")
    drawn = seen(page)
    assert drawn == sorted(drawn)
    assert drawn[-1] == 130


def test_scrubbing_draws_exact_frames_and_comes_to_rest_where_the_pointer_is(open_page):
    page = open_page
    page.evaluate(WATCH)
    strip = page.locator(".timeline.video").bounding_box()
    left, y = strip["x"], strip["y"] + strip["height"] / 2
    page.mouse.move(left + 5, y)
    page.mouse.down()
    for share in range(1, 60):
        page.mouse.move(left + strip["width"] * share / 60, y)
    page.mouse.up()
    # Letting go is a seek of its own, to where the pointer is then.
    wait_for(
        page, "() => { const p = window.__player; return !p.seeking && !p.wanted && p.state.frame === p.state.target; }"
    )
    assert len(seen(page)) > 10
    assert abs(shown(page) - 295) <= 2
    assert page.evaluate(READ_NUMBER) == shown(page)


@pytest.mark.parametrize("rate", [1, -1])
def test_a_loop_stays_in_its_clip_without_a_frame_too_many(open_page, rate):
    page = open_page
    page.evaluate("() => { const p = window.__player; p.bound(77, 92); return p.seek(77); }")
    page.evaluate(WATCH)
    page.evaluate("(rate) => { window.__player.reset(); window.__player.play(rate); }", rate)
    wait_for(page, "() => window.__player.metrics.presented > 50")
    page.evaluate("() => window.__player.pause()")
    drawn = seen(page)
    first = 77 if rate > 0 else 91
    assert drawn == [77 + (first - 77 + rate * number) % 15 for number in range(len(drawn))]
    assert page.evaluate("() => window.__player.metrics.dropped") == 0


@pytest.mark.parametrize(("rate", "last"), [(1, 91), (-1, 77)])
def test_without_a_loop_it_stops_at_the_clips_edge(open_page, rate, last):
    page = open_page
    page.evaluate("() => { const p = window.__player; p.bound(77, 92); p.setLoop(false); return p.seek(84); }")
    page.evaluate(WATCH)
    page.evaluate("(rate) => window.__player.play(rate)", rate)
    wait_for(page, "() => !window.__player.state.playing")
    assert shown(page) == last
    assert seen(page)[-1] == last


def test_shuttle_plays_faster_in_both_directions_and_stops(open_page):
    page = open_page
    page.evaluate("() => { const p = window.__player; p.bound(0, 300); return p.seek(150); }")
    page.evaluate(WATCH)
    for key in ("l", "l", "l", "j"):
        page.evaluate("(key) => window.__player.shuttle(key === 'l' ? 1 : -1)", key)
    assert page.evaluate("() => window.__player.state.rate") == -1
    wait_for(page, "() => window.__player.metrics.presented > 20")
    page.evaluate("() => { for (let n = 0; n < 3; n++) window.__player.shuttle(-1); }")
    assert page.evaluate("() => window.__player.state.rate") == -8
    page.wait_for_timeout(300)
    page.evaluate("() => window.__player.pause()")
    assert page.evaluate("() => window.__player.state.frame === window.__player.state.target")
    seen(page)


@pytest.mark.alone("what is dropped when others compute tells nothing of the player")
@pytest.mark.scaled
@pytest.mark.parametrize("rate", [1, -1])
def test_720p_plays_without_a_drop(page, site, large, rate, scale):
    count = scale(150, 300)
    open_review(page, site.video(large, [], "Large"))
    page.evaluate("() => { const p = window.__player; p.setLoop(false); return p.seek(150); }")
    page.wait_for_timeout(300)
    page.evaluate("() => window.__player.source.prefetch(0, 300)")
    wait_for(
        page,
        "() => { const got = window.__player.source.loaded(0, 300); return got.length === 1 && got[0][1] === 300; }",
    )
    first, last = (300 - count, 299) if rate > 0 else (count - 1, 0)
    page.evaluate("(frame) => window.__player.seek(frame)", first)
    page.evaluate("(rate) => { window.__player.reset(); window.__player.play(rate); }", rate)
    wait_for(page, "() => !window.__player.state.playing", timeout=60_000)
    told = page.evaluate("() => window.__player.count()")
    frames = [draw["frame"] for draw in told["draws"]]
    assert frames == list(range(first, last + rate, rate))
    assert (told["dropped"], told["presented"]) == (0, count)
    seconds = (told["draws"][-1]["at"] - told["draws"][0]["at"]) / 1000
    assert (count - 2) / 30 < seconds < count / 30 * SLACK


def test_a_cold_seek_is_one_request_of_just_the_frames_bytes(page, site, numbers):
    video = site.video(numbers, [], "Cold")
    asked: list[tuple[str, int]] = []
    page.on(
        "response",
        lambda answer: (
            asked.append((answer.request.headers["range"], int(answer.headers["content-length"])))
            if "range" in answer.request.headers
            else None
        ),
    )
    open_review(page, video)
    page.wait_for_timeout(400)
    asked.clear()
    page.evaluate("async () => { for (const frame of [250, 120, 200]) await window.__player.seek(frame); }")
    index = numbers.made.index
    wanted = [index.address(frame) for frame in (250, 120, 200)]
    assert asked[:3] == [(f"bytes={start}-{start + size - 1}", size) for start, size in wanted]
    asked.clear()
    page.evaluate("async () => { await window.__player.seek(250); await window.__player.seek(120); }")
    assert [span for span, _ in asked if span in {f"bytes={start}-{start + size - 1}" for start, size in wanted}] == []


def test_pictures_have_the_planes_that_another_decoder_gives(page, site, film):
    open_review(page, site.video(film, [], "Planes"))
    places = sorted(random.Random(3).sample(range(240), 40))
    told = page.evaluate(
        """async (places) => {
          const { source, decoder, index } = window.__player;
          const digests = [];
          for (const place of places) {
            const picture = await decoder.decode(await source.get(place));
            const rect = { x: 0, y: 0, width: index.width, height: index.height };
            const whole = new Uint8Array(picture.allocationSize({ rect }));
            const layout = await picture.copyTo(whole, { rect });
            const half = [Math.ceil(index.width / 2), Math.ceil(index.height / 2)];
            const sides = [[index.width, index.height], half, half];
            const packed = new Uint8Array(sides.reduce((sum, [width, height]) => sum + width * height, 0));
            let filled = 0;
            sides.forEach(([width, height], plane) => {
              const { offset, stride } = layout[plane];
              for (let y = 0; y < height; y++, filled += width)
                packed.set(whole.subarray(offset + y * stride, offset + y * stride + width), filled);
            });
            const digest = await crypto.subtle.digest('SHA-256', packed);
            digests.push([picture.format, [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('')]);
            picture.close();
          }
          return digests;
        }""",
        places,
    )
    with av.open(str(film.made.proxy)) as container:
        decoded = [hashlib.sha256(planes_of(frame)).hexdigest() for frame in container.decode(video=0)]
    assert told == [["I420", decoded[place]] for place in places]


def test_a_lost_decoder_is_replaced(open_page):
    page = open_page
    page.evaluate("() => window.__player.decoder.decoder.close()")
    page.evaluate("() => window.__player.seek(33)")
    assert page.evaluate(READ_NUMBER) == 33


def test_an_address_that_ends_is_asked_for_anew(open_page):
    page = open_page
    page.evaluate(
        "() => { window.__player.source.address = { ...window.__player.source.address, url: '/api/media/nothing' }; }"
    )
    page.evaluate("() => window.__player.seek(287)")
    assert page.evaluate(READ_NUMBER) == 287


def test_without_codecs_stills_are_exact_and_a_banner_says_so(page, video):
    page.goto(f"/?stills=1#/review/{video}")
    wait_for(page, "() => window.__player && window.__player.state.frame >= 0")
    assert page.locator(".stage .banner").is_visible()
    for place in (5, 17, 123, 299):
        page.evaluate("(place) => window.__player.seek(place)", place)
        assert page.evaluate(READ_NUMBER) == place
    page.keyboard.press("ArrowLeft")
    wait_for(page, "() => window.__player.state.frame === 298")
    assert page.evaluate(READ_NUMBER) == 298
    page.evaluate("() => { window.__player.bound(0, 60); window.__player.seek(3); window.__player.play(1); }")
    wait_for(page, "() => window.__player.state.frame > 12")
    # Whoever goes on to another place at once sees that one, and not the one at which the video stopped.
    page.evaluate("() => { window.__player.pause(); return window.__player.seek(123); }")
    assert page.evaluate(READ_NUMBER) == 123
    assert page.evaluate("() => document.querySelector('.picture video').hidden")
    page.evaluate("() => { window.__player.seek(3); window.__player.play(1); }")
    wait_for(page, "() => window.__player.state.frame > 12")
    page.evaluate("() => window.__player.pause()")
    wait_for(page, "() => document.querySelector('.picture video').hidden")
    assert page.evaluate(READ_NUMBER) == shown(page)
