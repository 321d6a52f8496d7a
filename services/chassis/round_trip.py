"""Several statements in one round trip, written to the driver's connection at once and read from it at once.

The driver's own pipelines write, poll and read for each statement by itself, and wait for the transaction's beginning; that was
a third of an edit's processor time (docs/adr/0028). Here all values are converted first, all statements leave in one write, and all
results are taken when they have come. Statements are prepared when first seen, in the same round trip; the driver keeps the
list of those that are, so that it can forget them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import abc, adapt, pq
from psycopg._preparing import Prepare
from psycopg.adapt import PyFormat
from psycopg.generators import fetch_many, send

Row = dict[str, Any]


class Statement(NamedTuple):
    """SQL with numbered places, and the names of the values that go there."""

    query: bytes
    names: tuple[str, ...]


class _Asked(NamedTuple):
    """A statement with values converted; ``query`` and ``types`` tell which prepared statement it is."""

    query: bytes
    types: tuple[int, ...]
    params: Sequence[Any]
    formats: Sequence[pq.Format]


async def in_one_go(
    driver: psycopg.AsyncConnection[Any], steps: Sequence[tuple[Statement, Sequence[Mapping[str, Any]]]]
) -> list[list[Row]]:
    """Runs each statement once for each set of its values, in the connection's transaction. The rows of each one's last run.

    Raises:
        psycopg.Error: what the first statement that failed met; none after it has run.
    """
    convert: abc.Transformer = adapt.Transformer(driver)
    asked = [[_asked(convert, statement, each) for each in values] for statement, values in steps]
    async with driver.lock:
        results = await driver.wait(_go(driver, [each for runs in asked for each in runs]))
    taken, last = 0, []
    for runs in asked:
        taken += len(runs)
        last.append(_rows(convert, results[taken - 1]) if runs else [])
    return last


def _asked(convert: abc.Transformer, statement: Statement, values: Mapping[str, Any]) -> _Asked:
    ordered = [values[name] for name in statement.names]
    params = convert.dump_sequence(ordered, [PyFormat.AUTO] * len(ordered))
    return _Asked(statement.query, convert.types or (), params, convert.formats or ())


def _go(driver: psycopg.AsyncConnection[Any], asked: Sequence[_Asked]) -> abc.PQGen[list[pq.abc.PGresult]]:
    """Sends everything and takes the result of each statement. The connection is closed if it has to leave some untaken."""
    connection, prepared = driver.pgconn, driver._prepared  # noqa: SLF001 - no other way to share its list.
    yield from prepared.maintain_gen(driver)
    connection.enter_pipeline_mode()
    try:
        is_answer: list[bool] = []
        if connection.transaction_status == pq.TransactionStatus.IDLE and not driver.autocommit:
            connection.send_query_params(b"BEGIN", None)
            is_answer.append(False)
        for each in asked:
            # It asks nothing else of a query than these two.
            state, name = prepared.get(each, prepare=True)  # type: ignore[arg-type]
            if state is Prepare.SHOULD:
                connection.send_prepare(name, each.query, each.types)
                is_answer.append(False)
            prepared.maybe_add_to_cache(each, state, name)  # type: ignore[arg-type]
            prepared._rotate()  # noqa: SLF001 - beyond its most, the one unused for longest is forgotten.
            connection.send_query_prepared(name, each.params, each.formats)
            is_answer.append(True)
        connection.pipeline_sync()
        yield from send(connection)
        return (yield from _taken(driver, is_answer))
    finally:
        try:
            connection.exit_pipeline_mode()
        except psycopg.OperationalError:
            connection.finish()


def _taken(driver: psycopg.AsyncConnection[Any], is_answer: Sequence[bool]) -> abc.PQGen[list[pq.abc.PGresult]]:
    results: list[pq.abc.PGresult] = []
    # The last is the end of the pipeline itself.
    for _ in range(len(is_answer) + 1):
        results += yield from fetch_many(driver.pgconn)
    for result in results:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            # Statements after it may not have been prepared.
            driver._prepared.clear()  # noqa: SLF001
            raise psycopg.errors.error_from_result(result, encoding=driver.info.encoding)
    return [result for result, counts in zip(results[:-1], is_answer, strict=True) if counts]


def _rows(convert: abc.Transformer, result: pq.abc.PGresult) -> list[Row]:
    if result.status != pq.ExecStatus.TUPLES_OK:
        return []
    names = [(result.fname(column) or b"").decode() for column in range(result.nfields)]
    convert.set_pgresult(result)
    return convert.load_rows(0, result.ntuples, lambda values: dict(zip(names, values, strict=True)))
