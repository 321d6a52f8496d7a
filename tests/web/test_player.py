"""The player in a real browser: it shows exactly the frame it says, and costs what it must."""

from __future__ import annotations

import random

import pytest

from tests.support.browser import READ_NUMBER, open_review


@pytest.fixture(scope="module")
def video(site, numbers):
    return site.video(numbers, [30, 77, 140, 200, 251], "Numbers")


@pytest.fixture
def open_page(page, video, beside):
    beside(open_review, page, video)
    return page


@pytest.mark.scaled
def test_random_seeks_show_the_frame_they_name(open_page, scale):
    page = open_page
    places = [random.Random(7).randrange(300) for _ in range(scale(150, 1000))]
    wrong = page.evaluate(
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
