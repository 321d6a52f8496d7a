"""Applies the address rules to every connection of this process, at the moment it is made.

A look-up before the download would not do: a redirect leads elsewhere, and a name can point to another address a second
later. So the check stands where the connection is opened, on the very address it is opened to. It covers whatever runs
on Python's sockets, which is all that yt-dlp is allowed to use here. It changes the process and so is for the child alone.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from services.ingest.addresses import is_public


class ForbiddenConnectionError(OSError):
    """Raised in place of a connection; ``Guard.refused`` tells where it would have led."""


@dataclass
class Guard:
    """What was refused while the guard stood."""

    allow_private: bool
    exempt: frozenset[tuple[str, int]] = frozenset()
    refused: list[str] = field(default_factory=list)

    def admit(self, family: int, kind: int, address: Any) -> Any:
        """The address to connect to, numeric, so that no second look-up can give another."""
        if family not in {socket.AF_INET, socket.AF_INET6} or self.allow_private:
            return address
        host, port = address[0], address[1]
        if (host, port) in self.exempt:
            return address
        found = [entry[4] for entry in socket.getaddrinfo(host, port, family, kind)]
        for numeric in found:
            if is_public(str(numeric[0])):
                return numeric
        self.refused.append(str(host))
        raise ForbiddenConnectionError(f"connections to {host} are not allowed")


@contextmanager
def guarded(*, allow_private: bool, exempt: frozenset[tuple[str, int]] = frozenset()) -> Iterator[Guard]:
    """While this is open, every new TCP connection of the process goes to a public address or fails.

    ``exempt`` lists (host, port) pairs that may be reached all the same: a proxy.
    """
    # Libraries look names up before they connect, so the exempt are known by their numbers too.
    numbers = {(str(entry[4][0]), port) for host, port in exempt for entry in socket.getaddrinfo(host, port)}
    guard = Guard(allow_private, exempt | numbers)
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def guarded_connect(self: socket.socket, address: Any) -> None:
        connect(self, guard.admit(self.family, self.type, address))

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        return connect_ex(self, guard.admit(self.family, self.type, address))

    socket.socket.connect = guarded_connect  # type: ignore[method-assign, assignment]
    socket.socket.connect_ex = guarded_connect_ex  # type: ignore[method-assign, assignment]
    try:
        yield guard
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]
        socket.socket.connect_ex = connect_ex  # type: ignore[method-assign]
