"""Unit tests open no connection: one that tries is told so."""

from __future__ import annotations

import socket

import pytest


@pytest.fixture(autouse=True)
def no_connections(monkeypatch) -> None:
    def refuse(self, address, *_):
        if self.family != socket.AF_UNIX:
            raise AssertionError(f"a unit test tried to connect to {address}; such tests belong to tests/component")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
