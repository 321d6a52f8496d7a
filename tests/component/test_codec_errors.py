"""Every error of media, provoked for real: the code that the documentation's table says, and a sentence that helps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from contracts.errors import HeatersError, Permanent, Transient
from contracts.values import FrameRange
from services.media.decode import AudioSource, FrameSource
from services.media.error_codes import ERRORS
from services.media.errors import translated
from services.media.footage import Footage
from services.media.frame_index import FrameIndex
from services.media.master import make_master
from services.media.probe import ProbeLimits, probe
from services.media.profiles import PROFILES, Profile
from services.media.render import Cut, render
from tests.support.made_videos import make_video, picture
from tests.support.packaged import with_duration

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
H264, FFV1 = PROFILES["delivery-h264"], PROFILES["archive-ffv1"]


class Gray:
    """Frames of one pixel format, at whatever times the footage says."""

    def __init__(self, form: str = "yuv420p") -> None:
        self.form = form

    def frames(self, wanted: FrameRange) -> Iterator[tuple[int, av.VideoFrame]]:
        for number in range(wanted.start, wanted.end):
            yield number, av.VideoFrame(64, 48, self.form)

    def close(self) -> None: ...


class Hungry(Gray):
    """A decoder that asks for more memory than there is."""

    def frames(self, wanted: FrameRange) -> Iterator[tuple[int, av.VideoFrame]]:
        yield wanted.start, av.VideoFrame(64, 48, "yuv420p")
        bytearray(1 << 62)


def rendered(
    folder: Path, profile: Profile = H264, *, pictures: Gray | None = None, ticks: int = 90_000, frames: int = 5
) -> None:
    footage = Footage(
        pictures=pictures or Gray(), sounds=None, frames=5, time_of=lambda number: Fraction(number, 25),
        timebase=Fraction(1, ticks), rate=Fraction(25),
    )  # fmt: skip
    ((_, outcome),) = render(footage, [Cut(FrameRange(start=0, end=frames), (profile,), folder, "clip", "t")])
    if isinstance(outcome, HeatersError):
        raise outcome


def encoded_with(**changes: object) -> Profile:
    return H264.model_copy(update={"video": H264.video.model_copy(update=changes)})


@contextmanager
def nobody() -> Iterator[None]:
    """As a user who may not read what root's folders hold; who runs the tests as somebody else is one already."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


def empty(folder: Path) -> None:
    (folder / "a.mp4").touch()
    probe(folder / "a.mp4")


def forbidden(folder: Path) -> None:
    path = make_video(folder / "a.mp4", frames=5)
    path.chmod(0)
    with nobody():
        probe(path)


def unreadable(folder: Path) -> None:
    # A folder opens, and then gives an input/output error.
    with FrameSource(folder, None, 0) as source:
        list(source.frames(FrameRange(start=0, end=1)))


def full(folder: Path) -> None:
    (folder / H264.name).mkdir()
    (folder / H264.name / "clip.mp4").symlink_to("/dev/full")
    rendered(folder)


def no_video(folder: Path) -> None:
    (folder / "a.mp4").write_text("no video at all\n" * 50)
    probe(folder / "a.mp4")


def sound_alone(folder: Path) -> None:
    path = folder / "a.wav"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        output.mux(stream.encode(frame))
    probe(path)


def no_sound(folder: Path) -> None:
    AudioSource(make_video(folder / "a.mp4", frames=5), 0)


def encrypted(folder: Path) -> None:
    options = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
        "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
    }
    probe(make_video(folder / "a.mp4", frames=10, container_options=options))


def cut_off(folder: Path) -> None:
    path = make_video(folder / "a.mp4", frames=50, container_options={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[:-2000])
    probe(path)


def damaged(folder: Path) -> None:
    path = FIXTURES / "decord_corrupted.mp4"
    with FrameSource(path, None, 0) as source:
        list(source.frames(FrameRange(start=0, end=50)))


def too_few(folder: Path) -> None:
    with FrameSource(make_video(folder / "a.mp4", frames=5), None, 0) as source:
        list(source.frames(FrameRange(start=0, end=9)))


def lying(folder: Path) -> None:
    path = make_video(folder / "a.mp4", frames=50, audio="aac")
    path.write_bytes(with_duration(path.read_bytes(), 100))
    probe(path)


def unknown_codec(folder: Path) -> None:
    path = make_video(folder / "a.mp4", frames=5)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1"))
    probe(path)


def changing(folder: Path) -> None:
    path = folder / "a.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuvj420p"
        larger = av.CodecContext.create("mjpeg", "w")
        larger.width, larger.height, larger.pix_fmt, larger.time_base = 160, 96, "yuvj420p", Fraction(1, 25)
        for number in range(20):
            encoder = stream.codec_context if number < 10 else larger
            frame = picture(number, encoder.width, encoder.height, "yuvj420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            if number == 0:
                output.start_encoding()
            for packet in encoder.encode(frame):
                packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 25)
                output.mux(packet)
    make_master(path, probe(path), folder)


def missing_encoder(folder: Path) -> None:
    # AV1 by the one encoder that this build of the library lacks.
    with translated("encoding a.mkv"), av.open(str(folder / "a.mkv"), "w") as output:
        output.add_stream("libaom-av1", rate=25)


PROVOKED: dict[str, Callable[[Path], object]] = {
    "media.empty_file": empty,
    "media.missing": lambda folder: probe(folder / "none.mp4"),
    "media.forbidden": forbidden,
    "media.read_failed": unreadable,
    "media.disk_full": full,
    "media.out_of_memory": lambda folder: rendered(folder, pictures=Hungry()),
    "media.not_a_video": no_video,
    "media.no_video_stream": sound_alone,
    "media.no_audio_stream": no_sound,
    "media.drm": encrypted,
    "media.over_limits": lambda folder: probe(make_video(folder / "a.mp4", frames=5), limits=ProbeLimits(bytes=9)),
    "media.truncated": cut_off,
    "media.corrupt": damaged,
    "media.incomplete": too_few,
    "media.duration_lie": lying,
    "media.index_unreadable": lambda _: FrameIndex.from_bytes(b"no index"),
    "media.codec_unsupported": unknown_codec,
    "media.pixel_format_unsupported": lambda folder: rendered(folder, FFV1, pictures=Gray("xyz12le")),
    "media.pictures_change": changing,
    "media.out_of_range": lambda folder: rendered(folder, frames=6),
    "media.unknown_encoder_option": lambda folder: rendered(folder, encoded_with(options=(("preste", "fast"),))),
    "media.encoder_missing": missing_encoder,
    "media.encoding_failed": lambda folder: rendered(folder, encoded_with(options=(("preset", "warp"),))),
    # A frame every 1/25 s has no place on a clock of ten ticks a second.
    "media.disagreement": lambda folder: rendered(folder, ticks=10),
}


@pytest.mark.parametrize("code", sorted(PROVOKED))
def test_the_error_has_its_code_and_a_sentence_that_helps(code: str, tmp_path: Path) -> None:
    with pytest.raises(HeatersError) as caught:
        PROVOKED[code](tmp_path)
    error = caught.value
    assert error.code == code
    assert len(error.message) > 40
    assert error.message.count(".") >= 2
    for leaked in ("Errno", "AVERROR", "avcodec", "Traceback", "returned", "-1094995529"):
        assert leaked not in error.message
    known = next(each for each in ERRORS if each.code == code)
    assert isinstance(error, Transient if known.again == "later" else Permanent)


def test_every_error_of_the_table_is_provoked() -> None:
    assert set(PROVOKED) == {each.code for each in ERRORS}
