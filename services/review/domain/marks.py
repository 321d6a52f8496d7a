"""How facts about one stage of work are merged: as a maximum, so that order and repetition do not matter.

``furthest`` and ``winner`` are commutative, associative and idempotent. A success, once heard, is never hidden by a
failure or a start, whichever run those belong to; among the rest the latest run counts, and in it the latest word.
"""

from __future__ import annotations

import json
from enum import IntEnum, StrEnum
from typing import TypeVar

from contracts.errors import Permanent
from contracts.events.base import Event
from contracts.values import Failure, Run, Value


class Refused(Permanent):
    """A command or event that does not fit the state; the code names the rule, the message says what to do."""

    code = "review.refused"


def unknown(what: str, which: object) -> Refused:
    """Nothing of that kind goes by that id."""
    return Refused(
        f"There is no {what} {which}; look it up in the list of {what}s.",
        code=f"review.unknown_{what.replace(' ', '_')}",
    )


class NoOp(StrEnum):
    """Why an event moved nothing."""

    NOTHING_NEW = "nothing_new"
    """A duplicate, or a late word of a run that has been overtaken."""
    NOTED = "noted"
    """A fact worth keeping that does not change the state."""


class Outcome(IntEnum):
    """How far one run of a stage has come; a higher one overrides a lower one of the same run."""

    STARTED = 1
    FAILED = 2
    SUCCEEDED = 3


class Mark(Value):
    """What is known of a stage: the run that counts, how it stands, and why it failed if it did."""

    run: Run
    outcome: Outcome
    failure: Failure | None = None

    @property
    def succeeded(self) -> bool:
        """Whether any run succeeded."""
        return self.outcome is Outcome.SUCCEEDED

    @property
    def failed(self) -> bool:
        """Whether the latest run failed and none succeeded."""
        return self.outcome is Outcome.FAILED


EventT = TypeVar("EventT", bound=Event)


def furthest(old: Mark | None, new: Mark) -> Mark:
    """The mark that counts of two."""
    return new if old is None else max(old, new, key=_mark_order)


def winner(old: EventT | None, new: EventT) -> EventT:
    """The event that counts of two of one type: that of the later decision or run, and between equals a fixed choice."""
    return new if old is None else max(old, new, key=_event_order)


def canonical(value: Value) -> str:
    """One spelling for equal values, whatever order their maps came in."""
    return json.dumps(value.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def _mark_order(mark: Mark) -> tuple[bool, int, int, str]:
    return mark.succeeded, mark.run, mark.outcome, canonical(mark)


def _event_order(event: Event) -> tuple[int, int, str]:
    decided = getattr(event, "wanted", None) or getattr(event, "unwanted", None) or 0
    return decided, getattr(event, "run", 1), canonical(event)
