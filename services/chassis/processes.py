"""Child processes that never outlive their parent.

Guarantees: a child started here is a session of its own, dies when its parent dies (on Linux, even by SIGKILL), and
takes its whole process group with it. Standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
_LINUX = sys.platform == "linux"
_LIBC = ctypes.CDLL(None, use_errno=True) if _LINUX else None


@dataclass(frozen=True)
class Child:
    """A running process and the future of its end (the exit status; negative for a signal)."""

    pid: int
    ended: asyncio.Future[int]

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process, if it still runs."""
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def stop(self, number: signal.Signals, patience: float) -> None:
        """Asks the process to end, and kills its group when it has not after ``patience`` seconds."""
        self.send(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await asyncio.shield(self.ended)
        kill_group(self.pid)
        await self.ended


def kill_group(leader: int) -> None:
    """Kills whatever is left of a process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def die_with(parent: int, number: signal.Signals) -> None:
    """Binds the calling process's life to its parent's. To be called in the child, after any change of user."""
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


async def start(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    folder: Path,
    user: tuple[int, int] | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
    pass_fds: Sequence[int] = (),
    standard_input: int = subprocess.DEVNULL,
) -> Child:
    """Starts a program as a child in its own session; its output goes to the log's end.

    ``user`` is (uid, gid) to run it as. Raises ``OSError`` when the program cannot be started.
    """
    loop = asyncio.get_running_loop()
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 - returns at once; its end is awaited.
            argv,
            stdin=standard_input,
            stdout=output,
            stderr=output,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
            pass_fds=pass_fds,
            preexec_fn=_binder(os.getpid(), death_signal),  # noqa: PLW1509 - callers have one thread.
            user=user[0] if user else None,
            group=user[1] if user else None,
            extra_groups=[] if user else None,
        )
    return Child(process.pid, _watch(loop, process))


def _binder(parent: int, number: signal.Signals) -> Callable[[], None]:
    def bind() -> None:
        die_with(parent, number)

    return bind


def _watch(loop: asyncio.AbstractEventLoop, process: subprocess.Popen[bytes]) -> asyncio.Future[int]:
    ended: asyncio.Future[int] = loop.create_future()

    def settle() -> bool:
        status = process.poll()
        if status is None:
            return False
        if not ended.done():
            ended.set_result(status)
        return True

    if _LINUX:
        descriptor = os.pidfd_open(process.pid)

        def on_end() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            settle()

        loop.add_reader(descriptor, on_end)
    else:

        def look() -> None:
            if not settle():
                loop.call_later(0.05, look)

        look()
    return ended
