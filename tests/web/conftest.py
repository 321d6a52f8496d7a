from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path

import pytest

from services.media.recipes import ReviewSettings
from tests.support.browser import BrowserThread, chromium
from tests.support.made_videos import make_video
from tests.support.media_files import SHORT_VIDEO
from tests.support.review_site import ReviewSite
from tests.support.servers import own_broker


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            # A page that stands still is a failure of its own, and soon.
            item.add_marker(pytest.mark.timeout(150), append=False)


@pytest.fixture(scope="session")
def site(servers, tmp_path_factory):
    """A review service with its broker; shared by the tests of the client."""
    with (
        own_broker() as broker,
        contextlib.closing(ReviewSite(servers, broker, tmp_path_factory.mktemp("web"))) as site,
    ):
        site.start()
        yield site


@pytest.fixture(scope="session")
def beside():
    """The thread in which everything with a browser happens: its driver's event loop must not be in the way of others."""
    with contextlib.closing(BrowserThread()) as thread:
        yield thread


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs the tests of this folder in that thread."""
    names = pyfuncitem._fixtureinfo.argnames
    thread = pyfuncitem._request.getfixturevalue("beside")
    thread(pyfuncitem.obj, **{name: pyfuncitem.funcargs[name] for name in names})
    return True


@pytest.fixture(scope="session")
def browser(beside):
    stack = contextlib.ExitStack()
    yield beside(stack.enter_context, chromium())
    beside(stack.close)


@pytest.fixture
def pages(browser, beside, site):
    """Opens pages, each in a fresh profile; none may come to an error of its own."""
    opened = []
    errors: list[str] = []

    def open_one(**options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 720}, "base_url": site.url, **options})
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        opened.append(context)
        return page

    yield open_one
    for context in opened:
        beside(context.close)
    assert errors == []


@pytest.fixture
def page(pages, beside):
    return beside(pages)


@pytest.fixture(scope="session")
def numbers(site, tmp_path_factory):
    """Ten seconds of 320x180 at 29.97, a number in every frame, sound."""
    source = make_video(
        tmp_path_factory.mktemp("numbers") / "numbers.mp4",
        frames=300,
        size=(320, 180),
        rate=Fraction(30000, 1001),
        audio="aac",
        options={"preset": "ultrafast", "crf": "20"},
    )
    return site.film(source, "numbers")


@pytest.fixture(scope="session")
def large(site, tmp_path_factory):
    """Ten seconds of 1280x720 at 30, a number in every frame."""
    source = make_video(
        tmp_path_factory.mktemp("large") / "large.mp4",
        frames=300,
        size=(1280, 720),
        rate=Fraction(30),
        options={"preset": "ultrafast", "crf": "20"},
    )
    return site.film(source, "large", ReviewSettings(max_height=720))


@pytest.fixture(scope="session")
def film(site):
    """Ten real seconds of 640x360, 240 frames, sound."""
    return site.film(SHORT_VIDEO, "film")
