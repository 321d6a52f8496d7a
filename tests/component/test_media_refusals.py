"""What is no whole video is refused, with a stable code and a sentence that says what to do."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from contracts.errors import Permanent
from services.media.errors import MediaError
from services.media.master import make_master
from services.media.probe import ProbeLimits, probe
from services.media.review_media import make_review_media
from tests.support.made_videos import make_video, picture

FIXTURES = Path(__file__).parents[1] / "fixtures"


def refusal(path: Path, out: Path) -> Permanent:
    with pytest.raises(MediaError) as caught:  # noqa: PT012 - either of the two may refuse.
        facts = probe(path)
        make_review_media(path, facts, out)
    assert len(caught.value.message) > 40
    assert "Errno" not in caught.value.message
    assert str(path.parent) not in caught.value.message
    return caught.value


def test_an_empty_file(tmp_path: Path):
    (tmp_path / "a.mp4").touch()
    assert refusal(tmp_path / "a.mp4", tmp_path).code == "media.empty_file"


@pytest.mark.parametrize(
    "content",
    [
        b"just some words\n" * 100,
        b"#EXTM3U\n#EXTINF:5,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile a.mkv\n",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"\0" * 5000,
    ],
)
def test_what_is_no_media_file_whatever_its_name(content: bytes, tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(content)
    assert refusal(tmp_path / "a.mp4", tmp_path).code == "media.not_a_video"


def test_a_missing_file(tmp_path: Path):
    assert refusal(tmp_path / "a.mp4", tmp_path).code == "media.missing"


@pytest.mark.parametrize("cover", [False, True])
def test_sound_alone_even_with_a_cover(cover: bool, tmp_path: Path):
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as output:
        sound = output.add_stream("libmp3lame", rate=44_100, layout="stereo")
        picture = None
        if cover:
            picture = output.add_stream("mjpeg", rate=25)
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            output.mux(picture.encode(av.VideoFrame(64, 64, "yuvj420p")))
            output.mux(picture.encode(None))
        for number in range(100):
            frame = av.AudioFrame("s16p", "stereo", 1152)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.sample_rate, frame.pts = 44_100, number * 1152
            output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    assert refusal(path, tmp_path).code == "media.no_video_stream"


def test_damage_in_the_midst_is_told_with_counts(tmp_path: Path):
    error = refusal(FIXTURES / "decord_corrupted.mp4", tmp_path)
    assert error.code == "media.corrupt"
    assert "48 of 50" in error.message


@pytest.mark.parametrize("made", ["a.mp4", "a.mkv", "a.ts", "front.mp4", "frag.mp4"])
def test_a_file_that_ends_early(made: str, tmp_path: Path):
    options = {"front.mp4": {"movflags": "+faststart"}, "frag.mp4": {"movflags": "frag_keyframe+empty_moov"}}
    path = make_video(
        tmp_path / made, frames=200, audio="aac", container_options=options.get(made, {}), options={"g": "25"}
    )
    data = path.read_bytes()
    # A transport stream that is cut between two packets is not to be told from a shorter one.
    path.write_bytes(data[: len(data) * 2 // 3 // 188 * 188 + 100])
    assert refusal(path, tmp_path).code in {"media.truncated", "media.not_a_video", "media.corrupt", "media.incomplete"}


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
def test_flipped_bits_are_never_passed_off_as_whole(codec: str, tmp_path: Path):
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = make_video(tmp_path / "a.mkv", codec=codec, frames=100, options={"g": "30", "bf": "0", **quiet})
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 3, len(data) // 2, 37):
        data[place] ^= 0x5A
    path.write_bytes(data)
    assert refusal(path, tmp_path).code in {"media.truncated", "media.corrupt", "media.incomplete"}


def test_encryption_is_named(tmp_path: Path):
    options = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
        "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
    }
    path = make_video(tmp_path / "a.mp4", container_options=options)
    assert refusal(path, tmp_path).code == "media.drm"


def test_limits_are_named(tmp_path: Path):
    path = make_video(tmp_path / "a.mp4")
    for limits in (ProbeLimits(bytes=100), ProbeLimits(seconds=Fraction(1)), ProbeLimits(pixels=100)):
        with pytest.raises(MediaError) as caught:
            probe(path, limits=limits)
        assert caught.value.code == "media.over_limits"


def test_pictures_that_change_their_size_have_a_proxy_but_no_master(tmp_path: Path):
    both = tmp_path / "both.mkv"
    with av.open(str(both), "w") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuvj420p"
        larger = av.CodecContext.create("mjpeg", "w")
        larger.width, larger.height, larger.pix_fmt, larger.time_base = 160, 96, "yuvj420p", Fraction(1, 25)
        for number in range(50):
            encoder = stream.codec_context if number < 25 else larger
            frame = picture(number, encoder.width, encoder.height, "yuvj420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            if number == 0:
                output.start_encoding()
            for packet in encoder.encode(frame):
                packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 25)
                output.mux(packet)
    facts = probe(both)
    made = make_review_media(both, facts, tmp_path)
    assert made.frames == 50
    with pytest.raises(MediaError) as caught:
        make_master(both, facts, tmp_path)
    assert caught.value.code == "media.pictures_change"
    assert "none" in caught.value.message
