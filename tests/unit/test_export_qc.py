"""QC's rules: each planted defect is found under its own code, clean material passes, and limits are data."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from contracts.errors import Permanent
from contracts.manifest import Loudness, PictureStream, SoundStream
from contracts.values import FrameRange, Verdict
from services.export.qc import (
    RULES,
    CaptionFacts,
    Colours,
    Measured,
    QcLimits,
    SidecarFacts,
    Stretch,
    judge,
    limits_from,
)
from services.media.profiles import ARCHIVE_FFV1, DELIVERY_H264, PROFILES, Profile

ROLES = ("poster", "thumbnail", "contact_sheet")
BT709 = Colours(range="tv", space="bt709", transfer="bt709", primaries="bt709")
TAGGED = {"color_range": "tv", "color_space": "bt709", "color_transfer": "bt709", "color_primaries": "bt709"}


def picture(role: str, **changes: object) -> SidecarFacts:
    said = {"role": role, "name": f"{role}.jpg", "size": 900, "picture": (64, 36), "meant_picture": (64, 36), **changes}
    return SidecarFacts(**said)


def captions(*times: tuple[int, int], written: int | None = None, **changes: object) -> SidecarFacts:
    facts = CaptionFacts(times=times, written=len(times) if written is None else written)
    said = {"role": "captions_vtt", "name": "clip.en.vtt", "size": 90, "captions": facts, **changes}
    return SidecarFacts(**said)


PICTURES = tuple(picture(role) for role in ROLES)


def measured(**changes: object) -> Measured:
    pictures = {
        "codec": "h264", "width": 1920, "height": 1080, "pixel_format": "yuv420p", "frames": 100,
        "rate": Fraction(25), "duration": Fraction(4), **TAGGED, **changes.pop("pictures", {}),
    }  # fmt: skip
    sound = {"codec": "aac", "sample_rate": 48_000, "channels": 2, "layout": "stereo", "duration": Fraction(4)}
    said = {
        "expected_frames": 100, "expected_duration": Fraction(4), "expected_size": (1920, 1080), "expects_sound": True,
        "expected_colours": BT709, "expected_sidecars": ROLES, "sidecars": PICTURES, "samples": 192_000,
        "pictures": PictureStream(**pictures), "sound": SoundStream(**{**sound, **changes.pop("heard", {})}),
        "faststart": True, "loudness": Loudness(integrated=-20.0, range=5.0, true_peak=-2.0), **changes,
    }  # fmt: skip
    return Measured(**said)


def stretch(start: object, end: object) -> Stretch:
    start, end = Fraction(start), Fraction(end)
    return Stretch(start=start, end=end, frames=FrameRange(start=int(start * 25), end=max(int(end * 25), 1)))


LOSSLESS = {
    "pictures": {"codec": "ffv1", "pixel_format": "yuv444p16le"},
    "heard": {"codec": "flac", "channels": 6, "layout": "5.1", "sample_rate": 96_000},
    "samples": 384_000,
}

BROKEN = [
    ({"pictures": {"frames": 99}}, "frame_count"),
    ({"pictures": {"frames": 101}}, "frame_count"),
    ({"pictures": {"frames": 1}}, "frame_count"),
    ({"pictures": {"duration": Fraction(399, 100)}}, "duration"),
    ({"pictures": {"duration": Fraction(4002, 1000)}}, "duration"),
    ({"pictures": {"rate": Fraction(24)}}, "rate"),
    ({"pictures": {"rate": Fraction(50)}}, "rate"),
    ({"pictures": {"codec": "hevc"}}, "codec"),
    ({"pictures": {"width": 1280}}, "picture_size"),
    ({"pictures": {"height": 1088}}, "picture_size"),
    ({"pictures": {"width": 1080, "height": 1920}}, "picture_size"),
    ({"pictures": {"pixel_format": "yuv444p"}}, "pixel_format"),
    ({"pictures": {"pixel_format": "yuv420p10le"}}, "pixel_format"),
    ({"pictures": {"color_range": "pc"}}, "colour"),
    ({"pictures": {"color_space": "bt2020nc"}}, "colour"),
    ({"pictures": {"color_transfer": "smpte2084"}}, "colour"),
    ({"pictures": {"color_primaries": ""}}, "colour"),
    ({"picture_difference": 0.3}, "picture_difference"),
    ({"whole": False, "wholeness": "the file ends within its samples"}, "truncated"),
    ({"faststart": False}, "faststart"),
    ({"sound": None}, "sound_present"),
    ({"heard": {"codec": "mp3"}}, "sound_codec"),
    ({"heard": {"sample_rate": 22_050}, "samples": 88_200}, "sound_rate"),
    ({"heard": {"channels": 6}}, "sound_layout"),
    ({"heard": {"layout": "2 channels"}}, "sound_layout"),
    ({"samples": 190_000}, "sample_count"),
    ({"samples": 192_960}, "sample_count"),
    ({"heard": {"duration": Fraction(395, 100)}}, "av_duration_gap"),
    ({"heard": {"duration": Fraction(405, 100)}}, "av_duration_gap"),
    ({"sidecars": (*PICTURES, captions((100, 4100)))}, "caption_bounds"),
    ({"sidecars": (*PICTURES, captions((3000, 2000)))}, "caption_bounds"),
    ({"sidecars": (*PICTURES, captions((-1, 500)))}, "caption_bounds"),
    ({"sidecars": (*PICTURES, captions((900, 1000), (0, 500)))}, "caption_order"),
    ({"sidecars": (*PICTURES, captions((900, 1000), written=2))}, "caption_count"),
    ({"sidecars": (*PICTURES, captions((900, 1000), written=0))}, "caption_count"),
    ({"sidecars": PICTURES[1:]}, "sidecar_missing"),
    ({"sidecars": PICTURES[:2]}, "sidecar_missing"),
    ({"sidecars": (*PICTURES, picture("thumbnail", readable=False))}, "sidecar_unreadable"),
    ({"sidecars": (*PICTURES, captions(readable=False))}, "sidecar_unreadable"),
    ({"sidecars": (*PICTURES, picture("thumbnail", picture=(64, 35)))}, "sidecar_size"),
    ({"sidecars": (*PICTURES, picture("thumbnail", size=0))}, "sidecar_size"),
]

DOUBTFUL = [
    ({"black": (stretch(0, 1),)}, "black"),
    ({"black": (stretch(0, 4),)}, "black"),
    ({"frozen": (stretch(1, 4),)}, "frozen"),
    ({"silence": (stretch(2, 4),)}, "silence"),
    ({"clipped": 1}, "clipping"),
    ({"clipped": 3000}, "clipping"),
    ({"loudness": Loudness(integrated=-3.0)}, "too_loud"),
    ({"loudness": Loudness(integrated=-8.9)}, "too_loud"),
    ({"loudness": Loudness(integrated=-60.0)}, "too_quiet"),
    ({"loudness": Loudness(integrated=-14.0, true_peak=1.2)}, "true_peak"),
    ({"loudness": Loudness(true_peak=0.1)}, "true_peak"),
    ({"sound_holes": (stretch(0, Fraction(1, 2)),)}, "sound_missing"),
    ({"unreadable_captions": ("de",)}, "captions_readable"),
]

CLEAN = [
    {},
    {"pictures": {"duration": Fraction(4001, 1000)}},
    {"pictures": {"rate": Fraction(25_001, 1000)}},
    {"pictures": {"rate": Fraction(24_999, 1000)}},
    {"picture_difference": 0.1},
    {"picture_difference": 0.02},
    {"clipped": 0},
    {"black": (), "frozen": (), "silence": ()},
    {"heard": {"layout": "downmix"}},
    {"expected_colours": None, "pictures": {"color_range": "pc"}},
    {"heard": {"channels": 1, "layout": "mono"}},
    {"heard": {"sample_rate": 44_100}, "samples": 176_400},
    {"heard": {"duration": Fraction(402, 100)}},
    {"heard": {"duration": Fraction(398, 100)}},
    {"samples": 192_001},
    {"samples": 191_999},
    {"samples": 0},
    {"sound": None, "expects_sound": False, "loudness": None, "samples": 0},
    {"loudness": None},
    {"loudness": Loudness()},
    {"loudness": Loudness(integrated=-9.0)},
    {"loudness": Loudness(integrated=-45.0)},
    {"loudness": Loudness(integrated=-23.0, true_peak=0.0)},
    {"loudness": Loudness(integrated=-23.0, range=20.0, true_peak=-60.0)},
    {"sound_holes": (stretch(0, Fraction(1, 10)),)},
    {"sound_holes": (stretch(0, Fraction(1, 25)), stretch(2, 2 + Fraction(1, 25)))},
    {"sidecars": (*PICTURES, captions())},
    {"sidecars": (*PICTURES, captions(size=0))},
    {"sidecars": (*PICTURES, captions((0, 4000)))},
    {"sidecars": (*PICTURES, captions((0, 4001)))},
    {"sidecars": (*PICTURES, captions((0, 1)))},
    {"sidecars": (*PICTURES, captions((0, 1000), (0, 1000), (500, 4000)))},
    {"sidecars": (*PICTURES, *PICTURES)},
    {"sidecars": (*PICTURES, picture("poster", picture=(1, 1), meant_picture=(1, 1)))},
    {"expected_sidecars": ()},
    {"expected_sidecars": (), "sidecars": ()},
    {"expected_frames": 1, "expected_duration": Fraction(1, 25), "samples": 1920,
     "pictures": {"frames": 1, "duration": Fraction(1, 25)}, "heard": {"duration": Fraction(1, 25)}},
    {"expected_frames": 100, "expected_duration": Fraction(100 * 1001, 30_000), "samples": 160_160,
     "pictures": {"rate": Fraction(30_000, 1001), "duration": Fraction(100 * 1001, 30_000)},
     "heard": {"duration": Fraction(3337, 1000)}},
    {"expected_size": (1080, 1920), "pictures": {"width": 1080, "height": 1920}},
    {"expected_size": (2, 2), "pictures": {"width": 2, "height": 2}},
]  # fmt: skip


@pytest.mark.parametrize(("changes", "rule"), BROKEN)
def test_a_broken_promise_fails_the_bundle_under_its_own_code(changes: dict[str, object], rule: str):
    report = judge(DELIVERY_H264, measured(**changes))
    assert report.verdict is Verdict.FAIL
    assert [finding.code for finding in report.findings] == [f"qc.{rule}"]
    assert all(finding.measured != finding.limit for finding in report.findings)


@pytest.mark.parametrize(("changes", "rule"), DOUBTFUL)
def test_doubtful_content_is_a_warning_under_its_own_code(changes: dict[str, object], rule: str):
    report = judge(DELIVERY_H264, measured(**changes))
    assert report.verdict is Verdict.WARN
    assert [finding.code for finding in report.findings] == [f"qc.{rule}"]


@pytest.mark.parametrize("changes", CLEAN)
def test_clean_material_passes(changes: dict[str, object]):
    report = judge(DELIVERY_H264, measured(**changes))
    assert (report.verdict, report.findings) == (Verdict.PASS, ())


@pytest.mark.parametrize(
    ("profile", "changes"),
    [
        (ARCHIVE_FFV1, LOSSLESS),
        (ARCHIVE_FFV1, {**LOSSLESS, "faststart": False}),
        (ARCHIVE_FFV1, {**LOSSLESS, "picture_difference": 0.0}),
    ],
)
def test_clean_lossless_material_passes(profile: Profile, changes: dict[str, object]):
    assert judge(profile, measured(**changes)).findings == ()


def test_a_lossless_profile_lets_no_difference_pass():
    report = judge(ARCHIVE_FFV1, measured(**{**LOSSLESS, "picture_difference": 0.0001}))
    assert [finding.code for finding in report.findings] == ["qc.picture_difference"]


@pytest.mark.parametrize(
    ("loudness", "due"),
    [
        (Loudness(integrated=-23.4, true_peak=-1.0), []),
        (Loudness(integrated=-22.1, true_peak=-6.0), []),
        (Loudness(integrated=-27.0, true_peak=-1.0), ["qc.loudness_target"]),
        (Loudness(integrated=-20.0, true_peak=-6.0), ["qc.loudness_target"]),
        (Loudness(integrated=-23.0, true_peak=-0.5), ["qc.loudness_target"]),
        (Loudness(), []),
    ],
)
def test_a_profile_with_a_loudness_target_is_held_to_it(loudness: Loudness, due: list[str]):
    report = judge(PROFILES["broadcast-h264"], measured(loudness=loudness))
    assert [finding.code for finding in report.findings] == due


def test_every_rule_has_a_planted_defect():
    planted = {rule for _, rule in (*BROKEN, *DOUBTFUL)} | {"too_short", "loudness_target"}
    assert planted == {rule.name for rule in RULES}
    assert len(BROKEN) + len(DOUBTFUL) >= 40
    assert len(CLEAN) >= 40


def test_every_rule_stands_in_the_documentation_as_it_is():
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    for rule in RULES:
        assert f"| `{rule.code}` | {rule.verdict.value} | {rule.meaning} |" in page, rule.name


def test_a_finding_says_where_in_the_clip_it_is_and_what_the_limit_was():
    (finding,) = judge(DELIVERY_H264, measured(black=(stretch(1, 3),))).findings
    assert (finding.start, finding.end, finding.frames) == (1, 3, FrameRange(start=25, end=75))
    assert (finding.measured, finding.limit) == ("2.0000 s", "0.5000 s")


def test_missing_sound_is_told_stretch_by_stretch_once_it_adds_up():
    def holes(count: int) -> tuple[Stretch, ...]:
        return tuple(stretch(n, n + Fraction(1, 25)) for n in range(count))

    assert judge(DELIVERY_H264, measured(sound_holes=holes(2))).verdict is Verdict.PASS
    found = judge(DELIVERY_H264, measured(sound_holes=holes(3))).findings
    assert [finding.frames for finding in found] == [hole.frames for hole in holes(3)]
    assert "from 2.0000 s to 2.0400 s" in found[2].message
    assert (found[2].measured, found[2].limit) == ("0.1200 s in all", "0.1000 s in all")
    many = judge(DELIVERY_H264, measured(sound_holes=holes(500))).findings
    assert len(many) == 20
    assert "500" in many[0].message


def test_limits_are_a_document():
    limits = limits_from('{"loudest": -14, "shortest_seconds": "5/1", "verdicts": {"black": "fail", "frozen": "pass"}}')
    loud = measured(loudness=Loudness(integrated=-12.0), frozen=(stretch(0, 3),))
    report = judge(DELIVERY_H264, loud, limits)
    assert [finding.code for finding in report.findings] == ["qc.too_loud", "qc.too_short"]
    assert "frozen" not in report.checks
    assert judge(DELIVERY_H264, measured(black=(stretch(0, 1),)), limits).verdict is Verdict.FAIL
    assert limits.sound_limits().silence_seconds == 2
    assert limits_from(json.dumps(QcLimits().model_dump(mode="json"))) == QcLimits()


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ('{"loudst": -14}', "loudst"),
        ('{"loudest": 3}', "loudest"),
        ('{"verdicts": {"noise": "fail"}}', "no rule called noise"),
        ('{"verdicts": {"black": "maybe"}}', "verdicts.black"),
        ('{"version": 2}', "version"),
        ("{", "the document"),
    ],
)
def test_a_faulty_document_is_explained(document: str, said: str):
    with pytest.raises(Permanent, match=said) as refusal:
        limits_from(document)
    assert refusal.value.code == "qc.limits_invalid"
