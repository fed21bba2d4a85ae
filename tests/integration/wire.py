"""What the client of 2018 (angus-sdk-python 0.0.15 over requests 2) sends, byte for byte, and a socket that says it.

Written by hand from its behaviour. Names in braces stand for what differs from run to run.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.integration.processes import Process

PATIENCE = 30.0
_COMMON = """Host: {host}\r
User-Agent: python-requests/2.18.4\r
Accept-Encoding: gzip, deflate\r
Accept: */*\r
Connection: keep-alive\r
"""
GET = "GET {path} HTTP/1.1\r\n" + _COMMON + "Authorization: Basic {basic}\r\n\r\n"
POST_JSON = (
    "POST {path} HTTP/1.1\r\n"
    + _COMMON
    + "content-type: application/json\r\nContent-Length: {length}\r\nAuthorization: Basic {basic}\r\n\r\n"
)
POST_FORM = (
    "POST {path} HTTP/1.1\r\n"
    + _COMMON
    + "Content-Length: {length}\r\nContent-Type: multipart/form-data; boundary={boundary}\r\nAuthorization: Basic {basic}\r\n\r\n"
)
POST_STREAM = (
    "POST {path} HTTP/1.1\r\n"
    + _COMMON
    + "Content-Type: multipart/x-mixed-replace; boundary=myboundary\r\nAuthorization: Basic {basic}\r\nTransfer-Encoding: chunked\r\n\r\n"
)
#: What is attached comes first, under a name made of a UUID, and the JSON last.
FORM_FILE = (
    '--{boundary}\r\nContent-Disposition: form-data; name="attachment://{uuid}"; filename="{uuid}"\r\n'
    "Content-Type: application/octet-stream\r\n\r\n"
)
FORM_META = (
    '\r\n--{boundary}\r\nContent-Disposition: form-data; name="meta"\r\nContent-Type: application/json\r\n\r\n{json}\r\n--{boundary}--\r\n'
)
BOUNDARY = "2a8ae6ad93ab46a0a6f2a1cf3b8d5a0c"
STREAM_PART = "--myboundary\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\nX-Angus-DataField: {field}\r\nX-Angus-Parameters: {json}\r\n\r\n"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Wire:
    """One connection, kept alive as the client did."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    host: str
    basic: str

    @classmethod
    async def connect(cls, gateway: Process, credentials: tuple[str, str]) -> Wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        return cls(reader, writer, f"127.0.0.1:{gateway.port}", b64encode(":".join(credentials).encode()).decode())

    async def say(self, template: str, body: bytes = b"", **values: object) -> None:
        head = template.format(host=self.host, basic=self.basic, length=len(body), **values)
        self.writer.write(head.encode("latin-1") + body)
        await self.writer.drain()

    async def chunk(self, piece: bytes) -> None:
        """A piece of a generator's output; an empty one ends the body."""
        self.writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await self.writer.drain()

    async def head(self) -> Answer:
        async with asyncio.timeout(PATIENCE):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
        return Answer(int(lines[0].split()[1]), headers, b"")

    async def next_chunk(self) -> bytes:
        """The next piece of a chunked body; empty at its end."""
        async with asyncio.timeout(PATIENCE):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def answer(self) -> Answer:
        answer = await self.head()
        async with asyncio.timeout(PATIENCE):
            answer.body = await self.reader.readexactly(int(answer.headers["content-length"]))
        return answer

    async def get(self, path: str) -> Answer:
        await self.say(GET, path=path_of(path))
        return await self.answer()

    async def post(self, path: str, document: dict[str, Any], attached: tuple[str, bytes] | None = None) -> Answer:
        """As `Collection.create` did: JSON alone, or with a file in a form."""
        text = json.dumps(document)
        if attached is None:
            await self.say(POST_JSON, text.encode(), path=path_of(path))
        else:
            uuid, data = attached
            form = FORM_FILE.format(boundary=BOUNDARY, uuid=uuid).encode() + data + FORM_META.format(boundary=BOUNDARY, json=text).encode()
            await self.say(POST_FORM, form, path=path_of(path), boundary=BOUNDARY)
        return await self.answer()

    async def frame(self, data: bytes, field: str, parameters: dict[str, Any]) -> None:
        """As `generate_parts` yielded it: the header, the bytes, the line break."""
        await self.chunk(STREAM_PART.format(length=len(data), field=field, json=json.dumps(parameters)).encode())
        await self.chunk(data)
        await self.chunk(b"\r\n")

    def close(self) -> None:
        self.writer.close()


def path_of(url: str) -> str:
    split = urlsplit(url)
    return split.path + (f"?{split.query}" if split.query else "")
