"""Defects planted in real media, and found by QC after a real render; and sound media that pass."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from contracts.values import FrameRange, ObjectRef, Verdict
from services.export.domain import ExportInput, Footage
from services.export.qc import Measured, QcLimits, judge
from services.export.work import _Bundle
from services.media.captions import Cue
from services.media.layout import layout_of
from services.media.measure import PictureLimits
from services.media.probe import probe
from services.media.profiles import ARCHIVE_FFV1, DELIVERY_H264, Profile
from services.media.render import Budget, Cut, Rendered, render
from services.media.sidecars import Captions, Sidecar
from tests.support.made_videos import make_video as numbered_video
from tests.support.rendering import RATE, burnt, footage_of, index_of, make_video

FRAMES = 72
SECONDS = 3
QUIET = 0.02
LIMITS = QcLimits(frozen_seconds=Fraction(1), silence_seconds=Fraction(1), black_seconds=Fraction(1, 4))


def tone(level: float = 0.1, hertz: float = 997) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(SECONDS * RATE) / RATE)).astype(np.float32)


def changed(first: int, last: int, picture: Callable[[int], np.ndarray]) -> list[np.ndarray]:
    return [picture(number) if first <= number < last else burnt(number) for number in range(FRAMES)]


def hushed(first: float, last: float, level: float = 0.0) -> np.ndarray:
    wave = tone()
    wave[int(first * RATE) : int(last * RATE)] *= level
    return wave


def railed() -> np.ndarray:
    wave = tone()
    wave[RATE : RATE + 12] = 1.0
    return wave


def between_samples() -> np.ndarray:
    """A tone at a quarter of the rate whose samples all miss its peaks."""
    return (
        (0.98 * np.sin(np.pi / 2 * np.arange(SECONDS * RATE) + np.pi / 4) * 1.35).clip(-0.99, 0.99).astype(np.float32)
    )


BLACK = np.zeros_like(burnt(0))
GREY = np.full_like(burnt(0), 90)


@dataclass(frozen=True)
class Made:
    """A rendered clip and what QC is given of it."""

    bundle: _Bundle
    rendered: Rendered
    footage: Footage

    def measured(self) -> Measured:
        return self.bundle._measured(self.rendered.renditions[0])

    def found(self, profile: Profile | None = None, measured: Measured | None = None) -> set[str]:
        report = judge(profile or self.rendered.renditions[0].profile, measured or self.measured(), LIMITS)
        assert (report.verdict is Verdict.PASS) is (not report.findings)
        return {finding.code for finding in report.findings}


def rendered_clip(
    path: Path, folder: Path, profile: Profile, frames: FrameRange | None = None, captions: tuple[Captions, ...] = ()
) -> Made:
    material = footage_of(path)
    frames = frames or FrameRange(start=0, end=material.frames)
    cut = Cut(frames, (profile,), folder, "clip", "A title", captions)
    budget = Budget(pictures=LIMITS.picture_limits(), sound=LIMITS.sound_limits())
    ((_, outcome),) = render(material, [cut], budget=budget)
    assert isinstance(outcome, Rendered), outcome
    index = index_of(path)
    nothing = ObjectRef(key="k", size=1, sha256="0" * 64)
    footage = Footage(frames=len(index), rate=index.rate, source=nothing, media=probe(path).facts, index=nothing)
    order = ExportInput(
        video_id=uuid.UUID(int=1), clip_id=uuid.UUID(int=2), frames=frames, title="A title", profiles=(profile.name,),
        footage=footage,
    )  # fmt: skip
    return Made(_Bundle(order, index, outcome, (), LIMITS), outcome, footage)


IN_THE_SOURCE = {
    "black at the start": ({"pictures": changed(0, 12, lambda _: BLACK)}, {"qc.black"}),
    "black at the end": ({"pictures": changed(60, 72, lambda _: BLACK)}, {"qc.black"}),
    "black throughout": ({"pictures": [BLACK] * FRAMES}, {"qc.black", "qc.frozen"}),
    "frozen in the middle": ({"pictures": changed(20, 50, lambda _: burnt(20))}, {"qc.frozen"}),
    "one grey picture": ({"pictures": [GREY] * FRAMES}, {"qc.frozen"}),
    "silent in the middle": ({"samples": hushed(0.5, 2)}, {"qc.silence"}),
    "silent at the end": ({"samples": hushed(1.5, 3)}, {"qc.silence"}),
    "silent throughout": ({"samples": hushed(0, 3)}, {"qc.silence"}),
    "clipped once": ({"samples": railed()}, {"qc.clipping", "qc.true_peak"}),
    "too loud": ({"samples": tone(0.7)}, {"qc.too_loud"}),
    "too quiet": ({"samples": tone(0.003)}, {"qc.too_quiet"}),
    "peaks between samples": ({"samples": between_samples()}, {"qc.true_peak", "qc.too_loud"}),
    "black and silent": (
        {"pictures": changed(24, 60, lambda _: BLACK), "samples": hushed(1, 2.5)}, {"qc.black", "qc.frozen", "qc.silence"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_THE_SOURCE)
def test_what_is_wrong_with_the_source_is_found_in_the_clip(tmp_path: Path, name: str) -> None:
    said, codes = IN_THE_SOURCE[name]
    path = make_video(tmp_path / "source.mkv", FRAMES, **{"samples": tone(), **said}).path
    assert rendered_clip(path, tmp_path, ARCHIVE_FFV1).found() == codes


def test_a_finding_says_when_it_is(tmp_path: Path) -> None:
    path = make_video(tmp_path / "s.mkv", FRAMES, pictures=changed(30, 42, lambda _: BLACK), samples=tone()).path
    made = rendered_clip(path, tmp_path, ARCHIVE_FFV1, FrameRange(start=24, end=72))
    (finding,) = judge(ARCHIVE_FFV1, made.measured(), LIMITS).findings
    assert (finding.code, finding.frames) == ("qc.black", FrameRange(start=30, end=42))
    assert (finding.start, finding.end) == (Fraction(6, 24), Fraction(18, 24))


def test_a_hole_in_the_sound_is_found(tmp_path: Path) -> None:
    path = numbered_video(
        tmp_path / "holed.mkv", frames=50, audio="pcm_s16le", audio_block=960, audio_hole=(Fraction(1, 2), Fraction(1))
    )
    assert "qc.sound_missing" in rendered_clip(path, tmp_path, DELIVERY_H264).found()


CLEAN = {
    "plain": {},
    "no sound": {"sound": False},
    "mono": {"channels": "mono"},
    "surround": {"channels": "5.1"},
    "variable rate": {"variable": True},
    "30000/1001": {"rate": Fraction(30_000, 1001)},
    "odd size": {"size": (181, 97), "pixel_format": "yuv444p"},
    "quieter": {"samples": tone(QUIET)},
}


@pytest.mark.parametrize("name", CLEAN)
def test_sound_media_pass(tmp_path: Path, name: str) -> None:
    path = make_video(tmp_path / "source.mkv", 40, **{"samples": tone(), **CLEAN[name]}).path
    assert rendered_clip(path, tmp_path, DELIVERY_H264).found() == set()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("good")
    path = make_video(folder / "source.mkv", 40, samples=tone()).path
    spoken = Captions("en", (Cue(100, 900, "hello"), Cue(1000, 5000, "and on")))
    return rendered_clip(path, folder, DELIVERY_H264, captions=(spoken,))


def test_a_whole_bundle_passes(good: Made) -> None:
    assert good.found() == set()


def video(profile: Profile, **changes: object) -> Profile:
    return profile.model_copy(update={"video": profile.video.model_copy(update=changes)})


def audio(profile: Profile, **changes: object) -> Profile:
    return profile.model_copy(update={"audio": profile.audio.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("profile", "code"),
    [
        (video(DELIVERY_H264, codec="hevc"), "qc.codec"),
        (audio(DELIVERY_H264, codec="opus"), "qc.sound_codec"),
        (audio(DELIVERY_H264, sample_rates=(44_100,)), "qc.sound_rate"),
        (audio(DELIVERY_H264, max_channels=1), "qc.sound_layout"),
    ],
)
def test_a_file_that_is_not_what_its_profile_says_is_found(good: Made, profile: Profile, code: str) -> None:
    assert good.found(profile) == {code}


def with_footage(made: Made, **changes: object) -> Measured:
    facts = made.footage.media.video.model_copy(update=changes)
    media = made.footage.media.model_copy(update={"video": facts})
    order = made.bundle._order
    order = order.model_copy(update={"footage": made.footage.model_copy(update={"media": media})})
    return _Bundle(order, made.bundle._index, made.rendered, (), LIMITS)._measured(made.rendered.renditions[0])


def with_rendered(made: Made, **changes: object) -> Measured:
    rendered = replace(made.rendered, **changes)
    return _Bundle(made.bundle._order, made.bundle._index, rendered, (), LIMITS)._measured(rendered.renditions[0])


def shortened(made: Made) -> Measured:
    """The file that was made, judged as a clip of five frames more."""
    frames = FrameRange(start=0, end=45)
    return with_rendered(made, frames=frames, duration=Fraction(45, 24))


def sidecars_but(made: Made, role: str, **changes: object) -> tuple[Sidecar, ...]:
    kept = [sidecar for sidecar in made.rendered.sidecars if sidecar.role != role]
    changed = [replace(each, **changes) for each in made.rendered.sidecars if each.role == role] if changes else []
    return (*kept, *changed)


@pytest.mark.parametrize(
    ("spoil", "codes"),
    [
        (lambda made: with_footage(made, width=320), {"qc.picture_size"}),
        (lambda made: with_footage(made, rotation=90), {"qc.picture_size"}),
        (shortened, {"qc.frame_count", "qc.duration", "qc.sample_count"}),
        (lambda made: with_rendered(made, sidecars=sidecars_but(made, "poster")), {"qc.sidecar_missing"}),
        (lambda made: with_rendered(made, sidecars=sidecars_but(made, "waveform")), {"qc.sidecar_missing"}),
        (
            lambda made: with_rendered(made, sidecars=sidecars_but(made, "contact_sheet", data=b"\xff\xd8\xff none")),
            {"qc.sidecar_unreadable"},
        ),
        (
            lambda made: with_rendered(made, sidecars=sidecars_but(made, "sprite_map", data=b"{")),
            {"qc.sidecar_unreadable"},
        ),
        (
            lambda made: with_rendered(
                made,
                sidecars=sidecars_but(
                    made, "captions_vtt", data=b"WEBVTT\n\n00:00.100 --> 00:09.000\na\n\n00:01.000 --> 00:01.500\nb\n"
                ),
            ),
            {"qc.caption_bounds"},
        ),
        (
            lambda made: with_rendered(
                made, sidecars=sidecars_but(made, "captions_srt", data=b"1\n00:00:00,100 --> 00:00:00,900\nhello\n")
            ),
            {"qc.caption_count"},
        ),
        (
            lambda made: with_rendered(
                made, renditions=(replace(made.rendered.renditions[0], sound=None, sample_rate=None),)
            ),
            {"qc.sound_present"},
        ),
    ],
)
def test_a_bundle_that_lacks_or_spoils_something_is_found(
    good: Made, spoil: Callable[[Made], Measured], codes: set[str]
) -> None:
    assert good.found(measured=spoil(good)) == codes


def test_a_truncated_file_is_found(good: Made, tmp_path: Path) -> None:
    whole = good.rendered.renditions[0].path.read_bytes()
    short = tmp_path / "short.mp4"
    short.write_bytes(whole[: len(whole) * 3 // 4])
    with short.open("rb") as file:
        fault = layout_of(file.fileno(), "mp4").fault
    spoilt = with_rendered(good, renditions=(replace(good.rendered.renditions[0], fault=fault),))
    assert good.found(measured=spoilt) == {"qc.truncated"}


def test_meters_and_limits_agree() -> None:
    assert QcLimits().picture_limits() == PictureLimits()
