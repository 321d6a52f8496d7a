"""Where a stack lives: its data folder, its settings, its ports and its secrets.

Everything of an embedded stack lies under one folder (``HEATERS_DATA``, by default ``.heaters`` in the clone).
Guarantees: ports, identity and secrets are chosen once and kept in ``stack.json`` (mode 0600); files are replaced
whole or not at all; settings come from the environment first and the clone's ``.env`` second. Standard library only,
for the supervisor is always in memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).absolute().parent.parent
PREFIX = "HEATERS_"
SERVICES = ("ingest", "review", "preprocess", "scenes", "export", "embed")
"""In the order in which they are started: what a person waits for comes first."""

BROKER, DATABASE, OBJECTS = "broker", "database", "objects"
SERVERS = (BROKER, DATABASE, OBJECTS)
EXTERNAL_SETTING = {
    BROKER: "HEATERS_KAFKA_BOOTSTRAP",
    DATABASE: "HEATERS_DATABASE_URL",
    OBJECTS: "HEATERS_S3_ENDPOINT",
}
"""The setting that replaces an embedded server by another one."""

PORTS = range(20_000, 32_000)
"""Below the range from which systems pick outgoing ports, so that nobody takes a port while its server restarts."""


@dataclass(frozen=True)
class Home:
    """The folders of one stack and the settings it was given."""

    data: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    repository: Path = REPOSITORY

    @property
    def stack_file(self) -> Path:
        """Identity, ports and secrets."""
        return self.data / "stack.json"

    @property
    def state_file(self) -> Path:
        """What the supervisor last saw; holds no secret."""
        return self.data / "state.json"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the one supervisor of this folder."""
        return self.data / "supervisor.lock"

    @property
    def use_lock(self) -> Path:
        """Shared by everyone who uses the stack."""
        return self.data / "in-use.lock"

    @property
    def keep_file(self) -> Path:
        """Its presence keeps the stack running while nobody uses it."""
        return self.data / "keep"

    @property
    def down_file(self) -> Path:
        """Its presence says that a person took the stack down, so that nobody who waits for it starts it again."""
        return self.data / "down"

    @property
    def logs(self) -> Path:
        """One log for each part."""
        return self.data / "logs"

    @property
    def objects(self) -> Path:
        """The embedded object store's files."""
        return self.data / "objects"

    @property
    def scratch(self) -> Path:
        """Temporary files of running work."""
        return self.data / "tmp"

    def log(self, part: str) -> Path:
        """The log of one part."""
        return self.logs / f"{part}.log"

    @property
    def services(self) -> tuple[str, ...]:
        """The services that this stack runs: all, those that HEATERS_STACK_SERVICES lists, or ``none``."""
        wanted = self.settings.get("HEATERS_STACK_SERVICES", "")
        return tuple(name for name in SERVICES if name in wanted.split(",")) if wanted else SERVICES

    def external(self, server: str) -> str:
        """The address of the server that replaces an embedded one, or nothing."""
        return self.settings.get(EXTERNAL_SETTING[server], "")

    def create(self) -> None:
        """Makes the folders. The top one is searchable, for the database may run as another user; the rest is private."""
        self.data.mkdir(parents=True, exist_ok=True)
        self.data.chmod(0o711)
        for folder in (self.logs, self.objects, self.scratch):
            folder.mkdir(mode=0o700, exist_ok=True)


def find_home(environment: Mapping[str, str] | None = None, repository: Path = REPOSITORY) -> Home:
    """The home that the environment and the clone's ``.env`` name; nothing is created."""
    environment = os.environ if environment is None else environment
    settings = {**read_env_file(repository / ".env"), **{k: v for k, v in environment.items() if k.startswith(PREFIX)}}
    data = Path(settings.get("HEATERS_DATA") or repository / ".heaters").expanduser()
    return Home(data.absolute(), settings, repository)


def read_env_file(path: Path) -> dict[str, str]:
    """The ``HEATERS_`` settings of an env file: ``NAME=value`` lines, quotes and ``export`` allowed."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    return dict(_assignments(text))


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name.startswith(PREFIX):
            continue
        if value[:1] in {'"', "'"} and value[-1:] == value[:1] and len(value) > 1:
            value = value[1:-1]
        else:
            value = value.partition(" #")[0].rstrip()
        if value:
            yield name, value


@dataclass(frozen=True)
class Stack:
    """What was chosen once for a data folder."""

    id: str
    ports: Mapping[str, int]
    database_password: str
    access_key: str
    secret_key: str

    def port(self, part: str) -> int:
        """The loopback port of a part."""
        return self.ports[part]


def load_stack(home: Home) -> Stack | None:
    """The stack of a data folder, or nothing when none was ever started there."""
    found = read_json(home.stack_file)
    if not found:
        return None
    known = {name: found[name] for name in Stack.__dataclass_fields__}
    return Stack(**known)


def prepare_stack(home: Home) -> Stack:
    """The stack of a data folder, chosen now if there is none.

    Ports that somebody else holds are chosen anew, so this is to be called only while no part of the stack runs.
    """
    found = load_stack(home)
    ports = dict(found.ports) if found else {}
    taken = set(ports.values())
    for part in (*SERVERS, *SERVICES):
        if part not in ports or not is_free(ports[part]):
            ports[part] = free_port(taken)
            taken.add(ports[part])
    if found is None:
        stack = Stack(secrets.token_hex(8), ports, secrets.token_urlsafe(24), "heaters", secrets.token_urlsafe(24))
    else:
        stack = Stack(found.id, ports, found.database_password, found.access_key, found.secret_key)
    if stack != found:
        write_json(home.stack_file, {name: getattr(stack, name) for name in Stack.__dataclass_fields__}, mode=0o600)
    return stack


def is_free(port: int) -> bool:
    """Whether a loopback port can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(taken: Iterable[int]) -> int:
    """A loopback port that nobody holds and that is not among those taken."""
    candidates = [port for port in PORTS if port not in set(taken)]
    random.shuffle(candidates)
    for port in candidates:
        if is_free(port):
            return port
    message = f"no loopback port between {PORTS.start} and {PORTS.stop} is free; end the programs that hold them"
    raise OSError(message)


EMBEDDED_DEFAULTS = {
    BROKER: {
        # The embedded broker waits a fetch out even when data has arrived: the wait is the latency of a hop.
        "HEATERS_KAFKA_FETCH_WAIT_MS": "20",
        # So it is not asked while there is nothing to hear: services ring for each other.
        "HEATERS_KAFKA_DOZE": "2",
        "HEATERS_GENERATION_INTERVAL": "4",
        # It lets a group form only after half the session timeout, and never before a second.
        "HEATERS_KAFKA_SESSION_TIMEOUT_MS": "2000",
    },
    # Every connection is a process of the embedded database.
    DATABASE: {"HEATERS_DATABASE_POOL": "4"},
    OBJECTS: {},
}
"""Settings that suit an embedded server, unless a person has set them."""


def addresses(home: Home, stack: Stack) -> dict[str, str]:
    """The settings by which services, and anybody else, reach the servers and each other."""
    embedded = {
        BROKER: {"HEATERS_KAFKA_BOOTSTRAP": f"127.0.0.1:{stack.port(BROKER)}"},
        DATABASE: {
            "HEATERS_DATABASE_URL": (
                f"postgresql://heaters:{stack.database_password}@127.0.0.1:{stack.port(DATABASE)}/heaters"
            )
        },
        OBJECTS: {
            "HEATERS_S3_ENDPOINT": f"http://127.0.0.1:{stack.port(OBJECTS)}",
            "HEATERS_S3_ACCESS_KEY": stack.access_key,
            "HEATERS_S3_SECRET_KEY": stack.secret_key,
        },
    }
    ours = [server for server in SERVERS if not home.external(server)]
    found = {name: value for server in ours for name, value in EMBEDDED_DEFAULTS[server].items()}
    found |= home.settings
    for server in ours:
        found |= embedded[server]
    return found | {f"HEATERS_{service.upper()}_URL": service_url(stack, service) for service in SERVICES}


def service_url(stack: Stack, service: str) -> str:
    """Where a service answers HTTP."""
    return f"http://127.0.0.1:{stack.port(service)}"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; an absent or half-known file is an empty one."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, value: Mapping[str, Any], mode: int = 0o644) -> None:
    """Replaces a file by a JSON object, whole or not at all."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        json.dump(value, file, indent=1)
    fresh.replace(path)
