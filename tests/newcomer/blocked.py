"""A proxy that reaches every host but those that weights have other addresses at."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from models.manifest import load_manifest

_BYTES = 65_536
_CONNECT_SECONDS = 20.0


def hosts_of_weights() -> frozenset[str]:
    """The hosts of all addresses in the manifest; packages have none there."""
    models = load_manifest().models
    originals = [original for model in models if model.conversion is not None for original in model.conversion.originals]
    artefacts = [*(model.artefact for model in models), *originals]
    return frozenset(str(urlsplit(url).hostname) for artefact in artefacts for url in artefact.urls)


@contextmanager
def blocking_proxy(blocked: Collection[str]) -> Iterator[tuple[str, set[str]]]:
    """The address of an HTTP proxy that tunnels (CONNECT) to all hosts but the ``blocked`` ones, and the hosts that it refused."""
    refused: set[str] = set()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with suppress(OSError):  # closed at the end
                while True:
                    client, _ = listening.accept()
                    threading.Thread(target=_serve, args=(client, blocked, refused), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", refused


def _serve(client: socket.socket, blocked: Collection[str], refused: set[str]) -> None:
    with client, suppress(OSError):
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _BYTES:
            if not (more := client.recv(_BYTES)):
                return
            head += more
        method, target, *_ = head.decode("latin-1").split(" ")
        host, _, port = target.rpartition(":") if method == "CONNECT" else (str(urlsplit(target).hostname), ":", "80")
        if method != "CONNECT" or host in blocked:
            refused.add(host)
            client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        with socket.create_connection((host, int(port)), _CONNECT_SECONDS) as server:
            server.settimeout(None)
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _relay(client, server)


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Until either side ends."""
    while True:
        ready, _, _ = select.select([one, other], [], [])
        for source in ready:
            if not (content := source.recv(_BYTES)):
                return
            (other if source is one else one).sendall(content)
