"""A list that is named on the command line is followed as the videos that it became."""

from __future__ import annotations

import json

import pytest

from tests.support.live import LiveStack
from tests.support.origin import Site
from tests.support.rendering import make_video


@pytest.fixture
def site():
    made = Site()
    yield made
    made.close()


NAMES = ("film1.mp4", "gone.mp4", "film2.mp4")


def feed(site, *names) -> bytes:
    items = "".join(f'<item><enclosure url="{site.url("/" + name)}" type="video/mp4"/></item>' for name in names)
    return f'<?xml version="1.0"?><rss version="2.0"><channel><title>Films</title>{items}</channel></rss>'.encode()


def offer(site, tmp_path) -> str:
    """A list of two films and of one that is not there."""
    for number in (1, 2):
        film = make_video(tmp_path / f"film{number}.mp4", 12 + number)
        site.files[f"/film{number}.mp4"] = film.path.read_bytes()
    site.files["/feed.xml"] = feed(site, *NAMES)
    return site.url("/feed.xml")


@pytest.fixture
def stack(tmp_path_factory):
    """A stack that may fetch from the loopback, which others may not."""
    settings = {"HEATERS_INGEST_ALLOW_PRIVATE_ADDRESSES": "true", "HEATERS_EMBED_TEXTS": "false"}
    stack = LiveStack(tmp_path_factory.mktemp("lists"), settings)
    stack.up()
    yield stack
    stack.down()


def test_every_entry_is_followed_to_its_end_and_one_that_fails_fails_the_command(stack, site, tmp_path):
    address = offer(site, tmp_path)
    quickly = ("--whole", "--mastering", "none", "--profile", "delivery-h264")
    done = stack.console("run", "--json", *quickly, "--out", tmp_path / "out", address, check=False)
    assert done.returncode == 1, done.stderr
    entries = json.loads(done.stdout)["videos"]
    first, gone, last = entries
    assert [entry["source"] for entry in entries] == [site.url(f"/{name}") for name in NAMES]
    assert gone["error"]["code"] == "ingest.http_404"
    for entry, frames in ((first, 13), (last, 14)):
        assert (entry["state"], entry["error"], entry["frames"]) == ("ready", None, frames)
        assert all(clip["state"] == "embedded" and clip["deliverables"] for clip in entry["clips"])
    assert "a list of 3 videos" in done.stderr
    assert done.stderr.count("(ingest.http_404)") == 1
    # Without the one that is not there the same command joins what is done, and is content.
    site.files["/feed.xml"] = feed(site, NAMES[0], NAMES[2])
    again = stack.console("run", "--json", *quickly, "--out", tmp_path / "out", address)
    assert [entry["id"] for entry in json.loads(again.stdout)["videos"]] == [first["id"], last["id"]]
