"""What a stage declares about itself: its events, its work and its limits. Data and pure functions only.

A stage's author writes handlers (which accept an event into the ledger), work (which does the job in a child process)
and domain functions (which turn results into events). Everything between is the chassis.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from contracts.catalog import BY_TYPE, topics_of
from contracts.events.base import Event
from contracts.topics import Topic
from contracts.values import Failure, Value

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from starlette.types import ASGIApp

    from services.chassis.ledger import Ledger
    from services.chassis.runtime import Runtime
    from services.chassis.settings import ChassisSettings

InputT = TypeVar("InputT", bound=Value)
ResultT = TypeVar("ResultT", bound=Value)
EventT = TypeVar("EventT", bound=Event)

Handler = Callable[[Any, "Ledger"], Awaitable[None]]


@dataclass(frozen=True)
class Limits:
    """Bounds of one piece of work. ``attempts`` counts failures; ``crashes`` counts deaths of its process."""

    wall: timedelta = timedelta(hours=6)
    memory_bytes: int = 4_000_000_000
    attempts: int = 5
    crashes: int = 40
    silence: timedelta = timedelta(minutes=10)
    """A child that reports nothing for this long hangs, and is killed."""


@dataclass(frozen=True)
class Job(Generic[InputT, ResultT]):
    """One kind of long work.

    ``work`` names a function, ``package.module:function``, that only the child process imports. With ``batch`` it
    takes a sequence of inputs that share the enqueued batch key and yields ``(index, result or error)`` for each.
    ``marker`` gives the object key under which the finished result is kept: if it exists, the work is not repeated.
    ``settle`` may name a function that the child calls first, with the inputs and its desk: it gives them as they stand now,
    each with its marker, where what is made depends on more than the input says.
    ``media`` tells how many seconds of media a finished piece went through, where that is known.
    ``record`` writes rows in the finishing transaction and may return a result that replaces the given one.
    """

    kind: str
    input: type[InputT]
    result: type[ResultT]
    work: str
    started: Callable[[InputT, int], Sequence[Event]]
    succeeded: Callable[[InputT, int, ResultT], Sequence[Event]]
    failed: Callable[[InputT, int, Failure], Sequence[Event]]
    marker: Callable[[InputT], str]
    record: Callable[[AsyncSession, InputT, ResultT], Awaitable[ResultT | None]] | None = None
    batch: bool = False
    batch_limit: int = 200
    limits: Limits = field(default_factory=Limits)
    priority: int = 0
    settle: str = ""
    media: Callable[[InputT, ResultT], Fraction | None] | None = None


class Routes:
    """Which handler takes which event. Misuse is refused when the module is imported."""

    def __init__(self) -> None:
        self.handlers: dict[type[Event], Handler] = {}

    def on(
        self, *event_types: type[Event]
    ) -> Callable[[Callable[[EventT, Ledger], Awaitable[None]]], Callable[[EventT, Ledger], Awaitable[None]]]:
        """Registers a handler for one or more event types."""

        def register(
            handler: Callable[[EventT, Ledger], Awaitable[None]],
        ) -> Callable[[EventT, Ledger], Awaitable[None]]:
            for event_type in event_types:
                if event_type in self.handlers:
                    raise TypeError(f"{event_type.__name__} has two handlers; an event is accepted in one place.")
                if BY_TYPE[event_type.TYPE].superseded_by is not None:
                    raise TypeError(f"{event_type.TYPE} is an old version; handle the newest, older ones are upcast.")
                self.handlers[event_type] = handler
            return handler

        return register


@dataclass(frozen=True)
class Stage:
    """One service: its name is its database schema, its consumer group and its event source."""

    name: str
    settings: type[ChassisSettings]
    routes: Routes
    jobs: tuple[Job[Any, Any], ...] = ()
    http: Callable[[Runtime], ASGIApp] | None = None
    loops: tuple[Callable[[Runtime], Awaitable[None]], ...] = ()
    late: tuple[str, ...] = ()
    """Modules that its work imports only when it needs them, and that take long: they are imported before children are forked."""
    heralds: tuple[type[Event], ...] = ()
    """Events of others after which work of this stage's is near: what it needs is imported meanwhile."""
    own_door: bool = False
    """Whether the API finds out by itself who asks, and lets nobody in without a token but on loopback."""

    def __post_init__(self) -> None:
        for event_type in self.routes.handlers:
            if self.name not in BY_TYPE[event_type.TYPE].consumers:
                raise TypeError(f"The catalogue does not list {self.name} as a consumer of {event_type.TYPE}.")
        for event_type in self.heralds:
            if BY_TYPE[event_type.TYPE].topic not in self.topics:
                raise TypeError(f"{self.name} does not read the topic of {event_type.TYPE}.")

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The topics this service reads."""
        return topics_of(self.name)

    def job(self, kind: str) -> Job[Any, Any]:
        """The declaration of a kind of work; ``KeyError`` if the stage has none of that name."""
        return {job.kind: job for job in self.jobs}[kind]
