"""What is known of a clip, and the state that follows from it.

``evolve`` folds events into facts; any permutation of a clip's events, with repetitions, gives the same facts.
Decisions of people and policies are kept as a set, with the set of those taken back; the standing one is that of the
highest version. What the workers did with the clip is kept as one mark per stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from contracts.events.base import Event
from contracts.events.v1.clip import (
    ClipApproved,
    ClipArchived,
    ClipCleaned,
    ClipCreated,
    ClipEditUndone,
    ClipEmbedded,
    ClipEmbeddingFailed,
    ClipEmbeddingStarted,
    ClipExported,
    ClipExportFailed,
    ClipExportStarted,
    ClipGrouped,
    ClipKeyframed,
    ClipKeyframeFailed,
    ClipKeyframingStarted,
    ClipMastered,
    ClipMasterFailed,
    ClipMasteringStarted,
    ClipNoted,
    ClipSkipped,
    ClipSuperseded,
    ClipTagged,
    ClipUngrouped,
)
from contracts.values import Failure, FrameRange, Tag, Value
from services.review.domain.marks import Mark, NoOp, Outcome, Refused, furthest, winner


class ClipState(StrEnum):
    """The states of SPEC's clip."""

    PENDING_REVIEW = "pending_review"
    REVIEW_APPROVED = "review_approved"
    EXPORTING = "exporting"
    EXPORTED = "exported"
    KEYFRAMING = "keyframing"
    KEYFRAMED = "keyframed"
    EMBEDDING = "embedding"
    EMBEDDED = "embedded"
    EXPORT_FAILED = "export_failed"
    KEYFRAME_FAILED = "keyframe_failed"
    EMBEDDING_FAILED = "embedding_failed"
    REVIEW_SKIPPED = "review_skipped"
    REVIEW_ARCHIVED = "review_archived"
    CLEANED = "cleaned"
    SUPERSEDED = "superseded"


APPROVED_STATES = frozenset(
    {
        ClipState.REVIEW_APPROVED,
        ClipState.EXPORTING,
        ClipState.EXPORTED,
        ClipState.KEYFRAMING,
        ClipState.KEYFRAMED,
        ClipState.EMBEDDING,
        ClipState.EMBEDDED,
        ClipState.EXPORT_FAILED,
        ClipState.KEYFRAME_FAILED,
        ClipState.EMBEDDING_FAILED,
    }
)
"""The states of a clip whose approval stands."""


class Verb(StrEnum):
    """What a decision does to a clip."""

    APPROVE = "approve"
    SKIP = "skip"
    ARCHIVE = "archive"
    GROUP = "group"
    UNGROUP = "ungroup"
    SUPERSEDE = "supersede"
    TAG = "tag"
    NOTE = "note"


ANNOTATIONS = frozenset({Verb.TAG, Verb.NOTE})
"""Decisions that say something about the clip and leave its fate alone."""


class Decision(Value):
    """One decision on the clip. ``others`` are the group's members or the superseding clips."""

    version: int
    edit_id: UUID
    verb: Verb
    by: str
    others: tuple[UUID, ...] = ()
    tags: tuple[Tag, ...] = ()
    note: str = ""


class Withdrawal(Value):
    """A decision taken back; ``version`` is the clip's after that."""

    version: int
    edit_id: UUID


class Facts(Value):
    """Everything heard of one clip."""

    clip_id: UUID
    video_id: UUID
    born: ClipCreated | None = None
    decisions: tuple[Decision, ...] = ()
    withdrawals: tuple[Withdrawal, ...] = ()
    master: Mark | None = None
    export: Mark | None = None
    exported: ClipExported | None = None
    keyframe: Mark | None = None
    keyframed: ClipKeyframed | None = None
    embedding: Mark | None = None
    embedded: ClipEmbedded | None = None
    cleaned: ClipCleaned | None = None

    @property
    def frames(self) -> FrameRange:
        """The clip's range. Raises ``Refused`` while its birth is unheard of."""
        if self.born is None:
            raise Refused(f"Nothing is known of clip {self.clip_id} yet; ask again later.", code="review.unknown_clip")
        return self.born.frames

    @property
    def version(self) -> int:
        """1 at birth, one more with every edit and every undo."""
        decided = max((decision.version for decision in self.decisions), default=1)
        return max(decided, *(withdrawal.version for withdrawal in self.withdrawals), 1)

    @property
    def standing(self) -> tuple[Decision, ...]:
        """The decisions not taken back, oldest first."""
        gone = {withdrawal.edit_id for withdrawal in self.withdrawals}
        return tuple(decision for decision in self.decisions if decision.edit_id not in gone)

    @property
    def last_edit(self) -> UUID | None:
        """The edit of the clip's fate that an undo would have to take back first; tags and notes are apart from that."""
        return next((each.edit_id for each in reversed(self.standing) if each.verb not in ANNOTATIONS), None)

    @property
    def tags(self) -> tuple[Tag, ...]:
        """The clip's tags: those last given, or those it was born with."""
        decision = self.latest(Verb.TAG)
        if decision is not None:
            return decision.tags
        return self.born.tags if self.born else ()

    @property
    def note(self) -> str:
        """What was last noted about the clip."""
        decision = self.latest(Verb.NOTE)
        return decision.note if decision else ""

    @property
    def children(self) -> tuple[UUID, ...]:
        """The clips that replaced this one."""
        decision = self.latest(Verb.SUPERSEDE)
        return decision.others if decision else ()

    @property
    def group(self) -> tuple[UUID, ...]:
        """The other members of the clip's group."""
        decision = self.latest(Verb.GROUP, Verb.UNGROUP)
        if decision is None or decision.verb is Verb.UNGROUP:
            return ()
        return tuple(member for member in decision.others if member != self.clip_id)

    @property
    def approved_by(self) -> str | None:
        """Who approved the clip, while that stands."""
        decision = self.latest(Verb.APPROVE, Verb.SKIP)
        return decision.by if decision and decision.verb is Verb.APPROVE else None

    @property
    def is_virtual(self) -> bool:
        """Whether the clip is a record only, without delivered files."""
        if self.exported is None:
            return True
        if self.cleaned is None:
            return False
        return self.cleaned.unwanted is None or self.cleaned.unwanted > (self.exported.wanted or 0)

    def latest(self, *verbs: Verb) -> Decision | None:
        """The newest standing decision of these kinds."""
        return next((decision for decision in reversed(self.standing) if decision.verb in verbs), None)


@dataclass(frozen=True)
class Moved:
    """An event took the clip from one state to another."""

    old: ClipState
    new: ClipState


def evolve(facts: Facts, event: Event) -> Facts:
    """The facts with one more event heard. Raises ``Refused`` for an event of another clip or of no clip."""
    if getattr(event, "clip_id", None) != facts.clip_id:
        raise Refused("The event tells of another clip; fold it into that one's facts.", code="review.foreign_event")
    return facts.model_copy(update=_change(facts, event))


def _change(facts: Facts, event: Event) -> dict[str, object]:
    match event:
        case ClipCreated():
            return {"born": winner(facts.born, event)}
        case ClipApproved():
            return _decided(facts, Verb.APPROVE, event)
        case ClipSkipped():
            return _decided(facts, Verb.SKIP, event)
        case ClipArchived():
            return _decided(facts, Verb.ARCHIVE, event)
        case ClipGrouped():
            return _decided(facts, Verb.GROUP, event, event.group)
        case ClipUngrouped():
            return _decided(facts, Verb.UNGROUP, event, event.group)
        case ClipSuperseded():
            return _decided(facts, Verb.SUPERSEDE, event, event.children)
        case ClipTagged():
            if event.undoes is not None:
                return _withdrawn(facts, event.version, event.undoes)
            return _decided(facts, Verb.TAG, event, tags=event.tags)
        case ClipNoted():
            if event.undoes is not None:
                return _withdrawn(facts, event.version, event.undoes)
            return _decided(facts, Verb.NOTE, event, note=event.note)
        case ClipEditUndone():
            return _withdrawn(facts, event.version, event.edit_id)
        case ClipMasteringStarted():
            return {"master": furthest(facts.master, Mark(run=event.run, outcome=Outcome.STARTED))}
        case ClipMasterFailed():
            return {"master": furthest(facts.master, _failed(event.run, event.failure))}
        case ClipMastered():
            return {"master": furthest(facts.master, Mark(run=event.run, outcome=Outcome.SUCCEEDED))}
        case ClipExportStarted():
            return {"export": furthest(facts.export, Mark(run=event.run, outcome=Outcome.STARTED))}
        case ClipExportFailed():
            return {"export": furthest(facts.export, _failed(event.run, event.failure))}
        case ClipExported():
            mark = Mark(run=event.run, outcome=Outcome.SUCCEEDED)
            return {"export": furthest(facts.export, mark), "exported": winner(facts.exported, event)}
        case ClipKeyframingStarted():
            return {"keyframe": furthest(facts.keyframe, Mark(run=event.run, outcome=Outcome.STARTED))}
        case ClipKeyframeFailed():
            return {"keyframe": furthest(facts.keyframe, _failed(event.run, event.failure))}
        case ClipKeyframed():
            mark = Mark(run=event.run, outcome=Outcome.SUCCEEDED)
            return {"keyframe": furthest(facts.keyframe, mark), "keyframed": winner(facts.keyframed, event)}
        case ClipEmbeddingStarted():
            return {"embedding": furthest(facts.embedding, Mark(run=event.run, outcome=Outcome.STARTED))}
        case ClipEmbeddingFailed():
            return {"embedding": furthest(facts.embedding, _failed(event.run, event.failure))}
        case ClipEmbedded():
            mark = Mark(run=event.run, outcome=Outcome.SUCCEEDED)
            return {"embedding": furthest(facts.embedding, mark), "embedded": winner(facts.embedded, event)}
        case ClipCleaned():
            return {"cleaned": winner(facts.cleaned, event)}
        case _:
            raise Refused(f"{event.TYPE} tells nothing about a clip's state.", code="review.foreign_event")


def _decided(
    facts: Facts,
    verb: Verb,
    event: ClipApproved
    | ClipSkipped
    | ClipArchived
    | ClipGrouped
    | ClipUngrouped
    | ClipSuperseded
    | ClipTagged
    | ClipNoted,
    others: tuple[UUID, ...] = (),
    tags: tuple[Tag, ...] = (),
    note: str = "",
) -> dict[str, object]:
    decision = Decision(
        version=event.version, edit_id=event.edit_id, verb=verb, by=event.by, others=others, tags=tags, note=note
    )
    return {"decisions": tuple(sorted({*facts.decisions, decision}, key=_decision_order))}


def withdrawn(facts: Facts, version: int, edit_id: UUID) -> Facts:
    """The facts without what an edit decided."""
    return facts.model_copy(update=_withdrawn(facts, version, edit_id))


def _withdrawn(facts: Facts, version: int, edit_id: UUID) -> dict[str, object]:
    withdrawal = Withdrawal(version=version, edit_id=edit_id)
    return {"withdrawals": tuple(sorted({*facts.withdrawals, withdrawal}, key=lambda w: (w.version, w.edit_id)))}


def _decision_order(decision: Decision) -> tuple[int, UUID, str, str, tuple[UUID, ...], tuple[Tag, ...], str]:
    return (
        decision.version,
        decision.edit_id,
        decision.verb,
        decision.by,
        decision.others,
        decision.tags,
        decision.note,
    )


def _failed(run: int, failure: Failure) -> Mark:
    return Mark(run=run, outcome=Outcome.FAILED, failure=failure)


def transition(facts: Facts, event: Event) -> tuple[Facts, Moved | NoOp]:
    """The facts with one more event heard, and what that did to the state."""
    after = evolve(facts, event)
    old, new = status(facts), status(after)
    if old is not new:
        return after, Moved(old, new)
    return after, NoOp.NOTHING_NEW if after == facts else NoOp.NOTED


def status(facts: Facts) -> ClipState:
    """The clip's state: what people decided comes first, then how far the workers have come."""
    if facts.latest(Verb.SUPERSEDE):
        return ClipState.SUPERSEDED
    if facts.latest(Verb.ARCHIVE):
        return ClipState.CLEANED if facts.cleaned and facts.is_virtual else ClipState.REVIEW_ARCHIVED
    verdict = facts.latest(Verb.APPROVE, Verb.SKIP)
    if verdict is None:
        return ClipState.PENDING_REVIEW
    return ClipState.REVIEW_SKIPPED if verdict.verb is Verb.SKIP else _delivery(facts)


def _delivery(facts: Facts) -> ClipState:
    for mark, states in (
        (facts.embedding, (ClipState.EMBEDDING, ClipState.EMBEDDING_FAILED, ClipState.EMBEDDED)),
        (facts.keyframe, (ClipState.KEYFRAMING, ClipState.KEYFRAME_FAILED, ClipState.KEYFRAMED)),
        (facts.export, (ClipState.EXPORTING, ClipState.EXPORT_FAILED, ClipState.EXPORTED)),
        # A clip whose frames could not be mastered cannot be exported; while they are, it waits as any approved one.
        (facts.master, (ClipState.REVIEW_APPROVED, ClipState.EXPORT_FAILED, ClipState.REVIEW_APPROVED)),
    ):
        if mark is not None:
            return states[mark.outcome - 1]
    return ClipState.REVIEW_APPROVED


def error(facts: Facts) -> Failure | None:
    """Why the clip stands in a failed state; none in any other."""
    mark = {
        ClipState.EXPORT_FAILED: facts.export or facts.master,
        ClipState.KEYFRAME_FAILED: facts.keyframe,
        ClipState.EMBEDDING_FAILED: facts.embedding,
    }.get(status(facts))
    return mark.failure if mark else None


def occupies(facts: Facts) -> bool:
    """Whether the clip holds its range of the video: every clip does but a superseded one."""
    return status(facts) is not ClipState.SUPERSEDED
