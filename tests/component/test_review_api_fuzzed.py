"""Whatever is sent to the API as its own document describes it, or just not so: no answer is the service's fault."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from uuid import uuid4

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.generation import GenerationMode

from services.review.api import create_api
from tests.support.review_events import accepted, detected, downloaded, proxied
from tests.support.review_service import review_service

ENDLESS = {"/api/stream"}
ASKS_OTHERS = "/api/search"


@contextlib.contextmanager
def served(database, folder):
    """A review service on a port, in a thread with a loop of its own, and the ids of what it holds."""
    listening = socket.create_server(("127.0.0.1", 0))
    ready, held, stop = threading.Event(), {}, []

    async def run():
        async with review_service(database, folder, review_rate=100_000, database_pool=4) as review:
            video_id = uuid4()
            await review.hear(accepted(video_id), downloaded(video_id), proxied(video_id), detected(video_id))
            video = await review.video(video_id)
            made = (await review.edit(video_id, "skip", [video["clips"][0]])).json()
            held.update(video_id=str(video_id), clip_id=video["clips"][1]["id"], edit_id=made["edit"]["id"])
            config = uvicorn.Config(create_api(review.runtime), log_config=None, lifespan="off", ws="none")
            server = uvicorn.Server(config)
            stop.append(lambda: setattr(server, "should_exit", True))
            ready.set()
            await server._serve([listening])

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(60)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", held
    finally:
        stop[0]()
        thread.join(30)
        listening.close()


@pytest.fixture(scope="module")
def service(servers, tmp_path_factory):
    with served(servers.settings("127.0.0.1:9"), tmp_path_factory.mktemp("objects")) as found:
        yield found


@pytest.mark.scaled
@pytest.mark.timeout(900)
def test_no_request_makes_the_service_fail(service, scale):
    address, held = service
    schema = schemathesis.openapi.from_url(f"{address}/api/openapi.json")
    asked = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path in ENDLESS or operation.path.startswith(ASKS_OTHERS):
            continue

        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @settings(
                max_examples=scale(3, 20),
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case):
                nonlocal asked
                asked += 1
                if asked % 2 and isinstance(case.path_parameters, dict):
                    case.path_parameters |= {name: held[name] for name in case.path_parameters if name in held}
                answer = case.call(timeout=20)
                assert answer.status_code < 500, (case.as_curl_command(), answer.text)
                if answer.status_code >= 400:
                    assert answer.headers["content-type"][0].startswith("application/problem+json"), case.path

            try:
                check()
            except Exception as error:
                if type(error).__name__ not in ("SkipTest", "Unsatisfiable"):
                    raise
    assert asked > 200
