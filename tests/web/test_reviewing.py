"""A person at work, by keyboard and by pointer, alone and with others, while things break."""

from __future__ import annotations

import itertools
import json
import re
import time
from pathlib import Path
from statistics import median
from uuid import UUID, uuid4

import pytest

from contracts.events.v1.operations import StageProgress
from tests.support.browser import READ_NUMBER, another, open_review, press_action, wait_for
from tests.support.made_videos import spliced
from tests.support.media_files import FIXTURES

ACTIONS = Path(__file__).parents[2] / "services/review/web/src/actions.ts"
SLACK = 3


def clips_of(site, video):
    return site.get(f"/api/videos/{video}")["clips"]


def states(site, video):
    return [clip["state"] for clip in clips_of(site, video)]


def pending_at(page, frame: int) -> str:
    """Waits for the open clip to start at a frame."""
    wait_for(page, "(frame) => window.__player.in === frame && window.__player.state.frame === frame", frame)


AT_ONCE = f"""
(code) => {{
  window.dispatchEvent(new KeyboardEvent('keydown', {{ code, bubbles: true }}));
  return [window.__player.state.frame, ({READ_NUMBER})(), window.__player.in];
}}
"""
"""What the screen shows as soon as a key has been heard, before the page does anything else."""


def expected(page, *frames: int) -> None:
    """Waits until the pictures of these places are at hand, and no others."""
    wait_for(
        page,
        """(frames) => {
          const { ready } = window.__player;
          return ready.size === frames.length && frames.every((frame) => ready.get(frame));
        }""",
        list(frames),
    )


@pytest.mark.parametrize("query", ["", "?stills=1"], ids=["codecs", "stills"])
def test_the_next_clips_picture_is_at_hand_when_a_verdict_is_given(page, site, numbers, query):
    video = site.video(numbers, [40, 80, 120, 160, 200], "At hand")
    page.goto(f"/{query}#/review/{video}")
    wait_for(page, "() => window.__player")
    pending_at(page, 0)
    expected(page, 40)
    assert page.evaluate(AT_ONCE, "KeyA") == [40, 40, 40]
    expected(page, 80)
    assert page.evaluate(AT_ONCE, "KeyS") == [80, 80, 80]
    for place in (40, 0):
        page.evaluate(AT_ONCE, "ArrowUp")
        pending_at(page, place)
    # The arrow leads to the clip beside this one, the key for undecided clips to the one after that.
    expected(page, 40, 80)
    assert page.evaluate(AT_ONCE, "KeyU") == [80, 80, 80]
    expected(page, 120)
    page.evaluate("() => window.__player.seek(230)")
    wait_for(page, "() => window.__player.state.frame === 230")
    page.evaluate("() => { window.__kept = window.__player.ready; location.hash = '#/queue'; }")
    wait_for(page, "() => !window.__player")
    assert page.evaluate("() => window.__kept.size") == 0


def test_thirty_clips_are_reviewed_by_keyboard_alone(page, site, numbers):
    video = site.video(numbers, list(range(10, 300, 10)), "Thirty")
    open_review(page, video)
    begun = time.monotonic()
    decisions = 0

    def press(*keys: str) -> None:
        for key in keys:
            press_action(page, key)

    # One in three is skipped; what is not decided plainly is changed first.
    for number in range(20):
        pending_at(page, number * 10)
        press("KeyS" if number % 3 == 2 else "KeyA")
        decisions += 1
    pending_at(page, 200)
    press("ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight")
    wait_for(page, "() => window.__player.state.frame === 204")
    press("KeyB")
    wait_for(page, "() => window.__player.in === 204 && window.__player.out === 210")
    press("KeyZ")
    wait_for(page, "() => window.__player.in === 200 && window.__player.out === 210")
    wait_for(page, "() => document.querySelectorAll('.clip-row').length > 0")
    press("KeyM")
    wait_for(page, "() => window.__player.in === 200 && window.__player.out === 220")
    press("Home")
    wait_for(page, "() => window.__player.state.frame === 200")
    press("ArrowRight", "ArrowRight")
    wait_for(page, "() => window.__player.state.frame === 202")
    press("KeyI", "KeyT")
    wait_for(page, "() => window.__player.in === 202 && window.__player.out === 220")
    press("KeyA")
    decisions += 5
    for number in range(22, 30):
        pending_at(page, number * 10)
        press("KeyA")
        decisions += 1
    wait_for(page, "() => document.querySelector('.facts').innerText.includes('All ')")
    wait_for(page, "() => localStorage.getItem('decisions') === null")
    press("KeyZ")
    wait_for(
        page, "() => window.__player.in === 290 && document.querySelector('.facts').innerText.includes('1 clip of')"
    )
    press("KeyA")
    wait_for(page, "() => localStorage.getItem('decisions') === null")
    decisions += 2
    hours = (time.monotonic() - begun) / 3600
    clips = clips_of(site, video)
    assert [(clip["start_frame"], clip["end_frame"]) for clip in clips][19:23] == [
        (190, 200),
        (200, 202),
        (202, 220),
        (220, 230),
    ]
    assert {clip["state"] for clip in clips} == {"review_approved", "review_skipped"}
    assert sum(clip["state"] == "review_skipped" for clip in clips) == 7
    edges = [0, *(clip["end_frame"] for clip in clips)]
    assert [clip["start_frame"] for clip in clips] == edges[:-1]
    assert edges[-1] == 300
    assert decisions / hours > 1200, f"{decisions / hours:.0f} decisions an hour"


def test_a_verdict_shows_the_next_clip_at_once(page, site, numbers):
    video = site.video(numbers, list(range(20, 300, 20)), "Quick")
    open_review(page, video)
    page.wait_for_timeout(500)
    waits = []
    for number in range(10):
        pending_at(page, number * 20)
        waits.append(
            page.evaluate(
                """(frame) => new Promise((done) => {
                  const begun = performance.now();
                  window.dispatchEvent(new KeyboardEvent('keydown', { code: 'KeyA', bubbles: true }));
                  const look = () => window.__player.state.frame === frame ? done(performance.now() - begun) : setTimeout(look, 1);
                  look();
                })""",
                (number + 1) * 20,
            )
        )
    assert median(waits) < 50 * SLACK, waits


def test_two_people_see_each_others_edits(pages, site, numbers):
    video = site.video(numbers, list(range(15, 300, 15)), "Together")
    one, other = pages(), pages()
    open_review(one, video)
    open_review(other, video)
    waits = []
    mine, theirs = itertools.cycle([(one, other), (other, one)]), iter(clips_of(site, video)[:8])
    for clip in theirs:
        actor, watcher = next(mine)
        actor.goto(f"/#/review/{video}/{clip['id']}")
        pending_at(actor, clip["start_frame"])
        watcher.evaluate(
            """(id) => {
              window.__told = null;
              const look = () => {
                const row = document.getElementById('clip-' + id);
                if (row && row.innerText.includes('approved')) window.__told = Date.now();
                else setTimeout(look, 2);
              };
              look();
            }""",
            clip["id"],
        )
        at = actor.evaluate("() => Date.now()")
        press_action(actor, "KeyA")
        wait_for(watcher, "() => window.__told !== null")
        waits.append(watcher.evaluate("() => window.__told") - at)
    assert median(waits) < 300 * SLACK, waits
    assert states(site, video)[:8] == ["review_approved"] * 8
    # Whoever looks through the list meanwhile stays where they are in it.
    rows = "document.querySelector('.clips-rows')"
    below = watcher.evaluate(f"() => ({rows}.scrollTop = 9999, {rows}.scrollTop)")
    assert below > 200
    press_action(actor, "KeyS")
    site.wait(lambda: "review_skipped" in states(site, video), "one more decision")
    wait_for(watcher, "() => document.querySelector('.facts').innerText.includes('11 clips of')")
    assert watcher.evaluate(f"() => {rows}.scrollTop") == below


def test_progress_of_work_does_not_hold_up_what_others_decide(page, site, numbers):
    video = site.video(numbers, [100, 200], "Progress")
    clip = clips_of(site, video)[1]
    told = ["event: hello\ndata: {}\n\n"]
    page.route(
        "**/api/stream",
        lambda route: route.fulfill(content_type="text/event-stream", body="retry: 300\n\n" + "".join(told)),
    )
    page.add_init_script("""
      const listen = EventSource.prototype.addEventListener;
      EventSource.prototype.addEventListener = function (kind, hear) {
        listen.call(this, kind, (event) => (kind === 'change' && (window.__heard ??= performance.now()), hear(event)));
      };
      const ask = window.fetch;
      window.fetch = (path, how) => (window.__heard && String(path).includes('/api/clips?clip=') && (window.__asked ??= performance.now()), ask(path, how));
    """)
    open_review(page, video)
    # Without a greeting, after which the page would look again in any case.
    told[:] = [
        f"event: {kind}\ndata: {json.dumps(body)}\n\n"
        for kind, body in (
            ("progress", {"video_id": str(uuid4())}),
            ("change", {"video_id": video, "clip_id": clip["id"]}),
        )
    ]
    wait_for(page, "() => window.__asked")
    assert page.evaluate("() => window.__asked - window.__heard") < 400


def test_of_many_clips_and_of_progress_only_what_changed_is_asked_for_again(page, site, numbers):
    video = site.video(numbers, list(range(10, 300, 10)), "Many")
    clips = clips_of(site, video)
    page.goto(f"/#/video/{video}")
    page.wait_for_selector(".link.live")
    wait_for(page, "() => document.querySelector('.facts-list')?.innerText.includes('30 ')")
    asked = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(site.url)))
    site.decide(video, "approve", *clips[:25])
    wait_for(page, "() => document.querySelector('.facts-list').innerText.includes('25 approved')")
    site.tell(
        StageProgress(
            stage="export", kind="export", work_id=uuid4(), video_id=UUID(video), done=1, total=2, fraction=0.5
        )
    )
    page.wait_for_selector(".bar:has-text('50 %')")
    whole = [path for path in asked if path.split("?")[0] == f"/api/videos/{video}"]
    assert set(whole) == {f"/api/videos/{video}?clips=false"}, asked
    named = [path for path in asked if path.startswith("/api/clips?clip=")]
    assert sum(path.count("clip=") for path in named) >= 25
    assert len(named) < 25


def test_a_stale_edit_is_refused_and_shows_how_things_stand(pages, site, numbers):
    video = site.video(numbers, [100, 200], "Stale")
    page = pages()
    open_review(page, video)
    # The page hears of nothing any more.
    page.route("**/api/stream", lambda route: route.abort())
    page.route(re.compile(r"/api/clips\?clip="), lambda route: route.abort())
    clip = clips_of(site, video)[0]
    site.decide(video, "skip", clip)
    press_action(page, "KeyA")
    page.wait_for_selector(".toast.bad")
    wait_for(page, "(id) => document.getElementById('clip-' + id).innerText.includes('skipped')", clip["id"])
    assert states(site, video)[0] == "review_skipped"


def test_eight_tabs_share_one_stream_and_another_takes_it_over(page, site, numbers):
    video = site.video(numbers, [100, 200], "Tabs")
    asked = []
    page.context.on("request", lambda request: asked.append(request) if request.url.endswith("/api/stream") else None)
    tabs = [page, *(page.context.new_page() for _ in range(7))]
    for tab in tabs:
        open_review(tab, video)
    assert len(asked) == 1

    def approve(place: int, among: list) -> None:
        clip = clips_of(site, video)[place]
        site.decide(video, "approve", clip)
        for tab in among:
            wait_for(
                tab, f"() => document.querySelector('[data-clip=\"{clip['id']}\"]').innerText.includes('approved')"
            )

    approve(0, tabs)
    tabs.pop(0).close()
    approve(1, tabs)
    assert len(asked) == 2


@pytest.mark.parametrize("what", ["", "/media"], ids=["the video", "its media"])
def test_a_video_that_cannot_be_had_at_once_comes_by_itself(page, site, numbers, what):
    video = site.video(numbers, [100, 200], "Not at once")
    page.route(f"**/api/videos/{video}{what}", lambda route: route.abort(), times=1)
    open_review(page, video)
    pending_at(page, 0)


def test_a_restart_of_the_service_loses_no_decision(pages, site, numbers):
    video = site.video(numbers, list(range(30, 300, 30)), "Restart")
    page, queue = pages(), pages()
    queue.goto("/#/queue")
    queue.wait_for_selector(".video-row:has-text('Restart')")
    queue.wait_for_selector(".link.live")
    open_review(page, video)
    press_action(page, "KeyA")
    pending_at(page, 30)
    site.kill()
    try:
        for number in range(1, 5):
            press_action(page, "KeyA")
            # Pictures that were not fetched ahead come later; deciding goes on.
            wait_for(page, "(frame) => window.__player.in === frame", (number + 1) * 30)
        # The first was perhaps not answered any more.
        page.wait_for_selector(".banner.offline:text-matches('[45] decisions so far')")
    finally:
        site.start()
    site.wait(lambda: states(site, video)[:5] == ["review_approved"] * 5, "the decisions", timeout=60)
    wait_for(
        page, "() => document.querySelector('.link.live') && !document.querySelector('.banner.offline')", timeout=30_000
    )
    # A list that missed what happened looks again.
    queue.wait_for_selector(".video-row:has-text('Restart'):has-text('5 to decide')")
    pending_at(page, 150)
    press_action(page, "KeyS")
    site.wait(lambda: states(site, video)[5] == "review_skipped", "the next decision")


def test_decisions_outlive_a_reload_while_the_service_has_no_time(page, site, numbers):
    video = site.video(numbers, [100, 200], "Reload")
    elsewhere = site.video(numbers, [150], "Elsewhere")
    # Refused inside the page: the browser sends what it holds back for a test on its way when a tab closes.
    page.context.add_init_script(
        """
      const ask = window.fetch;
      window.fetch = (path, how) => String(path).endsWith('VIDEO/edits') && !localStorage.getItem('has time')
        ? Promise.resolve(new Response('{"code": "http.too_many"}', { status: 429, headers: { 'content-type': 'application/problem+json' } }))
        : ask(path, how);
    """.replace("VIDEO", video)
    )
    open_review(page, video)
    press_action(page, "KeyA")
    pending_at(page, 100)
    # Neither another tab that decides nor a look at another video makes the page forget what waits.
    tab = page.context.new_page()
    open_review(tab, elsewhere)
    press_action(tab, "KeyS")
    site.wait(lambda: states(site, elsewhere)[0] == "review_skipped", "the other tab's decision")
    wait_for(tab, "() => JSON.parse(localStorage.getItem('decisions')).length === 1")
    tab.close()
    open_review(page, elsewhere)
    open_review(page, video)
    row = page.locator(f"[data-clip='{clips_of(site, video)[0]['id']}']")
    assert "approved" in row.inner_text()
    assert states(site, video)[0] == "pending_review"
    page.evaluate("() => localStorage.setItem('has time', 'yes')")
    page.reload()
    site.wait(lambda: states(site, video)[0] == "review_approved", "the decision")


def action_table() -> list[str]:
    return re.findall(r"\bid: \"([a-z-]+)\", title:|^    id: \"([a-z-]+)\",$", ACTIONS.read_text(), re.MULTILINE)


def test_every_action_has_a_key_and_a_place_in_the_palette(page, site, numbers):
    video = site.video(numbers, [100, 200], "Reach")
    page.goto("/#/review")
    page.get_by_text("No video is open.").wait_for()
    open_review(page, video)
    table = [first or second for first, second in action_table()]
    assert len(table) > 50
    press_action(page, "Shift+Slash")
    page.wait_for_selector("dialog[open]")
    rows = page.locator("dialog dl > div").all_inner_texts()
    assert len(rows) == len(table)
    assert all(page.locator("dialog dl > div kbd").count() >= len(table) for _ in "1")
    page.keyboard.press("Escape")
    page.locator("[data-action=palette]").click()
    offered = set(page.locator("[data-command]").evaluate_all("(all) => all.map((one) => one.dataset.command)"))
    # Rows exist on lists alone, and the palette does not offer itself.
    assert set(table) - offered == {"palette", "row-next", "row-previous"}
    page.locator("[data-command=approve]").click()
    site.wait(lambda: states(site, video)[0] == "review_approved", "the decision by pointer")


def test_a_clip_is_approved_to_be_delivered_as_chosen(page, site, numbers):
    video = site.video(numbers, [100, 200], "Delivered otherwise")
    open_review(page, video)
    press_action(page, "Alt+KeyA")
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_role("button", name="Approve", exact=True).is_disabled()
    dialog.get_by_label("prores-lt").check()
    dialog.get_by_label("archive-ffv1").check()
    dialog.get_by_role("button", name="Approve", exact=True).click()
    site.wait(lambda: states(site, video)[0] == "review_approved", "the decision")
    pending_at(page, 100)
    # What was chosen once is there for the next clip, and comes again with the last decision.
    press_action(page, "KeyR")
    site.wait(lambda: states(site, video)[1] == "review_approved", "the decision repeated")
    made = site.get(f"/api/videos/{video}/edits")["edits"]
    assert [edit["command"]["profiles"] for edit in made] == [["prores-lt", "archive-ffv1"]] * 2
    press_action(page, "KeyH")
    dialog.get_by_text("Approved frames 0–99 as prores-lt, archive-ffv1").wait_for()


@pytest.mark.parametrize("how", ["key", "pointer"])
def test_the_tools_work_by_key_and_by_pointer(page, site, numbers, how):
    video = site.video(numbers, [50, 100, 150, 200, 250], f"Tools by {how}")
    open_review(page, video)
    keys = {"split": "KeyB", "trim": "KeyT", "mark-out": "KeyO", "merge-next": "KeyM", "undo": "KeyZ", "redo": "Shift+KeyZ",
            "next-frame": "ArrowRight", "next-clip": "KeyN", "skip": "KeyS", "tag": "KeyY", "note": "KeyE",
            "approve-rest": "Shift+KeyA", "last-frame": "End", "previous-ten": "Shift+ArrowLeft"}  # fmt: skip

    def do(action: str) -> None:
        if how == "key":
            press_action(page, keys[action])
        else:
            button = page.locator(f"[data-action={action}]")
            if button.count() == 0:
                page.locator("[data-action=palette]").click()
                button = page.locator(f"[data-command={action}]")
            button.first.click()

    def bounds(start: int, end: int) -> None:
        wait_for(page, "([start, end]) => window.__player.in === start && window.__player.out === end", [start, end])

    bounds(0, 50)
    do("last-frame")
    wait_for(page, "() => window.__player.state.frame === 49")
    do("previous-ten")
    wait_for(page, "() => window.__player.state.frame === 39")
    assert page.evaluate(READ_NUMBER) == 39
    do("split")
    bounds(39, 50)
    do("undo")
    bounds(0, 50)
    do("redo")
    bounds(0, 39)
    do("undo")
    bounds(0, 50)
    do("merge-next")
    bounds(0, 100)
    do("next-frame")
    wait_for(page, "() => window.__player.state.frame !== window.__player.in")
    page.evaluate("() => window.__player.seek(89)")
    do("mark-out")
    do("trim")
    bounds(0, 90)
    do("tag")
    page.locator("dialog input").fill("sky, bird")
    page.keyboard.press("Enter")
    site.wait(lambda: set(clips_of(site, video)[0]["tags"]) >= {"sky", "bird"}, "the tags")
    do("note")
    note = "Mind the wing, which blurs. " * 12
    stage = page.locator(".stage").bounding_box()
    page.locator("dialog input").fill(note)
    page.keyboard.press("Enter")
    site.wait(lambda: clips_of(site, video)[0]["note"] == note.strip(), "the note")
    page.wait_for_selector(".facts .note")
    assert page.locator(".stage").bounding_box() == stage, "the picture keeps its size"
    do("skip")
    bounds(100, 150)
    do("approve-rest")
    site.wait(lambda: states(site, video) == ["review_skipped", "review_skipped", *["review_approved"] * 4], "the rest")


def test_a_frame_is_gone_to_by_its_number_by_steps_by_time_and_by_timecode(page, site, numbers):
    video = site.video(numbers, [50, 100, 150, 200, 250], "Go to")
    open_review(page, video)
    places = {"120": 120, "+12": 132, "-82": 50, "0:02": 59, "0:06,5": 194, "00:00:03:10": 100}
    for said, frame in places.items():
        press_action(page, "Ctrl+KeyG")
        page.locator("dialog input").fill(said)
        page.keyboard.press("Enter")
        wait_for(page, "frame => window.__player.state.frame === frame", frame)
        assert page.evaluate(READ_NUMBER) == frame
        wait_for(page, "frame => window.__player.in === 50 * Math.floor(frame / 50)", frame)
    for said, answer in {
        "noon": "“noon” is no place in a video",
        "-101": "There is no frame -1",
        "300": "the video has 0 to 299",
    }.items():
        press_action(page, "Ctrl+KeyG")
        page.locator("dialog input").fill(said)
        page.keyboard.press("Enter")
        assert answer in page.locator(".toast.bad").last.inner_text()
    assert page.evaluate("() => window.__player.state.frame") == 100


def test_decisions_in_quick_succession_over_one_clip_all_count(page, site, numbers):
    video = site.video(numbers, [100, 200], "Quick succession")
    open_review(page, video)
    press_action(page, "KeyE")
    page.locator("dialog input").fill("First this")
    page.evaluate(
        """() => {
          document.querySelector('dialog form').requestSubmit();
          const press = (code, shiftKey) => window.dispatchEvent(new KeyboardEvent('keydown', { code, shiftKey, bubbles: true }));
          press('KeyS');
          press('KeyA', true);
        }"""
    )
    site.wait(lambda: states(site, video) == ["review_skipped", "review_approved", "review_approved"], "all three")
    assert clips_of(site, video)[0]["note"] == "First this"


def test_undo_takes_back_what_was_decided_last_even_if_its_answer_came_first(page, site, numbers):
    video = site.video(numbers, [100, 200], "Overtaken")
    open_review(page, video)
    held = []
    page.route(re.compile(r"/edits$"), lambda route: route.continue_() if held else held.append(route))
    press_action(page, "KeyA")
    pending_at(page, 100)
    press_action(page, "KeyA")
    pending_at(page, 200)
    wait_for(page, "() => JSON.parse(localStorage.getItem('decisions')).length === 1")
    held[0].continue_()
    wait_for(page, "() => localStorage.getItem('decisions') === null")
    assert states(site, video) == ["review_approved", "review_approved", "pending_review"]
    press_action(page, "KeyZ")
    pending_at(page, 100)
    assert states(site, video) == ["review_approved", "pending_review", "pending_review"]


def test_a_question_put_before_the_answer_to_an_earlier_decision_is_no_stale_one(page, site, numbers):
    video = site.video(numbers, [100, 200], "Slow answers")
    open_review(page, video)
    held = []
    page.route(re.compile(r"/edits$"), lambda route: route.continue_() if held else held.append(route))
    press_action(page, "KeyY")
    page.locator("dialog input").fill("sky")
    page.keyboard.press("Enter")
    press_action(page, "KeyE")
    page.locator("dialog input").fill("Mind the wing")
    held[0].continue_()
    page.wait_for_selector(".toast.good")
    page.keyboard.press("Enter")
    # A request that the driver caught goes on only while the driver is asked for something.
    page.wait_for_selector(".toast.good:has-text('Noted')")
    site.wait(
        lambda: (clips_of(site, video)[0]["tags"], clips_of(site, video)[0]["note"]) == (["sky"], "Mind the wing"),
        "both",
    )


def test_many_are_chosen_and_decided_at_once(page, site, numbers):
    video = site.video(numbers, list(range(30, 300, 30)), "Many")
    open_review(page, video)
    for _ in range(3):
        press_action(page, "Shift+ArrowDown")
    wait_for(page, "() => document.querySelector('.row.chosen strong')?.innerText === '4 chosen'")
    press_action(page, "KeyS")
    site.wait(lambda: states(site, video)[:5] == ["review_skipped"] * 4 + ["pending_review"], "four decisions")
    rows = page.locator(".clip-row")
    rows.nth(6).click()
    rows.nth(8).click(modifiers=["Shift"])
    press_action(page, "KeyA")
    site.wait(lambda: states(site, video)[6:9] == ["review_approved"] * 3, "three decisions")
    # The service knows of it before the page has its answer, and until then the message offers to undo the four.
    page.locator(".toast", has_text="3 clips").locator("[data-undo]").click()
    site.wait(lambda: states(site, video)[6:9] == ["pending_review"] * 3, "the undo of three")


def test_the_least_certain_come_first_when_asked(page, site, numbers):
    video = site.video(numbers, list(range(30, 300, 30)), "Certain")
    open_review(page, video)
    press_action(page, "KeyD")
    wait_for(page, "() => document.querySelector('[data-action=order]').ariaPressed === 'true'")
    shown = page.locator(".certainty").all_inner_texts()
    certainty = [int(text.split()[0]) for text in shown]
    assert certainty == sorted(certainty)


def test_the_list_is_narrowed_by_tag_by_note_and_by_length(page, site, numbers):
    video = site.video(numbers, [30, 60, 150], "Narrow")
    clips = site.get(f"/api/videos/{video}")["clips"]
    for command, clip, more in (("tag", 2, {"add": ["bird"], "remove": []}), ("note", 3, {"note": "Blurred wing"})):
        site.decide(video, command, clips[clip], **more)
    open_review(page, video, clips[0]["id"])
    # The clip that is open stays in the list.
    for words, starts in (
        ("bird", [0, 60]),
        ("WING", [0, 150]),
        ("<1.5", [0, 30]),
        (">2 bird", [0, 60]),
        ("", [0, 30, 60, 150]),
    ):
        press_action(page, "Control+KeyF")
        page.locator(".narrowing").fill(words)
        page.keyboard.press("Escape")
        wait_for(page, f"() => document.querySelectorAll('.clip-row').length === {len(starts)}")
        rows = page.locator(".clip-row .clip-text strong").all_inner_texts()
        assert [int(row) for row in rows] == starts, words
    press_action(page, "Control+KeyF")
    page.locator(".narrowing").fill(">2")
    page.keyboard.press("Escape")
    press_action(page, "Control+KeyA")
    press_action(page, "KeyS")
    site.wait(lambda: states(site, video).count("review_skipped") >= 2, "what was chosen is skipped")


LOOKS = [("roof", 0), ("cockatoo", 0), ("bbb_opening", 40), ("roof", 60), ("cockatoo", 30), ("roof", 30)]


@pytest.fixture(scope="module")
def looks(site, tmp_path_factory):
    """Three places seen again and again, each for 40 frames; from 200 on for ten, in which no small picture was taken."""
    parts = [(FIXTURES / f"search/{name}.mp4", first, 40) for name, first in LOOKS]
    return site.film(spliced(tmp_path_factory.mktemp("looks") / "looks.mp4", parts), "looks")


def test_the_list_shows_only_clips_that_look_like_one(page, site, looks):
    video = site.video(looks, [40, 80, 120, 160, 200, 210], "Looks")
    clips = clips_of(site, video)
    held = []
    page.route(re.compile("/media$"), lambda route: route.continue_() if held else held.append(route))
    page.goto(f"/#/review/{video}/{clips[0]['id']}")
    page.locator("[data-action=like]").click()
    page.wait_for_selector(".toast:has-text('nothing to compare yet')")
    held[0].continue_()
    wait_for(page, "() => window.__player.state.frame === 0")

    def starts() -> list[int]:
        return [int(row) for row in page.locator(".clip-row .clip-text strong").all_inner_texts()]

    assert page.locator("[data-action=mute]").is_disabled(), "it has no sound"
    assert starts() == [0, 40, 80, 120, 160, 200, 210]
    # A clip between two small pictures shows its own, and not that of the clip before.
    assert page.locator(".clip-row img.tile").count() == 1
    press_action(page, "Shift+KeyL")
    page.wait_for_selector(".chosen:has-text('3 clips, most alike first')")
    assert starts()[0] == 0
    assert set(starts()) == {0, 120, 200, 210}
    # A part made meanwhile is compared as well; the list is there for deciding over all of it.
    page.evaluate("() => window.__player.seek(20)")
    press_action(page, "KeyB")
    page.wait_for_selector(".chosen:has-text('5 clips, most alike first')")
    press_action(page, "Control+KeyA")
    press_action(page, "KeyS")
    skipped = {0, 20, 120, 200, 210}
    site.wait(
        lambda: {clip["start_frame"] for clip in clips_of(site, video) if clip["state"] == "review_skipped"} == skipped,
        "the decision over all that look alike",
    )
    page.locator(".chosen [data-action=like]").click()
    wait_for(page, "() => document.querySelectorAll('.clip-row').length === 8")
    single = site.video(looks, [], "One look")
    open_review(page, single)
    press_action(page, "Shift+KeyL")
    page.wait_for_selector(".toast:has-text('only clip')")


def test_an_address_that_is_not_secure_says_so_and_still_shows_exact_frames(site, numbers, browser):
    site.video(numbers, [100, 200], "Not secure")
    # A site name that leads to loopback: the browser holds it for a foreign, insecure origin.
    site.kill()
    site.environment["HEATERS_HTTP_TOKEN"] = "a-token-for-tests"
    try:
        site.start()
        with another(browser.browser_type, "--host-resolver-rules=MAP review.lan 127.0.0.1") as foreign:
            page = foreign.new_page(base_url=f"http://review.lan:{site.port}")
            page.goto("/")
            page.locator("input[type=password]").fill("a-token-for-tests")
            page.keyboard.press("Enter")
            page.locator(".video-row", has_text="Not secure").click()
            wait_for(page, "() => window.__player && window.__player.state.frame >= 0")
            assert page.evaluate("() => window.isSecureContext") is False
            assert "not secure" in page.locator(".stage .banner").inner_text()
            page.evaluate("() => window.__player.seek(window.__player.in + 3)")
            wait_for(page, "() => window.__player.state.frame === window.__player.in + 3")
            assert page.evaluate(READ_NUMBER) == page.evaluate("() => window.__player.state.frame")
    finally:
        site.kill()
        del site.environment["HEATERS_HTTP_TOKEN"]
        site.start()


def test_whoever_may_only_look_can_decide_nothing_and_a_lost_session_asks_for_the_token(page, site, numbers):
    video = site.video(numbers, [100, 200], "Looking")
    made = site.post("/api/tokens", {"name": "Ann", "role": "viewer"})
    other = site.post("/api/tokens", {"name": "Bob", "role": "reviewer"})
    site.kill()
    site.environment["HEATERS_HTTP_TOKEN"] = "a-token-for-tests"
    try:
        site.start()
        page.goto(f"/#/review/{video}")
        page.locator("input[type=password]").fill(made["token"])
        page.keyboard.press("Enter")
        wait_for(page, "() => window.__player && window.__player.state.frame >= 0")
        assert page.locator("[data-action=approve]").is_disabled()
        assert "lets you look, not decide" in page.locator(".facts").inner_text()
        press_action(page, "KeyA")
        assert page.evaluate("() => localStorage.getItem('decisions')") is None
        page.context.clear_cookies()
        page.goto("/#/queue")
        page.locator("input[type=password]").fill(other["token"])
        page.keyboard.press("Enter")
        page.wait_for_selector(".video-row")
        open_review(page, video)
        press_action(page, "KeyA")
        pending_at(page, 100)
        wait_for(page, "() => localStorage.getItem('decisions') === null")
    finally:
        site.kill()
        del site.environment["HEATERS_HTTP_TOKEN"]
        site.start()
    (clip, *_) = clips_of(site, video)
    assert (clip["state"], clip["approved_by"]) == ("review_approved", "Bob")
