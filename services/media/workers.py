"""A thread with a bounded queue for each encoder of a pass, and the first failure of any of them.

The codec library frees the interpreter lock while it works, so that a decoder and several encoders share the cores.
Guarantees: a full queue makes the producer wait, so that memory stays flat; a failed consumer stops the producer at its
next item; leaving the context always ends every thread.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

ItemT = TypeVar("ItemT")

_POLL_SECONDS = 0.2


class Withdrawn(Exception):  # noqa: N818 - a signal inside the pass, never seen outside.
    """The pass ends early because something else in it failed."""


class Pipe(Generic[ItemT]):
    """A queue from one thread into another, which reads it as an iterator until ``close``.

    It holds ``depth`` items at most; 0 means any number. A producer that found it full goes on when it is half empty: it
    would be woken for each single item otherwise.
    """

    def __init__(self, crew: Crew, name: str, consume: Callable[[Iterator[ItemT]], None], *, depth: int) -> None:
        self._crew = crew
        self._depth = depth
        # The bounded queue of the library takes two conditions for each item, 30 µs where either side waits.
        self._queue: queue.SimpleQueue[tuple[ItemT] | None] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._wants_room = False
        self._consume = consume
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def put(self, item: ItemT) -> None:
        """Hands over an item, waiting while the queue is full; ``Withdrawn`` once the pass has failed."""
        self._offer((item,))

    def finish(self) -> None:
        """Tells the thread that nothing more comes, and goes on."""
        self._offer(None)

    def close(self) -> None:
        """Tells the thread that nothing more comes, and waits for its end."""
        self._offer(None)
        while self.thread.is_alive():
            self._crew.check()
            self.thread.join(_POLL_SECONDS)
        self._crew.check()

    def _offer(self, item: tuple[ItemT] | None) -> None:
        self._crew.check()
        while self._is_full():
            self._wants_room = True
            # Whoever takes an item looks at the wish after that: either it sees the wish, or we see the item gone.
            if self._is_full():
                with contextlib.suppress(queue.Empty):
                    self._room.get(timeout=_POLL_SECONDS)
            self._crew.check()
        self._queue.put(item)

    def _is_full(self) -> bool:
        return 0 < self._depth <= self._queue.qsize()

    def _items(self) -> Iterator[ItemT]:
        while True:
            self._crew.check()
            try:
                item = self._queue.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if self._wants_room and 2 * self._queue.qsize() <= self._depth:
                self._wants_room = False
                self._room.put(None)
            if item is None:
                return
            yield item[0]

    def _run(self) -> None:
        try:
            self._consume(self._items())
        except Withdrawn:
            return
        except BaseException as error:  # noqa: BLE001 - carried over and raised in the thread that leads the pass.
            self._crew.fail(error)


class Crew:
    """The threads of one pass. Leaving the context raises the first failure of any of them."""

    def __init__(self) -> None:
        self._pipes: list[threading.Thread] = []
        self._failure: BaseException | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def pipe(self, name: str, consume: Callable[[Iterator[ItemT]], None], *, depth: int = 8) -> Pipe[ItemT]:
        """Starts a thread that consumes what is put into the returned pipe."""
        made: Pipe[ItemT] = Pipe(self, name, consume, depth=depth)
        self._pipes.append(made.thread)
        return made

    def fail(self, error: BaseException) -> None:
        """Keeps the first failure and stops everybody."""
        with self._lock:
            if self._failure is None:
                self._failure = error
        self._stop.set()

    def check(self) -> None:
        """``Withdrawn`` once the pass has failed."""
        if self._stop.is_set():
            raise Withdrawn

    @property
    def failure(self) -> BaseException | None:
        """What failed first, if anything did."""
        return self._failure

    @property
    def has_ended(self) -> bool:
        """Whether every thread has come to its end."""
        return not any(thread.is_alive() for thread in self._pipes)

    def join(self) -> None:
        """Waits for every thread; raises the first failure of any of them."""
        for thread in self._pipes:
            thread.join()
        if self._failure is not None:
            raise self._failure

    def abort(self) -> None:
        """Stops everybody and waits until they have ended; raises nothing."""
        self._stop.set()
        for thread in self._pipes:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, Withdrawn):
            self.fail(error)
        elif error is not None:
            self._stop.set()
        for thread in self._pipes:
            thread.join()
        if self._failure is not None and self._failure is not error:
            raise self._failure
