"""Runs a service: its loops, its port, its orderly end. One function, ``main``, is every service's entry.

Loops: the notification bell, the broker's generation, the consumer, the relay, the worker, the span writer, housekeeping, and what the
stage adds. A loop that ends takes the process with it, so that whoever supervises the process starts it afresh.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from contracts.errors import HeatersError, Transient
from services.chassis import health, logs, migrations, telemetry
from services.chassis.broker import Consumer
from services.chassis.db import PASSING
from services.chassis.housekeeping import keep_house
from services.chassis.runtime import Runtime, open_runtime
from services.chassis.settings import ChassisSettings, load
from services.chassis.stage import Stage
from services.chassis.worker import Worker

log = logging.getLogger(__name__)

START_TRIES = 120
START_PAUSE = 0.5

Loop = Callable[[Callable[[], None]], Awaitable[None]]


def main(stage: Stage, arguments: Sequence[str] | None = None) -> None:
    """Entry of ``python -m services.<stage>``."""
    parser = argparse.ArgumentParser(prog=f"python -m services.{stage.name}", description=f"The {stage.name} service.")
    parser.add_argument(
        "command",
        nargs="?",
        choices=["serve", "migrate"],
        default="serve",
        help="serve (the default), or bring the service's database schema up to date and end",
    )
    command = parser.parse_args(arguments).command
    settings = load(stage.settings)
    logs.configure(stage.name, settings)
    try:
        if command == "migrate":
            asyncio.run(_migrate(stage, settings))
        else:
            asyncio.run(_serve(stage, settings))
    except HeatersError as error:
        log.error(error.message, extra={"code": error.code})  # noqa: TRY400 - the sentence says it all.
        sys.exit(2)


async def _migrate(stage: Stage, settings: ChassisSettings) -> None:
    import psycopg

    for attempt in range(1, START_TRIES + 1):
        try:
            await asyncio.to_thread(migrations.upgrade, settings.database_url.get_secret_value(), stage.name)
            return
        except psycopg.OperationalError as error:
            if attempt == START_TRIES:
                raise Transient(
                    f"The database cannot be reached: {error}. Check HEATERS_DATABASE_URL.", code="database.unavailable"
                ) from error
            await asyncio.sleep(START_PAUSE)


async def _serve(stage: Stage, settings: ChassisSettings) -> None:
    if settings.migrate_on_start:
        await _migrate(stage, settings)
    runtime = open_runtime(stage, settings)
    listening = health.bind(settings, has_api=stage.http is not None and not stage.own_door)
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with health.serve(runtime, listening):
        # What the libraries brought stays for good: looking through it again would stop every request for a tenth of a second.
        gc.collect()
        gc.freeze()
        log.info("Started.", extra={"port": listening.getsockname()[1], "pid": os.getpid()})
        await run_loops(runtime, stop)
    log.info("Stopped.")


async def run_loops(runtime: Runtime, stop: asyncio.Event) -> None:
    """Runs the loops until ``stop`` is set or one of them ends; then stops the others in order."""
    poll = runtime.settings.poll_interval.total_seconds()
    loops: dict[str, Loop] = {
        "bell": lambda beat: runtime.bell.listen(beat, poll),
        "generation": runtime.watch.run,
        "relay": runtime.relay.run,
        "consumer": Consumer(runtime).run,
        "worker": Worker(runtime).run,
        "spans": lambda beat: _write_spans(runtime, beat),
        "housekeeping": lambda beat: keep_house(runtime, beat),
    }
    for extra in runtime.stage.loops:
        loops[extra.__name__] = functools.partial(_beating, runtime, extra)
    tasks = {
        asyncio.create_task(_named(loop, functools.partial(runtime.pulse.beat, name)), name=name)
        for name, loop in loops.items()
    }
    stopping = asyncio.create_task(stop.wait(), name="stop")
    done, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    for name in ("consumer", "worker", "relay", "generation", "bell", "spans"):
        await _cancel({task for task in tasks if task.get_name() == name})
    await _cancel({stopping, *tasks})
    with contextlib.suppress(*PASSING):
        await runtime.telemetry.flush(runtime.engine)
    await asyncio.to_thread(runtime.telemetry.shutdown)
    await runtime.close()
    for task in done - {stopping}:
        if not task.cancelled() and (raised := task.exception()):
            log.error("The %s loop ended; the service must start afresh.", task.get_name(), exc_info=raised)
            raise Transient(f"The {task.get_name()} loop ended with {raised!r}.", code="service.loop_ended")


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _named(loop: Loop, beat: Callable[[], None]) -> None:
    beat()
    await loop(beat)


async def _beating(runtime: Runtime, loop: Callable[[Runtime], Awaitable[None]], beat: Callable[[], None]) -> None:
    """A stage's own loop beats by itself; while its task lives it counts as turning."""
    task = asyncio.ensure_future(loop(runtime))
    try:
        while not task.done():
            beat()
            await asyncio.wait({task}, timeout=runtime.settings.poll_interval.total_seconds())
        await task
    finally:
        await _cancel({task})


async def _write_spans(runtime: Runtime, beat: Callable[[], None]) -> None:
    while True:
        beat()
        await asyncio.sleep(telemetry.FLUSH_SECONDS)
        try:
            await runtime.telemetry.flush(runtime.engine)
        except PASSING as error:
            log.warning("Spans could not be written; keeping them.", extra={"reason": repr(error)[:200]})
            await asyncio.sleep(1)
