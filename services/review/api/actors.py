"""Who asks, and what they may do.

Bound to a loopback address without a token in its settings the API is open: whoever can reach it is an operator, and says
in a request's body by which name an edit is to be kept. Anywhere else a request carries a token, whose name and role count.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Literal

from fastapi import Depends, Request

RoleName = Literal["viewer", "reviewer", "operator"]

SCOPE = "heaters.actor"
"""Where the guard leaves the actor in a request's scope."""


class Role(IntEnum):
    """What somebody may do; each includes those before it."""

    VIEWER = 1
    REVIEWER = 2
    OPERATOR = 3

    @property
    def spelt(self) -> RoleName:
        """The role's name."""
        names: dict[Role, RoleName] = {
            Role.VIEWER: "viewer",
            Role.REVIEWER: "reviewer",
            Role.OPERATOR: "operator",
        }
        return names[self]


@dataclass(frozen=True)
class Actor:
    """Somebody who asks. ``is_known`` tells whether a token proved it."""

    name: str
    role: Role
    is_known: bool

    def name_for(self, told: str) -> str:
        """The name that an edit is kept under: the token's, or without one what the request says."""
        return self.name if self.is_known else told


OPEN = Actor("local", Role.OPERATOR, is_known=False)
"""Whoever reaches an open API."""


def role_named(name: str) -> Role:
    """The role of a name."""
    return {role.spelt: role for role in Role}[name]  # type: ignore[index]


async def actor_of(request: Request) -> Actor:
    """The actor that the guard found."""
    actor: Actor = request.scope.get(SCOPE, OPEN)
    return actor


Who = Annotated[Actor, Depends(actor_of)]
