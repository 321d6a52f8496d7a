"""Plans as documents, and the rules that refuse an export before anything is encoded."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import ValidationError

from contracts.errors import Permanent, Transient
from contracts.values import FrameRange, MediaFacts, ObjectRef, VideoFacts
from services.export.domain import ExportInput, Footage, marker
from services.export.plans import Plan, read_plan
from services.export.preflight import RULES, delivered_pixels, no_room, refusal, scratch_bytes
from services.export.settings import Settings
from services.media.profiles import PROFILES
from services.media.watermark import Watermark


def order(profiles: tuple[str, ...] = ("delivery-h264",), **video: object) -> ExportInput:
    ref = ObjectRef(key="k", size=10, sha256="a" * 64)
    said = {"width": 1920, "height": 1080, "rate": Fraction(25), "pixel_format": "yuv420p", **video}
    facts = VideoFacts.model_validate(
        {"stream_index": 0, "codec": "h264", "timebase": Fraction(1, 25), "packets": 500, **said}
    )
    media = MediaFacts(container="mp4", duration=Fraction(20), video=facts)
    footage = Footage(frames=500, rate=facts.rate, source=ref, media=media, index=ref)
    frames = FrameRange(start=100, end=200)
    return ExportInput(
        video_id=UUID(int=1), clip_id=UUID(int=2), frames=frames, title="t", profiles=profiles, footage=footage
    )


def judged(wanted: ExportInput, plan: Plan, seconds: Fraction = Fraction(4)) -> str:
    found = refusal(wanted, plan, seconds, [PROFILES[name] for name in wanted.profiles])
    assert found is None or len(found.message) > 40
    return found.code if found is not None else ""


MARK = Watermark(text="Preview")


@pytest.mark.parametrize(
    ("wanted", "plan", "code"),
    [
        (order(), Plan(profiles=("archive-ffv1",)), "export.profile_not_allowed"),
        (order(("delivery-h264", "archive-ffv1")), Plan(profiles=("archive-ffv1",)), "export.profile_not_allowed"),
        (order(("delivery-h264", "prores-lt")), Plan(most_profiles=1), "export.too_many_profiles"),
        (order(), Plan(longest_seconds=3), "export.clip_too_long"),
        (order(), Plan(largest_picture=1280 * 720), "export.picture_too_large"),
        (order(), Plan(largest_delivery=1280 * 720), "export.delivery_too_large"),
        (order(("broadcast-h264",), width=3840, height=2160), Plan(largest_delivery=1920 * 1080 - 1), "export.delivery_too_large"),
        (order(rate=Fraction(60)), Plan(highest_rate=50), "export.rate_too_high"),
        (order(("broadcast-h264",), rate=Fraction(120)), Plan(), "export.rate_too_high"),
        (order(("delivery-h264", "archive-ffv1")), Plan(watermark=MARK), "export.watermark_impossible"),
        (order().model_copy(update={"frames": FrameRange(start=499, end=501)}), Plan(), "export.out_of_range"),
    ],
)  # fmt: skip
def test_preflight_names_the_rule_that_is_broken(wanted: ExportInput, plan: Plan, code: str):
    assert judged(wanted, plan) == code
    assert code in {rule.code for rule in RULES}


@pytest.mark.parametrize(
    ("wanted", "plan"),
    [
        (order(), Plan()),
        (order(("delivery-h264", "archive-ffv1")), Plan(watermark=MARK, unmarked_profiles=("archive-ffv1",))),
        (order(), Plan(watermark=MARK)),
        (order(("broadcast-h264",), width=3840, height=2160), Plan(largest_delivery=1920 * 1080)),
        (order(rate=Fraction(60_000, 1001)), Plan(highest_rate=60)),
        (order(), Plan(longest_seconds=4, largest_picture=1920 * 1080, profiles=("delivery-h264",), most_profiles=1)),
    ],
)
def test_what_the_plan_allows_passes(wanted: ExportInput, plan: Plan):
    assert judged(wanted, plan) == ""


def test_no_room_is_a_refusal_that_passes_by_itself():
    needed = scratch_bytes(order(), [PROFILES["delivery-h264"]])
    assert no_room(needed, 2 * needed) is None
    full = no_room(needed, 2 * needed - 1)
    assert isinstance(full, Transient)
    assert full.code == "export.disk_full"


def test_the_disk_estimate_knows_codecs_and_depths():
    def estimate(name: str, **video: object) -> int:
        return scratch_bytes(order(**video), [PROFILES[name]])

    sizes = [estimate(name) for name in ("delivery-h264", "prores-hq", "archive-ffv1")]
    assert sizes == sorted(sizes)
    assert estimate("archive-ffv1", pixel_format="yuv444p12le") == 64_000_000 + 1920 * 1080 * 100 * 6
    assert delivered_pixels(order(width=3840, height=2160), PROFILES["broadcast-h264"]) == 1920 * 1080


def test_other_documents_and_other_watermarks_are_kept_elsewhere():
    plain = order()
    settled = plain.model_copy(update={"documents": (PROFILES["delivery-h264"],)})
    changed = PROFILES["delivery-h264"].model_copy(update={"version": 9})
    marks = [
        marker(plain),
        marker(plain.model_copy(update={"documents": (changed,)})),
        marker(settled.model_copy(update={"watermark": MARK})),
        marker(settled.model_copy(update={"watermark": Watermark(text="Draft")})),
    ]
    assert marker(settled) == marks[0]
    assert len(set(marks)) == len(marks)


def test_a_plan_is_a_document_with_its_picture_beside_it(tmp_path: Path):
    (tmp_path / "logo.png").write_bytes(b"picture")
    (tmp_path / "plan.toml").write_text(
        'schema = 1\nname = "trial"\nprofiles = ["delivery-h264"]\nlongest_seconds = 60\n'
        '[watermark]\npicture = "logo.png"\nposition = "top-left"\nopacity = 0.5\n'
    )
    plan = read_plan(tmp_path / "plan.toml")
    assert (plan.name, plan.longest_seconds) == ("trial", 60)
    assert plan.watermark == Watermark(picture=b"picture", position="top-left", opacity=0.5)
    (tmp_path / "plan.json").write_text('{"watermark": {"text": "Preview"}}')
    assert read_plan(tmp_path / "plan.json").watermark == MARK
    assert Settings(export_plan=tmp_path / "plan.toml", export_longest_clip=5).plan == plan
    assert Settings(export_longest_clip=5).plan.longest_seconds == 5


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("longest_seconds = ", "plan.unreadable", "no TOML"),
        ("longest = 3", "plan.invalid", "longest"),
        ("longest_seconds = 0", "plan.invalid", "longest_seconds"),
        ('profiles = ["No Such Name"]', "plan.invalid", "profiles.0"),
        ('[watermark]\ntext = "a"\nopacity = 7', "plan.invalid", "watermark.opacity"),
        ("[watermark]\nopacity = 0.5", "plan.invalid", "either a text or a picture"),
        ('[watermark]\npicture = "none.png"', "plan.unreadable", "none.png"),
        ("#" * 70_000, "plan.unreadable", "65536"),
    ],
)
def test_a_wrong_plan_is_refused_when_the_service_starts(tmp_path: Path, text: str, code: str, said: str):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(Permanent) as caught:
        read_plan(path)
    assert caught.value.code == code
    assert said in caught.value.message
    with pytest.raises(ValidationError, match=r"HEATERS_EXPORT_PLAN|Make it smaller"):
        Settings(export_plan=path)


def test_the_documentation_lists_every_rule():
    text = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text()
    assert all(f"| `{rule.code}` | {rule.asks} |" in text for rule in RULES)
    assert all(f"`{name}`" in text for name in PROFILES)
