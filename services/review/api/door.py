"""Whose a token is: that of the settings, which is an operator's, and those in the database."""

from __future__ import annotations

import hmac
import time
from typing import TYPE_CHECKING

from contracts.errors import Permanent
from services.chassis.health import is_loopback
from services.review import tokens
from services.review.api.actors import OPEN, Actor, Role, role_named

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime

REMEMBERED = 5.0
"""Seconds for which a good token is not looked up again; a revoked one may live this long on other replicas."""
MOST_CALLERS = 10_000
"""Callers that are remembered at once."""


class Unknown(Permanent):
    """A token that opens nothing."""

    code = "http.unauthorized"


class Doorkeeper:
    """Knows tokens: that of the settings, which is an operator's, and those in the database."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._own: str = runtime.settings.http_token.get_secret_value()
        self.is_open = not self._own and is_loopback(runtime.settings.http_host)
        self._seen: dict[bytes, tuple[float, Actor]] = {}

    async def bearer(self, token: str) -> Actor:
        """Whose a token is. Raises ``Unknown``. An open API asks for none."""
        if self.is_open:
            return OPEN
        if self._own and hmac.compare_digest(token.encode(), self._own.encode()):
            return Actor("operator", Role.OPERATOR, is_known=True)
        digest = tokens.digest_of(token)
        kept = self._seen.get(digest)
        if kept is not None and time.monotonic() - kept[0] < REMEMBERED:
            return kept[1]
        async with self._runtime.transaction() as ledger:
            found = await tokens.find(ledger.session, digest, ledger.now)
        if found is None:
            self._seen.pop(digest, None)
            raise Unknown("That token opens nothing here; ask an operator for another: heaters token create.")
        actor = Actor(found.name, role_named(found.role), is_known=True)
        if len(self._seen) >= MOST_CALLERS:
            self._seen.clear()
        self._seen[digest] = (time.monotonic(), actor)
        return actor

    def forget(self) -> None:
        """Has every token looked up again."""
        self._seen.clear()
