"""Brings a service's own schema up to date: the ledger's tables and the service's, each a branch of its own.

Safe to run from several processes at once (an advisory lock serialises them) and quick when there is nothing to do:
a digest of the revision files is kept in the schema, so that an up-to-date service never imports Alembic.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import psycopg
from psycopg import sql

LEDGER = Path(__file__).parent / "ledger_migrations"
TELEMETRY = Path(__file__).parent / "telemetry_migrations"
LOCK_TIMEOUT = "10s"
STATEMENT_TIMEOUT = "10min"


def upgrade(database_url: str, schema: str) -> bool:
    """Upgrades a service's schema; whether there was anything to do. Raises ``psycopg.Error`` if the server refuses."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        did_telemetry = _upgrade(connection, database_url, "telemetry", [TELEMETRY])
        return _upgrade(connection, database_url, schema, [LEDGER, *_own(schema)]) or did_telemetry


def _own(schema: str) -> list[Path]:
    spec = importlib.util.find_spec(f"services.{schema}")
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent / "migrations"
    return [folder] if folder.is_dir() else []


def _upgrade(connection: psycopg.Connection, database_url: str, schema: str, folders: list[Path]) -> bool:
    digest = _digest(folders)
    if _stored_digest(connection, schema) == digest:
        return False
    lock = int.from_bytes(hashlib.sha256(f"heaters-migrations-{schema}".encode()).digest()[:8], "big", signed=True)
    connection.execute("SELECT pg_advisory_lock(%s)", [lock])
    try:
        if _stored_digest(connection, schema) == digest:
            return False
        name = sql.Identifier(schema)
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
        connection.execute(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS {}.migrated (single boolean PRIMARY KEY DEFAULT true, digest text)"
            ).format(name)
        )
        _alembic(database_url, schema, folders)
        connection.execute(
            sql.SQL(
                "INSERT INTO {}.migrated (digest) VALUES (%s) ON CONFLICT (single) DO UPDATE SET digest = EXCLUDED.digest"
            ).format(name),
            [digest],
        )
        return True
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", [lock])


def _digest(folders: list[Path]) -> str:
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.glob("*.py")):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _stored_digest(connection: psycopg.Connection, schema: str) -> str | None:
    exists = connection.execute("SELECT to_regclass(%s)", [f"{schema}.migrated"]).fetchone()
    if exists is None or exists[0] is None:
        return None
    row = connection.execute(sql.SQL("SELECT digest FROM {}.migrated").format(sql.Identifier(schema))).fetchone()
    return None if row is None else str(row[0])


def _alembic(database_url: str, schema: str, folders: list[Path]) -> None:
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory
    from sqlalchemy import create_engine, text

    script = ScriptDirectory(str(LEDGER), version_locations=[str(folder) for folder in folders])
    engine = create_engine(sqlalchemy_url(database_url))
    try:
        with engine.begin() as connection:
            connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
            connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
            connection.execute(text("SELECT set_config('search_path', :path, false)"), {"path": f"{schema}, public"})
            context = MigrationContext.configure(
                connection,
                opts={
                    "version_table_schema": schema,
                    "fn": lambda revision, _: script._upgrade_revs("heads", revision),  # noqa: SLF001
                },
            )
            with Operations.context(context):
                context.run_migrations()
    finally:
        engine.dispose()


def sqlalchemy_url(database_url: str) -> str:
    """A libpq URL as SQLAlchemy spells it for psycopg."""
    return "postgresql+psycopg://" + database_url.split("://", 1)[1]
