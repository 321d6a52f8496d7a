"""A whole stack of its own, driven as an operator would: by the bootstrap's commands, and by killing its processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
from psycopg.rows import dict_row

from console.home import SERVICES, addresses, find_home, load_stack
from services.chassis.objects import S3Store
from services.chassis.settings import ChassisSettings
from services.chassis.worker import CHILD
from tests.support.services import WARM, at_work

ROOT = Path(__file__).parents[2]
SERVERS = ("broker", "database", "objects")
FINAL = {"embedded", "review_skipped", "cleaned", "superseded", "export_failed", "keyframe_failed", "embedding_failed"}


class LiveStack:
    """One stack in a folder of its own. ``environment`` may name external servers."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HEATERS_")},
            "HEATERS_DATA": str(folder),
            "PYTHONPATH": str(ROOT),
            **(environment or {}),
        }

    def console(
        self, *arguments: str | Path, timeout: float = 600, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs the console as the bootstrap would."""
        done = subprocess.run(
            [sys.executable, "-m", "console", *map(str, arguments)],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{arguments} ended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}\n{self.logs()}"
            )
        return done

    def run(self, *files: str | Path, out: Path, check: bool = True, timeout: float = 900) -> dict:
        """``run --json``; the parsed document."""
        done = self.console("run", "--out", out, "--json", *files, check=check, timeout=timeout)
        return json.loads(done.stdout)

    def up(self) -> None:
        self.console("up")

    def down(self) -> None:
        self.console("down", check=False)

    @property
    def settings(self) -> dict[str, str]:
        home = find_home(self.environment)
        stack = load_stack(home)
        assert stack is not None
        return {**home.settings, **addresses(home, stack)}

    @property
    def bootstrap(self) -> str:
        return self.settings["HEATERS_KAFKA_BOOTSTRAP"]

    def url(self, service: str) -> str:
        return self.settings[f"HEATERS_{service.upper()}_URL"]

    def query(self, statement: str, *values: object) -> list[dict]:
        with psycopg.connect(
            self.settings["HEATERS_DATABASE_URL"], row_factory=dict_row, autocommit=True
        ) as connection:
            return connection.execute(statement, values).fetchall()

    def store(self) -> S3Store:
        settings = self.settings
        return S3Store(
            ChassisSettings(
                s3_endpoint=settings["HEATERS_S3_ENDPOINT"],
                s3_access_key=settings["HEATERS_S3_ACCESS_KEY"],
                s3_secret_key=settings["HEATERS_S3_SECRET_KEY"],
                s3_bucket=settings.get("HEATERS_S3_BUCKET", "heaters"),
            )
        )

    def state(self) -> dict:
        try:
            return json.loads((self.folder / "state.json").read_text())
        except (OSError, ValueError):
            return {}

    def pid(self, part: str) -> int:
        """The process of a part; 0 while it has none."""
        if part == "supervisor":
            return self.state().get("pid", 0)
        return next((found["pid"] for found in self.state().get("parts", ()) if found["name"] == part), 0)

    def kill(self, part: str) -> bool:
        """SIGKILL for a part (for ``child`` and ``warm``: a process at work, or one they are forked from; for ``stack``:
        everything). Whether there was one."""
        if part == "stack":
            pids = [self.pid("supervisor")]
            if pids[0] and psutil.pid_exists(pids[0]):
                pids += [child.pid for child in psutil.Process(pids[0]).children(recursive=True)]
        elif part in {"child", "warm"}:
            program = CHILD if part == "child" else WARM
            pids = [process.pid for service in SERVICES for process in self.children(service, program)][:1]
        else:
            pids = [self.pid(part)]
        killed = False
        for pid in pids:
            if pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                    killed = True
                except ProcessLookupError:
                    continue
        return killed

    def children(self, service: str, program: str = CHILD) -> list[psutil.Process]:
        """The processes of a service that are at work, or the one that they are forked from."""
        pid = self.pid(service)
        return at_work(pid, program) if pid else []

    def wait(self, until: Callable[[], object], timeout: float = 300, what: str = "", every: float = 0.2) -> object:
        """Polls until something is true; database errors meanwhile are what a killed server looks like."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                if found := until():
                    return found
            except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
                pass
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout} s for {what}\n{self.logs()}")
            time.sleep(every)

    def clips(self, video_id: str) -> list[dict]:
        return self.query(
            "SELECT id::text, state FROM review.clip WHERE video_id = %s ORDER BY start_frame, id", video_id
        )

    def finished(self, video_id: str) -> bool:
        """Whether every clip of a video has come to its end, and every model has seen it."""
        clips = self.clips(video_id)
        if not clips or any(clip["state"] not in FINAL for clip in clips):
            return False
        return not self.query(
            "SELECT 1 FROM embed.work WHERE video_id = %s AND state IN ('waiting', 'running') LIMIT 1", video_id
        )

    def unfinished_work(self) -> list[dict]:
        """Rows of every ledger that are not done."""
        return [
            {"service": service, **row}
            for service in SERVICES
            for row in self.query(f"SELECT kind, state, error FROM {service}.work WHERE state <> 'done'")
        ]

    def snapshot(self) -> dict:
        """What must be the same however often the stack was killed on the way."""
        store = self.store()
        objects = {key: store.head(key).sha256 for key in store.list("")}
        events: Counter[tuple[str, str]] = Counter()
        for service in SERVICES:
            for row in self.query(f"SELECT type, aggregateid FROM {service}.outbox"):
                events[row["type"], row["aggregateid"]] += 1
        return {"objects": objects, "events": dict(events)}

    def logs(self, lines: int = 15) -> str:
        told = []
        for path in sorted((self.folder / "logs").glob("*.log")):
            tail = [line for line in path.read_text(errors="replace").splitlines() if '"level": "info"' not in line][
                -lines:
            ]
            if tail:
                told += [f"--- {path.name}", *(line[:400] for line in tail)]
        return "\n".join(told)
