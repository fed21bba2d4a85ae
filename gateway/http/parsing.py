"""From the bytes of a request to its JSON document and the files that came with it."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import hdrs, web

from gateway.http.limits import RequestLimits, read_body
from gateway.http.multipart import Part, boundary_of, parse_multipart
from shared.errors import InputTooLarge, MalformedRequest, UnsupportedEncoding

META = "meta"
ATTACHMENT = "attachment://"
#: What orjson writes at most; deeper documents could not travel to a worker.
MOST_LEVELS = 254
#: The decoder holds the event loop for half a second on two megabytes of ``[],[],…``, which nobody needs.
MOST_VALUES = 50_000
_MOST_DIGITS = 64
_NEEDED = "Send application/json, or multipart/form-data with a part meta (JSON) and parts named attachment://NAME"
_LONE_SURROGATE = re.compile(r"\\u[dD][89aAbB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89aAbB][0-9a-fA-F]{2})\\u[dD][c-fC-F]")


@dataclass(frozen=True, slots=True)
class Document:
    """What a request says: its JSON object, and its files by reference (``attachment://NAME``)."""

    parameters: dict[str, Any]
    attachments: dict[str, bytes] = field(default_factory=dict)


class _Refused(ValueError):
    """Raised by the decoder's hooks: what is wrong, and the text at fault (empty: the whole)."""

    def __init__(self, reason: str, text: str = "", parameter: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.text = text
        self.parameter = parameter


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise _Refused("the same key stands twice in an object", json.dumps(twice), twice[:100])
    return found


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise _Refused("a number is too long", digits)
    value = int(digits)
    if not -(2**63) <= value < 2**64:
        raise _Refused("an integer is beyond 64 bits", digits)
    return value


def _real(digits: str) -> float:
    value = float(digits) if len(digits) <= _MOST_DIGITS else math.inf
    if math.isinf(value):
        raise _Refused("a number is too large or too long", digits)
    return value


def _constant(name: str) -> Any:
    raise _Refused(f"{name} is not a JSON value", name)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_real, parse_constant=_constant)


def parse_json(data: bytes, *, limit: int) -> Any:
    """The value, as RFC 8259 and I-JSON (RFC 7493) read it. Raises `InputTooLarge` or `MalformedRequest` with the place.

    Refused beside bad syntax: more than ``limit`` bytes or `MOST_VALUES` commas, a byte order mark, invalid UTF-8, halves of surrogate pairs,
    NaN and infinities, a key twice in an object, integers beyond 64 bits, more than `MOST_LEVELS` levels.
    """
    if len(data) > limit:
        raise InputTooLarge(f"The JSON document is beyond the limit of {limit} bytes")
    if data.count(b",") >= MOST_VALUES:
        raise InputTooLarge(f"The JSON document is beyond the limit of {MOST_VALUES} values")
    text = _decode(data)
    try:
        value = _DECODER.decode(text)
    except _Refused as refused:
        raise _malformed(refused.reason, text, text.find(refused.text), refused.parameter) from None
    except json.JSONDecodeError as error:
        raise _malformed(error.msg, text, error.pos) from None
    except RecursionError:
        raise _malformed(f"there are more than {MOST_LEVELS} levels", text, -1) from None
    try:
        orjson.dumps(value)  # in C, it refuses what no worker could be sent: lone surrogates and too many levels
    except TypeError:
        half = _LONE_SURROGATE.search(text)
        reason = f"there are more than {MOST_LEVELS} levels" if half is None else "a string holds half of a surrogate pair"
        raise _malformed(reason, text, -1 if half is None else half.start()) from None
    return value


def _decode(data: bytes) -> str:
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise MalformedRequest("The JSON document begins with a byte order mark; send UTF-8 without one")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"The JSON document is not UTF-8 at byte {error.start}") from None


def _malformed(reason: str, text: str, position: int, parameter: str | None = None) -> MalformedRequest:
    where = ""
    if position >= 0:
        line = text.count("\n", 0, position) + 1
        where = f" at line {line}, column {position - text.rfind(chr(10), 0, position)}"
    return MalformedRequest(f"The JSON document is not well-formed{where}: {reason}", parameter=parameter)


async def read_document(request: web.Request, limits: RequestLimits) -> Document:
    """Read and parse the request's body. Raises what `read_body`, `parse_json` and `parse_multipart` raise."""
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
    media_type = content_type.partition(";")[0].strip().lower()
    body = await read_body(request, limits)
    if media_type == "multipart/form-data":
        return _read_parts(body, content_type, limits)
    _refuse_other_types(media_type, content_type, body)
    return Document(parse_object(body, limits.json_bytes))


def _read_parts(body: bytes, content_type: str, limits: RequestLimits) -> Document:
    parts = parse_multipart(body, boundary_of(content_type), most_parts=limits.multipart_parts)
    meta = parts.pop(META, None)
    if meta is None:
        raise MalformedRequest("The multipart body has no part meta", parameter=META)
    return Document(parse_object(meta.data, limits.json_bytes), _attachments(parts))


def _attachments(parts: dict[str, Part]) -> dict[str, bytes]:
    """Parts of other names are of no use to anybody: what refers to them says so."""
    return {name: part.data for name, part in parts.items() if name.startswith(ATTACHMENT)}


def _refuse_other_types(media_type: str, content_type: str, body: bytes) -> None:
    """JSON without a Content-Type, or with the one that ``curl -d`` sets by itself, is JSON all the same."""
    if media_type not in ("application/json", "text/json"):
        if media_type not in ("", "application/x-www-form-urlencoded") or not body[:256].lstrip().startswith(b"{"):
            raise UnsupportedEncoding(f"The body's media type is {media_type[:100] or 'not given'}. {_NEEDED}")
    elif media_type != content_type:
        charset = content_type.lower().partition("charset=")[2].partition(";")[0].strip(' "')
        if charset not in ("", "utf-8", "utf8", "us-ascii"):
            raise UnsupportedEncoding("The only character set of JSON is UTF-8")


def parse_object(data: bytes, limit: int) -> dict[str, Any]:
    """The JSON object. Raises what `parse_json` raises, and `MalformedRequest` for other values and for nothing."""
    if not data:
        raise MalformedRequest(f"The request has no body. {_NEEDED}")
    value = parse_json(data, limit=limit)
    if not isinstance(value, dict):
        raise MalformedRequest("The JSON document must be an object")
    return value
