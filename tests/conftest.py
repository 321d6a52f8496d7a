from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings

from services.media.scheduling import wait_turns
from tests.support.live import LiveStack
from tests.support.servers import Broker, Servers, own_broker, serve

# How long an example takes depends on who else uses the machine, and tells nothing of whether it holds.
settings.register_profile("heaters", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("heaters")


def pytest_addoption(parser) -> None:
    parser.addoption("--full", action="store_true", help="the same tests with the bigger numbers")
    parser.addoption("--screens", action="store_true", help="writes docs/screens anew")
    parser.addoption("--kill-seed", type=int, default=1, help="seed of the storm of kills")


def pytest_configure(config) -> None:
    config.addinivalue_line("markers", "scaled: does more under --full")


@pytest.fixture(autouse=True)
def ordinary_priority() -> Iterator[None]:
    """No test leaves its thread with a real-time priority, which everything started after it would inherit."""
    yield
    if sys.platform == "linux":
        found = os.sched_getscheduler(0)
        wait_turns()
        assert found == os.SCHED_OTHER


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
