"""What can be wrong with this machine or this stack, each with a sentence that says what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from console import database, stack
from console.home import EXTERNAL_SETTING, REPOSITORY, SERVERS, Home, is_free, load_stack

NEEDED_BYTES = 5_000_000_000


@dataclass(frozen=True)
class Check:
    """One finding."""

    verdict: Literal["good", "poor", "bad"]
    sentence: str


def examine(home: Home) -> Iterator[Check]:
    """Every check, in the order in which a person should read them."""
    yield Check(
        "good", f"Python {platform.python_version()} on {platform.platform(terse=True)}, {os.cpu_count()} processors"
    )
    yield from _packages()
    yield from _folder(home)
    yield from _database(home)
    yield from _parts(home)


def _packages() -> Iterator[Check]:
    lock = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8").partition("# group: dev")[0]
    wrong = []
    count = 0
    for line in lock.splitlines():
        name, pinned, version = line.partition("==")
        if not pinned or line.startswith("#"):
            continue
        count += 1
        try:
            installed = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            installed = "absent"
        if installed != version:
            wrong.append(f"{name} is {installed}, not {version}")
    if wrong:
        yield Check(
            "bad",
            f"Packages differ from requirements.lock: {'; '.join(wrong[:5])}. Remove {sys.prefix} and run ./heaters again.",
        )
    else:
        yield Check("good", f"All {count} packages are those of requirements.lock.")


def _folder(home: Home) -> Iterator[Check]:
    place = next(folder for folder in (home.data, *home.data.parents) if folder.exists())
    if not os.access(place, os.W_OK):
        yield Check("bad", f"{place} cannot be written; set HEATERS_DATA to a folder of your own.")
        return
    free = shutil.disk_usage(place).free
    words = f"{free / 1e9:.1f} GB are free for the data folder {home.data}"
    if free < NEEDED_BYTES:
        yield Check(
            "poor",
            f"Only {words}. A lossless master takes some twenty times its source: make room, or use --mastering none.",
        )
    else:
        yield Check("good", f"{words}.")


def _database(home: Home) -> Iterator[Check]:
    if home.external("database"):
        return
    try:
        programs = database.installed_programs()
        if os.geteuid() == 0:
            name, user = database.unprivileged_user()
            yield Check(
                "good", f"PostgreSQL is {programs.name.removeprefix('pginstall')}; as root it runs as the user {name}."
            )
            if not database.is_reachable(home.data if home.data.exists() else home.data.parent, user):
                yield Check(
                    "poor", f"{name} cannot enter {home.data}, so the database lies under {database.ELSEWHERE}."
                )
        else:
            yield Check("good", f"PostgreSQL is {programs.name.removeprefix('pginstall')}.")
    except database.DatabaseError as error:
        yield Check("bad", str(error))


def _parts(home: Home) -> Iterator[Check]:
    for server in SERVERS:
        if home.external(server):
            yield Check("good", f"The {server} is another server's, by {EXTERNAL_SETTING[server]}.")
    state = stack.read_state(home)
    known = load_stack(home)
    if not state:
        taken = [f"{part} {port}" for part, port in (known.ports if known else {}).items() if not is_free(port)]
        if taken:
            yield Check(
                "poor",
                f"The stack is down, and others hold its ports ({', '.join(taken)}); it takes new ones at its next start.",
            )
        else:
            yield Check("good", "The stack is down; start it with: heaters up")
        return
    for part in state["parts"]:
        if part["state"] in {"ready", "external"}:
            words = f"{part['name']} is {part['state']} at {part['address'] or 'its socket'}"
            yield Check("good", f"{words}, after {part['restarts']} restarts." if part["restarts"] else f"{words}.")
        else:
            log = home.log(part["name"])
            yield Check(
                "bad",
                f"{part['name']} is {part['state']}: {part['detail'] or 'no reason given'}. Its log is {log}.{_last(log)}",
            )


def _last(log: Path) -> str:
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return f" It ends: {lines[-1][:200]}" if lines else ""
