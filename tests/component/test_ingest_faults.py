"""Good sources arrive whole; planted faults are refused, or fallen back from, with the right code. By yt-dlp over real HTTP."""

from __future__ import annotations

import socket
from fractions import Fraction

import pytest

from contracts.errors import HeatersError
from contracts.values import ObjectSource, Options, UrlSource
from services.chassis.desk import Desk
from services.chassis.objects import FolderStore
from services.ingest import network, work
from services.ingest.domain import FetchInput
from services.ingest.settings import Settings
from services.media.probe import probe
from tests.support.media_files import FIXTURES
from tests.support.origin import Site
from tests.support.planted import FALLBACK, GOOD, PLANTED, Kit
from tests.support.rendering import make_video

# yt-dlp leaves sockets of failed requests to the garbage collector.
pytestmark = [
    pytest.mark.usefixtures("rubbish_is_collected"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("material")
    film = make_video(folder / "film.mp4", 72).path
    return film, folder, {}


@pytest.fixture
def kit(material):
    film, folder, packages = material
    site = Site()
    # On the same port, so that a name alone decides which of them is met.
    inner = Site("127.0.0.2", site.port)
    yield Kit(site, inner, film, folder, film.read_bytes(), packages)
    site.close()
    inner.close()


@pytest.fixture
def fetch(tmp_path):
    def fetch(url, **settings):
        chosen = {
            "ingest_allow_private_addresses": True,
            "ingest_socket_timeout": 3.0,
            "ingest_host_cooldown": 0,
            "temp_dir": tmp_path,
            **settings,
        }
        for name in ("scratch", "kept"):
            (tmp_path / name).mkdir(exist_ok=True)
        store = FolderStore(tmp_path / "objects")
        desk = Desk(Settings(**chosen), store, tmp_path / "scratch", tmp_path / "kept")
        source = ObjectSource(key=url) if "://" not in url else UrlSource(url=url)
        order = FetchInput(video_id=video_id_of_test(), source=source, options=Options())
        return work.fetch_source(order, desk), store

    return fetch


def video_id_of_test():
    from contracts.envelope import derived_id

    return derived_id("video", "planted")


@pytest.mark.parametrize(("plant", "expected"), [pytest.param(plant, more, id=name) for name, plant, more in GOOD])
def test_a_good_source_arrives_whole(plant, expected, kit, fetch, tmp_path):
    result, store = fetch(kit.site.url(plant(kit)))
    assert (result.method, result.normalised) == ("primary", False)
    assert [finding.code for finding in result.findings] == []
    whole, source = probe(store.fetch(result.object, tmp_path / "got.mp4")), probe(kit.film)
    assert whole.facts.video.packets == 72
    assert 0 <= whole.facts.audio.packets - source.facts.audio.packets <= 2
    assert abs(whole.facts.duration - source.facts.duration) < Fraction(1, 20)
    if expected.get("untouched"):
        assert store.get_bytes(result.object.key) == kit.data


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.name)
def test_a_planted_fault_is_told_by_its_code(fault, kit, fetch, tmp_path, monkeypatch):
    settings = dict(fault.settings)
    if fault.guarded:
        settings["ingest_allow_private_addresses"] = False
        forbid_all_but(kit, monkeypatch)
    path = fault.plant(kit)
    url = path if "://" in path else kit.site.url(path)
    if FALLBACK in fault.codes:
        result, _ = fetch(url, **settings)
        assert (result.method, result.media.video.packets) == ("fallback", 72)
        first = result.metadata["attempts"][0]
        assert first["method"] == "primary"
        assert first["fault"]["code"].split(".")[0] in {"ingest", "media"}
        return
    with pytest.raises(HeatersError) as caught:
        fetch(url, **settings)
    assert caught.value.code in fault.codes, f"{caught.value.code}: {caught.value.message}"
    assert len(caught.value.message) > 30
    assert list(FolderStore(tmp_path / "objects").list("videos/")) == []
    if fault.guarded:
        assert not kit.inner.asked


def forbid_all_but(kit, monkeypatch):
    """Lets one address of this machine count as public, and gives names to the two servers."""
    real_is_public, real_look_up = network.is_public, socket.getaddrinfo
    monkeypatch.setattr(network, "is_public", lambda host: host == "127.0.0.1" or real_is_public(host))
    monkeypatch.setattr("services.ingest.download.check_url", lambda url, **_: url)
    monkeypatch.setattr("services.ingest.work.check_url", lambda url, **_: url)
    looked = []

    def look_up(host, port, *rest, **more):
        if host == "inner.example":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", int(port or 0)))]
        if host == "rebinding.example":
            # The first answer is harmless; whoever looks it up once more to connect is led home.
            looked.append(host)
            address = "127.0.0.1" if len(looked) == 1 else "127.0.0.2"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port or 0)))]
        return real_look_up(host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_there_are_at_least_forty_faults():
    assert len(PLANTED) >= 40
    assert len({fault.name for fault in PLANTED}) == len(PLANTED)


GOOD_FILES = sorted(
    path
    for path in FIXTURES.iterdir()
    if path.suffix in {".mp4", ".webm", ".ts", ".mkv"} and "corrupted" not in path.name
)


@pytest.mark.parametrize("path", GOOD_FILES, ids=lambda path: path.stem)
def test_real_media_raise_no_false_alarm(path, kit, fetch):
    kit.site.files[f"/{path.name}"] = path.read_bytes()
    result, store = fetch(kit.site.url(f"/{path.name}"))
    assert (result.method, result.normalised) == ("primary", False)
    assert store.get_bytes(result.object.key) == path.read_bytes()
    alarms = {
        "media.audio_drift",
        "media.duration_lie",
        "media.missing_part",
        "media.damaged_packets",
        "media.audio_empty",
    }
    assert alarms.isdisjoint(finding.code for finding in result.findings)


def test_an_interrupted_download_of_parts_goes_on_where_it_stopped(kit, fetch):
    from tests.support import packaged

    path = kit.package(packaged.hls_ts)
    kit.site.statuses["/muxed2.ts"] = 503
    with pytest.raises(HeatersError) as caught:
        fetch(kit.site.url(path))
    assert caught.value.error_class == "retryable"
    kit.site.statuses.clear()
    asked = kit.site.asked["/muxed0.ts"]
    result, _ = fetch(kit.site.url(path))
    assert result.media.video.packets == 72
    assert kit.site.asked["/muxed0.ts"] == asked
