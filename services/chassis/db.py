"""Database access: one async engine per service, whose search path is the service's own schema.

One message, job or request is one transaction, committed at the edge that opened it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from sqlalchemy import Dialect, TextClause, event, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from services.chassis.migrations import sqlalchemy_url
from services.chassis.round_trip import Statement, in_one_go

if TYPE_CHECKING:
    from services.chassis.settings import ChassisSettings

PASSING = (OperationalError, InterfaceError, OSError)
"""Database errors that pass by themselves: a lost connection, a restart, a lock or statement timeout, a deadlock. Others are
defects of what was written, and would come back for ever."""

STATEMENT_TIMEOUT = "30s"
LOCK_TIMEOUT = "10s"
_NUMBERED: Dialect = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
RESTED_SECONDS = 1.0
"""A connection used more lately than this is taken for good: a test before each use would take as long as a query."""


def connect_options(schema: str) -> str:
    """Options for libpq that bind a connection to a schema and bound its statements."""
    return (
        f"-c search_path={schema},public -c statement_timeout={STATEMENT_TIMEOUT} "
        f"-c lock_timeout={LOCK_TIMEOUT} -c idle_in_transaction_session_timeout=60s"
    )


def open_engine(settings: ChassisSettings, schema: str) -> AsyncEngine:
    """The engine of one service. A connection that has rested is tested before use, so that a restarted server is no error.

    No connection is opened for one use: that takes longer than to wait for one. The one used last is used first.
    """
    engine = create_async_engine(
        sqlalchemy_url(settings.database_url.get_secret_value()),
        pool_size=settings.database_pool,
        max_overflow=0,
        pool_use_lifo=True,
        pool_recycle=1800,
        connect_args={
            "options": connect_options(schema),
            "connect_timeout": 5,
            "application_name": f"heaters-{schema}",
        },
    )
    event.listen(engine.sync_engine.pool, "checkin", _note_use)
    event.listen(engine.sync_engine.pool, "checkout", functools.partial(_test_rested, engine.dialect))
    return engine


def _note_use(_: Any, record: Any) -> None:
    record.info["used"] = time.monotonic()


def _test_rested(dialect: Dialect, connection: Any, record: Any, _: Any) -> None:
    if time.monotonic() - record.info.get("used", time.monotonic()) < RESTED_SECONDS:
        return
    try:
        dialect.do_ping(connection)
    except psycopg.Error as error:
        raise InvalidatePoolError("The server has gone away.") from error


class Step(NamedTuple):
    """A statement and the values to run it with, once for each set of them."""

    statement: TextClause
    values: Sequence[Mapping[str, Any]]


COMMIT = Step(text("COMMIT"), [{}])
"""The last step of a transaction that has nothing to do after it: its end then costs no round trip of its own."""


async def run_together(session: AsyncSession, *steps: Step) -> list[list[dict[str, Any]]]:
    """Runs steps of the session's transaction, one after another, in one round trip. The rows that each gave.

    Raises:
        DBAPIError: as the session does. The steps after the one that failed have not run.
    """
    connection = await session.connection()
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, psycopg.AsyncConnection)  # noqa: S101 - the engine's only driver.
    try:
        return await in_one_go(driver, [(_spelt(statement.text), values) for statement, values in steps])
    except psycopg.Error as error:
        if driver.closed:
            await connection.invalidate(error)
        failed = DBAPIError.instance("", None, error, psycopg.Error, connection_invalidated=driver.closed)
        raise failed from error


@functools.lru_cache(1000)
def _spelt(statement: str) -> Statement:
    compiled = text(statement).compile(dialect=_NUMBERED)
    return Statement(str(compiled).encode(), tuple(compiled.positiontup or ()))
