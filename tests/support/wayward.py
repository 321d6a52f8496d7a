"""Object stores that behave as stores do on a bad day: they fail, answer in part, list late, and their callers are killed."""

from __future__ import annotations

import http.client
import random
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from services.chassis.objects import FolderStore, StoreUnavailable


class Killed(BaseException):
    """The process ended here, as by SIGKILL: nothing after it ran."""


class WaywardStore(FolderStore):
    """A folder store on a bad day. ``trouble`` is the chance of an error, and of a kill, at each call."""

    def __init__(self, root, seed: int, trouble: float) -> None:
        super().__init__(root)
        self.trouble = trouble
        self.told: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._late: dict[str, int] = {}
        self._ghosts: dict[str, int] = {}

    def _stumble(self) -> None:
        chance = self._random.random()
        if chance < self.trouble:
            self.told["error"] += 1
            raise StoreUnavailable("503 SlowDown")
        if chance < 2 * self.trouble:
            self.told["kill"] += 1
            raise Killed

    def put_bytes(self, data, key, content_type):
        self._stumble()
        ref = super().put_bytes(data, key, content_type)
        self._ghosts.pop(key, None)
        if self.trouble and self._random.random() < 0.3:
            self._late[key] = 3
        self._stumble()
        return ref

    def list(self, prefix):
        self._stumble()
        keys = set(super().list(prefix))
        for key in [key for key in self._late if key.startswith(prefix)]:
            keys.discard(key)
            self.told["listed late"] += 1
            self._late[key] -= 1
            if not self._late[key]:
                del self._late[key]
        for key in [key for key in self._ghosts if key.startswith(prefix)]:
            keys.add(key)
            self.told["listed though gone"] += 1
            self._ghosts[key] -= 1
            if not self._ghosts[key]:
                del self._ghosts[key]
        yield from sorted(keys)

    def delete(self, keys):
        count = 0
        for key in keys:
            self._stumble()
            super().delete([key])
            if self.trouble and self._random.random() < 0.2:
                self._ghosts[key] = 2
            count += 1
        self._stumble()
        return count


class WaywardProxy:
    """An HTTP proxy before a real S3 server. ``batch``: "missing", "partial", "throttled" or "" for untouched."""

    def __init__(self, endpoint: str) -> None:
        self.batch = ""
        self.throttled = 0
        self.asked: Counter[str] = Counter()
        proxy, target = self, urlsplit(endpoint).netloc

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                is_batch = self.command == "POST" and "delete" in urlsplit(self.path).query
                proxy.asked["batch" if is_batch else self.command] += 1
                if proxy.throttled > 0:
                    proxy.throttled -= 1
                    return self.answer(503, b"<Error><Code>SlowDown</Code><Message>Slow down.</Message></Error>")
                if is_batch and proxy.batch == "missing":
                    return self.answer(501, b"<Error><Code>NotImplemented</Code><Message>No.</Message></Error>")
                if is_batch and proxy.batch == "partial":
                    return self.partly(re.findall(rb"<Key>(.*?)</Key>", body))
                connection = http.client.HTTPConnection(target, timeout=10)
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in {"connection", "expect"}:
                        connection.putheader(name, value)
                connection.endheaders(body or None)
                answer = connection.getresponse()
                data = answer.read()
                self.answer(answer.status, data, dict(answer.getheaders()))
                connection.close()
                return None

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

            def partly(self, keys):
                """Fails one half, and forgets to speak of the other."""
                failed = keys[: len(keys) // 2]
                errors = b"".join(
                    b"<Error><Key>" + key + b"</Key><Code>InternalError</Code><Message>Try again.</Message></Error>"
                    for key in failed
                )
                self.answer(200, b'<?xml version="1.0"?><DeleteResult>' + errors + b"</DeleteResult>")

            def answer(self, status, data, fields=None):
                self.send_response(status)
                for name, value in (fields or {}).items():
                    if name.lower() not in {"content-length", "transfer-encoding", "connection", "date", "server"}:
                        self.send_header(name, value)
                length = (fields or {}).get("content-length") if self.command == "HEAD" else None
                self.send_header("Content-Length", length or str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(5)
