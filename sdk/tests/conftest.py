"""Servers for the tests: one that answers what the test says, and, where an address is given, a real one."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Optional
from urllib.parse import urlsplit

import pytest

from angus.client.rest import Configuration

#: The stream of the demo account, which exists in embedded mode on a loopback address only.
DEMO = ("7f5933d2-cd7c-11e4-9fe6-490467a5e114", "db19c01e-18e5-4fc2-8b81-7b3d1f44533b")


@dataclass
class Request:
    """What arrived."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What is sent back. ``content`` None: the connection is closed without a word."""

    status: int
    content: Optional[bytes]
    headers: dict[str, str] = field(default_factory=dict)


def answer(status: int, document: Any = None, **headers: str) -> Answer:
    return Answer(status, json.dumps(document).encode(), {name.replace("_", "-"): value for name, value in headers.items()})


CLOSED = Answer(0, None)


class Scripted:
    """Speaks HTTP on a socket of its own; each path answers its list, the last one again and again. ``requests``: what arrived."""

    def __init__(self, context: Optional[ssl.SSLContext] = None) -> None:
        self.requests: list[Request] = []
        self.answers: dict[str, list[Answer]] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self.port}"

    def on(self, method: str, path: str, *answers: Answer) -> None:
        self.answers[f"{method} {path}"] = list(answers)

    def sent(self, method: str, path: str) -> list[Request]:
        return [request for request in self.requests if (request.method, request.path) == (method, path)]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            waiting = self.answers.get(f"{request.method} {request.path}")
            if waiting is None:
                return answer(404, {"error": "not scripted", "code": "not_found"})
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def _handler(scripted) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet: a second one would wait for the acknowledgement of the first

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                url = urlsplit(self.path)
                given = scripted.take(Request(self.command, url.path, url.query, dict(self.headers), body))
                if given.content is None:
                    self.close_connection = True
                    return
                self.send_response(given.status)
                for name, value in given.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(given.content)))
                self.end_headers()
                self.wfile.write(given.content)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    server.on("GET", "/services", answer(200, {"services": {"dummy": {"url": "/services/dummy", "available": True}}}))
    server.on("GET", "/services/dummy", answer(200, {"versions": {"1": {"url": "/services/dummy/1"}}}))
    yield server
    server.close()


@pytest.fixture
def untrusted(tmp_path: Path) -> Iterator[str]:
    """The address of a server whose certificate it signed itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("openssl is needed to make a certificate")
    assert openssl
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, *words, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Scripted(context)
    yield f"https://localhost:{server.port}"
    server.close()


@pytest.fixture
def conf() -> Iterator[Configuration]:
    """A configuration whose retries wait for almost nothing."""
    from angus.retries import Retries

    configuration = Configuration()
    configuration.retries = Retries(attempts=3, first=0.001)
    configuration.set_credential(*DEMO)
    yield configuration
    configuration.close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, and an empty current folder."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


@pytest.fixture(scope="session")
def live() -> str:
    """The address of a running Sensorium in embedded mode."""
    url = os.environ.get("ANGUS_TEST_URL")
    if not url:
        pytest.skip("ANGUS_TEST_URL names no running Sensorium; `make test-sdk` starts one")
    return url


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A photograph with one face, JPEG."""
    path = os.environ.get("ANGUS_TEST_PHOTO")
    if not path:
        pytest.skip("ANGUS_TEST_PHOTO names no photograph; `make test-sdk` brings one")
    return Path(path).read_bytes()
