"""One film in the packages of the web: HLS with TS or fMP4 segments or encrypted, DASH with its sound apart; and broken
in the ways in which files break."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av

Files = dict[str, bytes]


def copied(film: Path, path: Path, *kinds: str, change: Callable | None = None, form: str = "", **options: str) -> Path:
    """Some of the film's streams in a file of their own; ``change`` sees each packet and may return None to drop it."""
    with av.open(str(film)) as source, av.open(str(path), "w", format=form or None, options=options) as output:
        streams = [stream for stream in source.streams if stream.type in kinds]
        copies = {stream.index: output.add_stream_from_template(stream) for stream in streams}
        for packet in source.demux(streams):
            if packet.dts is None:
                continue
            index = packet.stream.index
            kept = change(packet) if change else packet
            if kept is not None:
                kept.stream = copies[index]
                output.mux(kept)
    return path


def _media_playlist(film: Path, folder: Path, name: str, kinds: tuple[str, ...], **options: str) -> Files:
    target = folder / name
    target.mkdir()
    ending = "m4s" if options.get("hls_segment_type") == "fmp4" else "ts"
    copied(
        film,
        target / f"{name}.m3u8",
        *kinds,
        form="hls",
        hls_time="1",
        hls_list_size="0",
        hls_playlist_type="vod",
        hls_segment_filename=str(target / f"{name}%d.{ending}"),
        **options,
    )
    return {f"/{path.name}": path.read_bytes() for path in target.iterdir() if path.suffix != ".key"}


def hls_ts(film: Path, folder: Path) -> tuple[Files, str]:
    """HLS, MPEG-TS segments with pictures and sound together."""
    return _media_playlist(film, folder, "muxed", ("video", "audio")), "/muxed.m3u8"


def hls_fmp4(film: Path, folder: Path) -> tuple[Files, str]:
    """HLS, fragmented MP4 segments, the sound in a group of its own."""
    files: Files = {}
    for name, kind in (("pictures", "video"), ("sound", "audio")):
        files |= _media_playlist(
            film, folder, name, (kind,), hls_segment_type="fmp4", hls_fmp4_init_filename=f"{name}-init.mp4"
        )
    files["/fmp4.m3u8"] = master("pictures.m3u8", "sound.m3u8")
    return files, "/fmp4.m3u8"


def hls_split(film: Path, folder: Path) -> tuple[Files, str]:
    """HLS, MPEG-TS segments, the sound in a group of its own."""
    files: Files = {}
    for name, kind in (("pictures", "video"), ("sound", "audio")):
        files |= _media_playlist(film, folder, name, (kind,))
    files["/split.m3u8"] = master("pictures.m3u8", "sound.m3u8")
    return files, "/split.m3u8"


KEY = bytes(range(16))


def hls_aes(film: Path, folder: Path) -> tuple[Files, str]:
    """HLS, MPEG-TS segments encrypted with AES-128; the key lies at ``/film.key``."""
    secret = folder / "secret.key"
    secret.write_bytes(KEY)
    info = folder / "key.info"
    info.write_text(f"film.key\n{secret}\n{'0' * 31}7\n")
    files = _media_playlist(film, folder, "aes", ("video", "audio"), hls_key_info_file=str(info))
    return {**files, "/film.key": KEY}, "/aes.m3u8"


def master(pictures: str, sound: str) -> bytes:
    """A master playlist of one variant with a group of sound."""
    return (
        f'#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aud",NAME="a",DEFAULT=YES,AUTOSELECT=YES,URI="{sound}"\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=900000,CODECS="avc1.64000b,mp4a.40.2",RESOLUTION=192x96,AUDIO="aud"\n'
        f"{pictures}\n"
    ).encode()


MPD = """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:cenc="urn:mpeg:cenc:2013" type="static"
 mediaPresentationDuration="{duration}" minBufferTime="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>
<AdaptationSet mimeType="video/mp4">{protection}
<Representation id="high" codecs="hvc1.1.6.L93.B0" width="1920" height="960" bandwidth="9000000"><BaseURL>{high}</BaseURL></Representation>
<Representation id="low" codecs="avc1.64000b" width="192" height="96" bandwidth="900000"><BaseURL>low.mp4</BaseURL></Representation>
</AdaptationSet><AdaptationSet mimeType="audio/mp4">{protection}
<Representation id="sound" codecs="mp4a.40.2" bandwidth="128000"><BaseURL>sound.m4a</BaseURL></Representation>
</AdaptationSet></Period></MPD>"""

WIDEVINE = '<ContentProtection schemeIdUri="urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed"/>'


def mpd(*, duration: str = "PT3S", protection: str = "", high: str = "high.mp4") -> bytes:
    """A DASH manifest with pictures in two sizes and the sound apart; the bigger one is called H.265."""
    return MPD.format(duration=duration, protection=protection, high=high).encode()


def dash(film: Path, folder: Path) -> tuple[Files, str]:
    """DASH, the sound apart: ``/high.mp4``, ``/low.mp4``, ``/sound.m4a``."""
    pictures = copied(film, folder / "v.mp4", "video").read_bytes()
    sound = copied(film, folder / "a.m4a", "audio", form="mp4").read_bytes()
    return {"/film.mpd": mpd(), "/high.mp4": pictures, "/low.mp4": pictures, "/sound.m4a": sound}, "/film.mpd"


# Ways in which an MP4 breaks


def boxes(data: bytes, start: int = 0, end: int | None = None) -> list[tuple[bytes, int, int]]:
    """The boxes of an MP4 as (kind, start, end)."""
    found = []
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        if size < 8:
            break
        found.append((kind, start, start + size))
        start += size
    return found


def box_at(data: bytes, *path: bytes, track: int = 0) -> tuple[int, int]:
    """Where a nested box lies; ``track`` chooses among several ``trak``."""
    start, end = 0, len(data)
    for kind in path:
        inner = [(begin, stop) for name, begin, stop in boxes(data, start, end) if name == kind]
        begin, stop = inner[track if kind == b"trak" else 0]
        start, end = begin + 8, stop
    return start, end


def with_duration(data: bytes, factor: int) -> bytes:
    """The MP4 with the durations in its headers multiplied."""
    out = bytearray(data)
    start, _ = box_at(data, b"moov", b"mvhd")
    struct.pack_into(">I", out, start + 16, struct.unpack_from(">I", data, start + 16)[0] * factor)
    for track in range(len([1 for kind, *_ in boxes(data, *box_at(data, b"moov")) if kind == b"trak"])):
        start, _ = box_at(data, b"moov", b"trak", b"tkhd", track=track)
        struct.pack_into(">I", out, start + 20, struct.unpack_from(">I", data, start + 20)[0] * factor)
        start, _ = box_at(data, b"moov", b"trak", b"mdia", b"mdhd", track=track)
        struct.pack_into(">I", out, start + 16, struct.unpack_from(">I", data, start + 16)[0] * factor)
    return bytes(out)


def encrypted(data: bytes) -> bytes:
    """The MP4 with its streams declared encrypted."""
    return data.replace(b"avc1", b"encv").replace(b"mp4a", b"enca")


def damaged(data: bytes, share: Fraction = Fraction(1, 2), length: int = 3000) -> bytes:
    """The MP4 with some bytes of its media overwritten by zeros."""
    start, end = next((begin + 8, stop) for kind, begin, stop in boxes(data) if kind == b"mdat")
    place = start + int((end - start) * share)
    return data[:place] + b"\0" * length + data[place + length :]


def drifting(film: Path, path: Path, percent: int = 5) -> Path:
    """The film with its sound's clock wrong: each packet is said to last some percent longer than it does."""

    def change(packet):
        if packet.stream.type == "audio":
            packet.pts = packet.pts * (100 + percent) // 100
            packet.dts = packet.dts * (100 + percent) // 100
            packet.duration = packet.duration * (100 + percent) // 100
        return packet

    return copied(film, path, "video", "audio", change=change)


def with_hole(film: Path, path: Path, start: Fraction, end: Fraction, kinds=("video", "audio")) -> Path:
    """The film without anything between two times, as when a fragment was left out."""

    def change(packet):
        return None if start <= packet.pts * packet.time_base < end else packet

    return copied(film, path, *kinds, change=change)


def with_lying_end(film: Path, path: Path, seconds: int = 300) -> Path:
    """The film with its last picture shown for minutes."""

    def change(packet):
        if packet.stream.type == "video" and packet.pts * packet.time_base > Fraction(29, 10):
            packet.pts += int(seconds / packet.time_base)
            packet.dts += int(seconds / packet.time_base)
        return packet

    return copied(film, path, "video", "audio", change=change)


def without_sound_packets(data: bytes) -> bytes:
    """The MP4 with a sound track of no samples: its tables say that there are none."""
    out = bytearray(data)
    for box, place in ((b"stts", 4), (b"stsc", 4), (b"stsz", 8), (b"stco", 4)):
        start, _ = box_at(data, b"moov", b"trak", b"mdia", b"minf", b"stbl", box, track=1)
        struct.pack_into(">I", out, start + place, 0)
    return bytes(out)
