"""The web client's files: the page itself is asked for anew each time, what carries its digest in its name is kept for ever."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC = Path(__file__).parent.parent / "static"


class Pages(StaticFiles):
    """The built client of ``services/review/web``."""

    def __init__(self, directory: Path = STATIC) -> None:
        super().__init__(directory=directory, html=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file with the lifetime that its name allows."""
        answer = await super().get_response(path, scope)
        is_named_by_digest = path.startswith("app.")
        answer.headers["Cache-Control"] = (
            "public, max-age=31536000, immutable" if is_named_by_digest and answer.status_code == 200 else "no-cache"
        )
        return answer
