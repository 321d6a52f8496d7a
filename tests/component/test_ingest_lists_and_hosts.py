"""Lists become one request for each entry; hosts are asked with manners; cookies are sent and never written."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from uuid import UUID

import pytest

from contracts.errors import HeatersError
from contracts.events.v1.ingest import IngestRequested
from contracts.events.v1.video import VideoRejected
from contracts.values import Options, UrlSource
from services.chassis.desk import Desk
from services.chassis.objects import FolderStore
from services.ingest import work
from services.ingest.domain import FetchInput, succeeded
from services.ingest.hosts import host_of, let_rest, turn_at
from services.ingest.settings import Settings
from tests.support.origin import Site
from tests.support.rendering import make_video

pytestmark = [
    pytest.mark.usefixtures("rubbish_is_collected"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


VIDEO = UUID(int=7)


@pytest.fixture
def site():
    made = Site()
    yield made
    made.close()


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("film") / "film.mp4", 24).path.read_bytes()


@pytest.fixture
def fetch(tmp_path):
    def fetch(source, name="a", **settings):
        folder = tmp_path / name
        for part in ("scratch", "kept"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        chosen = {"ingest_allow_private_addresses": True, "ingest_socket_timeout": 3.0, "ingest_host_cooldown": 0}
        chosen |= {"temp_dir": tmp_path, **settings}
        desk = Desk(Settings(**chosen), FolderStore(folder / "objects"), folder / "scratch", folder / "kept")
        order = FetchInput(video_id=VIDEO, source=source, options=Options(), tags=("from-a-list",))
        return order, work.fetch_source(order, desk)

    return fetch


def feed(site, *urls):
    items = "".join(f'<item><title>x</title><enclosure url="{url}" type="video/mp4"/></item>' for url in urls)
    text = f'<?xml version="1.0"?><rss version="2.0"><channel><title>All films</title>{items}</channel></rss>'
    site.files["/feed.xml"] = text.encode()
    return site.url("/feed.xml")


def test_a_list_becomes_one_request_for_each_entry(site, fetch):
    urls = [site.url(f"/film{number}.mp4") for number in range(5)]
    order, result = fetch(UrlSource(url=feed(site, *urls, urls[0])))
    assert (result.object, result.title) == (None, "All films")
    *requests, last = succeeded(order, 1, result)
    assert [request.source.url for request in requests] == urls
    assert all(isinstance(request, IngestRequested) for request in requests)
    assert {request.tags for request in requests} == {("from-a-list",)}
    assert len({request.idempotency_key for request in requests}) == 5
    assert isinstance(last, VideoRejected)
    assert last.failure.code == "ingest.playlist_expanded"
    assert "5 entries" in last.failure.message


def test_an_entrys_key_follows_from_the_entry_whatever_list_names_it(site, fetch):
    url = site.url("/film.mp4")
    others = [site.url(f"/{number}.mp4") for number in range(3)]
    first = succeeded(*keyed(fetch(UrlSource(url=feed(site, url, *others)))))
    second = succeeded(*keyed(fetch(UrlSource(url=feed(site, others[0], url)), name="b")))
    assert first[0].idempotency_key == second[1].idempotency_key


def keyed(fetched):
    order, result = fetched
    return order, 1, result


def test_lists_in_lists_share_one_budget(site, fetch):
    urls = [site.url(f"/{number}.xml") for number in range(4)]
    _, result = fetch(UrlSource(url=feed(site, *urls)), ingest_max_entries=20)
    assert [entry.most_entries for entry in result.entries] == [4] * 4
    _, inner = fetch(UrlSource(url=feed(site, *urls), most_entries=4), name="b", ingest_max_entries=20)
    assert [entry.most_entries for entry in inner.entries] == [0] * 4


@pytest.mark.parametrize(("most", "code"), [(0, "ingest.playlist"), (3, "ingest.playlist_too_long")])
def test_a_list_over_its_budget_is_refused(site, fetch, most, code):
    with pytest.raises(HeatersError) as caught:
        fetch(UrlSource(url=feed(site, *(site.url(f"/{number}.mp4") for number in range(4))), most_entries=most))
    assert caught.value.code == code


def test_a_list_of_one_is_its_video(site, fetch, film):
    site.files["/film.mp4"] = film
    _, result = fetch(UrlSource(url=feed(site, site.url("/film.mp4"))))
    assert result.media.video.packets == 24


def test_entries_on_this_machine_are_refused_when_they_are_asked_for(site, fetch):
    # The list itself only names them; each request is judged by itself, at its own connections.
    with pytest.raises(HeatersError) as caught:
        fetch(UrlSource(url=site.url("/film.mp4"), most_entries=0), ingest_allow_private_addresses=False)
    assert caught.value.code == "ingest.forbidden_address"


def test_cookies_are_sent_and_their_file_is_left_alone(site, fetch, film, tmp_path):
    site.files["/film.mp4"] = film
    jar = tmp_path / "cookies.txt"
    jar.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t4102444800\tsession\tabc123\n")
    before = jar.read_bytes()
    fetch(UrlSource(url=site.url("/film.mp4")), ingest_cookies_file=str(jar))
    assert any(headers.get("Cookie") == "session=abc123" for headers in site.headers)
    assert jar.read_bytes() == before


def test_cookies_that_cannot_be_read_are_told(site, fetch, tmp_path):
    with pytest.raises(HeatersError) as caught:
        fetch(UrlSource(url=site.url("/film.mp4")), ingest_cookies_file=str(tmp_path / "none.txt"))
    assert caught.value.code == "ingest.no_cookies"


def test_a_proxy_is_used_for_everything(site, fetch, film):
    site.files["http://films.example/film.mp4"] = site.files["/film.mp4"] = film
    # The proxy is asked for the whole address, and decides what can be reached.
    _, result = fetch(
        UrlSource(url="http://films.example/film.mp4"),
        ingest_proxy=site.url(""),
        ingest_allow_private_addresses=False,
    )
    assert result.media.video.packets == 24
    assert site.asked["http://films.example/film.mp4"]


def test_no_more_downloads_at_once_from_a_host_than_allowed(tmp_path):
    now, most, lock = 0, 0, threading.Lock()

    def work_there():
        nonlocal now, most
        with turn_at("films.example", tmp_path, at_once=2, waiting=lambda: None):
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.05)
            with lock:
                now -= 1

    threads = [threading.Thread(target=work_there) for _ in range(6)]
    for thread in threads:
        thread.start()
    with turn_at("other.example", tmp_path, at_once=1, waiting=lambda: pytest.fail("hosts do not wait for each other")):
        pass
    for thread in threads:
        thread.join(10)
    assert most == 2


def test_a_host_that_asks_for_it_is_left_alone_for_a_while(site, fetch, film, tmp_path):
    site.statuses["/film.mp4"] = 429
    site.files["/film.mp4"] = film
    with pytest.raises(HeatersError) as caught:
        fetch(UrlSource(url=site.url("/film.mp4")), ingest_host_cooldown=1)
    assert caught.value.code == "ingest.rate_limited"
    site.statuses.clear()
    begun = time.monotonic()
    fetch(UrlSource(url=site.url("/film.mp4")))
    assert time.monotonic() - begun > 0.8


def test_a_rest_that_is_over_makes_nobody_wait(tmp_path):
    let_rest("films.example", tmp_path, timedelta(seconds=-1))
    with turn_at("films.example", tmp_path, at_once=1, waiting=lambda: pytest.fail("nothing to wait for")):
        assert host_of("https://Films.Example.:8443/x") == "films.example"
