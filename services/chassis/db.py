"""Database access: one async engine per service, whose search path is the service's own schema.

One message, job or request is one transaction, committed at the edge that opened it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from services.chassis.migrations import sqlalchemy_url

if TYPE_CHECKING:
    from services.chassis.settings import ChassisSettings

PASSING = (OperationalError, InterfaceError, OSError)
"""Database errors that pass by themselves: a lost connection, a restart, a lock or statement timeout, a deadlock. Others are
defects of what was written, and would come back for ever."""

STATEMENT_TIMEOUT = "30s"
LOCK_TIMEOUT = "10s"


def connect_options(schema: str) -> str:
    """Options for libpq that bind a connection to a schema and bound its statements."""
    return (
        f"-c search_path={schema},public -c statement_timeout={STATEMENT_TIMEOUT} "
        f"-c lock_timeout={LOCK_TIMEOUT} -c idle_in_transaction_session_timeout=60s"
    )


def open_engine(settings: ChassisSettings, schema: str) -> AsyncEngine:
    """The engine of one service. Connections are tested before use, so that a restarted server is no error."""
    return create_async_engine(
        sqlalchemy_url(settings.database_url.get_secret_value()),
        pool_size=settings.database_pool,
        max_overflow=2,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={
            "options": connect_options(schema),
            "connect_timeout": 5,
            "application_name": f"heaters-{schema}",
        },
    )
