"""Fetching for real: yt-dlp against a web server on the loopback, and objects in a folder store."""

from __future__ import annotations

import hashlib
import socket
from fractions import Fraction
from uuid import UUID, uuid4

import av
import pytest

from contracts.errors import HeatersError
from contracts.values import ObjectSource, Options, UploadSource, UrlSource
from services.chassis.desk import Desk
from services.chassis.objects import FolderStore
from services.ingest import work
from services.ingest.domain import FetchInput, marker_of, succeeded
from services.ingest.network import ForbiddenConnectionError, guarded
from services.ingest.settings import Settings
from services.media.probe import probe
from tests.support.origin import Site
from tests.support.rendering import make_video

# yt-dlp leaves sockets of failed requests to the garbage collector.
pytestmark = [
    pytest.mark.usefixtures("rubbish_is_collected"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

VIDEO = UUID(int=3)


@pytest.fixture
def site():
    made = Site()
    yield made
    made.close()


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("film") / "film.mp4", 72).path


@pytest.fixture
def desk(tmp_path):
    return desk_in(tmp_path)


def desk_in(folder, **settings):
    for name in ("scratch", "kept"):
        (folder / name).mkdir(exist_ok=True)
    settings = {
        "ingest_allow_private_addresses": True,
        "ingest_socket_timeout": 5.0,
        "ingest_host_cooldown": 0,
        "temp_dir": folder,
        **settings,
    }
    return Desk(
        settings=Settings(**settings),
        objects=FolderStore(folder / "objects"),
        scratch=folder / "scratch",
        kept=folder / "kept",
    )


def fetch(desk, source, **fields):
    order = FetchInput(**{"video_id": VIDEO, "source": source, "options": Options(), **fields})
    return work.fetch_source(order, desk)


def refused(desk, source, code):
    with pytest.raises(HeatersError) as caught:
        fetch(desk, source)
    assert caught.value.code == code, caught.value.message
    assert list(desk.objects.list("videos/")) == []
    return caught.value


# URLs


def test_a_plain_file_is_stored_untouched(site, desk, film):
    site.files["/films/my%20film.mp4"] = film.read_bytes()
    result = fetch(desk, UrlSource(url=site.url("/films/my%20film.mp4")), tags=("a",))
    digest = hashlib.sha256(film.read_bytes()).hexdigest()
    assert result.object.key == f"videos/{VIDEO}/source/{digest}.mp4"
    assert desk.objects.get_bytes(result.object.key) == film.read_bytes()
    assert (result.method, result.normalised, result.title) == ("primary", False, "my film")
    assert result.media.video.packets == 72
    assert result.metadata["attempts"][0]["probe"]["video_packets"] == 72
    (event,) = succeeded(FetchInput(video_id=VIDEO, source=UrlSource(url="x"), options=Options()), 1, result)
    assert event.object == result.object


@pytest.mark.parametrize("status", [404, 403, 410])
def test_an_address_without_a_video_has_its_own_code(site, desk, status):
    site.statuses["/gone.mp4"] = status
    refused(desk, UrlSource(url=site.url("/gone.mp4")), f"ingest.http_{status}")


def test_a_failing_server_is_worth_another_try(site, desk):
    site.statuses["/busy.mp4"] = 503
    assert refused(desk, UrlSource(url=site.url("/busy.mp4")), "ingest.http_503").error_class == "retryable"


def test_a_server_that_is_not_there_is_worth_another_try(desk):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = refused(desk, UrlSource(url=f"http://127.0.0.1:{port}/x.mp4"), "ingest.unreachable")
    assert error.error_class == "retryable"


def test_a_page_without_a_video_is_refused(site, desk):
    site.files["/page.html"] = b"<html><title>Nothing</title><p>No film here.</html>"
    refused(desk, UrlSource(url=site.url("/page.html")), "ingest.unsupported_url")


def test_a_page_that_calls_itself_a_video_is_refused_after_one_download(site, desk):
    site.files["/page.mp4"] = b"<html>" + b"x" * 5000
    site.kinds["/page.mp4"] = "video/mp4"
    error = refused(desk, UrlSource(url=site.url("/page.mp4")), "media.not_a_video")
    assert "primary-0" not in error.message
    assert list(desk.kept.iterdir()) == []


def test_a_truncated_file_is_no_success(site, desk, film):
    site.files["/short.mp4"] = film.read_bytes()[:-3000]
    with pytest.raises(HeatersError) as caught:
        fetch(desk, UrlSource(url=site.url("/short.mp4")))
    assert caught.value.code in {"media.not_a_video", "media.no_video_stream", "media.truncated"}
    assert list(desk.objects.list("videos/")) == []
    assert list(desk.kept.iterdir()) == []


def test_a_download_cut_short_goes_on_where_it_stopped(site, tmp_path, film):
    data = film.read_bytes()
    site.files["/film.mp4"] = data
    site.cut["/film.mp4"] = len(data) // 2
    desk = desk_in(tmp_path)
    refused(desk, UrlSource(url=site.url("/film.mp4")), "ingest.unreachable")
    assert [path.suffix for path in desk.kept.iterdir()] == [".part"]
    site.cut.clear()
    site.ranges.clear()
    result = fetch(desk, UrlSource(url=site.url("/film.mp4")))
    assert desk.objects.get_bytes(result.object.key) == data
    assert any(int(asked.removeprefix("bytes=").split("-")[0]) > 0 for asked in site.ranges)


def test_the_byte_limit_stops_a_download(site, tmp_path, film):
    site.files["/film.mp4"] = film.read_bytes()
    desk = desk_in(tmp_path, ingest_max_bytes=4000)
    refused(desk, UrlSource(url=site.url("/film.mp4")), "ingest.over_limits")


@pytest.mark.parametrize("limit", [{"ingest_max_duration": "PT1S"}, {"ingest_max_pixels": 100}])
def test_a_file_over_the_limits_is_refused(site, tmp_path, film, limit):
    site.files["/film.mp4"] = film.read_bytes()
    refused(desk_in(tmp_path, **limit), UrlSource(url=site.url("/film.mp4")), "media.over_limits")


def as_hls(site, film, tmp_path):
    """The film as an HLS page with its sound in a group of its own, and captions."""
    for kind in ("video", "audio"):
        with av.open(str(film)) as source:
            stream = next(each for each in source.streams if each.type == kind)
            playlist = tmp_path / f"{kind}.m3u8"
            options = {"hls_time": "1", "hls_list_size": "0", "hls_segment_filename": str(tmp_path / f"{kind}%d.ts")}
            with av.open(str(playlist), "w", format="hls", options=options) as output:
                copy = output.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.dts is not None:
                        packet.stream = copy
                        output.mux(packet)
        for part in tmp_path.glob(f"{kind}*"):
            site.files[f"/{part.name}"] = part.read_bytes()
    site.files["/master.m3u8"] = (
        b'#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aud",NAME="a",DEFAULT=YES,AUTOSELECT=YES,URI="audio.m3u8"\n'
        b'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="sub",NAME="English",LANGUAGE="en",URI="subs.m3u8"\n'
        b'#EXT-X-STREAM-INF:BANDWIDTH=900000,CODECS="avc1.64000b,mp4a.40.2",RESOLUTION=192x96,AUDIO="aud",SUBTITLES="sub"\n'
        b"video.m3u8\n"
    )
    site.files["/subs.m3u8"] = (
        b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXT-X-VERSION:3\n#EXTINF:3,\nsubs0.vtt\n#EXT-X-ENDLIST\n"
    )
    site.files["/subs0.vtt"] = (
        b"WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0\n\n00:00.500 --> 00:01.500\nHello &amp; welcome\n"
    )


def test_streams_that_come_apart_are_joined_without_loss(site, desk, film, tmp_path):
    as_hls(site, film, tmp_path)
    result = fetch(desk, UrlSource(url=site.url("/master.m3u8")))
    path = desk.objects.fetch(result.object, tmp_path / "joined.mp4")
    proof, source = probe(path), probe(film)
    assert (result.method, result.normalised) == ("primary", False)
    assert proof.facts.video.packets == source.facts.video.packets
    # MPEG-TS also carries the packet that only primes the decoder.
    assert 0 <= proof.facts.audio.packets - source.facts.audio.packets <= 1
    assert abs(proof.facts.duration - source.facts.duration) < Fraction(1, 20)
    assert len(result.metadata["attempts"][0]["formats"]) == 2
    (caption,) = result.captions
    assert (caption.language, caption.origin) == ("en", "downloaded")
    assert b"Hello &amp; welcome" in desk.objects.get_bytes(caption.object.key)


def test_a_missing_fragment_is_never_passed_over(site, desk, film, tmp_path):
    as_hls(site, film, tmp_path)
    site.statuses["/video1.ts"] = 404
    with pytest.raises(HeatersError) as caught:
        fetch(desk, UrlSource(url=site.url("/master.m3u8")))
    assert caught.value.code == "ingest.missing_fragment"
    assert list(desk.objects.list("videos/")) == []


def test_captions_that_cannot_be_had_cost_no_video(site, desk, film, tmp_path):
    as_hls(site, film, tmp_path)
    site.statuses["/subs0.vtt"] = 404
    result = fetch(desk, UrlSource(url=site.url("/master.m3u8")))
    assert result.captions == ()
    assert "ingest.captions_missed" in {finding.code for finding in result.findings}


def copied(film, path, kind):
    """One stream of the film in an MP4 of its own."""
    with av.open(str(film)) as source, av.open(str(path), "w", format="mp4") as output:
        stream = next(each for each in source.streams if each.type == kind)
        copy = output.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                output.mux(packet)
    return path.read_bytes()


MPD = """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT3S"
 minBufferTime="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>
<AdaptationSet mimeType="video/mp4">
<Representation id="high" codecs="hvc1.1.6.L93.B0" width="1920" height="960" bandwidth="9000000"><BaseURL>high.mp4</BaseURL></Representation>
<Representation id="low" codecs="avc1.64000b" width="192" height="96" bandwidth="900000"><BaseURL>low.mp4</BaseURL></Representation>
</AdaptationSet><AdaptationSet mimeType="audio/mp4">
<Representation id="sound" codecs="mp4a.40.2" bandwidth="128000"><BaseURL>sound.m4a</BaseURL></Representation>
</AdaptationSet></Period></MPD>"""


def as_dash(site, film, tmp_path):
    """The film in two sizes with its sound apart; the bigger one is called H.265."""
    site.files["/film.mpd"] = MPD.encode()
    site.kinds["/film.mpd"] = "application/dash+xml"
    site.files["/low.mp4"] = site.files["/high.mp4"] = copied(film, tmp_path / "v.mp4", "video")
    site.files["/sound.m4a"] = copied(film, tmp_path / "a.m4a", "audio")


def test_the_best_quality_comes_first(site, desk, film, tmp_path):
    as_dash(site, film, tmp_path)
    result = fetch(desk, UrlSource(url=site.url("/film.mpd")))
    assert (result.method, result.normalised) == ("primary", False)
    assert result.metadata["attempts"][0]["formats"] == ["high", "sound"]
    assert result.media.video.packets == 72
    assert not site.asked["/low.mp4"]


@pytest.mark.parametrize(
    ("damage", "code"),
    [(lambda data: b"\xff" * len(data), "media.not_a_video"), (lambda data: b"", "ingest."), (None, "ingest.http_404")],
)
def test_the_fallback_is_used_when_the_best_does_not_verify(site, desk, film, tmp_path, damage, code):
    as_dash(site, film, tmp_path)
    if damage is None:
        site.statuses["/high.mp4"] = 404
    else:
        site.files["/high.mp4"] = damage(site.files["/high.mp4"])
    result = fetch(desk, UrlSource(url=site.url("/film.mpd")))
    assert (result.method, result.media.video.packets) == ("fallback", 72)
    first, second = result.metadata["attempts"]
    assert (first["method"], first["formats"]) == ("primary", ["high", "sound"])
    assert first["fault"]["code"].startswith(code)
    assert second["formats"] == ["low", "sound"]
    assert "fault" not in second


def twice_at_one_time(film, path, every):
    """The film's pictures alone, one in so many stamped with the time of the next, as a careless remux leaves them."""
    with av.open(str(film)) as source, av.open(str(path), "w", format="mp4") as output:
        (stream,) = source.streams.video
        copy = output.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.dts is not None]
        times = sorted(packet.pts for packet in packets)
        later = dict(zip(times[:-1:every], times[1::every], strict=False))
        for packet in packets:
            packet.pts = later.get(packet.pts, packet.pts)
            packet.stream = copy
            output.mux(packet)
    return path.read_bytes()


def test_a_merge_with_broken_times_is_encoded_afresh(site, desk, film, tmp_path):
    as_dash(site, film, tmp_path)
    site.files["/high.mp4"] = twice_at_one_time(film, tmp_path / "twice.mp4", 9)
    result = fetch(desk, UrlSource(url=site.url("/film.mpd")))
    first, second = result.metadata["attempts"]
    assert first["fault"]["code"] == "ingest.broken_timestamps"
    assert [first["normalised"], second["normalised"], "fault" in second] == [False, True, False]
    assert (result.method, result.normalised, result.media.video.packets) == ("primary", True, 72)
    mended = probe(desk.objects.fetch(result.object, tmp_path / "mended.mp4"))
    assert mended.findings == ()
    assert mended.facts.audio is not None
    with av.open(str(tmp_path / "mended.mp4")) as container:
        times = [frame.pts for frame in container.decode(video=0)]
    assert len(set(times)) == len(times) == 72
    assert times == sorted(times)


# Addresses


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "2130706433", "0x7f.1", "127.1"])
def test_loopback_is_refused_however_it_is_spelt(site, tmp_path, film, host):
    site.files["/film.mp4"] = film.read_bytes()
    desk = desk_in(tmp_path, ingest_allow_private_addresses=False)
    refused(desk, UrlSource(url=f"http://{host}:{site.server.server_port}/film.mp4"), "ingest.forbidden_address")
    assert not site.asked


def with_names(monkeypatch, names):
    """Names that resolve as given, one answer after the other; the last one stays."""
    real = socket.getaddrinfo

    def resolve(host, port, *rest, **more):
        answers = names.get(host)
        if answers is None:
            return real(host, port, *rest, **more)
        address = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port or 0)))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def test_a_name_that_leads_home_is_refused(site, tmp_path, film, monkeypatch):
    site.files["/film.mp4"] = film.read_bytes()
    with_names(monkeypatch, {"films.example": ["127.0.0.1"]})
    desk = desk_in(tmp_path, ingest_allow_private_addresses=False)
    refused(desk, UrlSource(url=f"http://films.example:{site.server.server_port}/film.mp4"), "ingest.forbidden_address")
    assert not site.asked


def reaching(monkeypatch, public, site):
    """Lets the guard take one address of the test site for a public one."""
    from services.ingest import network

    real = network.is_public
    monkeypatch.setattr(network, "is_public", lambda host: host == public or real(host))


def test_a_redirect_home_is_refused(tmp_path, film, monkeypatch):
    public, inner = Site(), Site()
    try:
        inner.files["/film.mp4"] = film.read_bytes()
        public.redirects["/film.mp4"] = f"http://inner.example:{inner.server.server_port}/film.mp4"
        with_names(monkeypatch, {"public.example": ["127.0.0.1"], "inner.example": ["127.0.0.2"]})
        reaching(monkeypatch, "127.0.0.1", public)
        desk = desk_in(tmp_path, ingest_allow_private_addresses=False)
        refused(
            desk,
            UrlSource(url=f"http://public.example:{public.server.server_port}/film.mp4"),
            "ingest.forbidden_address",
        )
        assert public.asked
        assert not inner.asked
    finally:
        public.close()
        inner.close()


def test_a_name_that_changes_its_address_is_refused(site, tmp_path, film, monkeypatch):
    site.files["/film.mp4"] = film.read_bytes()
    reaching(monkeypatch, "93.184.216.34", site)
    # The first look-up is that of the library, the second that of whoever would trust it.
    with_names(monkeypatch, {"films.example": ["93.184.216.34", "127.0.0.1"]})
    assert socket.getaddrinfo("films.example", 80)[0][4][0] == "93.184.216.34"
    with guarded(allow_private=False) as guard, socket.socket() as connection, pytest.raises(ForbiddenConnectionError):
        connection.connect(("films.example", site.server.server_port))
    assert guard.refused == ["films.example"]


def test_a_proxy_may_be_reached_by_name_although_it_is_private(site):
    proxy = ("localhost", site.server.server_port)
    with guarded(allow_private=False, exempt=frozenset({proxy})) as guard:
        with socket.create_connection(("127.0.0.1", site.server.server_port)):
            pass
        with socket.socket() as other, pytest.raises(ForbiddenConnectionError):
            other.connect(("127.0.0.1", 9))
    assert guard.refused == ["127.0.0.1"]


def test_the_guard_leaves_nothing_behind(site):
    with guarded(allow_private=False), socket.socket() as closed, pytest.raises(ForbiddenConnectionError):
        closed.connect(("127.0.0.1", site.server.server_port))
    with socket.create_connection(("127.0.0.1", site.server.server_port)):
        pass


# Objects and uploads


def test_an_object_is_copied_after_it_was_proven(desk, film):
    desk.objects.put_file(film, "incoming/some film.mp4", "video/mp4")
    result = fetch(desk, ObjectSource(key="incoming/some film.mp4"))
    assert (result.method, result.title, result.media.video.packets) == ("object", "some film", 72)
    assert desk.objects.get_bytes(result.object.key) == film.read_bytes()
    assert result.object.content_type == "video/mp4"


def test_an_upload_named_by_its_digest_is_copied_inside_the_store(desk, film, monkeypatch):
    digest = hashlib.sha256(film.read_bytes()).hexdigest()
    desk.objects.put_file(film, f"uploads/{digest}/f.mp4", "video/mp4")
    monkeypatch.setattr(desk.objects, "put_file", lambda *_, **__: pytest.fail("the bytes went through the worker"))
    result = fetch(desk, ObjectSource(key=f"uploads/{digest}/f.mp4", name="Holiday.mp4"), title="Mine")
    assert (result.object.sha256, result.title) == (digest, "Mine")


def test_an_upload_is_found_by_its_id(desk, film):
    upload = uuid4()
    desk.objects.put_file(film, f"uploads/{upload}/f.mp4", "video/mp4")
    assert fetch(desk, UploadSource(upload_id=upload, name="Holiday.mp4")).title == "Holiday"
    with pytest.raises(HeatersError) as caught:
        fetch(desk, UploadSource(upload_id=uuid4()))
    assert caught.value.code == "ingest.not_found"


def test_an_upload_that_did_not_arrive_as_it_was_sent_is_refused(desk, film, tmp_path):
    upload = uuid4()
    handle = desk.objects.begin_upload(f"uploads/{upload}/f.mp4", "video/mp4", sha256="a" * 64)
    desk.objects.upload_part(f"uploads/{upload}/f.mp4", handle, 1, film)
    desk.objects.finish_upload(f"uploads/{upload}/f.mp4", handle)
    refused(desk, UploadSource(upload_id=upload), "ingest.upload_damaged")


def test_a_repetition_writes_the_same(desk, film):
    desk.objects.put_file(film, "in/f.mp4", "video/mp4")
    first = fetch(desk, ObjectSource(key="in/f.mp4"))
    keys = list(desk.objects.list("videos/"))
    assert fetch(desk, ObjectSource(key="in/f.mp4")) == first
    assert list(desk.objects.list("videos/")) == keys
    assert marker_of(FetchInput(video_id=VIDEO, source=ObjectSource(key="x"), options=Options())) not in keys


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "media.empty_file"), (b"just some text\n" * 50, "media.not_a_video"), (None, "ingest.not_found")],
)
def test_what_is_no_video_is_refused(desk, data, code):
    if data is not None:
        desk.objects.put_bytes(data, "in/notes.mp4", "video/mp4")
    error = refused(desk, ObjectSource(key="in/notes.mp4"), code)
    assert "notes.mp4" in error.message


def test_sound_alone_is_refused(desk, tmp_path, film):
    with av.open(str(film)) as source, av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as output:
        copy = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = copy
                output.mux(packet)
    desk.objects.put_file(tmp_path / "a.m4a", "in/song.m4a", "audio/mp4")
    refused(desk, ObjectSource(key="in/song.m4a"), "media.no_video_stream")


def test_an_object_over_the_byte_limit_is_not_even_read(tmp_path, film):
    desk = desk_in(tmp_path, ingest_max_bytes=100)
    desk.objects.put_file(film, "in/f.mp4", "video/mp4")
    refused(desk, ObjectSource(key="in/f.mp4"), "ingest.over_limits")
    assert list(desk.scratch.iterdir()) == []


def test_subtitle_tracks_in_the_file_become_captions(desk, film, tmp_path):
    path = tmp_path / "subtitled.mkv"
    (tmp_path / "s.srt").write_text(
        "1\n00:00:00,500 --> 00:00:01,200\nGuten <i>Tag</i>\n\n2\n00:00:01,500 --> 00:00:02,000\nAuf Wiedersehen\n"
    )
    with av.open(str(film)) as source, av.open(str(tmp_path / "s.srt")) as words, av.open(str(path), "w") as output:
        pairs = [(source, source.streams.video[0]), (words, words.streams.subtitles[0])]
        copies = [output.add_stream_from_template(stream) for _, stream in pairs]
        copies[1].metadata["language"] = "ger"
        for (container, stream), copy in zip(pairs, copies, strict=True):
            for packet in container.demux(stream):
                if packet.dts is not None:
                    packet.stream = copy
                    output.mux(packet)
    desk.objects.put_file(path, "in/subtitled.mkv", "video/x-matroska")
    (caption,) = fetch(desk, ObjectSource(key="in/subtitled.mkv")).captions
    assert (caption.language, caption.origin) == ("ger", "embedded")
    shown = desk.objects.get_bytes(caption.object.key).decode()
    assert "00:00:00.500 --> 00:00:01.200\nGuten Tag\n" in shown
    assert "00:00:01.500 --> 00:00:02.000\nAuf Wiedersehen\n" in shown
