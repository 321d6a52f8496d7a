"""Sources that are good in every way of the web, and sources with a fault planted, each with what must become of it.

The same list is fetched by ingest in tests, and by yt-dlp's unmodified defaults in a benchmark.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from tests.support import packaged
from tests.support.origin import Site

FALLBACK = "fallback"
"""In place of a code: the source arrives whole by the second choice of formats."""


@dataclass
class Kit:
    """What plants work with: a server that counts as public, one that counts as this machine, and a film in many packages."""

    site: Site
    inner: Site
    film: Path
    folder: Path
    data: bytes
    packages: dict[str, tuple[packaged.Files, str]] = field(default_factory=dict)

    def package(self, make: Callable[[Path, Path], tuple[packaged.Files, str]]) -> str:
        """Puts a package on the server, fresh; its address."""
        name = make.__name__
        if name not in self.packages:
            (self.folder / name).mkdir()
            self.packages[name] = make(self.film, self.folder / name)
        files, path = self.packages[name]
        self.site.files.update(files)
        return path

    def broken(self, name: str, make: Callable[..., Path], *more: Any) -> bytes:
        """A broken file, made once."""
        path = self.folder / name
        return (path if path.exists() else make(self.film, path, *more)).read_bytes()


@dataclass(frozen=True)
class Planted:
    """A source: how to plant it, and the codes that are right for it (or ``FALLBACK``)."""

    name: str
    plant: Callable[[Kit], str]
    codes: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    guarded: bool = False
    """Whether it is about addresses: fetched with private addresses forbidden, the first server counting as public."""


PLANTED: list[Planted] = []


def planted(*codes: str, guarded: bool = False, **settings: Any) -> Callable[[Callable[[Kit], str]], Callable]:
    def register(plant: Callable[[Kit], str]) -> Callable[[Kit], str]:
        PLANTED.append(Planted(plant.__name__, plant, codes, settings, guarded))
        return plant

    return register


def _status(number: int, code: str) -> None:
    def plant(kit: Kit) -> str:
        kit.site.statuses["/film.mp4"] = number
        return "/film.mp4"

    PLANTED.append(Planted(f"status_{number}", plant, (code,)))


for _number, _code in (
    (401, "ingest.private"),
    (403, "ingest.http_403"),
    (404, "ingest.http_404"),
    (410, "ingest.http_410"),
    (429, "ingest.rate_limited"),
    (451, "ingest.http_451"),
    (500, "ingest.http_500"),
    (503, "ingest.http_503"),
):
    _status(_number, _code)


def _film(kit: Kit, data: bytes | None = None, path: str = "/film.mp4") -> str:
    kit.site.files[path] = kit.data if data is None else data
    return path


# Of the transfer


@planted("ingest.unreachable")
def connection_closed_half_way_for_ever(kit: Kit) -> str:
    kit.site.cut["/film.mp4"] = len(kit.data) // 2
    return _film(kit)


@planted("ingest.unreachable", "media.truncated")
def content_length_longer_than_the_file(kit: Kit) -> str:
    kit.site.lengths["/film.mp4"] = len(kit.data) + 5000
    kit.site.rangeless.add("/film.mp4")
    return _film(kit)


@planted("media.truncated", "media.not_a_video", "media.no_video_stream")
def content_length_shorter_than_the_file(kit: Kit) -> str:
    kit.site.lengths["/film.mp4"] = len(kit.data) - 3000
    kit.site.rangeless.add("/film.mp4")
    return _film(kit)


@planted("ingest.over_limits", ingest_max_bytes=2_000_000)
def endless_stream(kit: Kit) -> str:
    kit.site.endless["/film.mp4"] = kit.data
    return "/film.mp4"


@planted("ingest.over_limits", ingest_max_bytes=10_000_000)
def announced_size_over_the_limit(kit: Kit) -> str:
    kit.site.lengths["/film.mp4"] = 10**13
    return _film(kit, kit.data + struct.pack(">I4s", 3_000_000, b"free") + bytes(2_999_992))


@planted("ingest.redirect_loop")
def redirects_in_a_circle(kit: Kit) -> str:
    kit.site.redirects["/film.mp4"] = "/other.mp4"
    kit.site.redirects["/other.mp4"] = "/film.mp4"
    return "/film.mp4"


# Of the file


@planted("media.empty_file", "ingest.unreachable", "ingest.download_failed", "ingest.missing_fragment")
def empty_file(kit: Kit) -> str:
    return _film(kit, b"")


@planted("media.not_a_video")
def html_named_mp4(kit: Kit) -> str:
    return _film(kit, b"<!doctype html><title>Sign in</title>" + b"<p>Please sign in.</p>" * 400)


@planted("media.not_a_video")
def json_error_named_mp4(kit: Kit) -> str:
    return _film(kit, json.dumps({"error": "expired", "detail": "x" * 3000}).encode())


@planted("ingest.unsupported_url")
def page_without_a_video(kit: Kit) -> str:
    return _film(kit, b"<html><title>Nothing</title><p>No film here.</html>", "/page.html")


@planted("ingest.wrong_duration")
def page_says_a_hundred_times_as_long(kit: Kit) -> str:
    told = {
        "@context": "https://schema.org",
        "@type": "VideoObject",
        "name": "Film",
        "duration": "PT300S",
        "contentUrl": kit.site.url(_film(kit)),
    }
    page = f'<html><title>Film</title><script type="application/ld+json">{json.dumps(told)}</script></html>'
    return _film(kit, page.encode(), "/page.html")


@planted("media.no_video_stream")
def sound_alone_named_mp4(kit: Kit) -> str:
    return _film(kit, kit.broken("song.mp4", lambda film, path: packaged.copied(film, path, "audio")))


@planted("media.not_a_video", "media.no_video_stream")
def cut_before_its_index(kit: Kit) -> str:
    return _film(kit, kit.data[: len(kit.data) * 2 // 3])


@planted("media.truncated", "media.not_a_video", "media.no_video_stream")
def index_cut_short(kit: Kit) -> str:
    return _film(kit, kit.data[:-500])


@planted("media.truncated")
def cut_after_its_index(kit: Kit) -> str:
    data = kit.broken(
        "front.mp4", lambda film, path: packaged.copied(film, path, "video", "audio", movflags="+faststart")
    )
    return _film(kit, data[:-2000])


@planted("media.truncated", "media.corrupt", "media.damaged_packets")
def transport_stream_cut_in_a_packet(kit: Kit) -> str:
    data = kit.broken("film.ts", lambda film, path: packaged.copied(film, path, "video", "audio"))
    return _film(kit, data[: len(data) // 188 // 2 * 188 + 100], "/film.ts")


@planted("media.damaged_packets", "media.corrupt")
def bytes_overwritten_in_the_midst(kit: Kit) -> str:
    return _film(kit, packaged.damaged(kit.data, length=600))


@planted("media.drm")
def encrypted_file(kit: Kit) -> str:
    return _film(kit, packaged.encrypted(kit.data))


@planted("media.audio_drift")
def sound_that_drifts(kit: Kit) -> str:
    return _film(kit, kit.broken("drift.mp4", packaged.drifting))


@planted("media.audio_empty")
def sound_of_zero_length(kit: Kit) -> str:
    return _film(kit, packaged.without_sound_packets(kit.data))


@planted("media.duration_lie")
def header_says_a_hundred_times_as_long(kit: Kit) -> str:
    return _film(kit, packaged.with_duration(kit.data, 100))


@planted("media.duration_lie")
def last_picture_stands_for_minutes(kit: Kit) -> str:
    return _film(kit, kit.broken("lie.mp4", packaged.with_lying_end))


@planted("media.missing_part")
def a_second_left_out(kit: Kit) -> str:
    return _film(kit, kit.broken("hole.mp4", packaged.with_hole, Fraction(1), Fraction(2)))


@planted("media.over_limits", ingest_max_duration="PT2S")
def longer_than_allowed(kit: Kit) -> str:
    return _film(kit)


@planted("media.over_limits", ingest_max_pixels=1000)
def larger_pictures_than_allowed(kit: Kit) -> str:
    return _film(kit)


# Of HLS


@planted("ingest.missing_fragment")
def hls_fragment_missing(kit: Kit) -> str:
    path = kit.package(packaged.hls_ts)
    kit.site.statuses["/muxed1.ts"] = 404
    return path


@planted("ingest.missing_fragment", "ingest.http_500")
def hls_fragment_fails(kit: Kit) -> str:
    path = kit.package(packaged.hls_ts)
    kit.site.statuses["/muxed2.ts"] = 500
    return path


@planted("media.missing_part", "media.corrupt")
def hls_fragment_left_out_of_the_playlist(kit: Kit) -> str:
    path = kit.package(packaged.hls_ts)
    lines = kit.site.files[path].decode().splitlines()
    place = lines.index("muxed1.ts")
    kit.site.files[path] = "\n".join(lines[: place - 1] + lines[place + 1 :]).encode()
    return path


@planted("media.corrupt", "media.truncated", "media.missing_part", "media.not_a_video", "media.damaged_packets")
def hls_fragment_is_a_page(kit: Kit) -> str:
    path = kit.package(packaged.hls_ts)
    kit.site.files["/muxed1.ts"] = b"<html>404</html>" * 200
    return path


@planted("media.corrupt", "media.truncated", "media.missing_part")
def hls_fragment_cut_short(kit: Kit) -> str:
    path = kit.package(packaged.hls_ts)
    kit.site.files["/muxed1.ts"] = kit.site.files["/muxed1.ts"][:5000]
    return path


@planted("media.not_a_video", "media.no_video_stream", "media.corrupt", "media.truncated")
def hls_wrong_key(kit: Kit) -> str:
    path = kit.package(packaged.hls_aes)
    kit.site.files["/film.key"] = b"\x55" * 16
    return path


@planted("ingest.http_404", "ingest.missing_fragment")
def hls_key_missing(kit: Kit) -> str:
    path = kit.package(packaged.hls_aes)
    kit.site.statuses["/film.key"] = 404
    return path


@planted("ingest.drm")
def hls_with_drm(kit: Kit) -> str:
    path = kit.package(packaged.hls_aes)
    kit.site.files[path] = kit.site.files[path].replace(
        b'METHOD=AES-128,URI="film.key"',
        b'METHOD=SAMPLE-AES,URI="skd://key",KEYFORMAT="com.apple.streamingkeydelivery",KEYFORMATVERSIONS="1"',
    )
    return path


@planted("ingest.live")
def hls_still_being_broadcast(kit: Kit) -> str:
    path = kit.package(packaged.hls_ts)
    text = kit.site.files[path].decode()
    kit.site.files[path] = text.replace("#EXT-X-ENDLIST\n", "").replace("#EXT-X-PLAYLIST-TYPE:VOD\n", "").encode()
    return path


@planted("ingest.over_limits", ingest_max_fragments=500)
def hls_of_a_hundred_thousand_fragments(kit: Kit) -> str:
    path = kit.package(packaged.hls_ts)
    head, _, _ = kit.site.files[path].decode().partition("#EXTINF")
    body = "#EXTINF:1.0,\nmuxed0.ts\n" * 100_000
    kit.site.files["/bomb.m3u8"] = f"{head}{body}#EXT-X-ENDLIST\n".encode()
    return "/bomb.m3u8"


@planted("ingest.http_404", "ingest.missing_fragment", "ingest.unreachable")
def hls_sound_playlist_missing(kit: Kit) -> str:
    path = kit.package(packaged.hls_split)
    kit.site.statuses["/sound.m3u8"] = 404
    return path


# Of DASH


@planted("ingest.drm")
def dash_with_drm(kit: Kit) -> str:
    path = kit.package(packaged.dash)
    kit.site.files[path] = packaged.mpd(protection=packaged.WIDEVINE)
    return path


@planted("ingest.http_404", "ingest.missing_fragment")
def dash_sound_missing(kit: Kit) -> str:
    path = kit.package(packaged.dash)
    kit.site.statuses["/sound.m4a"] = 404
    return path


@planted("media.not_a_video", "media.empty_file", "ingest.unreachable", "ingest.download_failed")
def dash_sound_is_a_page(kit: Kit) -> str:
    path = kit.package(packaged.dash)
    kit.site.files["/sound.m4a"] = b"<html>Not here</html>" * 100
    return path


@planted("media.streams_apart")
def dash_sound_ends_early(kit: Kit) -> str:
    path = kit.package(packaged.dash)
    half = kit.broken(
        "half.m4a",
        lambda film, out: packaged.copied(
            film,
            out,
            "audio",
            form="mp4",
            change=lambda packet: packet if packet.pts * packet.time_base < Fraction(3, 2) else None,
        ),
    )
    kit.site.files["/sound.m4a"] = half
    return path


@planted(FALLBACK)
def dash_best_is_missing(kit: Kit) -> str:
    path = kit.package(packaged.dash)
    kit.site.statuses["/high.mp4"] = 404
    return path


@planted(FALLBACK)
def dash_best_is_a_page(kit: Kit) -> str:
    path = kit.package(packaged.dash)
    kit.site.files["/high.mp4"] = b"<html>Not here</html>" * 100
    return path


@planted(FALLBACK)
def dash_best_is_cut_short(kit: Kit) -> str:
    path = kit.package(packaged.dash)
    kit.site.files["/high.mp4"] = kit.site.files["/high.mp4"][:-2500]
    return path


@planted(FALLBACK)
def dash_best_is_damaged(kit: Kit) -> str:
    path = kit.package(packaged.dash)
    kit.site.files["/high.mp4"] = packaged.damaged(kit.site.files["/high.mp4"], length=500)
    return path


@planted(FALLBACK)
def dash_best_is_encrypted(kit: Kit) -> str:
    path = kit.package(packaged.dash)
    kit.site.files["/high.mp4"] = packaged.encrypted(kit.site.files["/high.mp4"])
    return path


@planted(FALLBACK)
def dash_best_lies_about_its_duration(kit: Kit) -> str:
    path = kit.package(packaged.dash)
    kit.site.files["/high.mp4"] = kit.broken("lie-v.mp4", packaged.with_lying_end)
    return path


# Of lists


def feed(kit: Kit, entries: int) -> bytes:
    """An RSS feed of films."""
    items = "".join(
        f'<item><title>Film {number}</title><enclosure url="{kit.site.url(f"/film{number}.mp4", HOST)}" type="video/mp4"/></item>'
        for number in range(entries)
    )
    return f'<?xml version="1.0"?><rss version="2.0"><channel><title>All films</title>{items}</channel></rss>'.encode()


@planted("ingest.playlist_too_long", ingest_max_entries=50)
def list_of_a_thousand_films(kit: Kit) -> str:
    return _film(kit, feed(kit, 1000), "/feed.xml")


# Of addresses: the site counts as public, the inner site as this machine

HOST = "127.0.0.1"


@planted("ingest.forbidden_address", guarded=True)
def redirect_to_loopback(kit: Kit) -> str:
    kit.inner.files["/film.mp4"] = kit.data
    kit.site.redirects["/film.mp4"] = kit.inner.url("/film.mp4", "inner.example")
    return "/film.mp4"


@planted("ingest.forbidden_address", guarded=True)
def hls_fragment_on_loopback(kit: Kit) -> str:
    path = kit.package(packaged.hls_ts)
    kit.inner.files["/muxed1.ts"] = kit.site.files["/muxed1.ts"]
    inner = kit.inner.url("/muxed1.ts", "inner.example").encode()
    kit.site.files[path] = kit.site.files[path].replace(b"muxed1.ts", inner)
    return path


@planted("ingest.forbidden_address", guarded=True)
def hls_key_on_loopback(kit: Kit) -> str:
    path = kit.package(packaged.hls_aes)
    kit.inner.files["/film.key"] = packaged.KEY
    inner = kit.inner.url("/film.key", "inner.example").encode()
    kit.site.files[path] = kit.site.files[path].replace(b"film.key", inner)
    return path


@planted("ingest.forbidden_address", guarded=True)
def hls_variant_on_loopback(kit: Kit) -> str:
    kit.package(packaged.hls_split)
    kit.inner.files.update(kit.site.files)
    kit.site.files["/evil.m3u8"] = packaged.master(kit.inner.url("/pictures.m3u8", "inner.example"), "sound.m3u8")
    return "/evil.m3u8"


@planted("ingest.forbidden_address", guarded=True)
def dash_stream_on_loopback(kit: Kit) -> str:
    path = kit.package(packaged.dash)
    kit.inner.files["/high.mp4"] = kit.site.files["/high.mp4"]
    kit.site.files[path] = packaged.mpd(high=kit.inner.url("/high.mp4", "inner.example"))
    return path


@planted("ingest.forbidden_address", guarded=True)
def name_that_leads_to_another_address_the_second_time(kit: Kit) -> str:
    _film(kit)
    kit.inner.files["/film.mp4"] = kit.data
    return kit.inner.url("/film.mp4", "rebinding.example")


@planted(
    "ingest.unsupported_url",
)
def hls_fragment_from_the_disk(kit: Kit) -> str:
    path = kit.package(packaged.hls_ts)
    kit.site.files[path] = kit.site.files[path].replace(b"muxed1.ts", b"file:///etc/hostname")
    return path


# Good sources


GOOD: list[tuple[str, Callable[[Kit], str], dict[str, Any]]] = []


def good(**expected: Any) -> Callable[[Callable[[Kit], str]], Callable[[Kit], str]]:
    def register(plant: Callable[[Kit], str]) -> Callable[[Kit], str]:
        GOOD.append((plant.__name__, plant, expected))
        return plant

    return register


@good(untouched=True)
def progressive(kit: Kit) -> str:
    return _film(kit)


@good(untouched=True)
def progressive_behind_redirects(kit: Kit) -> str:
    kit.site.redirects["/a"] = "/b"
    kit.site.redirects["/b"] = "/film.mp4"
    _film(kit)
    return "/a"


@good(untouched=True)
def progressive_without_ranges(kit: Kit) -> str:
    kit.site.rangeless.add("/film.mp4")
    return _film(kit)


@good(untouched=True)
def progressive_slowly(kit: Kit) -> str:
    kit.site.speed["/film.mp4"] = len(kit.data)
    return _film(kit)


@good(untouched=True)
def progressive_with_dropped_connections(kit: Kit) -> str:
    kit.site.drops["/film.mp4"] = 2
    return _film(kit)


@good(untouched=True)
def progressive_without_ranges_dropped_once(kit: Kit) -> str:
    kit.site.rangeless.add("/film.mp4")
    kit.site.drops["/film.mp4"] = 1
    return _film(kit)


@good()
def hls_transport_stream(kit: Kit) -> str:
    return kit.package(packaged.hls_ts)


@good()
def hls_fragmented_mp4(kit: Kit) -> str:
    return kit.package(packaged.hls_fmp4)


@good()
def hls_sound_apart(kit: Kit) -> str:
    return kit.package(packaged.hls_split)


@good()
def hls_encrypted(kit: Kit) -> str:
    return kit.package(packaged.hls_aes)


@good()
def hls_with_dropped_connections(kit: Kit) -> str:
    kit.site.drops["/muxed0.ts"] = 1
    kit.site.drops["/muxed2.ts"] = 1
    return kit.package(packaged.hls_ts)


@good()
def dash_sound_apart(kit: Kit) -> str:
    return kit.package(packaged.dash)


@good()
def dash_with_dropped_connections(kit: Kit) -> str:
    kit.site.drops["/high.mp4"] = 1
    kit.site.drops["/sound.m4a"] = 1
    return kit.package(packaged.dash)
