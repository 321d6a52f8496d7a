"""Sends a local file to a running stack in parts, going on where an earlier attempt stopped.

Guarantees: the upload is named by the file's digest, so that the same file is never sent twice, whoever began it; a part
that fails is sent again a few times; parts go straight to the object store under signed addresses.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from console.api import Api
from contracts.errors import Transient

AT_ONCE = 3
PARTS_ASKED = 50
ATTEMPTS = 5
PATIENCE = 60.0
_PIECE = 1 << 20


class PartNotTaken(Transient):
    """The object store did not take a part."""

    code = "input.upload_failed"


def send_file(review: Api, path: Path, sha256: str, content_type: str, moved: Callable[[int], None]) -> dict[str, Any]:
    """Sends what the store does not have yet; the source to request, once all of it is there.

    ``moved`` hears of bytes as they arrive, those of earlier attempts first.

    Raises:
        ApiError: the review service refuses the upload.
        PartNotTaken: the object store does not take a part after several attempts.
    """
    size = path.stat().st_size
    body = {
        "name": path.name[-500:],
        "size": size,
        "sha256": sha256,
        "fingerprint": f"sha256:{sha256}",
        "content_type": content_type,
    }
    upload = review.post("/api/uploads", body)
    moved(upload["received"])
    if upload["state"] != "complete":
        have = set(upload["have"])
        absent = [number for number in range(1, upload["parts"] + 1) if number not in have]
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="upload") as pool:
            for start in range(0, len(absent), PARTS_ASKED):
                numbers = absent[start : start + PARTS_ASKED]
                told = review.post(f"/api/uploads/{upload['upload_id']}/parts", {"numbers": numbers})
                jobs = [pool.submit(_send_part, path, part, upload["part_bytes"]) for part in told["parts"]]
                try:
                    for job in jobs:
                        moved(job.result())
                except BaseException:
                    for job in jobs:
                        job.cancel()
                    raise
        upload = review.post(f"/api/uploads/{upload['upload_id']}/complete")
    source: dict[str, Any] = upload["source"]
    return source


def _send_part(path: Path, part: dict[str, Any], part_bytes: int) -> int:
    """Sends one part, with patience; its bytes."""
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(0.2 * 2**attempt)
        try:
            status = _put(path, part["url"], (part["number"] - 1) * part_bytes, part["size"])
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            continue
        if status < 300:
            return int(part["size"])
        reason = f"it answered {status}"
        if status < 500 and status not in {408, 429}:
            break
    raise PartNotTaken(
        f"The object store does not take part {part['number']} of {path.name} ({reason}). Give the same command again: it "
        "goes on where it stopped."
    )


def _put(path: Path, url: str, start: int, size: int) -> int:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=PATIENCE)
    try:
        connection.putrequest("PUT", f"{parts.path}?{parts.query}")
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        with path.open("rb") as file:
            file.seek(start)
            left = size
            while left:
                piece = file.read(min(_PIECE, left))
                if not piece:
                    raise OSError(f"{path.name} became shorter while it was sent")
                connection.send(piece)
                left -= len(piece)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()
