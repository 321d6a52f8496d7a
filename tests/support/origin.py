"""A web server on the loopback that offers media in every way of the web, well and badly, and remembers what was asked."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KINDS = {
    "mp4": "video/mp4",
    "m4s": "video/iso.segment",
    "m4a": "audio/mp4",
    "mkv": "video/x-matroska",
    "webm": "video/webm",
    "m3u8": "application/vnd.apple.mpegurl",
    "mpd": "application/dash+xml",
    "ts": "video/mp2t",
    "html": "text/html",
    "vtt": "text/vtt",
    "xml": "application/rss+xml",
}


class Site:
    """A web server with files, and per path a way to answer badly."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0):
        self.files: dict[str, bytes] = {}
        self.kinds: dict[str, str] = {}
        self.redirects: dict[str, str] = {}
        self.statuses: dict[str, int] = {}
        self.cut: dict[str, int] = {}
        """The connection is closed after this byte of the file."""
        self.drops: Counter[str] = Counter()
        """So many times the connection is closed half-way through the rest."""
        self.lengths: dict[str, int] = {}
        """A Content-Length that is not the file's."""
        self.rangeless: set[str] = set()
        self.speed: dict[str, int] = {}
        """Bytes a second."""
        self.endless: dict[str, bytes] = {}
        """Sent again and again, without a length, until the other side closes."""
        self.asked: Counter[str] = Counter()
        self.ranges: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.at_once = 0
        self.most_at_once = 0
        self._lock = threading.Lock()
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                self.answer(body=False)

            def do_GET(self):
                with site._lock:
                    site.at_once += 1
                    site.most_at_once = max(site.most_at_once, site.at_once)
                try:
                    self.answer(body=True)
                finally:
                    with site._lock:
                        site.at_once -= 1

            def answer(self, *, body):
                path = self.path.split("?")[0]
                site.asked[path] += 1
                site.headers.append(dict(self.headers))
                if path in site.redirects:
                    return self.head(302, {"Location": site.redirects[path], "Content-Length": "0"})
                if path in site.endless:
                    return self.stream_for_ever(path)
                data = site.files.get(path)
                status = site.statuses.get(path, 200 if data is not None else 404)
                if status != 200:
                    return self.head(status, {"Content-Length": "0"})
                kind = site.kinds.get(path) or KINDS.get(path.rsplit(".", 1)[-1], "application/octet-stream")
                start, end = 0, len(data)
                fields = {"Content-Type": kind}
                wanted = None
                if path not in site.rangeless:
                    fields["Accept-Ranges"] = "bytes"
                    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
                if wanted:
                    start, end = int(wanted[1]), min(int(wanted[2] or end - 1) + 1, end)
                    if start >= len(data):
                        return self.head(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(data)}"})
                    fields["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
                    site.ranges.append(wanted[0])
                length = site.lengths.get(path, end - start)
                self.head(206 if wanted else 200, {**fields, "Content-Length": str(length)})
                if body:
                    stop = min(end, site.cut.get(path, end), start + length)
                    if site.drops[path] > 0:
                        site.drops[path] -= 1
                        stop = (start + end) // 2
                    self.send(data[start:stop], site.speed.get(path))
                    if stop < end or length != end - start:
                        self.close_connection = True
                return None

            def send(self, data, speed):
                if not speed:
                    self.wfile.write(data)
                    return
                for place in range(0, len(data), max(1, speed // 20)):
                    self.wfile.write(data[place : place + max(1, speed // 20)])
                    time.sleep(0.05)

            def stream_for_ever(self, path):
                self.head(200, {"Content-Type": "video/mp4", "Connection": "close"})
                self.close_connection = True
                with contextlib.suppress(OSError):
                    while True:
                        self.wfile.write(site.endless[path])

            def head(self, status, fields):
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                """yt-dlp drops its first request half-way."""

        self.server = Server((address, port), Handler)
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self.server.server_port

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(5)


Plant = Callable[[Site], str]
