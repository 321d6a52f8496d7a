"""Several statements in one round trip: what each gives, and what is left when one fails, is given up or loses its server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from services.chassis.db import COMMIT, Step, run_together
from services.chassis.runtime import open_runtime
from services.chassis.settings import ChassisSettings
from tests.support import toy

NUMBER = text("SELECT cast(:number AS int) AS number")
KEEP = text("INSERT INTO kept (number) VALUES (:number)")
KEPT = text("SELECT number FROM kept ORDER BY number")


@pytest.fixture
async def runtime(servers):
    # One connection, so that each transaction finds what the last one left of it.
    runtime = open_runtime(toy.stage(), ChassisSettings(**servers.settings("127.0.0.1:9"), database_pool=1))
    async with runtime.transaction() as ledger:
        await ledger.session.execute(text("CREATE TABLE kept (number int PRIMARY KEY CHECK (number > 0))"))
    yield runtime
    async with runtime.transaction() as ledger:
        await ledger.session.execute(text("DROP TABLE kept"))
    await runtime.close()


async def together(runtime, *steps):
    async with runtime.transaction() as ledger:
        return await run_together(ledger.session, *steps)


@pytest.mark.parametrize("statements", [5, 250])
async def test_each_step_gives_its_own_rows(runtime, statements):
    notices = []
    heard = notices.append
    async with runtime.transaction() as ledger:
        driver = (await (await ledger.session.connection()).get_raw_connection()).driver_connection
        driver.add_notice_handler(heard)
        rows = await run_together(ledger.session, *(Step(NUMBER, [{"number": number}]) for number in range(statements)))
        driver.remove_notice_handler(heard)
    assert not notices
    assert [row["number"] for (row,) in rows] == list(range(statements))


async def test_a_step_runs_once_for_each_set_of_values_and_gives_the_last_ones_rows(runtime):
    kept, nothing, last = await together(
        runtime,
        Step(KEEP, [{"number": number} for number in (3, 1, 2)]),
        Step(KEEP, []),
        Step(NUMBER, [{"number": 7}, {"number": 8}]),
    )
    assert (kept, nothing, last) == ([], [], [{"number": 8}])
    assert await together(runtime, Step(KEPT, [{}])) == [[{"number": 1}, {"number": 2}, {"number": 3}]]


async def test_values_come_back_as_they_went(runtime):
    spelt = text(
        "SELECT cast(:id AS uuid) AS id, cast(:ids AS uuid[]) AS ids, cast(:at AS timestamptz) AS at,"
        " cast(:told AS jsonb) AS told, cast(:number AS int) AS number, cast(:is_it AS bool) AS is_it, :id = ANY(:ids) AS is_in,"
        " '100%' AS share"
    )
    one, other = uuid4(), uuid4()
    first = {
        "id": one,
        "ids": [other, one],
        "at": datetime(2026, 1, 2, 3, tzinfo=UTC),
        "told": '{"a": [1, "é"]}',
        "number": 70_000,
        "is_it": True,
    }
    second = {"id": other, "ids": [], "at": None, "told": None, "number": 1, "is_it": None}
    for values in (first, second, first):
        ((row,),) = await together(runtime, Step(spelt, [values]))
        told = {"a": [1, "é"]} if values["told"] else None
        assert row == {**values, "told": told, "is_in": one == values["id"], "share": "100%"}


async def test_what_fails_is_told_and_nothing_of_the_transaction_stays(runtime):
    steps = [Step(KEEP, [{"number": 1}]), Step(KEEP, [{"number": 1}]), Step(KEEP, [{"number": 2}]), COMMIT]
    with pytest.raises(IntegrityError, match="kept_pkey"):
        await together(runtime, *steps)
    assert await together(runtime, Step(KEPT, [{}])) == [[]]


async def test_statements_known_to_the_server_run_again_after_it_has_forgotten_them(runtime):
    for number in (1, 2, 3):
        with pytest.raises(DBAPIError):
            await together(runtime, Step(NUMBER, [{"number": 1}]), Step(KEEP, [{"number": -1}]))
        assert await together(runtime, Step(NUMBER, [{"number": number}])) == [[{"number": number}]]
        async with runtime.transaction() as ledger:
            await ledger.session.execute(text("DEALLOCATE ALL"))


async def test_of_many_statements_the_server_keeps_those_used_last(runtime):
    for number in range(230):
        ((row,),) = await together(runtime, Step(text(f"SELECT {number} AS number"), [{}]))
        assert row["number"] == number
    ((kept,),) = await together(runtime, Step(text("SELECT count(*) AS statements FROM pg_prepared_statements"), [{}]))
    assert 90 < kept["statements"] < 110


async def test_answers_and_questions_larger_than_any_buffer_do_not_wait_for_each_other(runtime):
    much = "x" * 200_000
    echo = text("SELECT cast(:much AS text) AS much")
    rows = await together(runtime, *(Step(echo, [{"much": much}]) for _ in range(60)))
    assert all(row == {"much": much} for (row,) in rows)


async def test_a_round_trip_that_is_given_up_is_ended_at_the_server_and_the_connection_goes_on(runtime):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await together(runtime, Step(text("SELECT pg_sleep(60)"), [{}]), Step(KEEP, [{"number": 1}]), COMMIT)
    async with asyncio.timeout(5):
        assert await together(runtime, Step(KEPT, [{}])) == [[]]


async def test_a_server_that_goes_away_midway_is_told_and_the_next_transaction_gets_another_connection(runtime):
    with pytest.raises(DBAPIError) as raised:
        await together(
            runtime, Step(KEEP, [{"number": 1}]), Step(text("SELECT pg_terminate_backend(pg_backend_pid())"), [{}])
        )
    assert raised.value.connection_invalidated
    assert await together(runtime, Step(KEPT, [{}])) == [[]]
