from __future__ import annotations

import random
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import pytest

from models.fetch import FetchFailed, FetchLimits, HostUnreachable, fetch
from tests.unit.models_server import FileServer, serving

CONTENT = random.Random(1).randbytes(900_000)
LIMITS = FetchLimits(timeout=5, attempts=3, pause=0)


def test_goes_on_where_the_connection_was_cut(tmp_path: Path) -> None:
    part = tmp_path / "part"
    counted: list[int] = []
    with serving(FileServer({"/a": CONTENT}, cuts=[100_000, 300_000])) as server:
        fetch(f"{server.url}/a", part, len(CONTENT), LIMITS, counted.append)
    assert part.read_bytes() == CONTENT
    assert server.requests == [("/a", None), ("/a", "bytes=100000-"), ("/a", "bytes=400000-")]
    assert sum(counted) == len(CONTENT)


def test_goes_on_from_an_earlier_call(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(CONTENT[:500_000])
    with serving(FileServer({"/a": CONTENT})) as server:
        fetch(f"{server.url}/a", part, len(CONTENT), LIMITS)
    assert part.read_bytes() == CONTENT
    assert server.requests == [("/a", "bytes=500000-")]


def test_begins_anew_where_ranges_are_unknown(tmp_path: Path) -> None:
    part = tmp_path / "part"
    counted: list[int] = []
    part.write_bytes(CONTENT[:500_000])
    with serving(FileServer({"/a": CONTENT}, ranges=False)) as server:
        fetch(f"{server.url}/a", part, len(CONTENT), LIMITS, counted.append)
    assert part.read_bytes() == CONTENT
    assert sum(counted) == len(CONTENT)


def test_asks_nothing_when_everything_is_there(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(CONTENT)
    with serving(FileServer({"/a": CONTENT})) as server:
        fetch(f"{server.url}/a", part, len(CONTENT), LIMITS)
    assert server.requests == []


def test_gives_up_without_progress_and_keeps_what_came(tmp_path: Path) -> None:
    part = tmp_path / "part"
    with serving(FileServer({"/a": CONTENT}, cuts=[1000, 0, 0, 0, 0])) as server, pytest.raises(FetchFailed, match="1000 of 900000"):
        fetch(f"{server.url}/a", part, len(CONTENT), LIMITS)
    assert part.read_bytes() == CONTENT[:1000]
    assert len(server.requests) == 1 + LIMITS.attempts


def test_asks_again_when_the_server_is_busy(tmp_path: Path) -> None:
    part = tmp_path / "part"
    with serving(FileServer({"/a": CONTENT}, statuses=[503, 429])) as server:
        fetch(f"{server.url}/a", part, len(CONTENT), LIMITS)
    assert part.read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_does_not_insist_on_what_is_not_there(tmp_path: Path) -> None:
    with serving(FileServer({})) as server, pytest.raises(FetchFailed, match="HTTP 404"):
        fetch(f"{server.url}/a", tmp_path / "part", 5, LIMITS)
    assert len(server.requests) == 1


def test_stops_at_the_announced_size(tmp_path: Path) -> None:
    part = tmp_path / "part"
    with serving(FileServer({"/a": CONTENT})) as server, pytest.raises(FetchFailed, match="more bytes"):
        fetch(f"{server.url}/a", part, 1000, LIMITS)
    assert part.stat().st_size <= 1000


def test_a_part_longer_than_the_file_is_thrown_away(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"x" * (len(CONTENT) + 1))
    with serving(FileServer({"/a": CONTENT})) as server:
        fetch(f"{server.url}/a", part, len(CONTENT), LIMITS)
    assert part.read_bytes() == CONTENT


def test_without_a_network_it_says_so_at_once(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="not known here"):
        fetch("https://nowhere.invalid/a", tmp_path / "part", 5, FetchLimits(pause=60))


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a", "data:,abc"])
def test_only_web_addresses_are_fetched(url: str, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="only http"):
        fetch(url, tmp_path / "part", 3, LIMITS)


@contextmanager
def silent() -> Iterator[str]:
    """A host that swallows packets: its queue of connections is full, so that a further one gets no answer at all."""
    with ExitStack() as opened:
        listening = opened.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_host_without_a_connection_is_given_up_at_once(tmp_path: Path) -> None:
    limits = FetchLimits(timeout=30, attempts=4, pause=30, connect=0.3)
    with silent() as url:
        begun = monotonic()
        with pytest.raises(HostUnreachable, match=r"no connection within 0\.3 s"):
            fetch(f"{url}/a", tmp_path / "part", 5, limits)
        assert monotonic() - begun < 5
    with pytest.raises(HostUnreachable, match="refused"):
        fetch(f"{url}/a", tmp_path / "part", 5, limits)
    with pytest.raises(HostUnreachable, match="not known"):
        fetch("http://weights.invalid/a", tmp_path / "part", 5, limits)


def test_silence_after_the_connection_has_a_limit_of_its_own(tmp_path: Path) -> None:
    """The server accepts, and answers later than ``connect``."""
    accepted = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                accepted.wait(0.5)  # longer than connect, shorter than timeout
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde")

        server = threading.Thread(target=answer)
        server.start()
        fetch(f"http://127.0.0.1:{listening.getsockname()[1]}/a", tmp_path / "part", 5, FetchLimits(timeout=20, connect=0.2))
        server.join()
    assert (tmp_path / "part").read_bytes() == b"abcde"


def test_a_proxy_that_refuses_the_host_is_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A company's proxy: CONNECT is answered with 403."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        proxy = threading.Thread(target=refuse)
        proxy.start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(HostUnreachable, match="403"):
            fetch("https://weights.invalid/a", tmp_path / "part", 5, FetchLimits(timeout=5, attempts=4, pause=30))
        proxy.join()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_that_is_not_trusted_is_refused(tmp_path: Path) -> None:
    with tls_server() as url, pytest.raises(HostUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(f"{url}/a", tmp_path / "part", 5, FetchLimits(timeout=5, attempts=4, pause=30))


@contextmanager
def tls_server() -> Iterator[str]:
    """One handshake with a certificate that nothing vouches for."""
    with TemporaryDirectory() as folder:
        words = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 -keyout key.pem -out cert.pem"
        subprocess.run(words.split(), cwd=folder, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def shake_hands() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                context.wrap_socket(connection, server_side=True)

        server = threading.Thread(target=shake_hands)
        server.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        server.join()
