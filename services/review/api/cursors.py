"""Opaque cursors: where a page ended, so that the next starts there, whatever was added meanwhile."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from services.review.domain.marks import Refused

RowT = TypeVar("RowT", bound=Mapping[Any, Any])


def spell(values: Sequence[object]) -> str:
    """A cursor for a place in an ordering."""
    return base64.urlsafe_b64encode(json.dumps([str(value) for value in values]).encode()).decode().rstrip("=")


def page(rows: Sequence[RowT], limit: int, *columns: str) -> tuple[Sequence[RowT], str | None]:
    """The rows of a page, of which one more was read than it shows, and the cursor of the next page if there is one."""
    shown = rows[:limit]
    return shown, spell([shown[-1][column] for column in columns]) if len(rows) > limit else None


def read(cursor: str | None, *kinds: Callable[[str], Any]) -> list[Any] | None:
    """The place that a cursor spells; none for no cursor. Raises ``Refused`` with ``review.bad_cursor``."""
    if cursor is None:
        return None
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(values, list):
            raise TypeError("a cursor is a list")
        return [kind(str(value)) for kind, value in zip(kinds, values, strict=True)]
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise Refused(
            "That cursor is none of this list's; start from the first page.", code="review.bad_cursor"
        ) from error


def moment(spelt: str) -> datetime:
    """An aware time in a cursor."""
    at = datetime.fromisoformat(spelt)
    if at.tzinfo is None:
        raise ValueError("a time in a cursor is aware")
    return at


def frame(spelt: str) -> int:
    """A frame number in a cursor."""
    number = int(spelt)
    if not 0 <= number < 2**31:
        raise ValueError("no frame number")
    return number


def confidence(spelt: str) -> float:
    """A confidence in a cursor."""
    number = float(spelt)
    if not 0 <= number <= 1:
        raise ValueError("no confidence")
    return number


def identifier(spelt: str) -> UUID:
    """An id in a cursor."""
    return UUID(spelt)


def position(spelt: str | None) -> tuple[int, int] | None:
    """A place in the log, ``<transaction>-<number>``. Raises ``Refused`` with ``review.bad_cursor``."""
    if not spelt:
        return None
    first, _, second = spelt.partition("-")
    if not (first.isdecimal() and second.isdecimal() and len(first) < 19 and len(second) < 19):
        raise Refused(f"{spelt[:50]!r} is no position of the log; begin without one.", code="review.bad_cursor")
    return int(first), int(second)


def serial(spelt: str) -> int:
    """A serial number in a cursor."""
    number = int(spelt)
    if not 0 <= number < 2**63:
        raise ValueError("no serial number")
    return number
