"""Programs forked from a warm process that has imported what they need: they share its memory and start in milliseconds.

Both sides are here. ``Nursery`` is the side of whoever wants programs run; ``main`` is the warm process. They talk over a
socket, one JSON object a line. Orders are ``{"fork": number, "module": ..., "environment": {...}}``, each
with three descriptors for the program's standard streams; answers are ``{"warm": true}``, ``{"forked": number,
"pid": n}`` and ``{"ended": pid, "status": n}``.

What is imported must survive a fork: it starts no thread and opens no connection. Guarantees: every forked process is a
session of its own and dies with the warm one, which dies with whoever started it and takes the sessions with it. Orders are
carried out between two imports too. Standard library only, but for the name in lists of processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import itertools
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from services.chassis.processes import Child, die_with, kill_group

STREAMS = 3
STANDARD_ERROR = 2
REST_SECONDS = 60.0
"""How long a warm process without work stays: it holds 70 MB, 270 with torch."""


class Nursery:
    """The connection to a warm process, which may end and be replaced by another."""

    def __init__(self) -> None:
        self.connected = asyncio.Event()
        self._warmth: asyncio.Future[bool] | None = None
        self._channel: socket.socket | None = None
        self._received = b""
        self._numbers = itertools.count()
        self._forks: dict[int, asyncio.Future[Child]] = {}
        self._children: dict[int, asyncio.Future[int]] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing that was forked runs, or is about to."""
        return not self._forks and not self._children

    @property
    def is_warm(self) -> bool:
        """Whether the process has imported everything."""
        return self._warmth is not None and self._warmth.done() and self._warmth.result()

    def attach(self, channel: socket.socket) -> None:
        """Listens to a process that was just started, and has the other end of the socket."""
        loop = asyncio.get_running_loop()
        self._channel = channel
        self._received = b""
        self._warmth = loop.create_future()
        loop.add_reader(channel, self._read)
        self.connected.set()

    async def grow_warm(self) -> bool:
        """Waits until the attached process has imported everything. False: it ended before."""
        assert self._warmth is not None  # noqa: S101 - for who has attached one.
        return await asyncio.shield(self._warmth)

    def detach(self) -> None:
        """Lets go of the process, which ends at once, and whatever was forked from it with it."""
        if self._channel is None:
            return
        asyncio.get_running_loop().remove_reader(self._channel)
        self._channel.close()
        self._channel = None
        self.connected.clear()
        if self._warmth is not None and not self._warmth.done():
            self._warmth.set_result(False)
        self._warmth = None
        for ended in self._children.values():
            if not ended.done():
                ended.set_result(-signal.SIGKILL)
        for forked in self._forks.values():
            if not forked.done():
                forked.set_exception(ConnectionResetError("The warm process ended."))
        self._children.clear()
        self._forks.clear()

    async def fork(
        self,
        module: str,
        *,
        streams: Sequence[int],
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """Runs a module as a program of its own, with these descriptors for its standard streams.

        Waits while no process is attached; raises ``ConnectionError`` when it ends meanwhile.
        """
        await self.connected.wait()
        assert self._channel is not None  # noqa: S101 - set before the event above.
        number = next(self._numbers)
        order = {"fork": number, "module": module, "environment": dict(environment or {})}
        forked: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        self._forks[number] = forked
        try:
            # The other side reads between two imports at the latest; no order fills the socket's buffer until then.
            socket.send_fds(self._channel, [json.dumps(order).encode() + b"\n"], list(streams))
            return await forked
        finally:
            self._forks.pop(number, None)

    def _read(self) -> None:
        assert self._channel is not None  # noqa: S101 - nobody reads without one.
        try:
            data = self._channel.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.detach()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._hear(json.loads(line))

    def _hear(self, said: Mapping[str, Any]) -> None:
        if "warm" in said:
            if self._warmth is not None:
                self._warmth.set_result(True)
        elif "forked" in said:
            ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self._children[said["pid"]] = ended
            forked = self._forks.pop(said["forked"], None)
            if forked and not forked.done():
                forked.set_result(Child(said["pid"], ended))
        elif "ended" in said:
            ended_child = self._children.pop(said["ended"], None)
            if ended_child and not ended_child.done():
                ended_child.set_result(said["status"])


class Talk(NamedTuple):
    """A program at work, what it says and where it hears."""

    child: Child
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Warm(Nursery):
    """A nursery whose process starts when it is needed, and ends when nothing has been asked of it for a while."""

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        super().__init__()
        self._modules = tuple(modules)
        self._environment = dict(environment)
        self._starting = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._resting: asyncio.TimerHandle | None = None
        self._asked = 0

    async def fork(self, module: str, **how: Any) -> Child:
        """As ``Nursery.fork``, once everything is imported; raises ``OSError`` when no process can be started."""
        async with self._awake():
            child = await super().fork(module, **how)
        child.ended.add_done_callback(lambda _: self._stay())
        return child

    async def warm_up(self) -> None:
        """Imports everything for what will soon be asked, unless that is done; raises ``OSError`` as ``fork``."""
        async with self._awake():
            pass

    @contextlib.asynccontextmanager
    async def _awake(self) -> AsyncIterator[None]:
        self._asked += 1
        try:
            async with self._starting:
                if not self.connected.is_set():
                    await self._start()
            yield
        finally:
            self._asked -= 1
            self._stay()

    @contextlib.asynccontextmanager
    async def talk(self, module: str, *, limit: int = 1 << 16, **how: Any) -> AsyncIterator[Talk]:
        """A program at work whose standard input and output are one socket; it does not outlive the block.

        ``limit`` is the longest line that is read. Raises as ``fork``.
        """
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours, limit=limit)
        child: Child | None = None
        try:
            with theirs:
                streams = (theirs.fileno(), theirs.fileno(), STANDARD_ERROR)
                child = await self.fork(module, streams=streams, **how)
            yield Talk(child, reader, writer)
        finally:
            writer.close()
            if child is not None and not child.ended.done():
                kill_group(child.pid)
                await asyncio.shield(child.ended)

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    *command(theirs, self._modules),
                    env=self._environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        self.attach(ours)
        if not await self.grow_warm():
            raise ConnectionResetError("The warm process ended before it was warm; the service's log says why.")

    def _stay(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
        self._resting = asyncio.get_running_loop().call_later(REST_SECONDS, self._rest)

    def _rest(self) -> None:
        if self.is_idle and not self._asked:
            self.detach()

    async def close(self) -> None:
        """Ends the process, with everything that was forked from it."""
        if self._resting is not None:
            self._resting.cancel()
        self.detach()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            await self._process.wait()


def command(channel: socket.socket, modules: Sequence[str]) -> list[str]:
    """What starts a warm process that talks over an inherited socket, as a child of the caller."""
    safely = ["-P"] if sys.flags.safe_path else []
    return [sys.executable, *safely, "-m", __name__, str(channel.fileno()), str(os.getpid()), *modules]


@dataclass(frozen=True)
class Order:
    """A module to run as a program in a forked process."""

    module: str
    streams: tuple[int, ...]
    environment: dict[str, str]


class Parent:
    """The warm process: its socket and the forked processes."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.received = b""
        self.handed: list[int] = []
        self.children: set[int] = set()
        self.wake_reader, self.wake_writer = socket.socketpair()
        for end in (self.wake_reader, self.wake_writer):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self.end())
        signal.set_wakeup_fd(self.wake_writer.fileno(), warn_on_full_buffer=False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(channel, selectors.EVENT_READ)
        self.selector.register(self.wake_reader, selectors.EVENT_READ)

    def serve(self, patience: float | None) -> Order | None:
        """Waits at most ``patience`` seconds (None: for ever) and carries out what came.

        Returns an order only in the forked process that is to run it.
        """
        while ready := self.selector.select(patience):
            for key, _ in ready:
                if key.fileobj is self.wake_reader:
                    with contextlib.suppress(BlockingIOError):
                        self.wake_reader.recv(4096)
                    self.reap()
                elif (order := self.receive()) is not None:
                    return order
        return None

    def reap(self) -> None:
        """Reports the children that ended, and kills what is left of their groups."""
        while self.children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self.children.discard(pid)
            kill_group(pid)
            self.say({"ended": pid, "status": os.waitstatus_to_exitcode(status)})

    def receive(self) -> Order | None:
        """Reads orders and forks. Returns in the forked process too."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.channel, 1 << 16, 16 * STREAMS)
        except OSError:
            self.end()
        if not data:
            self.end()
        self.handed += descriptors
        *lines, self.received = (self.received + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            streams, self.handed = tuple(self.handed[:STREAMS]), self.handed[STREAMS:]
            forked = self.fork(order["fork"], Order(order["module"], streams, order["environment"]))
            for stream in streams:
                os.close(stream)
            if forked is not None:
                return forked
        return None

    def fork(self, number: int, order: Order) -> Order | None:
        """Forks; returns the order in the child, whose standard streams are the order's."""
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self.children.add(pid)
            self.say({"forked": number, "pid": pid})
            return None
        die_with(parent, signal.SIGKILL)
        os.setsid()
        signal.set_wakeup_fd(-1)
        for name in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(name, signal.SIG_DFL)
        self.selector.close()
        for end in (self.channel, self.wake_reader, self.wake_writer):
            end.close()
        for place, stream in enumerate(order.streams):
            os.dup2(stream, place)
        for stream in self.handed:
            os.close(stream)
        return order

    def end(self) -> NoReturn:
        """Ends at once, with everything that was forked and what that has started."""
        for pid in self.children:
            kill_group(pid)
        os._exit(0)

    def say(self, answer: dict[str, Any]) -> None:
        """Tells the other side; its death is noticed elsewhere."""
        with contextlib.suppress(OSError):
            self.channel.sendall(json.dumps(answer).encode() + b"\n")


def run(order: Order) -> None:
    """Becomes the ordered program: its name and environment."""
    os.environ.update(order.environment)
    _rename(f"heaters {order.module}")
    sys.argv = [order.module]
    runpy.run_module(order.module, run_name="__main__", alter_sys=True)


def _rename(title: str) -> None:
    """Shows the program's own name in lists of processes, where a library for it is there.

    The environment stays readable, for it holds the stack's id.
    """
    os.environ["SPT_NOENV"] = "1"
    with contextlib.suppress(ImportError):
        from setproctitle import setproctitle

        setproctitle(title)


def warm_up(parent: Parent, modules: tuple[str, ...]) -> Order | None:
    """Imports the modules, serving in between, and calls the functions that are named as ``module:function``.

    What cannot be imported is left to the program that needs it, whose own log then shows why.
    """
    for named in modules:
        module, _, function = named.partition(":")
        try:
            imported = importlib.import_module(module)
        except ImportError as error:
            sys.stderr.write(f"not preloaded: {module}: {error}\n")
        else:
            if function:
                getattr(imported, function)()
        if (order := parent.serve(0)) is not None:
            return order
    if threading.active_count() > 1:
        sys.stderr.write(f"threads before a fork: {threading.enumerate()}\n")
    gc.collect()
    gc.freeze()
    parent.say({"warm": True})
    return None


def main() -> None:
    """Entry: ``python -m services.chassis.forks DESCRIPTOR PARENT MODULE…``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = Parent(socket.socket(fileno=int(sys.argv[1])))
    die_with(int(sys.argv[2]), signal.SIGTERM)
    with contextlib.suppress(ImportError):
        importlib.import_module("setproctitle")
    order = warm_up(parent, tuple(sys.argv[3:])) or parent.serve(None)
    if order is not None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run(order)


if __name__ == "__main__":
    main()
