"""A person chooses keys of their own, on the help page; the rows of the action table hold them."""

from __future__ import annotations

from tests.support.browser import open_review, press_action, wait_for


def states(site, video):
    return [clip["state"] for clip in site.get(f"/api/videos/{video}")["clips"]]


def keys_of(page, action: str) -> str:
    return page.locator(f"[data-keys={action}]").inner_text().replace("\n", " ")


def test_a_key_is_chosen_taken_from_another_action_and_given_back(page, site, numbers):
    video = site.video(numbers, [100, 200], "Own keys")
    open_review(page, video)
    press_action(page, "Shift+Slash")
    said = page.locator("dialog [role=status]")
    page.locator("[data-keys=approve]").click()
    assert "Press the key for “Approve”" in said.inner_text()
    # Keys of the dialog itself are not for having, and Escape leaves everything as it is.
    page.keyboard.press("Tab")
    assert "Tab leads from button to button" in said.inner_text()
    page.keyboard.press("Escape")
    assert keys_of(page, "approve") == "A"
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+KeyF")
    assert "Shift F is the key of “Next filter of the list”" in said.inner_text()
    page.get_by_role("button", name="Another key").click()
    page.keyboard.press("KeyF")
    assert "F is the key of “Full screen on or off”" in said.inner_text()
    page.keyboard.press("Enter")
    assert (keys_of(page, "approve"), keys_of(page, "fullscreen")) == ("F", "none")
    # What is never in one place with another may share its key.
    page.locator("[data-keys=row-next]").click()
    page.keyboard.press("KeyB")
    assert (keys_of(page, "row-next"), keys_of(page, "split")) == ("B", "B")
    page.keyboard.press("Escape")
    wait_for(page, "() => !document.querySelector('dialog')")
    assert page.locator("[data-action=approve]").get_attribute("title") == "Approve (F)"
    press_action(page, "KeyA")
    press_action(page, "KeyF")
    site.wait(lambda: states(site, video)[0] == "review_approved", "the decision")
    page.reload()
    open_review(page, video)
    press_action(page, "KeyF")
    site.wait(lambda: states(site, video)[:2] == ["review_approved"] * 2, "the decision after a reload")
    assert states(site, video)[2] == "pending_review"
    press_action(page, "Shift+Slash")
    page.locator("[data-reset=approve]").click()
    assert (keys_of(page, "approve"), keys_of(page, "fullscreen")) == ("A", "none")
    page.get_by_role("button", name="Reset all keys").click()
    assert (keys_of(page, "row-next"), keys_of(page, "fullscreen")) == ("↓ N", "F")
    assert page.evaluate("() => localStorage.getItem('keys')") is None


def test_what_the_browser_keeps_of_keys_is_taken_as_far_as_it_makes_sense(page, site, numbers):
    video = site.video(numbers, [100], "Broken keys")
    page.goto("/")
    page.evaluate(
        """() => localStorage.setItem('keys', JSON.stringify({ approve: 7, gone: ['KeyA'], skip: ['Shift+KeyX'] }))"""
    )
    page.reload()
    open_review(page, video)
    press_action(page, "KeyA")
    press_action(page, "Shift+KeyX")
    site.wait(lambda: states(site, video) == ["review_approved", "review_skipped"], "both decisions")
