"""The child process that does one go at a piece of work (or at a batch of them).

It reads its order from standard input and reports on standard output. It reaches neither broker nor database. It is forked
from a warm process of its service (``forks``) and dies with both; a limit on its CPU time bounds what a hostile file can cost.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from contracts.errors import HeatersError, Permanent, Transient
from contracts.values import Value
from services.chassis.desk import Desk, Voice
from services.chassis.objects import open_store
from services.chassis.settings import load


def main() -> None:
    """Entry of the process; exits with 0 when every item was reported, whatever its outcome."""
    _carry_out()
    # An orderly end would look at every object that was inherited; what is left is for the kernel to free.
    sys.stderr.flush()
    os._exit(0)


def _carry_out() -> None:
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    order = json.loads(sys.stdin.readline())
    # Standard input is the same socket: nobody whom the work starts may keep it open.
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    resource.setrlimit(resource.RLIMIT_CPU, (order["cpu_seconds"], order["cpu_seconds"] + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    voice = Voice(pipe)
    scratch, kept = Path(order["scratch"]), Path(order["kept"])
    shutil.rmtree(scratch, ignore_errors=True)
    for folder in (scratch, kept):
        folder.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    settings = load(_named(order["settings"]))
    desk = Desk(settings, open_store(settings), scratch, kept, order["traceparent"], voice)
    desk.keep_beating()
    os.nice(5)

    input_type: type[Value] = _named(order["input"])
    result_type: type[Value] = _named(order["result"])
    items: Sequence[Value] = [input_type.model_validate(item["input"]) for item in order["items"]]
    markers: Sequence[str] = [str(item["marker"]) for item in order["items"]]
    if order.get("settle"):
        try:
            items, markers = _named(order["settle"])(items, desk)
        except Exception as error:  # noqa: BLE001 - the child's edge, as below.
            for index in range(len(items)):
                _tell(voice, index, _classified(error), {})
            pipe.close()
            return
    for index, outcome, report in _outcomes(order, items, markers, result_type, desk):
        _tell(voice, index, outcome, report)
    pipe.close()


def _tell(voice: Any, index: int, outcome: Value | HeatersError, report: dict[str, Any]) -> None:
    if isinstance(outcome, HeatersError):
        voice.say(
            "failed",
            index=index,
            error_class=outcome.error_class.value,
            code=outcome.code,
            message=outcome.message,
            findings=[finding.model_dump(mode="json") for finding in outcome.findings],
            report=report,
        )
    else:
        voice.say("done", index=index, result=outcome.model_dump(mode="json"), report=report)


def _outcomes(
    order: dict[str, Any], items: Sequence[Value], markers: Sequence[str], result_type: type[Value], desk: Any
) -> Iterator[tuple[int, Value | HeatersError, dict[str, Any]]]:
    """Each item's outcome: found under its marker, or made now and put there."""
    todo: list[int] = []
    for index, marker in enumerate(markers):
        try:
            found = desk.objects.head(marker)
            if found is None:
                todo.append(index)
                continue
            outcome: Value | HeatersError = result_type.model_validate_json(desk.objects.get_bytes(marker))
        except ValidationError:
            # Written by a version that knew less, or damaged: the work is done again and the marker replaced.
            todo.append(index)
            continue
        except HeatersError as error:
            outcome = error
        yield index, outcome, {"reused": True}
    if not todo:
        return
    reported: set[int] = set()
    desk.timings.clear()
    began = time.monotonic()
    try:
        work = _named(order["work"])
        made = work([items[index] for index in todo], desk) if order["batch"] else _single(work, items[todo[0]], desk)
        for position, outcome in made:
            if isinstance(outcome, Value):
                body = json.dumps(outcome.model_dump(mode="json"), sort_keys=True).encode()
                desk.objects.put_bytes(body, markers[todo[position]], "application/json")
            reported.add(position)
            yield todo[position], outcome, _report(desk, began)
    except Exception as error:  # noqa: BLE001 - the child's edge: whatever happened becomes a failure with a code.
        for position, index in enumerate(todo):
            if position not in reported:
                yield index, _classified(error), _report(desk, began)
        return
    for position, index in enumerate(todo):
        if position not in reported:
            yield (
                index,
                Permanent(
                    "The work ended without an outcome for this item; this is a defect of the stage.",
                    code="worker.no_outcome",
                ),
                _report(desk, began),
            )


def _single(work: Any, item: Value, desk: Any) -> Iterator[tuple[int, Value]]:
    yield 0, work(item, desk)


def _report(desk: Any, began: float) -> dict[str, Any]:
    """Timings per step and the cost of the process so far; kept in the ledger, never in the result."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": round(time.monotonic() - began, 3),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "peak_memory_bytes": usage.ru_maxrss * 1024,
        "steps": {name: round(seconds, 3) for name, seconds in desk.timings.items()},
        "python": sys.version.split()[0],
    }


def _classified(error: Exception) -> HeatersError:
    if isinstance(error, HeatersError):
        return error
    if isinstance(error, MemoryError):
        return Transient(
            "The work ran out of memory; give the worker more, or lower its concurrency.", code="worker.out_of_memory"
        )
    if isinstance(error, OSError) and error.errno == 28:
        return Transient(
            "The scratch disk is full; free some space there or point HEATERS_TEMP_DIR elsewhere.",
            code="worker.disk_full",
        )
    import logging
    import traceback

    logging.getLogger(__name__).error("The work raised something unforeseen.", exc_info=error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return Transient(
        f"{type(error).__name__}: {error} (in {frame.name}, line {frame.lineno} of {Path(frame.filename).name}).",
        code="worker.unexpected",
    )


def _named(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


if __name__ == "__main__":
    main()
