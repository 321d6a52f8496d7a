"""Exact frames as JPEGs, for browsers that cannot decode them: asked of a child process, which may die and is replaced."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
import sys

from contracts.errors import Permanent, Transient

LENGTH = struct.Struct(">I")
PATIENCE = 5.0
"""Seconds that one frame may take."""
WAITING = 64
"""Requests that may stand in line."""
LARGEST = 20_000_000
"""Bytes of one frame's packet, and of its picture."""


class FrameUnreadable(Permanent):
    """The proxy's frame does not decode."""

    code = "review.frame_unreadable"


class StillsBusy(Transient):
    """Too many frames are asked for, or the child does not answer."""

    code = "review.stills_busy"


class Stills:
    """One child process, started when it is first needed; requests follow each other."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def make(self, packet: bytes, *, codec: str, extradata: bytes, height: int | None) -> bytes:
        """The JPEG of a packet's frame. Raises ``FrameUnreadable`` or ``StillsBusy``."""
        if self._waiting >= WAITING:
            raise StillsBusy("Many exact frames are being made; try again in a moment.")
        order = {"codec": codec, "extradata": base64.b64encode(extradata).decode(), "height": height}
        request = json.dumps(order).encode() + b"\n" + packet
        self._waiting += 1
        try:
            async with self._turn:
                answer = await self._ask(request)
        finally:
            self._waiting -= 1
        if answer[:1] != b"J":
            raise FrameUnreadable(
                f"The proxy's frame cannot be shown: {answer[1:].decode(errors='replace')}. Have the video preprocessed again."
            )
        return answer[1:]

    async def _ask(self, request: bytes) -> bytes:
        is_answered = False
        try:
            async with asyncio.timeout(PATIENCE):
                process = await self._child()
                if process.stdin is None or process.stdout is None:
                    raise TypeError("The child was started with pipes.")
                process.stdin.write(LENGTH.pack(len(request)) + request)
                await process.stdin.drain()
                (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
                if length > LARGEST:
                    raise StillsBusy("The child that makes frames answered nonsense; try again.")
                answer = await process.stdout.readexactly(length)
                is_answered = True
                return answer
        except (TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            raise StillsBusy("The child that makes exact frames died; try again.") from error
        finally:
            if not is_answered:
                # What the child would still answer is of no use to the next who asks.
                await self.close()

    async def _child(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            environment = {name: value for name, value in os.environ.items() if not name.startswith("HEATERS_")}
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "services.media.still",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=environment,
            )
        return self._process

    async def close(self) -> None:
        """Ends the child."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()
