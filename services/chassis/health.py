"""A service's own HTTP port: health, metrics, and whatever API the stage adds.

- ``/health/live`` fails when a loop has not turned for a minute: the process should be restarted.
- ``/health/ready`` fails when the database or the broker does not answer, or the outbox is not draining.
- ``/metrics`` is for Prometheus.

The stage's API wants the bearer token where one is set. Without one the port binds to loopback only.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from contracts.errors import Permanent
from services.chassis import metrics
from services.chassis.bell import wait_for
from services.chassis.db import PASSING

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime
    from services.chassis.settings import ChassisSettings

STALE_OUTBOX_SECONDS = 60.0

KEPT_OPEN_SECONDS = 75
"""How long an idle connection stays open: longer than clients and proxies keep theirs (nginx and the balancers of the clouds
60 s, httpx 5 s), so that they are the ones who close, and never send a request into a connection that is just being closed."""

_OUTBOX = text("""
    SELECT count(*) AS waiting, coalesce(extract(epoch FROM now() - min(coalesce(release_at, created_at))), 0) AS age
    FROM outbox WHERE published_at IS NULL AND (release_at IS NULL OR release_at <= now())
""")


class TokenGate:
    """Lets requests through that carry the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 401 to whatever lacks the token."""
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, b"Bearer " + self._token):
                response = JSONResponse(
                    {
                        "type": "about:blank",
                        "title": "Unauthorized",
                        "status": 401,
                        "code": "http.unauthorized",
                        "detail": "Send the token as 'Authorization: Bearer …'.",
                    },
                    status_code=401,
                    headers={"WWW-Authenticate": "Bearer"},
                    media_type="application/problem+json",
                )
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def build(runtime: Runtime) -> Starlette:
    """The application behind the port."""

    async def live(_: Request) -> Response:
        stale = runtime.pulse.stale()
        return JSONResponse({"live": not stale, "stale_loops": stale}, status_code=503 if stale else 200)

    async def ready(_: Request) -> Response:
        problems = await _problems(runtime)
        return JSONResponse({"ready": not problems, "problems": problems}, status_code=503 if problems else 200)

    async def scrape(_: Request) -> Response:
        with contextlib.suppress(*PASSING):
            await _outbox(runtime)
        return Response(generate_latest(metrics.REGISTRY), media_type=CONTENT_TYPE_LATEST)

    routes: list[Any] = [
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/metrics", scrape),
    ]
    if runtime.stage.http is not None:
        app = runtime.stage.http(runtime)
        token = runtime.settings.http_token.get_secret_value()
        is_gated = token and not runtime.stage.own_door
        routes.append(Mount("/", TokenGate(app, token) if is_gated else app))
    return Starlette(routes=routes)


async def _problems(runtime: Runtime) -> list[str]:
    problems = [f"The {loop} loop has not turned for {age:.0f} s." for loop, age in runtime.pulse.stale().items()]
    try:
        age = await _outbox(runtime)
        if age > STALE_OUTBOX_SECONDS:
            problems.append(f"The oldest unpublished event has waited for {age:.0f} s.")
    except PASSING as error:
        problems.append(f"The database does not answer: {error}".splitlines()[0])
    if runtime.watch.current is None:
        problems.append("The broker has not answered yet.")
    return problems


async def _outbox(runtime: Runtime) -> float:
    async with runtime.engine.connect() as connection:
        row = (await connection.execute(_OUTBOX)).one()
    metrics.OUTBOX_WAITING.set(row.waiting)
    metrics.OUTBOX_AGE_SECONDS.set(max(0.0, float(row.age)))
    return float(row.age)


def bind(settings: ChassisSettings, *, has_api: bool) -> socket.socket:
    """The listening socket. Raises ``Permanent`` when an API would be open to others without a token."""
    exposed = not is_loopback(settings.http_host)
    if exposed and has_api and not settings.http_token.get_secret_value():
        raise Permanent(
            f"HEATERS_HTTP_HOST={settings.http_host} would open the API to other machines without a token. "
            "Set HEATERS_HTTP_TOKEN, or bind to 127.0.0.1.",
            code="http.exposed_without_token",
        )
    family = socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET
    # The protocol is said because asyncio switches Nagle's algorithm off only where a socket names TCP; with it on, every
    # second answer on a kept connection waits 40 ms for the other side's delayed acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((settings.http_host, settings.http_port))
    return listening


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Server(uvicorn.Server):
    """Leaves signals to the service, and looks at its clock once a second, not ten times."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    async def main_loop(self) -> None:
        counter = 0
        while not await self.on_tick(counter):
            counter = (counter + 10) % 864_000
            await wait_for(self.stopping, 1.0)

    def stop(self) -> None:
        """Ends ``serve``."""
        self.should_exit = True
        self.stopping.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serve(runtime: Runtime, listening: socket.socket) -> AsyncIterator[None]:
    """Answers on the socket for as long as the context is open."""
    server = _Server(
        uvicorn.Config(
            build(runtime),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_keep_alive=KEPT_OPEN_SECONDS,
            timeout_graceful_shutdown=3,
            server_header=False,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.stop()
        await task
