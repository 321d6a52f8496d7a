"""A small client of the services' HTTP APIs: JSON in, JSON out, errors as sentences.

Guarantees: one connection is kept and renewed when the server has closed it; an answer that is no success raises
``ApiError`` with the server's own words. Not for use from several threads at once.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

PIECE = 1 << 20
"""Bytes that are held of what is written to a file."""


class ApiError(Exception):
    """The service refused, or does not answer; ``status`` is 0 when there was no answer, ``code`` the stable code."""

    def __init__(self, message: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Api:
    """One service's API."""

    def __init__(self, address: str, token: str = "", patience: float = 30.0) -> None:
        self.address = address.rstrip("/")
        self._parts = urlsplit(self.address)
        self._token = token
        self._patience = patience
        self._connection: http.client.HTTPConnection | None = None

    def get(self, path: str, **query: Any) -> Any:
        """The JSON under a path; query values of None are left out."""
        found = {name: value for name, value in query.items() if value is not None}
        return self.call("GET", path + (f"?{urlencode(found)}" if found else ""))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON answer to a JSON body."""
        return self.call("POST", path, json.dumps(body or {}).encode(), "application/json")

    def call(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> Any:
        """The JSON answer to one request. Raises ``ApiError``."""
        data = self.fetch(method, path, body, content_type)
        return json.loads(data) if data else None

    def delete(self, path: str) -> None:
        """Has what lies under a path deleted."""
        self.fetch("DELETE", path)

    def fetch(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> bytes:
        """The answer to one request, tried once more when a kept connection proves closed. Raises ``ApiError``."""
        headers = {"Accept": "application/json"}
        if content_type:
            headers["Content-Type"] = content_type
        headers = self._named(headers)
        try:
            return self._call(method, path, body, headers)
        except (OSError, http.client.HTTPException):
            self.close()
        try:
            return self._call(method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            message = f"{self.address} does not answer ({error}); see what is running with: heaters status"
            raise ApiError(message) from error

    def save(self, path: str, target: Path) -> None:
        """Writes the answer to a GET into a file, a piece at a time; the file appears whole or not at all. Raises ``ApiError``."""
        fresh = target.with_name(f".{target.name}.part")
        try:
            answer = self._ask("GET", path, None, self._named({"Accept": "*/*"}))
            with fresh.open("wb") as file:
                while piece := answer.read(PIECE):
                    file.write(piece)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            fresh.unlink(missing_ok=True)
            message = f"{target.name} did not arrive whole ({error}); give the command again, it goes on from here."
            raise ApiError(message) from error
        fresh.rename(target)

    def _named(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {**headers, **({"Authorization": f"Bearer {self._token}"} if self._token else {})}

    def _call(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> bytes:
        return self._ask(method, path, body, headers).read()

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
            self._connection = kind(self._parts.netloc, timeout=self._patience)
        self._connection.request(method, self._parts.path + path, body, dict(headers))
        answer = self._connection.getresponse()
        if answer.status >= 400:
            raise _problem(answer.status, answer.read(), f"{self.address}{path}")
        return answer

    def close(self) -> None:
        """Ends the kept connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _problem(status: int, data: bytes, address: str) -> ApiError:
    """The server's problem document, or what little it said."""
    try:
        said = json.loads(data)
    except ValueError:
        said = {}
    if not isinstance(said, dict):
        said = {}
    detail = said.get("detail") or said.get("message") or said.get("title") or f"{address} answered {status}"
    return ApiError(
        detail if isinstance(detail, str) else json.dumps(detail), status=status, code=str(said.get("code", ""))
    )


def pages(api: Api, path: str, items: str, **query: Any) -> Iterator[dict[str, Any]]:
    """Every item of a listing that comes in pages."""
    cursor: str | None = None
    while True:
        page = api.get(path, cursor=cursor, **query)
        yield from page.get(items, ())
        cursor = page.get("next")
        if not cursor:
            return


def path_of(*segments: object) -> str:
    """A path from its segments, each quoted."""
    return "/" + "/".join(quote(str(segment), safe="") for segment in segments)
