"""Bytes over HTTP into a file: resumed after a cut, never longer than announced.

What has arrived stays in the ``.part`` file, in this call and the next. The caller checks the digest.
"""

from __future__ import annotations

import errno
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from models.connect import Unreachable, open_url

Advance = Callable[[int], object]  # called with the number of bytes that have just come; negative when the start is repeated
_PIECE = 1 << 18
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
_OVER = 416
_FULL = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})  # the disk, a limit of the process, a quota


class FetchFailed(Exception):
    """The bytes could not be had from this address."""


class HostUnreachable(FetchFailed):
    """The host does not answer, or nothing but that it is busy: its other files cannot be had now either."""


class _Cut(Exception):
    """The connection ended early or never came; what has arrived is kept and asking again makes sense."""


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """``timeout``: seconds that the other side may stay silent. ``attempts``: in a row without a single new byte.

    ``pause``: seconds before asking again, doubled each time. ``connect``: seconds until there must be a connection.
    """

    timeout: float = 30.0
    connect: float = 5.0
    attempts: int = 4
    pause: float = 0.5


def fetch(url: str, part: Path, size: int, limits: FetchLimits, advance: Advance = lambda _: None) -> None:
    """Completes ``part`` to exactly ``size`` bytes from ``url``. Raises `FetchFailed`; ``part`` then holds what came.

    A host to which there is no connection is asked once, unless some of the bytes have just come from it.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise FetchFailed(f"{url}: only http and https addresses are fetched")
    part.parent.mkdir(parents=True, exist_ok=True)
    if (length := _length(part)) > size:
        part.unlink()
        length = 0
    advance(length)
    failures = 0
    came = False
    while _length(part) < size:
        before = _length(part)
        try:
            _continue(url, part, size, limits, advance)
        except (_Cut, Unreachable) as error:
            came = came or _length(part) > before
            if isinstance(error, Unreachable) and not came:
                raise HostUnreachable(f"{url}: {error}") from error
            failures = failures + 1 if _length(part) <= before else 0
            if failures >= limits.attempts:
                raise (FetchFailed if came else HostUnreachable)(f"{url}: {error}") from error
            time.sleep(limits.pause * 2**failures)


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _continue(url: str, part: Path, size: int, limits: FetchLimits, advance: Advance) -> None:
    """One request, from where ``part`` ends."""
    start = _length(part)
    # Without this header a server may compress, and a range of a compressed body is no range of the file.
    headers = {"Accept-Encoding": "identity", "User-Agent": "sensorium"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - `fetch` lets only http and https through
    try:
        with open_url(request, limits.timeout, limits.connect) as answer:
            if start and not _goes_on(answer, start):
                advance(-start)
                start = 0
            with part.open("ab" if start else "wb") as file:
                for piece in _pieces(answer, size - start, url):
                    file.write(piece)
                    advance(len(piece))
    except Unreachable:
        raise
    except urllib.error.HTTPError as error:
        _refused(error, url, part, advance)
    except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
        if getattr(error, "errno", None) in _FULL:
            raise FetchFailed(f"{url}: {error}") from error
        raise _Cut(str(error) or type(error).__name__) from error
    if _length(part) < size:
        raise _Cut(f"the connection ended after {_length(part)} of {size} bytes")


def _goes_on(answer: http.client.HTTPResponse, start: int) -> bool:
    """A server that knows no ranges answers 200 with the whole file; one that errs may answer another range."""
    return answer.status == http.HTTPStatus.PARTIAL_CONTENT and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _pieces(answer: IO[bytes], room: int, url: str) -> Iterator[bytes]:
    while piece := answer.read(_PIECE):
        room -= len(piece)
        if room < 0:
            raise FetchFailed(f"{url}: more bytes than the manifest says")
        yield piece


def _refused(error: urllib.error.HTTPError, url: str, part: Path, advance: Advance) -> None:
    error.close()
    if error.code == _OVER and part.exists():
        advance(-_length(part))
        part.unlink()  # the other side has a shorter file than what is here: begin again
        raise _Cut("the range was refused") from error
    if error.code in _LATER:
        raise _Cut(f"HTTP {error.code}") from error
    raise FetchFailed(f"{url}: HTTP {error.code}") from error
