"""The system's Firefox, driven by the protocol that it speaks itself (WebDriver BiDi): no driver lies between."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

LISTENS = re.compile(r"WebDriver BiDi listening on (ws://\S+)")


class FirefoxPage:
    """One page of a Firefox of its own."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._ask("session.new", capabilities={})
        self._context = self._ask("browsingContext.getTree")["contexts"][0]["context"]

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._connection.recv(timeout=60))
            if answer.get("id") == number:
                if answer["type"] == "error":
                    raise AssertionError(f"{method}: {answer['error']}: {answer['message']}")
                return answer["result"]

    def goto(self, address: str) -> None:
        self._ask("browsingContext.navigate", context=self._context, url=address, wait="complete")

    def evaluate(self, function: str, argument: object = None) -> Any:
        """What a function of the page gives, awaited; it must be JSON."""
        answer = self._ask(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({function})({json.dumps(argument)})))()",
            target={"context": self._context},
            awaitPromise=True,
        )
        if answer["type"] == "exception":
            raise AssertionError(answer["exceptionDetails"]["text"])
        return json.loads(answer["result"].get("value", "null"))

    def press(self, key: str) -> None:
        keys = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        actions = [{"type": "key", "id": "keyboard", "actions": keys}]
        self._ask("input.performActions", context=self._context, actions=actions)

    def wait_for(self, condition: str, argument: object = None, timeout: float = 30) -> None:
        """Waits until a function of the page is true."""
        deadline = time.monotonic() + timeout
        while not self.evaluate(condition, argument):
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout} s for {condition} with {argument!r}")
            time.sleep(0.05)


@contextlib.contextmanager
def firefox(folder: Path) -> Iterator[FirefoxPage]:
    """A headless Firefox with a new profile in a folder."""
    path = shutil.which("firefox-esr") or shutil.which("firefox")
    assert path, "This test needs Firefox; install the package 'firefox-esr'."
    log = folder / "firefox.log"
    profile = folder / "profile"
    profile.mkdir()
    command = [
        path,
        "--headless",
        "--no-remote",
        "--profile",
        str(profile),
        "--remote-debugging-port",
        "0",
        "about:blank",
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, cwd=folder, env={"HOME": str(folder), "PATH": "/usr/bin:/bin"}
        )
    try:
        deadline = time.monotonic() + 60
        while not (found := LISTENS.search(log.read_text(errors="replace"))):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"Firefox did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        with connect(f"{found[1]}/session", max_size=None, open_timeout=30, proxy=None) as connection:
            yield FirefoxPage(connection)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
