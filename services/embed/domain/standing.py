"""What people decided of a clip, as far as search must know: whether it may be found, and the name of its state.

Guarantees: the decisions count, never the order in which they were heard; hearing one again changes nothing.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from contracts.events.v1.clip import (
    ClipApproved,
    ClipArchived,
    ClipEditUndone,
    ClipSkipped,
    ClipSuperseded,
    ClipTagged,
)
from contracts.values import Value

Decided = ClipApproved | ClipSkipped | ClipArchived | ClipSuperseded | ClipEditUndone
Verb = Literal["approve", "skip", "archive", "replace"]

PROGRESS = ("exported", "keyframe_failed", "keyframed", "embedding_failed", "embedded")
"""The states of a clip that stands, in the order in which it passes them."""
STATES = (*PROGRESS, "pending_review", "review_skipped", "review_archived", "superseded")


class Decision(Value):
    """One decision; ``version`` is the clip's after it."""

    version: int
    edit_id: UUID
    verb: Verb


class Standing(Value):
    """Everything decided of one clip, and what of it was taken back. ``tagged`` is the version that its tags are of."""

    decisions: tuple[Decision, ...] = ()
    withdrawn: tuple[UUID, ...] = ()
    tagged: int = 0

    @property
    def verdict(self) -> str:
        """The clip's state by decision; empty while it stands, and its state is how far the work has come."""
        standing = [decision for decision in self.decisions if decision.edit_id not in self.withdrawn]
        verbs = {decision.verb for decision in standing}
        if "replace" in verbs:
            return "superseded"
        if "archive" in verbs:
            return "review_archived"
        last = max(
            (decision for decision in standing if decision.verb in {"approve", "skip"}),
            key=lambda decision: decision.version,
            default=None,
        )
        if last is None:
            # Of a clip whose approval was never heard, its delivery is proof enough.
            return "pending_review" if any(one.verb in {"approve", "skip"} for one in self.decisions) else ""
        return "review_skipped" if last.verb == "skip" else ""

    @property
    def is_hidden(self) -> bool:
        """Whether search leaves the clip out."""
        return bool(self.verdict)


def tagged(standing: Standing, event: ClipApproved | ClipTagged) -> Standing | None:
    """The standing with the tags that an event names; ``None`` if later ones are known."""
    return None if event.version < standing.tagged else standing.model_copy(update={"tagged": event.version})


def heard(standing: Standing, event: Decided) -> Standing:
    """The standing with one more event."""
    match event:
        case ClipEditUndone():
            return standing.model_copy(update={"withdrawn": tuple(sorted({*standing.withdrawn, event.edit_id}))})
        case ClipApproved():
            verb: Verb = "approve"
        case ClipSkipped():
            verb = "skip"
        case ClipArchived():
            verb = "archive"
        case ClipSuperseded():
            verb = "replace"
    decision = Decision(version=event.version, edit_id=event.edit_id, verb=verb)
    decisions = tuple(sorted({*standing.decisions, decision}, key=lambda one: (one.version, one.edit_id, one.verb)))
    return standing.model_copy(update={"decisions": decisions})
