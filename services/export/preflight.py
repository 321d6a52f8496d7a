"""What is checked before anything is encoded. Each rule has a code of its own, and refuses with what to do about it.

Pure: facts in, a refusal or nothing out. ``RULES`` is the table of all of them; those about the store and the disk are
checked where the store and the disk are, under the codes given here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from contracts.errors import HeatersError, Permanent, Transient
from services.export.domain import ExportInput
from services.export.plans import Plan
from services.media.profiles import Profile


@dataclass(frozen=True)
class Rule:
    """One thing that has to hold before a clip is rendered: the code of its refusal, and what it asks."""

    code: str
    asks: str


RULES = (
    Rule("profile.unknown", "Every profile asked for is one of the house, of the folder, or kept."),
    Rule("profile.invalid", "The profile's document is valid."),
    Rule("export.too_many_profiles", "No more profiles are asked for than the plan allows."),
    Rule("export.profile_not_allowed", "The plan allows the profile."),
    Rule("export.out_of_range", "The clip lies within the video."),
    Rule("export.clip_too_long", "The clip is no longer than the plan allows."),
    Rule("export.picture_too_large", "The source's pictures are no larger than the plan allows."),
    Rule("export.delivery_too_large", "The deliverable's pictures are no larger than the plan allows."),
    Rule("export.rate_too_high", "The source has no more frames a second than plan and profile allow."),
    Rule("export.watermark_impossible", "A profile that has to be marked can be."),
    Rule("export.source_missing", "What the clip is cut from is in the store, whole."),
    Rule("export.index_mismatch", "The frame index counts the video's frames."),
    Rule("export.disk_full", "The scratch disk has room for the files."),
)


def refusal(order: ExportInput, plan: Plan, seconds: Fraction, profiles: Sequence[Profile]) -> Permanent | None:
    """The first rule that the order breaks, or nothing. ``seconds`` is how long the clip lasts."""
    return next(_refusals(order, plan, seconds, profiles), None)


def _refusals(order: ExportInput, plan: Plan, seconds: Fraction, profiles: Sequence[Profile]) -> Iterator[Permanent]:
    if len(profiles) > plan.most_profiles:
        yield Permanent(
            f"{len(profiles)} profiles are asked for; the plan {plan.name} allows {plan.most_profiles}. Ask for fewer.",
            code="export.too_many_profiles",
        )
    for profile in profiles:
        if plan.profiles and profile.name not in plan.profiles:
            yield Permanent(
                f"The plan allows the profiles {', '.join(plan.profiles)}, not {profile.name}. Approve the clip with one "
                "of those, or have the plan changed (HEATERS_EXPORT_PROFILES or HEATERS_EXPORT_PLAN).",
                code="export.profile_not_allowed",
            )
    if order.frames.end > order.footage.frames:
        yield Permanent(
            f"The clip {order.frames} reaches past the video's {order.footage.frames} frames. Trim it and approve it again.",
            code="export.out_of_range",
        )
    if seconds > plan.longest_seconds:
        yield Permanent(
            f"The clip lasts {float(seconds):.1f} s; the plan allows {plan.longest_seconds} s. Split it, or have the plan "
            "changed (HEATERS_EXPORT_LONGEST_CLIP or HEATERS_EXPORT_PLAN).",
            code="export.clip_too_long",
        )
    yield from _picture_refusals(order, plan, profiles)
    for profile in profiles:
        if plan.watermark is not None and profile.lossless and profile.name not in plan.unmarked_profiles:
            yield Permanent(
                f"The plan {plan.name} demands a watermark, and {profile.name} keeps every bit of the source. Ask for a "
                "delivery profile, or have the profile named in the plan's unmarked_profiles.",
                code="export.watermark_impossible",
            )


def _picture_refusals(order: ExportInput, plan: Plan, profiles: Sequence[Profile]) -> Iterator[Permanent]:
    video = order.footage.media.video
    if video.width * video.height > plan.largest_picture:
        yield Permanent(
            f"Pictures of {video.width}x{video.height} exceed the {plan.largest_picture} pixels that the plan allows. Have "
            "the plan changed (HEATERS_EXPORT_LARGEST_PICTURE or HEATERS_EXPORT_PLAN).",
            code="export.picture_too_large",
        )
    for profile in profiles:
        pixels = delivered_pixels(order, profile)
        if plan.largest_delivery is not None and pixels > plan.largest_delivery:
            yield Permanent(
                f"{profile.name} would deliver {pixels} pixels a picture; the plan {plan.name} allows "
                f"{plan.largest_delivery}. Ask for a profile with a smaller longest_side.",
                code="export.delivery_too_large",
            )
    rate = order.footage.rate
    limits = [("the plan", plan.highest_rate), *((profile.name, profile.video.highest_rate) for profile in profiles)]
    for who, most in limits:
        if most is not None and rate > most:
            yield Permanent(
                f"The source has {float(rate):.3f} frames a second; {who} allows {most}, and frames are never left out. Ask "
                "for another profile.",
                code="export.rate_too_high",
            )


def delivered_pixels(order: ExportInput, profile: Profile) -> int:
    """About how many pixels a delivered picture has."""
    video, encoding = order.footage.media.video, profile.video
    ratio = video.sample_aspect_ratio if encoding.square_pixels else Fraction(1)
    wide, high = Fraction(video.width) * (ratio or 1), Fraction(video.height)
    scale = Fraction(1)
    if encoding.longest_side is not None:
        scale = min(scale, Fraction(encoding.longest_side) / max(wide, high))
    if encoding.shortest_side is not None:
        scale = min(scale, Fraction(encoding.shortest_side) / min(wide, high))
    return round(wide * scale) * round(high * scale)


def no_room(needed: int, free: int) -> HeatersError | None:
    """Whether the scratch disk has room for two clips' files: they leave it as soon as they are stored."""
    if free >= 2 * needed:
        return None
    return Transient(
        f"The export may need {2 * needed} bytes of scratch space and {free} are free. Free some space, or set "
        "HEATERS_TEMP_DIR to a larger disk; the export is tried again by itself.",
        code="export.disk_full",
    )


def scratch_bytes(order: ExportInput, profiles: Sequence[Profile]) -> int:
    """Upper estimate of the disk space that an order's files take before they are in the store."""
    frames = len(order.frames)
    return sum(
        int(delivered_pixels(order, profile) * frames * _bytes_a_pixel(profile, order)) for profile in profiles
    ) + (64_000_000)


def _bytes_a_pixel(profile: Profile, order: ExportInput) -> float:
    if profile.lossless:
        # FFV1 seldom reaches the size of the samples themselves, which is what is counted here.
        return _samples_a_pixel(order.footage.media.video.pixel_format)
    if profile.video.codec == "prores":
        # The encoder was seen at 0.7 bytes a pixel in its highest profile.
        return 1.0
    # Delivery files were never seen above a quarter byte.
    return 0.25


def _samples_a_pixel(pixel_format: str) -> float:
    planes = 3.0 if "444" in pixel_format or pixel_format.startswith(("rgb", "gbr", "bgr")) else 2.0
    planes = 1.5 if "420" in pixel_format else planes
    return planes * (2 if any(depth in pixel_format for depth in ("9le", "10", "12", "14", "16", "48")) else 1)
