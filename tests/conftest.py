from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from services.media.scheduling import wait_turns
from tests.support.company import taking_part
from tests.support.live import LiveStack
from tests.support.servers import Broker, Servers, own_broker, serve

# How long an example takes depends on who else uses the machine, and tells nothing of whether it holds.
settings.register_profile("heaters", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("heaters")


HERE = Path(__file__).parent
SLOW_FIRST = ("web", "connected", "faults", "component", "architecture", "contracts", "property", "unit")
"""The order of folders when several processes share the tests, so that the last one to end does not end long after the others."""


def folder_of(path: Path) -> str:
    """The folder of a test, as CONTRIBUTING.md lists them."""
    return path.relative_to(HERE).parts[0]


def pytest_addoption(parser) -> None:
    parser.addoption("--full", action="store_true", help="the same tests with the bigger numbers")
    parser.addoption("--screens", action="store_true", help="writes docs/screens anew")
    parser.addoption("--kill-seed", type=int, default=1, help="seed of the storm of kills")


def pytest_configure(config) -> None:
    config.addinivalue_line("markers", "scaled: does more under --full")
    config.addinivalue_line("markers", "alone(reason): runs while no other process of this run is in a test")


def pytest_collection_modifyitems(config, items) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: SLOW_FIRST.index(folder_of(item.path)) if folder_of(item.path) in SLOW_FIRST else 0)


class Shares(LoadScopeScheduling):
    """What is handed to a process in one piece: a file, or a folder whose tests share a stack or a browser."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return str(Path(file).parent) if file.startswith(("tests/connected/", "tests/web/")) else file


def pytest_xdist_make_scheduler(config, log) -> Shares:
    return Shares(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Each test, with its fixtures, is in company or alone; what it waits for that is not of its time limit."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    with taking_part(alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.fixture(autouse=True)
def ordinary_priority() -> Iterator[None]:
    """No test leaves its thread with a real-time priority, which everything started after it would inherit."""
    yield
    if sys.platform == "linux":
        found = os.sched_getscheduler(0)
        wait_turns()
        assert found == os.SCHED_OTHER


@pytest.fixture
def rubbish_is_collected() -> Iterator[None]:
    """What a test leaves to the garbage collector is collected while the warning about it is expected.

    What was there before is left out: with every library loaded, one look at it takes longer than most tests.
    """
    gc.freeze()
    yield
    gc.collect()
    gc.unfreeze()


@dataclass(frozen=True)
class Scale:
    """How much to do: the first number as a rule, the second under ``--full``."""

    full: bool

    def __call__(self, ordinary, full):
        return full if self.full else ordinary


@pytest.fixture(scope="session")
def scale(request) -> Scale:
    return Scale(request.config.getoption("--full"))


@pytest.fixture(scope="session")
def servers(tmp_path_factory) -> Servers:
    """The servers that settings name, or embedded ones."""
    if "HEATERS_DATABASE_URL" in os.environ:
        yield Servers(
            database_url=os.environ["HEATERS_DATABASE_URL"],
            s3_endpoint=os.environ["HEATERS_S3_ENDPOINT"],
            s3_access_key=os.environ["HEATERS_S3_ACCESS_KEY"],
            s3_secret_key=os.environ["HEATERS_S3_SECRET_KEY"],
        )
    else:
        with serve(tmp_path_factory.mktemp("servers")) as servers:
            yield servers


@pytest.fixture
def broker() -> Broker:
    """A broker of the test's own, which it may kill."""
    with own_broker() as broker:
        yield broker


@pytest.fixture(scope="session")
def stack(tmp_path_factory) -> LiveStack:
    """A whole stack, shared by the tests that only use it; on the servers that settings name, if any."""
    external = {name: value for name, value in os.environ.items() if name.startswith("HEATERS_")}
    external.pop("HEATERS_DATA", None)
    stack = LiveStack(tmp_path_factory.mktemp("stack"), external)
    stack.up()
    try:
        yield stack
    finally:
        stack.down()
