"""A service's health: it sees a loop that no longer turns, a database that is away, and an outbox that does not drain."""

from __future__ import annotations

import asyncio
import socket
import time
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from contracts.errors import Permanent
from services.chassis import health, migrations
from services.chassis.runtime import open_runtime
from services.chassis.settings import ChassisSettings
from services.chassis.stage import Stage
from tests.support import toy


@pytest.fixture(scope="module")
def settings(servers):
    settings = ChassisSettings(**servers.settings("127.0.0.1:9"))
    migrations.upgrade(settings.database_url.get_secret_value(), "ingest")
    return settings


@pytest.fixture
async def runtime(settings):
    runtime = open_runtime(toy.stage(), settings)
    runtime.watch.current = uuid4()
    yield runtime
    await runtime.engine.dispose()


def client(runtime) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(health.build(runtime)), base_url="http://127.0.0.1")


async def test_a_service_whose_loops_turn_is_live_and_ready(runtime):
    runtime.pulse.beat("relay")
    async with client(runtime) as http:
        assert (await http.get("/health/live")).status_code == 200
        assert (await http.get("/health/ready")).status_code == 200


async def test_a_loop_that_no_longer_turns_is_seen_and_named(runtime):
    runtime.pulse._beats["relay"] = time.monotonic() - 10_000
    async with client(runtime) as http:
        answer = await http.get("/health/live")
        assert answer.status_code == 503
        assert list(answer.json()["stale_loops"]) == ["relay"]
        assert "relay" in (await http.get("/health/ready")).json()["problems"][0]


async def test_an_outbox_that_does_not_drain_is_no_readiness(runtime):
    async with runtime.transaction(cause="test") as ledger:
        await ledger.emit(toy.VideoDownloadStarted(video_id=uuid4()))
        old = ledger.now - timedelta(minutes=5)
        await ledger.session.execute(text("UPDATE outbox SET created_at = :old"), {"old": old})
    async with client(runtime) as http:
        answer = await http.get("/health/ready")
        assert answer.status_code == 503
        assert "unpublished" in answer.json()["problems"][0]
        assert "heaters_outbox_waiting 1.0" in (await http.get("/metrics")).text
    async with runtime.transaction(cause="test") as ledger:
        await ledger.session.execute(text("DELETE FROM outbox"))


async def test_a_database_that_is_away_is_no_readiness_but_no_death(settings):
    gone = settings.model_copy(update={"database_url": type(settings.database_url)("postgresql://x@127.0.0.1:9/x")})
    runtime = open_runtime(toy.stage(), gone)
    runtime.watch.current = uuid4()
    async with client(runtime) as http:
        assert (await http.get("/health/live")).status_code == 200
        assert (await http.get("/health/ready")).status_code == 503
    await runtime.engine.dispose()


def test_an_api_is_not_opened_to_other_machines_without_a_token(settings):
    exposed = settings.model_copy(update={"http_host": "0.0.0.0"})
    with pytest.raises(Permanent) as caught:
        health.bind(exposed, has_api=True)
    assert caught.value.code == "http.exposed_without_token"
    token = exposed.model_copy(update={"http_token": type(settings.http_token)("secret")})
    health.bind(token, has_api=True).close()


async def test_with_a_token_the_api_answers_only_those_who_carry_it(settings):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    plain = toy.stage()
    stage = Stage(plain.name, plain.settings, plain.routes, plain.jobs, http=lambda _: app)
    runtime = open_runtime(stage, settings.model_copy(update={"http_token": type(settings.http_token)("secret")}))
    async with client(runtime) as http:
        refused = await http.get("/api/anything")
        assert refused.status_code == 401
        assert refused.json()["code"] == "http.unauthorized"
        assert (await http.get("/api/anything", headers={"Authorization": "Bearer secret"})).status_code == 204
        assert (await http.get("/health/live")).status_code == 200
    await runtime.engine.dispose()


async def test_answers_on_a_kept_connection_do_not_wait_for_acknowledgements(settings):
    accepted = asyncio.Queue()
    with health.bind(settings.model_copy(update={"http_port": 0}), has_api=False) as listening:
        server = await asyncio.start_server(lambda _, writer: accepted.put_nowait(writer), sock=listening)
        async with server:
            _, mine = await asyncio.open_connection(*listening.getsockname())
            theirs = await accepted.get()
            assert theirs.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for writer in (mine, theirs):
                writer.close()
                await writer.wait_closed()


async def test_a_connection_is_of_use_again_after_longer_than_clients_keep_it_idle(runtime):
    with health.bind(runtime.settings.model_copy(update={"http_port": 0}), has_api=False) as listening:
        async with health.serve(runtime, listening):
            listening.listen()
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            for idle in (0, 5.5):
                await asyncio.sleep(idle)
                writer.write(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                assert head.startswith(b"http/1.1 200")
                await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
            writer.close()
            await writer.wait_closed()
