"""A web server of the tests' own that keeps a record, cuts connections, and knows ranges or does not."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """``files`` by path. ``cuts``: after how many body bytes to drop the connection, one entry a request below ``cut``; then no more.

    ``statuses``: to refuse with, one entry a request; ``always``: to refuse every request with, 0 for none.
    """

    files: Mapping[str, bytes]
    always: int = 0
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    cut: str = "/"
    ranges: bool = True
    url: str = ""
    requests: list[tuple[str, str | None]] = field(default_factory=list)


def _handler(served: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            served.requests.append((self.path, asked))
            content = served.files.get(self.path)
            if served.always:
                return self._refuse(served.always)
            if served.statuses:
                return self._refuse(served.statuses.pop(0))
            if content is None:
                return self._refuse(404)
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and served.ranges else 0
            if start >= len(content):
                return self._refuse(416)
            self._send(content, start, partial=bool(asked and served.ranges))

        def _refuse(self, status: int) -> None:
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="packages"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send(self, content: bytes, start: int, partial: bool) -> None:
            body = content[start:]
            self.send_response(206 if partial else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
            if partial:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if served.cuts and self.path.startswith(served.cut):
                self.wfile.write(body[: served.cuts.pop(0)])
                self.close_connection = True
            else:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """The record is in ``requests``."""

    return Handler


@contextmanager
def serving(served: FileServer) -> Iterator[FileServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
