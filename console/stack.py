"""The console's side of the embedded stack: is it up, bring it up, use it, take it down.

Guarantees: whoever uses the stack holds its use lock, so that nobody's end stops it under somebody else; a stack that
is brought up twice at once is one stack. Nothing here talks to the supervisor but by its files, locks and signals.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from console import remains
from console.home import Home, Stack, addresses, load_stack, read_json

POLL = 0.02
State = Mapping[str, Any]
Watcher = Callable[[State], None]


class StackError(Exception):
    """The stack does not come up, or is not up; the message says what to do."""


@dataclass(frozen=True)
class Access:
    """How to reach a stack that is up: every address as a setting, by its environment name."""

    home: Home
    settings: Mapping[str, str]
    started: bool = False
    """Whether this call started it."""
    parts: Mapping[str, Any] = field(default_factory=dict)

    def service(self, name: str) -> str:
        """Where a service answers HTTP."""
        return self.settings[f"HEATERS_{name.upper()}_URL"]


def read_state(home: Home) -> State:
    """What the running supervisor last wrote; empty when none runs."""
    state = read_json(home.state_file)
    if not state or remains.birth(int(state["pid"])) != state["birth"]:
        return {}
    return state


def is_up(home: Home) -> bool:
    """Whether a supervisor runs for this folder, and is not about to end."""
    return read_state(home).get("state") in {"starting", "ready"}


@contextlib.contextmanager
def use(home: Home) -> Iterator[None]:
    """Holds the stack: it does not stop by itself meanwhile. Waits while an unused one is just stopping."""
    home.create()
    while True:
        descriptor = os.open(home.use_lock, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if _is_same(descriptor, home):
            break
        os.close(descriptor)
    try:
        yield
    finally:
        os.close(descriptor)


def _is_same(descriptor: int, home: Home) -> bool:
    try:
        return os.fstat(descriptor).st_ino == home.use_lock.stat().st_ino
    except FileNotFoundError:
        return False


def begin(home: Home, *, keep: bool) -> bool:
    """Starts the stack if none runs, and returns at once; whether it started one. To be called while using it.

    What the caller has yet to import and to read is done meanwhile.
    """
    home.create()
    if keep:
        home.keep_file.touch()
    if read_state(home):
        return False
    spawn(home)
    return True


def bring_up(
    home: Home, *, keep: bool, patience: float = 120.0, until: Callable[[State], bool], watch: Watcher | None = None
) -> Access:
    """Starts the stack if it is not up, and waits until ``until`` holds for its state.

    To be called while using it (``use``). With ``keep`` it stays up afterwards. Raises ``StackError``.
    """
    home.create()
    if keep:
        home.keep_file.touch()
    deadline = time.monotonic() + patience
    spawned: subprocess.Popen[bytes] | None = None
    started = False
    while True:
        state = read_state(home)
        if state and state["state"] != "stopping":
            if watch:
                watch(state)
            if until(state) and (started or _is_steady(home, state)):
                return access(home, started=started, state=state)
        elif not state and (spawned is None or spawned.poll() is not None):
            if spawned is not None and spawned.returncode not in {0, 3}:
                raise StackError(
                    f"the supervisor ended at once; its log is {home.log('supervisor')}:\n{tail(home, 'supervisor')}"
                )
            spawned = spawn(home)
            started = True
        if time.monotonic() > deadline:
            raise StackError(_what_is_missing(home, state, patience))
        time.sleep(POLL)


def _is_steady(home: Home, state: State) -> bool:
    """Whether the supervisor is still there a moment later: a killed one takes that moment to vanish."""
    time.sleep(0.05)
    return bool(read_state(home).get("pid") == state["pid"])


_spawned: list[subprocess.Popen[bytes]] = []
"""Supervisors that this process started and whose end it has not seen."""


def _see_ended() -> None:
    """Takes note of supervisors that ended before their caller, so that none stays a zombie."""
    _spawned[:] = [process for process in _spawned if process.poll() is None]


def spawn(home: Home) -> subprocess.Popen[bytes]:
    """Starts the supervisor, detached from this process and its terminal."""
    _see_ended()
    with contextlib.suppress(FileNotFoundError):
        home.down_file.unlink()
    with home.log("supervisor").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "console.supervisor"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home.repository,
            start_new_session=True,
            env={
                **os.environ,
                **home.settings,
                "PYTHONPATH": os.pathsep.join(_import_path(home)),
                "HEATERS_DATA": str(home.data),
            },
        )
    _spawned.append(process)
    return process


def access(home: Home, *, started: bool = False, state: State | None = None) -> Access:
    """How to reach the stack of this folder. Raises ``StackError`` when there never was one."""
    stack: Stack | None = load_stack(home)
    if stack is None:
        raise StackError("there is no stack here yet; start one with: heaters up")
    parts = {part["name"]: part for part in (state or read_state(home)).get("parts", ())}
    return Access(home, {**home.settings, **addresses(home, stack)}, started, parts)


def _import_path(home: Home) -> list[str]:
    """The clone first, then what the caller was given."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [str(home.repository), *(folder for folder in given if folder not in {"", str(home.repository)})]


def revive(home: Home) -> None:
    """Starts the stack again after somebody killed it. Raises ``StackError`` when a person took it down instead."""
    if read_state(home):
        return
    if home.down_file.exists():
        raise StackError("the stack was taken down; the work is kept and goes on after: heaters up")
    spawn(home)


def take_down(home: Home, patience: float = 30.0) -> bool:
    """Stops the stack and waits for its end; returns whether one ran. Raises ``StackError`` when it does not end."""
    with contextlib.suppress(FileNotFoundError):
        home.keep_file.unlink()
    state = read_state(home)
    if state:
        home.down_file.touch()
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(state["pid"]), signal.SIGTERM)
        wait_for_end(home, state, patience)
    _see_ended()
    return bool(state)


def wait_for_end(home: Home, state: State, patience: float = 30.0) -> None:
    """Waits until the supervisor of this state is gone."""
    deadline = time.monotonic() + patience
    while remains.birth(int(state["pid"])) == state["birth"]:
        if time.monotonic() > deadline:
            raise StackError(f"the stack does not stop; end process {state['pid']} and see {home.log('supervisor')}")
        time.sleep(POLL)


def part_state(state: State, name: str) -> str:
    """The state of one part: waiting, starting, ready, external, unwell, failed, restarting."""
    return next((part["state"] for part in state.get("parts", ()) if part["name"] == name), "")


def is_ready(state: State, *names: str) -> bool:
    """Whether all of these parts are ready, or somebody else's."""
    return all(part_state(state, name) in {"ready", "external"} for name in names)


def all_ready(state: State) -> bool:
    """Whether every part is ready."""
    return bool(state.get("topics")) and is_ready(state, *(part["name"] for part in state["parts"]))


def tail(home: Home, part: str, lines: int = 12) -> str:
    """The last lines of a part's log."""
    try:
        return "\n".join(home.log(part).read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _what_is_missing(home: Home, state: State, patience: float) -> str:
    if not state:
        return f"the stack did not start within {patience:.0f} s; its log is {home.log('supervisor')}:\n{tail(home, 'supervisor')}"
    missing = [part for part in state["parts"] if part["state"] not in {"ready", "external"}]
    said = [f"  {part['name']}: {part['state']}. {part['detail']}".rstrip() for part in missing]
    first = missing[0]["name"] if missing else "supervisor"
    return "\n".join(
        [
            f"the stack is not ready after {patience:.0f} s; waiting for:",
            *said,
            f"The end of {home.log(first)}:",
            tail(home, first),
        ]
    )
