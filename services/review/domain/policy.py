"""Review without a person: under ``review = "auto"`` every clip is approved the moment it is born."""

from __future__ import annotations

from uuid import UUID

from contracts.envelope import derived_id
from contracts.events.v1.clip import ClipApproved, ClipCreated
from contracts.values import ReviewPolicy
from services.review.domain import video

ACTOR = "policy:auto"
UNTITLED = "Untitled"


def edit_id_of(clip_id: UUID) -> UUID:
    """The edit by which the policy approves a clip, always the same."""
    return derived_id("edit", clip_id, ACTOR)


def approvals(facts: video.Facts, births: tuple[ClipCreated, ...]) -> tuple[ClipApproved, ...]:
    """The decisions that the video's review policy makes over its newborn clips: all approved, or none."""
    options = facts.options
    if options is None or options.review is not ReviewPolicy.AUTO:
        return ()
    return tuple(
        ClipApproved(
            video_id=birth.video_id,
            clip_id=birth.clip_id,
            edit_id=edit_id_of(birth.clip_id),
            version=2,
            by=ACTOR,
            frames=birth.frames,
            title=facts.title or UNTITLED,
            tags=birth.tags,
            profiles=options.profiles,
        )
        for birth in births
    )
