"""The embedded stack with its real servers and stand-ins for the six services."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import psycopg
import pytest
from botocore.config import Config

from console import database, remains, stack
from console.home import REPOSITORY, SERVICES, Home, load_stack

PATIENCE = 60.0
STAND_IN = """
import http.server, json, os, signal, subprocess, sys

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
subprocess.Popen(["sleep", "1000"])


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(dict(os.environ)).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.HTTPServer(("127.0.0.1", int(os.environ["HEATERS_HTTP_PORT"])), Answer).serve_forever()
"""


def make_home(folder: Path, **settings: str) -> Home:
    repository = folder / "repository"
    (repository / "services").mkdir(parents=True)
    for name in ("console", "contracts", "deploy", "services/chassis", "services/__init__.py"):
        (repository / name).symlink_to(REPOSITORY / name)
    for service in SERVICES:
        (repository / "services" / service).mkdir()
        (repository / "services" / service / "__init__.py").touch()
        (repository / "services" / service / "__main__.py").write_text(STAND_IN)
    return Home(folder / "data", settings, repository)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = make_home(tmp_path_factory.mktemp("stack"))
    with ended(home):
        yield home


@contextlib.contextmanager
def ended(home: Home):
    try:
        yield
    finally:
        stack.take_down(home)
        known = load_stack(home)
        left = remains.find(stack_id=known.id) if known else set()
        home.stack_file.unlink(missing_ok=True)
        database.forget_orphans()
        assert left == set()


def bring_up(home: Home, **extra) -> stack.Access:
    with stack.use(home):
        return stack.bring_up(home, keep=True, until=stack.all_ready, patience=PATIENCE, **extra)


def part(home: Home, name: str) -> dict:
    return next(part for part in stack.read_state(home)["parts"] if part["name"] == name)


def wait_until(condition, patience: float = PATIENCE):
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.02)
    return found


def has_returned(home: Home, name: str, before: dict) -> bool:
    now = part(home, name)
    return now["state"] == "ready" and now["pid"] != before["pid"]


def seen_by(home: Home, service: str) -> dict[str, str]:
    with urllib.request.urlopen(part(home, service)["address"] + "/health/ready", timeout=5) as answer:
        return json.loads(answer.read())


def query(access: stack.Access, statement: str) -> list:
    with psycopg.connect(access.settings["HEATERS_DATABASE_URL"], autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def generation(access: stack.Access) -> str:
    from deploy.topics import _read_generation

    return str(asyncio.run(_read_generation(access.settings["HEATERS_KAFKA_BOOTSTRAP"])))


def test_every_part_comes_up_and_services_get_the_addresses(home):
    access = bring_up(home)
    for service in SERVICES:
        environment = seen_by(home, service)
        for name in ("HEATERS_KAFKA_BOOTSTRAP", "HEATERS_DATABASE_URL", "HEATERS_S3_ENDPOINT", "HEATERS_S3_SECRET_KEY"):
            assert environment[name] == access.settings[name]
        assert environment["HEATERS_HTTP_PORT"] == access.service(service).rpartition(":")[2]
        assert Path(environment["HEATERS_TEMP_DIR"]).is_dir()
    assert query(access, "SELECT current_user, extversion IS NOT NULL FROM pg_extension WHERE extname = 'vector'") == [
        ("heaters", True)
    ]


def test_the_bucket_exists_and_takes_objects(home):
    from services.chassis.objects import open_store
    from services.chassis.settings import ChassisSettings

    settings = bring_up(home).settings
    store = open_store(
        ChassisSettings(
            s3_endpoint=settings["HEATERS_S3_ENDPOINT"],
            s3_access_key=settings["HEATERS_S3_ACCESS_KEY"],
            s3_secret_key=settings["HEATERS_S3_SECRET_KEY"],
        )
    )
    assert store.get_bytes(store.put_bytes(b"whole", "uploads/x", "text/plain").key) == b"whole"


def test_what_a_killed_object_server_was_writing_is_cleared_and_what_was_whole_stays(home):
    settings = bring_up(home).settings
    client = boto3.client(
        "s3",
        endpoint_url=settings["HEATERS_S3_ENDPOINT"],
        aws_access_key_id=settings["HEATERS_S3_ACCESS_KEY"],
        aws_secret_access_key=settings["HEATERS_S3_SECRET_KEY"],
        region_name="us-east-1",
        config=Config(signature_version="s3v4"),
    )
    client.put_object(Bucket="heaters", Key="halves/.tmp.kept", Body=b"whole")
    # What is left of a server that was killed while it noted what it had stored.
    told = home.objects / "heaters/.nanio-meta/halves/told.json.tmp"
    told.write_bytes(b"{")
    address = urlsplit(client.generate_presigned_url("put_object", Params={"Bucket": "heaters", "Key": "halves/half"}))

    def listed():
        return sorted(found["Key"] for found in client.list_objects_v2(Bucket="heaters", Prefix="halves/")["Contents"])

    with socket.create_connection((address.hostname, address.port)) as sending:
        request = (
            f"PUT {address.path}?{address.query} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 1000000\r\n\r\n"
        )
        sending.sendall(request.encode() + b"half")
        wait_until(lambda: len(listed()) == 2, 20)
        before = part(home, "objects")
        os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: has_returned(home, "objects", before), 20)
    wait_until(lambda: listed() == ["halves/.tmp.kept"] and not told.exists(), 20)
    client.put_object(Bucket="heaters", Key="halves/told", Body=b"whole")
    assert client.get_object(Bucket="heaters", Key="halves/told")["Body"].read() == b"whole"


def test_a_second_start_joins_the_running_stack(home):
    bring_up(home)
    supervisor = stack.read_state(home)["pid"]
    assert not bring_up(home).started
    assert stack.read_state(home)["pid"] == supervisor


def test_a_second_supervisor_refuses_the_folder(home):
    bring_up(home)
    assert stack.spawn(home).wait(timeout=20) == 3


def test_secrets_are_for_the_owner_only(home):
    bring_up(home)
    assert home.stack_file.stat().st_mode & 0o777 == 0o600
    password = load_stack(home).database_password
    assert password not in home.state_file.read_text()
    assert all(password not in log.read_text(errors="replace") for log in home.logs.glob("*.log"))


def test_the_database_refuses_a_wrong_password(home):
    url = bring_up(home).settings["HEATERS_DATABASE_URL"].replace(load_stack(home).database_password, "wrong")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url).close()


@pytest.mark.parametrize("name", ["objects", "ingest", "embed"])
def test_a_killed_part_comes_back_at_its_address(home, name):
    bring_up(home)
    before = part(home, name)
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: has_returned(home, name, before), 20)
    assert part(home, name)["address"] == before["address"]


def test_a_killed_service_leaves_no_child(home):
    bring_up(home)
    before = part(home, "scenes")
    sleeper = wait_until(lambda: children_of(before["pid"]), 10)[0]
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: has_returned(home, "scenes", before), 20)
    assert not remains.birth(sleeper)


def test_a_killed_preloader_brings_every_service_back(home):
    bring_up(home)
    before = {name: part(home, name) for name in ("preloader", *SERVICES)}
    os.kill(before["preloader"]["pid"], signal.SIGKILL)
    wait_until(lambda: all(has_returned(home, name, then) for name, then in before.items()), 30)


def test_a_killed_database_keeps_what_was_committed(home):
    access = bring_up(home)
    query(access, "CREATE TABLE IF NOT EXISTS kept (n int)")
    query(access, "INSERT INTO kept VALUES (7)")
    before = part(home, "database")
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: has_returned(home, "database", before), 30)
    assert query(access, "SELECT n FROM kept") == [(7,)]
    query(access, "DROP TABLE kept")


def test_a_killed_broker_returns_with_topics_and_another_generation(home):
    access = bring_up(home)
    lost = generation(access)
    before = part(home, "broker")
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: has_returned(home, "broker", before), 20)
    assert generation(access) not in {lost, "None"}


def test_a_killed_supervisor_takes_everything_with_it_and_the_next_one_starts(home):
    access = bring_up(home)
    query(access, "CREATE TABLE outlives (n int)")
    supervisor = stack.read_state(home)["pid"]
    os.kill(supervisor, signal.SIGKILL)
    wait_until(
        lambda: not [pid for pid in remains.find(stack_id=load_stack(home).id) if not remains.is_zombie(pid)], 10
    )
    assert not stack.is_up(home)
    again = bring_up(home)
    assert again.started
    assert again.settings == access.settings
    query(again, "DROP TABLE outlives")


def test_everything_killed_at_once_starts_again(home):
    bring_up(home)
    for pid in {stack.read_state(home)["pid"], *remains.find(stack_id=load_stack(home).id)}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert bring_up(home).started


def test_a_stack_that_nobody_uses_stops_by_itself(home):
    bring_up(home)
    home.keep_file.unlink()
    state = stack.read_state(home)
    stack.wait_for_end(home, state, 20)
    with stack.use(home):
        stack.bring_up(home, keep=False, until=stack.all_ready, patience=PATIENCE)
        time.sleep(1.5)
        assert stack.is_up(home)
    stack.wait_for_end(home, stack.read_state(home) or state, 20)


def test_a_stack_whose_folder_is_taken_away_stops(tmp_path):
    home = make_home(tmp_path)
    with stack.use(home):
        stack.bring_up(home, keep=True, until=bool, patience=PATIENCE)
        state = stack.read_state(home)
        known = load_stack(home)
    home.data.rename(tmp_path / "elsewhere")
    stack.wait_for_end(home, state, 30)
    assert remains.find(stack_id=known.id) == set()


def test_external_servers_are_used_and_not_started(home, tmp_path):
    theirs = bring_up(home).settings
    names = (
        "HEATERS_KAFKA_BOOTSTRAP",
        "HEATERS_DATABASE_URL",
        "HEATERS_S3_ENDPOINT",
        "HEATERS_S3_ACCESS_KEY",
        "HEATERS_S3_SECRET_KEY",
    )
    ours = make_home(tmp_path, **{name: theirs[name] for name in names}, HEATERS_S3_BUCKET="another")
    with ended(ours):
        bring_up(ours)
        assert [part(ours, name)["state"] for name in ("broker", "database", "objects")] == ["external"] * 3
        assert [part(ours, name)["pid"] for name in ("broker", "database", "objects")] == [0, 0, 0]
        assert seen_by(ours, "ingest")["HEATERS_DATABASE_URL"] == theirs["HEATERS_DATABASE_URL"]
        assert load_stack(home).database_password not in ours.state_file.read_text()
        assert (home.objects / "another").is_dir()


def test_data_may_lie_where_nobody_else_may_enter(tmp_path):
    """Root runs the database as somebody else, who is given a place that can be reached."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    home = make_home(closed)
    with ended(home):
        access = bring_up(home)
        query(access, "SELECT 1")
        place = database.ELSEWHERE / load_stack(home).id
        data = place / "data" if os.geteuid() == 0 else home.data / "postgres"
        assert (home.data / "postgres").resolve() == data
    # A database whose stack is forgotten is removed with it.
    assert not place.exists()


def children_of(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []
