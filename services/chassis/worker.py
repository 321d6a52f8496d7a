"""Claims work under a lease and has it done by child processes.

- A claim is a row locked with SKIP LOCKED and marked with a token; whoever loses the lease cannot finish the row.
- A crash in a codec, a memory blow-up or a hang ends one child, never the service.
- Success, its rows and its events commit in one transaction. A retryable failure waits, longer each time; a permanent
  one, or the last attempt, emits the failure event.
- The death of a child or a runner is no attempt: it is counted apart, and its limit is generous.

Children are forked from a process that has imported what the work needs (``forks``), and end with it and with the service.

Cost of a piece of work beyond the work itself: three transactions and a fork, milliseconds; a second of CPU more for the
first one after a rest, spent while the stage before is still at work where its events announce it (``Stage.heralds``).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from opentelemetry.trace import Span
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from contracts.envelope import to_kafka, without_nul
from contracts.errors import HeatersError, Permanent, Transient
from contracts.events.v1.operations import StageProgress
from contracts.values import ErrorClass, Failure, Finding, Value
from services.chassis import logs, metrics, telemetry
from services.chassis.bell import wait
from services.chassis.db import PASSING
from services.chassis.forks import Warm
from services.chassis.processes import Child
from services.chassis.settings import as_environment
from services.chassis.stage import Job

if TYPE_CHECKING:
    from services.chassis.ledger import Ledger
    from services.chassis.runtime import Runtime

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 1.0
WATCH_SECONDS = 0.5
CHILD = "services.chassis.child"
LINE_LIMIT = 64 << 20
"""Longest line a child may say: a result with all its values."""

_CLAIMABLE = "(state = 'waiting' AND not_before <= :now OR state = 'running' AND lease_until < :now)"
_PICK = text(f"""
    SELECT id, kind, batch FROM work WHERE {_CLAIMABLE}
    ORDER BY priority DESC, created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
""")  # noqa: S608 - constants only.
_PICK_BATCH = text(f"""
    SELECT id FROM work WHERE kind = :kind AND batch = :batch AND {_CLAIMABLE}
    ORDER BY created_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
""")  # noqa: S608 - constants only.
_CLAIM = text("""
    UPDATE work SET state = 'running', lease_token = :token, lease_until = :until, lease_owner = :owner,
        crashes = crashes + CASE WHEN state = 'running' THEN 1 ELSE 0 END, started_at = :now, progress = NULL
    WHERE id = ANY(:ids)
    RETURNING id, kind, video_id, clip_id, input, run, attempts, crashes, not_before, created_at, traceparent
""")
_RENEW = text("UPDATE work SET lease_until = :until WHERE id = ANY(:ids) AND lease_token = :token RETURNING id")
_END = text("""
    UPDATE work SET state = :state, lease_token = NULL, lease_until = NULL, lease_owner = NULL, attempts = :attempts,
        crashes = :crashes, not_before = :not_before, result = cast(:result AS jsonb), report = cast(:report AS jsonb),
        error = cast(:error AS jsonb), finished_at = CASE WHEN :final THEN cast(:now AS timestamptz) END
    WHERE id = :id AND lease_token = :token RETURNING id
""")
_GIVE_BACK = text("""
    UPDATE work SET state = 'waiting', lease_token = NULL, lease_until = NULL, lease_owner = NULL
    WHERE id = ANY(:ids) AND lease_token = :token
""")
_PROGRESS = text("UPDATE work SET progress = cast(:progress AS jsonb) WHERE id = ANY(:ids) AND lease_token = :token")
_NEXT = text("SELECT extract(epoch FROM min(not_before) - now()) FROM work WHERE state = 'waiting'")
_NEXT_LEASE = text("SELECT extract(epoch FROM min(lease_until) - now()) FROM work WHERE state = 'running'")
_HELD_HERE = text("SELECT DISTINCT lease_owner FROM work WHERE state = 'running' AND lease_owner LIKE :here")
_RELEASE = text("UPDATE work SET lease_until = :past WHERE state = 'running' AND lease_owner = ANY(:owners)")
_ALIVE = text("SELECT id::text FROM work WHERE state IN ('waiting', 'running')")
_DEPTH = text("""
    SELECT kind, state, count(*) AS depth, extract(epoch FROM now() - min(created_at)) AS age
    FROM work WHERE state IN ('waiting', 'running', 'failed') GROUP BY kind, state
""")


@dataclass
class Claim:
    """One row under lease."""

    id: UUID
    job: Job[Any, Any]
    order: Value
    video_id: UUID
    clip_id: UUID | None
    run: int
    attempts: int
    crashes: int
    waited: float
    traceparent: str
    span: Span | None = None
    settled: bool = False

    @property
    def cause(self) -> str:
        """What the row's events derive their ids from."""
        return f"{self.id}:{self.run}"

    @property
    def context(self) -> str:
        """The trace context of the work itself."""
        return telemetry.spell(self.span.get_span_context()) if self.span else self.traceparent


@dataclass
class Go:
    """One child process at work on one or more claims of the same kind."""

    claims: list[Claim]
    token: UUID
    began: datetime
    child: Child | None = None
    stopped: HeatersError | None = None
    last_heard: float = 0.0
    last_progress: float = 0.0
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def open(self) -> list[Claim]:
        """Claims without an outcome so far."""
        return [claim for claim in self.claims if not claim.settled]

    def stop(self, reason: HeatersError) -> None:
        """Kills the child; its open claims end with this reason."""
        if self.stopped is None:
            self.stopped = reason
        if self.child is not None:
            self.child.send(signal.SIGKILL)


class Worker:
    """The runners of one service."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._settings = runtime.settings
        self._root = runtime.settings.temp_dir / runtime.stage.name
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{_started_ticks(os.getpid())}"
        self._random = random.Random()  # noqa: S311 - jitter, not secrets.
        self._warm = Warm(
            [
                "boto3.s3.transfer",
                "services.chassis.desk:prepare",
                *sorted({_module_of(job.work) for job in runtime.stage.jobs}),
                *runtime.stage.late,
            ],
            {**os.environ, **as_environment(self._settings)},
        )

    async def run(self, beat: Callable[[], None]) -> None:
        """Claims and carries out work for ever; on cancellation the children die and the rows are given back."""
        if not self._runtime.stage.jobs or self._settings.worker_concurrency == 0:
            while True:
                beat()
                await asyncio.sleep(self._settings.poll_interval.total_seconds())
        running: set[asyncio.Task[None]] = set()
        warming = asyncio.create_task(self._warm_ahead())
        tidied = False
        try:
            while True:
                beat()
                try:
                    if not tidied:
                        await self._tidy()
                        tidied = True
                    go = await self._claim() if len(running) < self._settings.worker_concurrency else None
                    if go is not None:
                        running.add(asyncio.create_task(self._carry_out(go)))
                        continue
                    seconds = await self._pause()
                except PASSING as error:
                    log.warning("The ledger cannot be reached; trying again.", extra={"reason": repr(error)[:300]})
                    seconds = 1.0
                bell = asyncio.create_task(wait(self._runtime.bell.work, seconds))
                await asyncio.wait({bell, *running}, return_when=asyncio.FIRST_COMPLETED)
                bell.cancel()
                for task in [task for task in running if task.done()]:
                    running.discard(task)
                    if not task.cancelled() and (raised := task.exception()):
                        log.error("A go at some work ended badly; its lease will run out.", exc_info=raised)
        finally:
            for task in (warming, *running):
                task.cancel()
            await asyncio.gather(warming, *running, return_exceptions=True)
            await self._warm.close()

    async def _warm_ahead(self) -> None:
        """Has imported what children need when work is announced, so that it does not wait for that once it is there."""
        while True:
            await self._runtime.announced.wait()
            self._runtime.announced.clear()
            try:
                await self._warm.warm_up()
            except OSError as error:
                log.warning("Nothing could be imported ahead of work.", extra={"reason": repr(error)[:300]})

    async def _tidy(self) -> None:
        """At start-up: frees what dead runners of this machine held, and removes scratch that belongs to no open work."""
        here = f"{socket.gethostname()}:%"
        async with self._runtime.transaction(cause="tidy") as ledger:
            held = (await ledger.session.execute(_HELD_HERE, {"here": here})).scalars().all()
            dead = [owner for owner in held if not _alive(owner)]
            if dead:
                past = ledger.now - timedelta(seconds=1)
                await ledger.session.execute(_RELEASE, {"past": past, "owners": dead})
            alive = set((await ledger.session.execute(_ALIVE)).scalars().all())
        if self._root.is_dir():
            for folder in self._root.iterdir():
                if folder.name not in alive:
                    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _pause(self) -> float:
        """Seconds until something may be claimable by itself."""
        async with self._runtime.engine.connect() as connection:
            moments = [(await connection.execute(query)).scalar_one_or_none() for query in (_NEXT, _NEXT_LEASE)]
            depth = (await connection.execute(_DEPTH)).all()
        metrics.WORK_DEPTH.clear()
        metrics.WORK_AGE_SECONDS.clear()
        for row in depth:
            metrics.WORK_DEPTH.labels(row.kind, row.state).set(row.depth)
            if row.state == "waiting":
                metrics.WORK_AGE_SECONDS.labels(row.kind).set(float(row.age))
        poll = self._settings.poll_interval.total_seconds()
        due = [float(moment) for moment in moments if moment is not None]
        return float(min([poll, *[max(0.05, moment) for moment in due]]))

    async def _claim(self) -> Go | None:
        free = await asyncio.to_thread(self._free_bytes)
        if free < self._settings.min_free_bytes:
            log.warning("Work waits: the scratch disk is nearly full.", extra={"free_bytes": free})
            await asyncio.sleep(1)
            return None
        stage = self._runtime.stage
        token = uuid4()
        async with self._runtime.transaction(cause="claim") as ledger:
            now = ledger.now
            first = (await ledger.session.execute(_PICK, {"now": now})).first()
            if first is None:
                return None
            job = stage.job(first.kind)
            ids = [first.id]
            if job.batch and first.batch is not None:
                more = await ledger.session.execute(
                    _PICK_BATCH, {"kind": first.kind, "batch": first.batch, "now": now, "limit": job.batch_limit}
                )
                ids = sorted({first.id, *more.scalars().all()})
            rows = await ledger.session.execute(
                _CLAIM,
                {
                    "ids": ids,
                    "token": token,
                    "until": now + self._settings.worker_lease,
                    "owner": self._owner,
                    "now": now,
                },
            )
            claims = [_claim_of(row, job, now) for row in rows]
            claims.sort(key=lambda claim: str(claim.id))
            for claim in claims:
                ledger.traceparent = claim.traceparent
                for event in job.started(claim.order, claim.run):
                    await ledger.emit(event, cause=claim.cause)
        return Go(claims, token, now)

    def _free_bytes(self) -> int:
        self._root.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self._root).free

    async def _carry_out(self, go: Go) -> None:
        runtime = self._runtime
        job = go.claims[0].job
        with contextlib.ExitStack() as stack:
            for claim in go.claims:
                metrics.QUEUE_SECONDS.labels(job.kind).observe(claim.waited)
                claim.span = stack.enter_context(
                    telemetry.span(
                        runtime.telemetry,
                        f"{runtime.stage.name}.{job.kind}",
                        parent=claim.traceparent,
                        attributes={
                            "heaters.work_id": str(claim.id),
                            "heaters.video_id": str(claim.video_id),
                            "heaters.clip_id": str(claim.clip_id) if claim.clip_id else None,
                            "heaters.run": claim.run,
                            "heaters.attempt": claim.attempts + 1,
                            "heaters.batch_size": len(go.claims),
                            "heaters.queue_seconds": round(claim.waited, 3),
                        },
                    )
                )
            token = logs.about.set({"work_id": str(go.claims[0].id), "video_id": str(go.claims[0].video_id)})
            try:
                over = [claim for claim in go.claims if claim.crashes > job.limits.crashes]
                for claim in over:
                    await self._fail(go, claim, _killed_too_often(claim), {})
                if go.open:
                    await self._have_done(go)
            except asyncio.CancelledError:
                await self._release(go)
                raise
            finally:
                logs.about.reset(token)

    async def _have_done(self, go: Go) -> None:
        """Runs one child to its end and settles whatever it left open."""
        job = go.claims[0].job
        folder = self._root / str(go.claims[0].id)
        loop = asyncio.get_running_loop()
        go.last_heard = loop.time()
        watching = asyncio.create_task(self._watch(go))
        claims = go.open
        code = -signal.SIGKILL
        try:
            async with self._warm.talk(CHILD, limit=LINE_LIMIT) as (go.child, reader, writer):
                if go.stopped is not None:
                    # Before there was a child to kill.
                    go.stop(go.stopped)
                with contextlib.suppress(ConnectionError):
                    writer.write(json.dumps(self._order(job, claims, folder)).encode() + b"\n")
                    await writer.drain()
                async for line in _lines(reader):
                    go.last_heard = loop.time()
                    await self._hear(go, claims, json.loads(without_nul(line)))
                code = await asyncio.shield(go.child.ended)
        except ConnectionError as error:
            log.warning("No child was born.", extra={"reason": repr(error)[:300]})
        finally:
            watching.cancel()
        for claim in go.open:
            if go.stopped is not None:
                await self._fail(go, claim, go.stopped, {})
            else:
                await self._crashed(go, claim, code)
        waiting = await self._still_waiting(claims)
        if not waiting:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _order(self, job: Job[Any, Any], claims: Sequence[Claim], folder: Path) -> dict[str, Any]:
        return {
            "work": job.work,
            "input": _path_of(job.input),
            "result": _path_of(job.result),
            "settings": _path_of(type(self._settings)),
            "batch": job.batch,
            "settle": job.settle,
            "scratch": str(folder / "scratch"),
            "kept": str(folder / "kept"),
            "cpu_seconds": int(job.limits.wall.total_seconds()) * max(2, os.cpu_count() or 2),
            "traceparent": claims[0].context,
            "items": [
                {"input": claim.order.model_dump(mode="json"), "marker": job.marker(claim.order)} for claim in claims
            ],
        }

    async def _hear(self, go: Go, claims: Sequence[Claim], said: dict[str, Any]) -> None:
        """Takes one report of the child."""
        match said["say"]:
            case "progress":
                await self._progress(go, claims, said)
            case "step":
                for claim in claims:
                    telemetry.record_span(
                        self._runtime.telemetry,
                        f"{self._runtime.stage.name}.{claim.job.kind}.{said['name']}",
                        parent=claim.context,
                        started_at=datetime.fromtimestamp(said["started"], UTC),
                        ended_at=datetime.fromtimestamp(said["ended"], UTC),
                        failed=said["failed"],
                    )
            case "done":
                claim = claims[said["index"]]
                try:
                    await self._succeed(go, claim, claim.job.result.model_validate(said["result"]), said["report"])
                except (DBAPIError, ValueError) as error:
                    log.exception("A result could not be recorded.", extra={"work_id": str(claim.id)})
                    sentence = f"The result could not be recorded: {str(error).splitlines()[0]}."
                    await self._fail(go, claim, Transient(sentence, code="worker.unrecordable"), said["report"])
            case "failed":
                root = Permanent if said["error_class"] == ErrorClass.PERMANENT else Transient
                findings = [Finding.model_validate(finding) for finding in said.get("findings", ())]
                reason = root(said["message"], code=said["code"], findings=findings)
                await self._fail(go, claims[said["index"]], reason, said["report"])

    async def _watch(self, go: Go) -> None:
        """Renews the lease; kills the child that lost it, hangs, or grows beyond its memory."""
        limits = go.claims[0].job.limits
        loop = asyncio.get_running_loop()
        began = renewed = loop.time()
        lease = self._settings.worker_lease.total_seconds()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            now = loop.time()
            if go.child is not None and _resident_bytes(go.child.pid) > limits.memory_bytes:
                go.stop(
                    Transient(
                        f"The work used more than {limits.memory_bytes >> 20} MiB of memory and was stopped.",
                        code="worker.memory_limit",
                    )
                )
            elif now - began > limits.wall.total_seconds():
                go.stop(Transient(f"The work took longer than {limits.wall} and was stopped.", code="worker.timeout"))
            elif now - go.last_heard > limits.silence.total_seconds():
                go.stop(Transient(f"The work showed no sign of life for {limits.silence}.", code="worker.hung"))
            if now - renewed < lease / 3:
                continue
            try:
                held = await self._renew(go)
                renewed = loop.time()
            except PASSING as error:
                log.warning("A lease could not be renewed; trying again.", extra={"reason": repr(error)[:300]})
                continue
            for claim in go.open:
                if claim.id not in held:
                    claim.settled = True
                    log.info("Work was withdrawn or lost its lease.", extra={"work_id": str(claim.id)})
            if not go.open:
                go.stop(Transient("The work was withdrawn.", code="work.cancelled"))

    async def _renew(self, go: Go) -> set[UUID]:
        async with self._runtime.engine.begin() as connection:
            held = await connection.execute(
                _RENEW,
                {
                    "ids": [claim.id for claim in go.open],
                    "token": go.token,
                    "until": self._runtime.clock() + self._settings.worker_lease,
                },
            )
            return set(held.scalars().all())

    async def _progress(self, go: Go, claims: Sequence[Claim], said: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() - go.last_progress < PROGRESS_SECONDS and said["done"] != said["total"]:
            return
        go.last_progress = loop.time()
        runtime = self._runtime
        now = runtime.clock()
        elapsed = max(1e-3, (now - go.began).total_seconds())
        total = said["total"] or None
        speed = said["done"] / elapsed
        first = claims[0]
        event = StageProgress(
            stage=runtime.stage.name,
            kind=first.job.kind,
            work_id=first.id,
            video_id=first.video_id,
            clip_id=first.clip_id if len(claims) == 1 else None,
            phase=said["phase"],
            done=said["done"],
            total=total,
            unit=said["unit"],
            fraction=min(1.0, said["done"] / total) if total else None,
            speed=speed,
            eta_seconds=max(0.0, (total - said["done"]) / speed) if total and speed > 0 else None,
        )
        message = to_kafka(event, event_id=uuid4(), source=runtime.stage.name, time=now, traceparent=first.context)
        with contextlib.suppress(Exception):  # Progress is lossy: whatever goes wrong, the next one replaces it.
            await runtime.relay.send(message)
            async with runtime.engine.begin() as connection:
                await connection.execute(
                    _PROGRESS,
                    {
                        "ids": [claim.id for claim in go.open],
                        "token": go.token,
                        "progress": event.model_dump_json(exclude={"video_id", "clip_id", "work_id"}),
                    },
                )

    async def _succeed(self, go: Go, claim: Claim, result: Value, report: dict[str, Any]) -> None:
        """Finishes the row, writes the stage's rows and emits its events: one transaction, or none of it."""

        async def settle(ledger: Ledger) -> None:
            final = result
            if claim.job.record is not None:
                final = await claim.job.record(ledger.session, claim.order, result) or result
            for event in claim.job.succeeded(claim.order, claim.run, final):
                await ledger.emit(event, cause=claim.cause)

        await self._end(
            go, claim, settle, state="done", attempts=claim.attempts, result=result.model_dump_json(), report=report
        )
        metrics.WORK_SECONDS.labels(claim.job.kind, "done").observe((self._runtime.clock() - go.began).total_seconds())
        if claim.job.media is not None:
            metrics.MEDIA_SECONDS.labels(claim.job.kind).inc(float(claim.job.media(claim.order, result) or 0))

    async def _fail(self, go: Go, claim: Claim, error: HeatersError, report: dict[str, Any]) -> None:
        """Lets the row wait for another try, or gives up and says so."""
        attempts = claim.attempts + 1
        failure = error.failure(self._runtime.stage.name, attempts=attempts, trace_id=telemetry.trace_id(claim.context))
        final = error.error_class is ErrorClass.PERMANENT or attempts >= claim.job.limits.attempts

        async def settle(ledger: Ledger) -> None:
            if final:
                for event in claim.job.failed(claim.order, claim.run, failure):
                    await ledger.emit(event, cause=claim.cause)

        log.log(
            logging.WARNING if final else logging.INFO,
            "Work failed." if final else "Work will be tried again.",
            extra={"work_id": str(claim.id), "code": error.code, "reason": error.message, "attempts": attempts},
        )
        if claim.span is not None:
            from opentelemetry.trace import Status, StatusCode

            claim.span.set_status(Status(StatusCode.ERROR, f"{error.code}: {error.message}"[:300]))
        await self._end(
            go,
            claim,
            settle,
            state="failed" if final else "waiting",
            attempts=attempts,
            error=failure,
            report=report,
            delay=timedelta() if final else self._backoff(attempts),
        )
        metrics.WORK_SECONDS.labels(claim.job.kind, "failed" if final else "retried").observe(
            (self._runtime.clock() - go.began).total_seconds()
        )

    async def _crashed(self, go: Go, claim: Claim, code: int) -> None:
        """The child died without an outcome: not the work's fault, until it happens too often."""
        if code > 0:
            sentence = f"The process doing the work ended with exit code {code}; its log says why."
            await self._fail(go, claim, Transient(sentence, code="worker.child_failed"), {})
            return
        how = signal.Signals(-code).name if code < 0 else "without an outcome"
        if claim.crashes + 1 > claim.job.limits.crashes:
            await self._fail(go, claim, _killed_too_often(claim), {})
            return
        error = Transient(f"The process doing the work died ({how}).", code="worker.child_died")
        log.warning("A child died; its work will be tried again.", extra={"work_id": str(claim.id), "how": how})

        async def settle(_: Ledger) -> None:
            return

        await self._end(
            go,
            claim,
            settle,
            state="waiting",
            attempts=claim.attempts,
            crashes=claim.crashes + 1,
            error=error.failure(self._runtime.stage.name, attempts=claim.attempts),
            delay=self._backoff(1 + claim.crashes // 3) / 10,
        )

    async def _end(
        self,
        go: Go,
        claim: Claim,
        settle: Callable[[Ledger], Any],
        *,
        state: str,
        attempts: int,
        crashes: int | None = None,
        result: str | None = None,
        report: dict[str, Any] | None = None,
        error: Failure | None = None,
        delay: timedelta = timedelta(),
    ) -> None:
        pause = 0.2
        while True:
            try:
                async with self._runtime.transaction(cause=claim.cause) as ledger:
                    ledger.traceparent = claim.context
                    ended = await ledger.session.execute(
                        _END,
                        {
                            "id": claim.id,
                            "token": go.token,
                            "state": state,
                            "attempts": attempts,
                            "crashes": claim.crashes if crashes is None else crashes,
                            "not_before": ledger.now + delay,
                            "result": result,
                            "report": json.dumps(report) if report else None,
                            "error": error.model_dump_json() if error else None,
                            "final": state != "waiting",
                            "now": ledger.now,
                        },
                    )
                    if ended.first() is None:
                        log.info("The lease was lost; somebody else has the work.", extra={"work_id": str(claim.id)})
                    else:
                        await settle(ledger)
                break
            except PASSING as failure:
                log.warning("An outcome must wait for the database.", extra={"reason": repr(failure)[:300]})
                await asyncio.sleep(pause)
                pause = min(5.0, pause * 2)
        claim.settled = True

    def _backoff(self, attempts: int) -> timedelta:
        """Exponential, capped, with full jitter over its upper half."""
        base = self._settings.worker_retry_base.total_seconds() * 2 ** (attempts - 1)
        capped = min(base, self._settings.worker_retry_cap.total_seconds())
        return timedelta(seconds=capped * (0.5 + self._random.random() / 2))

    async def _release(self, go: Go) -> None:
        """Gives the lease back at an orderly stop, so that the next runner need not wait for it to run out."""
        with contextlib.suppress(*PASSING):
            async with self._runtime.engine.begin() as connection:
                await connection.execute(_GIVE_BACK, {"ids": [claim.id for claim in go.open], "token": go.token})

    async def _still_waiting(self, claims: Sequence[Claim]) -> bool:
        query = text("SELECT count(*) FROM work WHERE id = ANY(:ids) AND state IN ('waiting', 'running')")
        async with self._runtime.engine.connect() as connection:
            return bool((await connection.execute(query, {"ids": [claim.id for claim in claims]})).scalar_one())


def _claim_of(row: Any, job: Job[Any, Any], now: datetime) -> Claim:
    return Claim(
        id=row.id,
        job=job,
        order=job.input.model_validate(row.input),
        video_id=row.video_id,
        clip_id=row.clip_id,
        run=row.run,
        attempts=row.attempts,
        crashes=row.crashes,
        waited=max(0.0, (now - max(row.created_at, row.not_before)).total_seconds()),
        traceparent=row.traceparent,
    )


def _killed_too_often(claim: Claim) -> Permanent:
    return Permanent(
        f"The process doing this work died {claim.crashes} times; the input may crash a codec. "
        "Look at the service's log, then retry the work.",
        code="worker.child_died",
    )


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines, until the other side is gone: what a killed one has left unfinished says nothing."""
    with contextlib.suppress(ConnectionResetError):
        async for line in reader:
            if line.endswith(b"\n"):
                yield line


def _module_of(path: str) -> str:
    return path.partition(":")[0]


def _path_of(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _started_ticks(pid: int) -> str:
    """When a process started, in clock ticks since boot: tells it from a later one with the same number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _alive(owner: str) -> bool:
    _, pid, ticks = owner.rsplit(":", 2)
    return _started_ticks(int(pid)) == ticks != ""
