"""Short-lived addresses of stored objects, on the service's own origin, each pinned to one object.

An address carries what it opens (key, size, digest, type) and until when, signed with a key that follows from the store's
secret: it needs no table, outlives restarts and is the same on every replica. It authorises by itself, because pictures and
players cannot send a token. Ends are rounded up, so that a browser meets the same address again and may use its cache.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from contracts.errors import Permanent
from contracts.values import ObjectRef
from services.review.api.shapes import FileOut

ROUNDED_TO = 300
"""Seconds."""
PATH = "/api/media/"


class BadAddress(Permanent):
    """Nobody here made this address."""

    code = "media.bad_address"


class ExpiredAddress(Permanent):
    """The address was good once."""

    code = "media.expired"


@dataclass(frozen=True)
class Pinned:
    """What an address opens, and until when."""

    key: str
    size: int
    sha256: str
    content_type: str
    until: datetime

    @property
    def etag(self) -> str:
        """The object's ETag."""
        return f'"{self.sha256}"'


class Addresses:
    """Makes and reads addresses."""

    def __init__(self, secret: str, lifetime: timedelta) -> None:
        self._key = hmac.digest(secret.encode(), b"heaters media addresses", "sha256")
        self._lifetime = lifetime.total_seconds()

    def ends(self, now: datetime) -> datetime:
        """When an address made now ends."""
        return datetime.fromtimestamp(math.ceil((now.timestamp() + self._lifetime) / ROUNDED_TO) * ROUNDED_TO, tz=UTC)

    def file(self, stored: ObjectRef, now: datetime) -> FileOut:
        """The object with its address."""
        told = [stored.key, stored.size, stored.sha256, stored.content_type, int(self.ends(now).timestamp())]
        body = _spell(json.dumps(told, separators=(",", ":")).encode())
        return FileOut(
            url=f"{PATH}{body}.{self._sign(body)}",
            size=stored.size,
            sha256=stored.sha256,
            etag=f'"{stored.sha256}"',
            content_type=stored.content_type,
        )

    def read(self, token: str, now: datetime) -> Pinned:
        """What an address opens. Raises ``BadAddress`` or ``ExpiredAddress``."""
        body, _, signature = token.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(body).encode()):
            raise BadAddress("That is no address of a stored object; ask for the clip's media again.")
        try:
            key, size, sha256, content_type, until = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        except (ValueError, binascii.Error) as error:
            raise BadAddress("That is no address of a stored object; ask for the clip's media again.") from error
        pinned = Pinned(key, size, sha256, content_type, datetime.fromtimestamp(until, tz=UTC))
        if now >= pinned.until:
            raise ExpiredAddress("That address has expired; ask for the clip's media again.")
        return pinned

    def _sign(self, body: str) -> str:
        return _spell(hmac.digest(self._key, body.encode(), hashlib.sha256)[:18])


def _spell(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
