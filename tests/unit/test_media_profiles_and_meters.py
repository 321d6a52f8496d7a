"""Profiles as data, the QC meters and the pictures that go with a clip, on arrays alone."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from pydantic import ValidationError

from contracts.errors import Permanent
from contracts.values import FrameRange
from services.media.captions import parse_captions
from services.media.measure import PictureMeter, SoundMeter
from services.media.pictures import Cell, clock, contact_sheet, interest, jpeg, plan_pictures, shrink
from services.media.profiles import ARCHIVE_FFV1, DELIVERY_H264, PROFILES, Profile, profile_named

RATE = 48_000


def at_25(number: int) -> Fraction:
    return Fraction(number, 25)


def test_profiles_are_found_by_name_and_unknown_ones_refused():
    assert profile_named("delivery-h264") is DELIVERY_H264
    with pytest.raises(Permanent, match=r"archive-ffv1, .*delivery-h264") as refusal:
        profile_named("delivery-vhs")
    assert refusal.value.code == "profile.unknown"


@pytest.mark.parametrize(
    "changes",
    [
        {"container": "mov", "video": ARCHIVE_FFV1.video},
        {"container_options": (("movflag", "+faststart"),)},
        {"lossless": True},
        {"version": 0},
        {"video": {**DELIVERY_H264.video.model_dump(), "shortest_side": 4000}},
        {"video": {**DELIVERY_H264.video.model_dump(), "options": (("crf", "1"), ("crf", "2"))}},
    ],
)
def test_a_profile_that_contradicts_itself_is_refused(changes: dict[str, object]):
    with pytest.raises(ValidationError):
        Profile.model_validate({**DELIVERY_H264.model_dump(), **changes})


def test_anything_that_changes_a_profile_changes_its_fingerprint():
    changed = DELIVERY_H264.model_copy(update={"version": 2})
    assert len({profile.fingerprint() for profile in (*PROFILES.values(), changed)}) == len(PROFILES) + 1


def meter_of(levels: list[int]) -> tuple[tuple[FrameRange, ...], tuple[FrameRange, ...]]:
    meter = PictureMeter(at_25, full_range=True)
    noise = np.random.default_rng(1)
    for number, level in enumerate(levels, start=100):
        picture = np.full((36, 64), level, np.uint8)
        if level > 200:
            picture = noise.integers(100, 255, (36, 64), np.uint8)
        meter.add(number, picture)
    facts = meter.facts()
    assert facts.frames == len(levels)
    return facts.black, facts.frozen


def test_black_is_found_to_the_frame_even_at_the_end():
    black, _ = meter_of([255] * 10 + [0] * 13 + [255] * 5 + [10] * 20)
    assert black == (FrameRange(start=110, end=123), FrameRange(start=128, end=148))


def test_a_short_black_is_no_finding():
    assert meter_of([255] * 10 + [0] * 12 + [255] * 10)[0] == ()


def test_a_freeze_is_found_to_the_frame_and_noise_is_none():
    _, frozen = meter_of([255] * 10 + [150] * 50 + [255] * 60)
    assert frozen == (FrameRange(start=110, end=160),)


def test_a_slow_drift_is_no_freeze():
    assert meter_of([60 + number // 2 for number in range(100)])[1] == ()


@pytest.mark.parametrize("block", [160, 1024, 200_000])
def test_silence_and_clipping_do_not_depend_on_how_samples_come_in_blocks(block: int):
    wave = 0.1 * np.ones((2, 6 * RATE), np.float32)
    wave[:, RATE : 4 * RATE] = 0
    wave[1, 1000:1003] = -1
    wave[0, 5 * RATE - 1 : 5 * RATE + 2] = 1
    wave[0, 5 * RATE + 10 : 5 * RATE + 12] = 1
    meter = SoundMeter(RATE, 2)
    for start in range(0, wave.shape[1], block):
        meter.add(wave[:, start : start + block])
    facts = meter.facts()
    assert facts.silence == ((RATE, 4 * RATE),)
    assert facts.clipped == 2
    assert (facts.samples, facts.peak) == (6 * RATE, 1.0)


@pytest.mark.parametrize("length", [1, 2, 7, 20, 21, 10_000])
def test_pictures_are_planned_inside_the_clip(length: int):
    frames = FrameRange(start=500, end=500 + length)
    plan = plan_pictures(frames)
    assert len(plan.sheet) == min(20, length) == len(set(plan.sheet))
    assert all(number in frames for number in plan.wanted)
    assert list(plan.sheet) == sorted(plan.sheet)


def test_a_contact_sheet_is_the_same_again_and_says_when():
    cells = [Cell(np.full((54, 96, 3), 10 * place, np.uint8), clock(at_25(place))) for place in range(7)]
    one, two = (jpeg(contact_sheet("Title – with “quotes”", "frames", cells)) for _ in range(2))
    assert one == two
    assert b"Exif" not in one


def test_times_are_cut_off_never_rounded_up():
    assert clock(Fraction(3_599_999_999, 1_000_000)) == "00:59:59.999"
    assert clock(Fraction(3600)) == "01:00:00.000"


def test_a_picture_with_something_in_it_is_more_interesting_than_a_flat_one():
    flat = np.full((90, 160, 3), 128, np.uint8)
    busy = np.random.default_rng(2).integers(0, 255, (90, 160, 3), np.uint8)
    assert interest(flat) == 0
    assert interest(busy) > 10
    assert shrink(busy, 80).shape == (45, 80, 3)
    assert shrink(busy, 500) is busy


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xff\xfe\x00a", "captions.not_text"),
        (b"just some text", "captions.unreadable"),
        (b" " * (32 * 1024 * 1024 + 1), "captions.too_large"),
    ],
)
def test_what_is_no_caption_file_is_refused(data: bytes, code: str):
    with pytest.raises(Permanent) as refusal:
        parse_captions(data)
    assert refusal.value.code == code


def test_styling_becomes_plain_text():
    data = (
        b"\xef\xbb\xbfWEBVTT\n\nNOTE x\n\n00:01.000 --> 00:02.000 align:start\n<v Bob>Fish &amp; <i>chips</i>\n- now\n"
    )
    (cue,) = parse_captions(data)
    assert (cue.start, cue.end, cue.text) == (1000, 2000, "Fish & chips\n- now")
    assert parse_captions(b"") == ()
