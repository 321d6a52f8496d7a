"""The warm parent from which the services are forked: it imports what they all need, once.

Forked services share that memory and start in a tenth of a second. The supervisor gives orders over a socket, one JSON
object a line: ``{"fork": name, "module": ..., "arguments": [...], "environment": {...}, "log": path}``; answers are
``{"warm": true}``, ``{"forked": name, "pid": n}`` and ``{"ended": pid, "status": n}``. Guarantees: nothing that starts
threads is imported before a fork; every forked process is a session of its own and dies with this one, which dies with
the supervisor and takes the sessions with it. Orders are carried out between two imports too.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
from dataclasses import dataclass, field
from typing import Any, NoReturn

from console.processes import die_with, kill_group

MODULES = (
    "aiokafka.admin",
    "deploy.topics",
    "boto3",
    "faststream.kafka",
    "psycopg",
    "sqlalchemy.ext.asyncio",
    "sqlalchemy.dialects.postgresql.psycopg",
    "uvicorn",
    "starlette.applications",
    "fastapi",
    "prometheus_client",
    "opentelemetry.sdk.trace",
    "pydantic_settings",
    "contracts.envelope",
    "services.chassis.app",
)
"""What every service imports anyway, and nothing that only some need, for each process is counted whole; never av, numpy, OpenCV or torch, whose threads do not survive a fork."""


@dataclass(frozen=True)
class Order:
    """A module to run as a program in a forked process."""

    name: str
    module: str
    log: str
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


class Parent:
    """The socket to the supervisor and the forked processes."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.received = b""
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
        data = self.channel.recv(1 << 16)
        if not data:
            self.end()
        *lines, self.received = (self.received + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            forked = self.fork(
                Order(order["fork"], order["module"], order["log"], tuple(order["arguments"]), order["environment"])
            )
            if forked is not None:
                return forked
        return None

    def fork(self, order: Order) -> Order | None:
        """Forks; returns the order in the child."""
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self.children.add(pid)
            self.say({"forked": order.name, "pid": pid})
            return None
        die_with(parent, signal.SIGKILL)
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        self.selector.close()
        for end in (self.channel, self.wake_reader, self.wake_writer):
            end.close()
        return order

    def end(self) -> NoReturn:
        """Ends at once, with everything that was forked and what that has started."""
        for pid in self.children:
            kill_group(pid)
        os._exit(0)

    def say(self, answer: dict[str, Any]) -> None:
        """Tells the supervisor; its death is noticed elsewhere."""
        with contextlib.suppress(OSError):
            self.channel.sendall(json.dumps(answer).encode() + b"\n")


def run(order: Order) -> None:
    """Becomes the ordered program: its name, log, environment and arguments."""
    log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.environ.update(order.environment)
    _rename(f"heaters {order.module}")
    sys.argv = [order.module, *order.arguments]
    runpy.run_module(order.module, run_name="__main__", alter_sys=True)


def _rename(title: str) -> None:
    """Shows the service's own name in lists of processes. The environment stays readable, for it holds the stack's id."""
    os.environ["SPT_NOENV"] = "1"
    from setproctitle import setproctitle

    setproctitle(title)


def warm_up(parent: Parent, modules: tuple[str, ...]) -> Order | None:
    """Imports the modules, serving in between.

    What cannot be imported is left to the service that needs it, whose own log then shows why.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            print(f"not preloaded: {module}: {error}", file=sys.stderr, flush=True)
        if (order := parent.serve(0)) is not None:
            return order
    if threading.active_count() > 1:
        print(f"threads before a fork: {threading.enumerate()}", file=sys.stderr, flush=True)
    gc.collect()
    gc.freeze()
    parent.say({"warm": True})
    return None


def main() -> None:
    """Entry: ``python -m console.preload DESCRIPTOR [MODULE…]``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = Parent(socket.socket(fileno=int(sys.argv[1])))
    order = warm_up(parent, tuple(sys.argv[2:]) or MODULES) or parent.serve(None)
    if order is not None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run(order)


if __name__ == "__main__":
    main()
