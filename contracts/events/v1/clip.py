"""Facts about a clip, from its birth to its embedding or its end."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from contracts.events.base import ClipEvent
from contracts.values import (
    Deliverable,
    EmbeddingModel,
    Failure,
    FrameRange,
    Keyframe,
    Note,
    ObjectRef,
    ProfileName,
    Rational,
    Run,
    Sha256,
    Tag,
    Title,
)

Actor = Annotated[str, StringConstraints(min_length=1, max_length=200)]
EditId = Annotated[UUID, Field(description="The edit that caused this; undo names it.")]
Version = Annotated[int, Field(ge=1, description="The clip's version after the edit.")]


class ClipCreated(ClipEvent):
    """A virtual clip exists: a database record, no file."""

    TYPE: ClassVar[str] = "heaters.clip.created.v1"

    frames: FrameRange
    origin: Literal["detected", "whole", "split", "merge", "trim"]
    parents: tuple[UUID, ...] = ()
    confidence: Annotated[float, Field(ge=0, le=1)] = 1.0
    tags: tuple[Tag, ...] = ()


class ClipApproved(ClipEvent):
    """A person or a policy wants this clip delivered."""

    TYPE: ClassVar[str] = "heaters.clip.approved.v1"

    edit_id: EditId
    version: Version = 1
    by: Actor
    frames: FrameRange
    title: Title
    tags: tuple[Tag, ...] = ()
    profiles: Annotated[tuple[ProfileName, ...], Field(min_length=1)]


class ClipSkipped(ClipEvent):
    """The clip will not be delivered."""

    TYPE: ClassVar[str] = "heaters.clip.skipped.v1"

    edit_id: EditId
    version: Version = 1
    by: Actor


class ClipArchived(ClipEvent):
    """The clip and everything made from it are to be deleted."""

    TYPE: ClassVar[str] = "heaters.clip.archived.v1"

    edit_id: EditId
    version: Version = 1
    by: Actor


class ClipGrouped(ClipEvent):
    """The clip now belongs to a group of approved clips."""

    TYPE: ClassVar[str] = "heaters.clip.grouped.v1"

    edit_id: EditId
    version: Version = 1
    by: Actor
    group: tuple[UUID, ...] = Field(min_length=2, description="Every member, this clip included.")


class ClipUngrouped(ClipEvent):
    """The clip left its group."""

    TYPE: ClassVar[str] = "heaters.clip.ungrouped.v1"

    edit_id: EditId
    version: Version = 1
    by: Actor
    group: tuple[UUID, ...] = Field(description="The members it leaves behind.")


class ClipSuperseded(ClipEvent):
    """A split, merge or trim replaced the clip."""

    TYPE: ClassVar[str] = "heaters.clip.superseded.v1"

    edit_id: EditId
    version: Version = 1
    by: Actor
    children: tuple[UUID, ...] = Field(min_length=1)


class ClipEditUndone(ClipEvent):
    """An edit whose event was already public is taken back."""

    TYPE: ClassVar[str] = "heaters.clip.edit_undone.v1"

    edit_id: EditId
    version: Version = 1
    by: Actor
    undone: Literal["approve", "skip", "archive", "group", "ungroup", "split", "merge", "trim"]


class ClipTagged(ClipEvent):
    """The clip has other tags than before. An undo says so by this event too, with the tags it brings back."""

    TYPE: ClassVar[str] = "heaters.clip.tagged.v1"

    edit_id: EditId
    version: Version = 1
    by: Actor
    tags: Annotated[tuple[Tag, ...], Field(max_length=100, description="All the clip's tags from now on.")]
    undoes: Annotated[UUID | None, Field(description="The edit that this takes back, if it takes one back.")] = None


class ClipNoted(ClipEvent):
    """Somebody wrote a note about the clip. An undo says so by this event too, with the note it brings back."""

    TYPE: ClassVar[str] = "heaters.clip.noted.v1"

    edit_id: EditId
    version: Version = 1
    by: Actor
    note: Annotated[Note, Field(description="The clip's note from now on; empty for none.")]
    undoes: Annotated[UUID | None, Field(description="The edit that this takes back, if it takes one back.")] = None


class ClipMasteringStarted(ClipEvent):
    """The frames of an approved clip are being mastered: its video asks for masters of approved ranges only."""

    TYPE: ClassVar[str] = "heaters.clip.mastering_started.v1"

    run: Run = 1
    version: Version = 1


class ClipMastered(ClipEvent):
    """Export of this clip can start: a lossless master of its frames exists."""

    TYPE: ClassVar[str] = "heaters.clip.mastered.v1"

    run: Run = 1
    version: Annotated[int, Field(ge=1, description="The clip's version since which it is wanted.")] = 1
    frames: Annotated[FrameRange, Field(description="The frames of the video that the master holds.")]
    master: ObjectRef
    index: Annotated[ObjectRef, Field(description="The master's own frame index, which counts from its first frame.")]
    frames_sha256: Annotated[
        Sha256, Field(description="Digest over these decoded frames of the source, equal to the master's.")
    ]


class ClipMasterFailed(ClipEvent):
    """No master of the clip's frames could be made; an operator may resume."""

    TYPE: ClassVar[str] = "heaters.clip.master_failed.v1"

    run: Run = 1
    version: Version = 1
    failure: Failure


class ClipExportStarted(ClipEvent):
    """The clip's deliverables are being made."""

    TYPE: ClassVar[str] = "heaters.clip.export_started.v1"

    run: Run = 1


class ClipExported(ClipEvent):
    """The clip is physical: its deliverables lie in the store, verified."""

    TYPE: ClassVar[str] = "heaters.clip.exported.v1"

    run: Run = 1
    wanted: Annotated[
        int | None,
        Field(ge=1, description="The clip's version since which these files were wanted, where that is known."),
    ] = None
    frames: FrameRange
    title: Title
    tags: tuple[Tag, ...] = ()
    deliverables: Annotated[tuple[Deliverable, ...], Field(min_length=1)]


class ClipExportFailed(ClipEvent):
    """No deliverable was made; an operator may resume."""

    TYPE: ClassVar[str] = "heaters.clip.export_failed.v1"

    run: Run = 1
    failure: Failure


class ClipKeyframingStarted(ClipEvent):
    """Keyframes are being taken."""

    TYPE: ClassVar[str] = "heaters.clip.keyframing_started.v1"

    run: Run = 1


class ClipKeyframed(ClipEvent):
    """The clip's keyframes lie in the store."""

    TYPE: ClassVar[str] = "heaters.clip.keyframed.v1"

    run: Run = 1
    strategy: Annotated[str, StringConstraints(max_length=40)]
    title: Title
    tags: tuple[Tag, ...] = ()
    keyframes: Annotated[tuple[Keyframe, ...], Field(min_length=1)]
    duration: Annotated[Rational | None, Field(description="Seconds that the clip lasts.")] = None


class ClipKeyframeFailed(ClipEvent):
    """No keyframe could be taken; an operator may resume."""

    TYPE: ClassVar[str] = "heaters.clip.keyframe_failed.v1"

    run: Run = 1
    failure: Failure


class ClipEmbeddingStarted(ClipEvent):
    """The clip's vectors are being computed."""

    TYPE: ClassVar[str] = "heaters.clip.embedding_started.v1"

    run: Run = 1


class ClipEmbedded(ClipEvent):
    """The clip can be found by search."""

    TYPE: ClassVar[str] = "heaters.clip.embedded.v1"

    run: Run = 1
    models: Annotated[tuple[EmbeddingModel, ...], Field(min_length=1)]


class ClipEmbeddingFailed(ClipEvent):
    """No vector could be computed; an operator may resume."""

    TYPE: ClassVar[str] = "heaters.clip.embedding_failed.v1"

    run: Run = 1
    failure: Failure


class ClipCleaned(ClipEvent):
    """Everything made from a clip that was archived, or is no longer approved, is gone."""

    TYPE: ClassVar[str] = "heaters.clip.cleaned.v1"

    unwanted: Annotated[
        int | None,
        Field(
            ge=1, description="The clip's version since which its files were unwanted; what was wanted later is there."
        ),
    ] = None
    objects: Annotated[int, Field(ge=0, description="Objects deleted or found gone.")]
