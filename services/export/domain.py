"""What export decides, without I/O: when a clip is due, what may be exported, what QC makes of it, and which events say so.

Guarantees: decisions depend on facts alone, never on the order in which they were heard; a limit is data; the same input
names the same objects.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Annotated
from uuid import UUID

from pydantic import Field

from contracts.errors import Permanent
from contracts.events.base import Event
from contracts.events.v1.clip import (
    ClipApproved,
    ClipArchived,
    ClipCleaned,
    ClipEditUndone,
    ClipExported,
    ClipExportFailed,
    ClipExportStarted,
    ClipMastered,
)
from contracts.events.v1.video import VideoMastered, VideoProxied
from contracts.manifest import (
    SCHEMA_VERSION,
)
from contracts.values import (
    CaptionAsset,
    Deliverable,
    Failure,
    FrameRange,
    MasteringPolicy,
    MediaFacts,
    ObjectRef,
    ProfileName,
    Rational,
    Sha256,
    Tag,
    Title,
    Value,
)
from services.media.profiles import PROFILES, RENDER_VERSION, Profile, profile_named
from services.media.watermark import Watermark

EXPORT_VERSION = 4
"""Raised whenever bundles of the same input get other files, names or checks."""


class Part(Value):
    """A master of some frames only, and its own index, which counts from the first of them."""

    frames: FrameRange
    master: ObjectRef
    index: ObjectRef
    frames_sha256: Sha256


class Footage(Value):
    """What a video's clips are cut from, and what is known of it: a master, a part of one, or the source itself."""

    frames: Annotated[int, Field(ge=1)]
    rate: Rational
    source: ObjectRef
    media: MediaFacts
    index: Annotated[
        ObjectRef, Field(description="The index of the whole video: the master's, else the proxy's for its times.")
    ]
    master: ObjectRef | None = None
    master_frames_sha256: Sha256 | None = None
    part: Part | None = None
    captions: tuple[CaptionAsset, ...] = ()


class ClipFacts(Value):
    """What was heard of a clip. A version of 0 means: not heard. The highest version of each kind counts."""

    approval: ClipApproved | None = None
    approved: int = 0
    approval_undone: int = 0
    archived: int = 0
    archive_undone: int = 0
    mastered: ClipMastered | None = None

    @property
    def is_archived(self) -> bool:
        """Whether the clip's files are to go."""
        return self.archived > self.archive_undone

    @property
    def is_wanted(self) -> bool:
        """Whether the clip's files are to be made."""
        return self.approval is not None and self.approved > self.approval_undone and not self.is_archived

    @property
    def wanted_since(self) -> int:
        """The version since which the clip's files are wanted, if they are."""
        return max(self.approved, self.archive_undone)

    @property
    def unwanted_since(self) -> int:
        """The version since which they are not, if they are not."""
        return self.archived if self.is_archived else self.approval_undone

    @property
    def part(self) -> Part | None:
        """The master of the clip's frames, if there is one that was made since the clip is wanted.

        An earlier one is gone: archiving a clip deletes what was made for it.
        """
        made = self.mastered
        if self.approval is None or made is None or made.version < self.wanted_since:
            return None
        if made.frames != self.approval.frames:
            return None
        return Part(frames=made.frames, master=made.master, index=made.index, frames_sha256=made.frames_sha256)


class ExportInput(Value):
    """One clip's export: all that decides its files."""

    video_id: UUID
    clip_id: UUID
    frames: FrameRange
    title: Title
    tags: tuple[Tag, ...] = ()
    profiles: tuple[ProfileName, ...]
    footage: Footage
    wanted: Annotated[
        int | None,
        Field(ge=1, description="The clip's version since which it is wanted; its files are the same for any."),
    ] = None
    documents: Annotated[
        tuple[Profile, ...], Field(description="The profiles as they stood when the work began; empty before that.")
    ] = ()
    watermark: Annotated[Watermark | None, Field(description="What the plan demanded when the work began.")] = None

    def profile(self, name: str) -> Profile:
        """The profile of that name, as it stood when the work began.

        Raises ``Permanent`` with code ``profile.unknown``.
        """
        return profile_named(name, {**PROFILES, **{each.name: each for each in self.documents}})

    @property
    def stem(self) -> str:
        """What the names of the delivered files begin with."""
        return f"{safe_name(self.title)}_{self.frames.start:06d}-{self.frames.end:06d}"

    def recipe(self, profile: str) -> str:
        """Twelve digits that differ whenever the bundle's bytes may."""
        said = {
            "clip": self.model_dump(mode="json", exclude={"profiles", "video_id", "documents", "watermark", "wanted"}),
            "profile": self.profile(profile).fingerprint(),
            "tools": tools(),
        }
        if self.watermark is not None:
            said["watermark"] = self.watermark.fingerprint()
        return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]

    def folder(self, profile: str) -> str:
        """Where the bundle of a profile lies in the store."""
        return f"clips/{self.clip_id}/exports/{profile}/{self.recipe(profile)}/"


class ExportResult(Value):
    """The bundles that were made, one for each profile, in the order asked for."""

    deliverables: Annotated[tuple[Deliverable, ...], Field(min_length=1)]


class CleanInput(Value):
    """One clip whose objects are to go; ``version`` is the clip's since which they are unwanted."""

    video_id: UUID
    clip_id: UUID
    version: int
    keys: Annotated[
        tuple[str, ...], Field(description="What is known to have been made; a listing may not show it yet.")
    ] = ()

    @property
    def prefix(self) -> str:
        """What the keys of everything made from the clip begin with."""
        return f"clips/{self.clip_id}/"


class CleanResult(Value):
    """How many objects were deleted or found gone."""

    objects: int


def tools() -> dict[str, str]:
    """Name and version of everything that decides a bundle's bytes, without loading any of it."""
    return {
        "heaters-export": str(EXPORT_VERSION),
        "heaters-manifest": SCHEMA_VERSION,
        "heaters-render": str(RENDER_VERSION),
        "numpy": _version_of("numpy"),
        "pillow": _version_of("pillow"),
        "pyav": _version_of("av"),
        "pysubs2": _version_of("pysubs2"),
    }


@cache
def _version_of(package: str) -> str:
    """Looked up once: the answer lies in a file of many lines, and every bundle asks."""
    return version(package)


def footage_of(proxied: VideoProxied, mastered: VideoMastered | None) -> Footage | None:
    """What to cut from, once a video is proxied and mastered; nothing while a master is still to come.

    Where only approved clips are mastered, each clip adds the ``part`` that is its own.
    """
    if mastered is None:
        if proxied.options.mastering is not MasteringPolicy.APPROVED:
            return None
        mastered = VideoMastered(video_id=proxied.video_id, policy=MasteringPolicy.APPROVED, frames=proxied.frames)
    has_master = mastered.master is not None and mastered.index is not None
    return Footage(
        frames=proxied.frames,
        rate=proxied.rate,
        source=proxied.source,
        media=proxied.media,
        index=mastered.index or proxied.index,
        master=mastered.master if has_master else None,
        master_frames_sha256=mastered.frames_sha256,
        captions=proxied.captions,
    )


def heard(clip: ClipFacts, event: ClipApproved | ClipArchived | ClipEditUndone | ClipMastered) -> ClipFacts:
    """The clip's facts with one more event; hearing it again, or after a later one, changes nothing."""
    if isinstance(event, ClipMastered):
        known = clip.mastered
        if known is not None and (known.version, known.run) > (event.version, event.run):
            return clip
        return clip.model_copy(update={"mastered": event})
    if isinstance(event, ClipApproved):
        if event.version < clip.approved:
            return clip
        return clip.model_copy(update={"approval": event, "approved": event.version})
    if isinstance(event, ClipArchived):
        return clip.model_copy(update={"archived": max(clip.archived, event.version)})
    if event.undone == "approve":
        return clip.model_copy(update={"approval_undone": max(clip.approval_undone, event.version)})
    if event.undone == "archive":
        return clip.model_copy(update={"archive_undone": max(clip.archive_undone, event.version)})
    return clip


def due(clip: ClipFacts, footage: Footage | None, policy: MasteringPolicy) -> ExportInput | None:
    """The export to do for a clip now, if there is one: it is wanted, and there is something to cut it from."""
    if footage is None or clip.approval is None or not clip.is_wanted:
        return None
    if policy is MasteringPolicy.APPROVED and footage.master is None:
        if clip.part is None:
            return None
        footage = footage.model_copy(update={"part": clip.part})
    approval = clip.approval
    return ExportInput(
        video_id=approval.video_id,
        clip_id=approval.clip_id,
        frames=approval.frames,
        title=approval.title,
        tags=approval.tags,
        profiles=approval.profiles,
        footage=footage,
        wanted=clip.wanted_since or None,
    )


def export_key(clip: ClipFacts, clip_id: UUID) -> str:
    """One key for each time that a clip becomes wanted: another approval, or an archiving taken back, is another."""
    return f"export:{clip_id}:{clip.approved}:{clip.archive_undone}"


def safe_name(title: str) -> str:
    """The title as the beginning of a file name on any system: ASCII letters, digits and single dashes, 1 to 80."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:80].strip("-") or "clip"


def started(order: ExportInput, run: int) -> Sequence[Event]:
    """The clip's deliverables are being made."""
    return (ClipExportStarted(video_id=order.video_id, clip_id=order.clip_id, run=run),)


def succeeded(order: ExportInput, run: int, result: ExportResult) -> Sequence[Event]:
    """The clip is physical."""
    return (
        ClipExported(
            video_id=order.video_id,
            clip_id=order.clip_id,
            run=run,
            wanted=order.wanted,
            frames=order.frames,
            title=order.title,
            tags=order.tags,
            deliverables=result.deliverables,
        ),
    )


def failed(order: ExportInput, run: int, failure: Failure) -> Sequence[Event]:
    """No deliverable was made."""
    return (ClipExportFailed(video_id=order.video_id, clip_id=order.clip_id, run=run, failure=failure),)


def marker(order: ExportInput) -> str:
    """Where the result is kept: other bundles, another place."""
    # An unknown profile has no recipe; its work fails in preflight, before a result could be kept.
    try:
        recipes = [order.recipe(profile) for profile in order.profiles]
    except Permanent:
        recipes = list(order.profiles)
    digest = hashlib.sha256("/".join(recipes).encode()).hexdigest()[:12]
    return f"clips/{order.clip_id}/exports/result-{digest}.json"


def cleaned(order: CleanInput, _run: int, result: CleanResult) -> Sequence[Event]:
    """Everything made from the clip is gone."""
    unwanted = order.version or None
    return (ClipCleaned(video_id=order.video_id, clip_id=order.clip_id, unwanted=unwanted, objects=result.objects),)
