"""Real servers for tests: those that settings name, or the embedded ones, started once for a test run."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql

from console.home import free_port
from console.supervisor import broker_program
from deploy.topics import ensure_topics
from tests.support.live import LiveStack


@dataclass(frozen=True)
class Servers:
    """Addresses of a database server and an object store, and how to get a broker of one's own."""

    database_url: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str

    def settings(self, broker: str) -> dict[str, object]:
        """Settings with a database and a bucket that nobody else uses."""
        name = f"test_{uuid4().hex[:12]}"
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return {
            "kafka_bootstrap": broker,
            "kafka_group": name,
            "kafka_fetch_wait_ms": 20,
            "kafka_session_timeout_ms": 2_000,
            "database_url": self.database_url.rsplit("/", 1)[0] + f"/{name}",
            "s3_endpoint": self.s3_endpoint,
            "s3_access_key": self.s3_access_key,
            "s3_secret_key": self.s3_secret_key,
            "s3_bucket": name.replace("_", "-"),
        }


class Broker:
    """An embedded broker that a test may kill. It comes back on the same port, with nothing in it."""

    def __init__(self) -> None:
        self.address = f"127.0.0.1:{free_port([])}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        url = f"tcp://{self.address}"
        self._process = subprocess.Popen(
            [
                str(broker_program()),
                "broker",
                "--listener-url",
                url,
                "--advertised-listener-url",
                url,
                "--storage-engine",
                "memory://tests/",
                "--silent",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        ensure_topics(self.address)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def own_broker() -> Iterator[Broker]:
    broker = Broker()
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[Servers]:
    """Starts an embedded database server and object store, without any service."""
    stack = LiveStack(folder, {"HEATERS_STACK_SERVICES": "none"})
    stack.up()
    try:
        settings = stack.settings
        yield Servers(
            database_url=settings["HEATERS_DATABASE_URL"],
            s3_endpoint=settings["HEATERS_S3_ENDPOINT"],
            s3_access_key=settings["HEATERS_S3_ACCESS_KEY"],
            s3_secret_key=settings["HEATERS_S3_SECRET_KEY"],
        )
    finally:
        stack.down()
