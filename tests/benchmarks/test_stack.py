"""What the embedded stack costs: a hop between services, idling, starting. Printed, with the limit beside each figure.

./heaters test tests/benchmarks -s
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from uuid import uuid4

import httpx
import psutil
import pytest

from console.home import SERVICES
from tests.support.live import ROOT, LiveStack


def report(what: str, measured: float, limit: float, unit: str) -> None:
    print(f"\n{what:<58} {measured:10.3f} {unit:<8} (limit {limit:g})")


@pytest.fixture(scope="module")
def idle(tmp_path_factory) -> LiveStack:
    stack = LiveStack(tmp_path_factory.mktemp("bench"))
    stack.up()
    try:
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="module")
def workless(tmp_path_factory) -> LiveStack:
    """A stack that hears and says everything, and does none of the work."""
    stack = LiveStack(tmp_path_factory.mktemp("workless"), {"HEATERS_WORKER_CONCURRENCY": "0"})
    stack.up()
    try:
        yield stack
    finally:
        stack.down()


def test_hop_from_outbox_commit_to_handler_start(workless):
    """Requests over HTTP go from review's outbox to ingest, and ingest's answers back: each span tells its hop."""
    with httpx.Client(base_url=workless.url("review"), timeout=30) as review:
        for _ in range(60):
            # Nobody works on it, so that nothing but the two hops is at work.
            request = {
                "source": {"kind": "object", "key": f"uploads/none/{uuid4().hex}.mp4"},
                "idempotency_key": uuid4().hex,
            }
            review.post("/api/requests", json=request).raise_for_status()
            time.sleep(0.4)
    time.sleep(3)
    for name in ("heaters.ingest.requested.v1", "heaters.video.accepted.v1"):
        rows = workless.query(
            "SELECT (attributes->>'heaters.hop_seconds')::float * 1000 AS hop FROM telemetry.span "
            "WHERE kind = 'consumer' AND name = %s ORDER BY started_at",
            f"accept {name}",
        )
        hops = [row["hop"] for row in rows][10:]
        report(f"hop of {name}, p50", statistics.median(hops), 30, "ms")
        report(f"hop of {name}, p95", sorted(hops)[int(len(hops) * 0.95)], 100, "ms")
        assert statistics.median(hops) <= 3 * 30


def _processes(stack: LiveStack) -> list[psutil.Process]:
    supervisor = psutil.Process(stack.pid("supervisor"))
    return [supervisor, *supervisor.children(recursive=True)]


def _cpu_seconds(processes: list[psutil.Process]) -> float:
    return sum(times.user + times.system for process in processes if (times := process.cpu_times()))


def test_an_idle_stack_costs_little(idle):
    time.sleep(5)
    processes = _processes(idle)
    before, began = _cpu_seconds(processes), time.monotonic()
    time.sleep(20)
    share = 100 * (_cpu_seconds(processes) - before) / (time.monotonic() - began)
    # Shared pages are counted once, by their proportional share.
    resident = sum(process.memory_full_info().pss for process in processes) / 1e6
    for process in processes:
        print(f"    {' '.join(process.cmdline())[:70]:<72} {process.memory_full_info().pss / 1e6:7.1f} MB")
    report("idle stack, CPU of one core", share, 5, "%")
    report("idle stack, resident", resident, 1000, "MB")
    assert share <= 15
    assert resident <= 1000


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_starts_quickly(idle, service):
    environment = {
        **os.environ,
        **idle.settings,
        "HEATERS_HTTP_PORT": "0",
        "HEATERS_KAFKA_GROUP": f"bench-{uuid4().hex[:6]}",
        "PYTHONPATH": str(ROOT),
    }
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", f"services.{service}"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        for line in process.stderr:
            if '"Consuming."' in line:
                break
        report(f"{service}, process start to consuming", time.monotonic() - began, 2, "s")
        assert time.monotonic() - began <= 6
    finally:
        process.terminate()
        process.communicate(timeout=40)


def test_the_second_start_is_quick(tmp_path):
    stack = LiveStack(tmp_path)
    stack.up()
    stack.down()
    began = time.monotonic()
    try:
        stack.console("up")
        report("second start of the whole stack, command to all ready", time.monotonic() - began, 3, "s")
    finally:
        stack.down()
