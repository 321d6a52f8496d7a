from __future__ import annotations

import pytest

from contracts.values import FrameRange, Transition, TransitionKind
from services.scenes.domain import place_boundaries

LIGHT, DARK = 120.0, 2.0


def fade(start: int, end: int) -> Transition:
    return Transition(kind=TransitionKind.FADE, frames=FrameRange(start=start, end=end), confidence=0.9)


@pytest.mark.parametrize("through", [DARK, 250.0])
def test_a_fade_is_parted_in_the_middle_of_the_colour_it_goes_through(through):
    down = [LIGHT + (through - LIGHT) * step / 10 for step in range(1, 10)]
    luma = [LIGHT] * 20 + down + [through] * 11 + down[::-1] + [LIGHT] * 20
    (boundary,) = place_boundaries([fade(20, 49)], luma)
    assert boundary.frame == 34


def test_a_fade_in_is_parted_where_it_is_darkest():
    luma = [DARK] * 30 + [DARK + 10 * step for step in range(1, 12)] + [LIGHT] * 30
    (boundary,) = place_boundaries([fade(30, 41)], luma)
    assert boundary.frame == 30


@pytest.mark.parametrize("kind", [TransitionKind.DISSOLVE, TransitionKind.WIPE])
def test_other_gradual_changes_are_parted_in_their_middle(kind):
    change = Transition(kind=kind, frames=FrameRange(start=10, end=20), confidence=0.9)
    (boundary,) = place_boundaries([change], [LIGHT] * 40)
    assert boundary.frame == 15
