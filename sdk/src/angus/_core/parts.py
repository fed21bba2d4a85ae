"""The format of streams: ``multipart/x-mixed-replace``, frames one way and answers the other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from angus._core.requests import file_bytes
from angus.errors import AngusError

BOUNDARY = "myboundary"
CONTENT_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
END = f"--{BOUNDARY}--\r\n".encode()
#: Bytes of the largest answer, and of the largest head of one, that are accepted.
MOST_BYTES, MOST_HEAD = 16 * 1024 * 1024, 16 * 1024
_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,9})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_SIGNATURES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"RIFF", "audio/wav"))


def part_of(parameters: Mapping[str, Any], name: str, data: Any) -> bytes:
    """One frame: the file that is the field ``name`` of the service's parameters, with the frame's other parameters beside it."""
    content = file_bytes(data)
    kind = next((kind for signature, kind in _SIGNATURES if content.startswith(signature)), "image/jpeg")
    head = (
        f"--{BOUNDARY}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(content)}",
        f"X-Angus-DataField: {_one_line(name)}",
        f"X-Angus-Parameters: {json.dumps(parameters)}",
        "",
        "",
    )
    return "\r\n".join(head).encode() + content + b"\r\n"


def boundary_of(content_type: str) -> str:
    """The boundary that an answer's Content-Type names."""
    found = re.search(r'boundary="?([^";]+)', content_type)
    return found[1] if found else BOUNDARY


class PartReader:
    """Takes bytes as they come and gives the parts' contents as they are complete."""

    def __init__(self, boundary: str) -> None:
        self._marker = f"--{boundary}".encode()
        self._received = bytearray()
        self.ended = False

    def feed(self, data: bytes) -> Iterator[str]:
        """The parts that this completes. Raises `AngusError` for what is no such stream, or too large."""
        self._received += data
        while not self.ended:
            content = self._next()
            if content is None:
                return
            yield content

    def _next(self) -> Optional[str]:
        start = self._received.find(self._marker)
        if start >= 0 and self._received[start + len(self._marker) :].startswith(b"--"):
            self.ended = True
            return None
        begin = self._received.find(b"\r\n\r\n", max(start, 0))
        if start < 0 or begin < 0:
            if len(self._received) > MOST_HEAD:
                raise AngusError("the stream's answer is not in parts, as that of Sensorium is")
            return None
        begin += 4
        length = _LENGTH.search(self._received, start, begin)
        if length is None or int(length[1]) > MOST_BYTES:
            raise AngusError("a part of the stream's answer is too large or does not tell its length")
        end = begin + int(length[1])
        if len(self._received) < end:
            return None
        content = self._received[begin:end].decode("utf-8")
        del self._received[:end]
        return content


def _one_line(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise ValueError(f"{name!r} is not the name of a field")
    return name
