"""Programs forked from a warm process: what they inherit, how their end is told, and who dies with whom."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys

import psutil
import pytest

from services.chassis import forks
from services.chassis.forks import Warm
from tests.support.services import WARM, at_work

PROGRAM = """
import json, os, signal, subprocess, sys, time
warm = "precious" in sys.modules
match sys.stdin.readline().split():
    case ["tell"]:
        facts = {"pid": os.getpid(), "session": os.getsid(0), "parent": os.getppid(), "warm": warm}
        print(json.dumps(facts | {"greeting": os.environ.get("GREETING")}))
    case ["exit", code]:
        sys.exit(int(code))
    case ["die"]:
        os.kill(os.getpid(), signal.SIGKILL)
    case ["breed"]:
        print(json.dumps({"pid": subprocess.Popen(["sleep", "600"]).pid}))
    case ["wait"]:
        print(json.dumps({"pid": os.getpid()}), flush=True)
        time.sleep(600)
"""


@pytest.fixture
def environment(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "precious.py").touch()
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}


@pytest.fixture
async def warm(environment):
    warm = Warm(["precious"], environment)
    yield warm
    await warm.close()


@contextlib.asynccontextmanager
async def told(warm, what, **more):
    """A program that was told something, and what it says."""
    async with warm.talk("program", **more) as (child, reader, writer):
        writer.write(what.encode() + b"\n")
        yield child, reader


async def answer(reader):
    return json.loads(await reader.readline())


def warming(starter):
    """The one process that a process has others forked from."""
    [process] = at_work(starter, WARM)
    return process.pid


async def gone(pid):
    """Waits until a process has ended."""
    async with asyncio.timeout(20):
        with contextlib.suppress(psutil.NoSuchProcess):
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(0.02)


async def test_a_program_has_its_streams_its_environment_and_what_was_imported(warm):
    async with told(warm, "tell", environment={"GREETING": "hello"}) as (child, reader):
        facts = await answer(reader)
        assert await child.ended == 0
    assert facts["pid"] == facts["session"] == child.pid
    assert (facts["warm"], facts["greeting"]) == (True, "hello")


async def test_programs_share_one_parent_and_none_of_their_environment(warm):
    async with told(warm, "tell", environment={"GREETING": "hello"}) as (_, one), told(warm, "tell") as (_, other):
        first, second = await answer(one), await answer(other)
    assert first["parent"] == second["parent"] != os.getpid()
    assert second["greeting"] is None


@pytest.mark.parametrize(("what", "status"), [("exit 0", 0), ("exit 7", 7), ("die", -signal.SIGKILL), ("", 0)])
async def test_the_end_of_a_program_is_told_by_its_exit_status(warm, what, status):
    async with told(warm, what) as (child, reader):
        assert await reader.read() == b""
        assert await child.ended == status


async def test_what_a_program_leaves_running_is_ended_with_it(warm):
    async with told(warm, "breed") as (child, reader):
        left = (await answer(reader))["pid"]
        assert await child.ended == 0
    await gone(left)


async def test_the_warm_process_dies_with_its_programs_and_the_next_order_gets_another(warm):
    async with told(warm, "tell") as (_, reader):
        parent = (await answer(reader))["parent"]
    async with told(warm, "wait") as (child, reader):
        await answer(reader)
        os.kill(parent, signal.SIGKILL)
        assert await child.ended == -signal.SIGKILL
        await gone(child.pid)
    async with told(warm, "tell") as (child, reader):
        assert (await answer(reader))["parent"] != parent
        assert await child.ended == 0


async def test_an_order_fails_when_the_warm_process_cannot_start(environment, tmp_path):
    (tmp_path / "precious.py").write_text("import os; os._exit(3)")
    warm = Warm(["precious"], environment)
    try:
        with pytest.raises(ConnectionError):
            async with told(warm, "tell"):
                pass
        (tmp_path / "precious.py").write_text("")
        async with told(warm, "tell") as (child, reader):
            assert (await answer(reader))["warm"]
            assert await child.ended == 0
    finally:
        await warm.close()


async def test_what_cannot_be_imported_is_left_to_the_program(environment):
    warm = Warm(["not_there_at_all", "precious"], environment)
    try:
        async with told(warm, "tell") as (child, reader):
            assert (await answer(reader))["warm"]
            assert await child.ended == 0
    finally:
        await warm.close()


async def test_without_work_the_warm_process_ends_after_a_rest_and_never_under_a_program(warm, monkeypatch):
    monkeypatch.setattr(forks, "REST_SECONDS", 0.3)
    async with told(warm, "wait") as (child, reader):
        await answer(reader)
        parent = psutil.Process(child.pid).ppid()
        await asyncio.sleep(1)
        assert psutil.pid_exists(parent)
        assert not child.ended.done()
        child.send(signal.SIGKILL)
        assert await child.ended == -signal.SIGKILL
    await gone(parent)
    async with told(warm, "tell") as (child, reader):
        assert (await answer(reader))["parent"] != parent
        assert await child.ended == 0


async def test_what_was_imported_ahead_of_work_serves_it_and_goes_when_none_comes(warm, monkeypatch):
    await warm.warm_up()
    ahead = warming(os.getpid())
    async with told(warm, "tell") as (child, reader):
        assert (await answer(reader))["parent"] == ahead
        assert await child.ended == 0
    await warm.warm_up()
    assert warming(os.getpid()) == ahead
    monkeypatch.setattr(forks, "REST_SECONDS", 0.1)
    await warm.warm_up()
    await gone(ahead)


async def test_a_start_that_takes_longer_than_a_rest_is_no_rest(warm, tmp_path, monkeypatch):
    monkeypatch.setattr(forks, "REST_SECONDS", 0.05)
    (tmp_path / "precious.py").write_text("import time; time.sleep(0.5)")
    async with told(warm, "tell") as (_, one), told(warm, "tell") as (_, other):
        assert (await answer(one))["parent"] == (await answer(other))["parent"]


async def test_everything_dies_with_the_process_that_wanted_it(environment):
    starter = f"""
import asyncio, socket, sys
from services.chassis.forks import Warm
async def main():
    ours, theirs = socket.socketpair()
    child = await Warm(["precious"], {environment!r}).fork("program", streams=(theirs.fileno(), 1, 2))
    ours.send(b"wait\\n")
    await child.ended
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", starter, stdout=asyncio.subprocess.PIPE, env=environment
    )
    child = (await answer(process.stdout))["pid"]
    parent = psutil.Process(child).ppid()
    process.kill()
    await process.wait()
    await gone(child)
    await gone(parent)
