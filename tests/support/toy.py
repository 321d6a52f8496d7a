"""A stage small enough to test the chassis with: its work does whatever its order says."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from uuid import UUID

from contracts.envelope import derived_id
from contracts.errors import Permanent, Transient
from contracts.events.v1.ingest import IngestRequested
from contracts.events.v1.video import VideoDownloadFailed, VideoDownloadStarted, VideoRejected
from contracts.values import Failure, Value
from services.chassis.ledger import Ledger
from services.chassis.settings import ChassisSettings
from services.chassis.stage import Job, Limits, Routes, Stage

VIDEO = UUID(int=7)


class Order(Value):
    video_id: UUID
    name: str
    does: str = "succeed"


class Result(Value):
    text: str


def do(order: Order, desk) -> Result:
    """Does what the order says; ``once:`` does it the first time only."""
    what = order.does
    if what.startswith("once:"):
        mark = desk.kept / "been-here"
        what = "succeed" if mark.exists() else what.removeprefix("once:")
        mark.touch()
    (Path(os.environ["HEATERS_TOY_LOG"]) / f"{order.name}-{time.time_ns()}").touch()
    match what:
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case "refuse":
            raise Permanent("This will never work; change the order.", code="toy.refused")
        case "stumble":
            raise Transient("This may work later.", code="toy.stumbled")
        case "bug":
            raise KeyError("nobody expected this")
        case "swell":
            keep = [bytearray(50_000_000) for _ in range(40)]
            for block in keep:
                block[::4096] = b"x" * len(block[::4096])
            time.sleep(30)
        case "sleep":
            for second in range(600):
                desk.progress(second, 600, unit="naps")
                time.sleep(0.1)
    with desk.step("write"):
        return Result(text=f"done {order.name}")


def settle(orders, desk):
    """As they stand now: with another name. An order that is to stumble does so here."""
    if any(order.does == "stumble" for order in orders):
        raise Transient("What this depends on does not answer.", code="toy.unsettled")
    found = [order.model_copy(update={"name": f"{order.name}-now"}) for order in orders]
    return found, [f"toy/{order.name}/result.json" for order in found]


def do_batch(orders, desk):
    for index, order in enumerate(orders):
        try:
            yield index, do(order, desk)
        except Permanent as error:
            yield index, error


def _started(order: Order, run: int):
    return [VideoDownloadStarted(video_id=order.video_id, run=run)]


def _succeeded(order: Order, run: int, result: Result):
    # Any event will do: the rejection's sentence carries the result.
    return [
        VideoRejected(
            video_id=order.video_id,
            failure=Failure(stage="ingest", error_class="permanent", code="toy.done", message=result.text),
        )
    ]


def _failed(order: Order, run: int, failure: Failure):
    return [VideoDownloadFailed(video_id=order.video_id, run=run, failure=failure)]


def job(**changes) -> Job:
    fields = {
        "kind": "toy",
        "input": Order,
        "result": Result,
        "work": "tests.support.toy:do",
        "started": _started,
        "succeeded": _succeeded,
        "failed": _failed,
        "marker": lambda order: f"toy/{order.name}/result.json",
        "limits": Limits(attempts=3, memory_bytes=700_000_000),
    }
    return Job(**{**fields, **changes})


TOY = job()


def stage(toy: Job = TOY, *, handler=None) -> Stage:
    routes = Routes()

    async def accept(event: IngestRequested, ledger: Ledger) -> None:
        name = event.idempotency_key or "nameless"
        does = event.title or "succeed"
        video_id = derived_id("toy", name)
        await ledger.enqueue(
            toy, Order(video_id=video_id, name=name, does=does), key=f"toy:{name}", video_id=video_id, batch="all"
        )

    routes.on(IngestRequested)(handler or accept)
    return Stage(name="ingest", settings=ChassisSettings, routes=routes, jobs=(toy,))
