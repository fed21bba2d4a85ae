"""Multipart bodies: what real clients write is read, the rest is refused with a reason."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.http.multipart import HEADER_BYTES, PREAMBLE_BYTES, Part, boundary_of, parse_multipart
from shared.errors import InputTooLarge, MalformedRequest, UnsupportedEncoding

B = b"----WebKitFormBoundaryABC"
DASHED = b"--" + B


def part(name: str, data: bytes, *more: str) -> bytes:
    header = "\r\n".join([f'Content-Disposition: form-data; name="{name}"', *more])
    return DASHED + b"\r\n" + header.encode() + b"\r\n\r\n" + data + b"\r\n"


def whole(*parts: bytes) -> bytes:
    return b"".join(parts) + DASHED + b"--\r\n"


META = part("meta", b"{}")


def parse(body: bytes, most_parts: int = 32) -> dict[str, Part]:
    return parse_multipart(body, B, most_parts=most_parts)


def test_names_types_and_bytes() -> None:
    parts = parse(
        whole(part("meta", b'{"a":1}', "Content-Type: Application/JSON; charset=utf-8"), part("attachment://bar", b"\x00\r\n--\xff"))
    )
    assert parts == {
        "meta": Part("meta", "application/json", b'{"a":1}'),
        "attachment://bar": Part("attachment://bar", "", b"\x00\r\n--\xff"),
    }


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('content-disposition:form-data;name="attachment://bar"', "attachment://bar"),
        ("Content-Disposition: form-data; name=attachment://bar", "attachment://bar"),
        ('Content-Disposition: form-data; filename="x; name=\\"evil\\""; name="meta"', "meta"),
        ('Content-Disposition: form-data; name="a\\"b\\\\c"', 'a"b\\c'),
        ('Content-Disposition: Form-Data ; NAME = "bar" ;', "bar"),
        ('Content-Disposition: form-data; name="größe"; filename="größe.jpg"', "größe"),
        ('X-Other: 1\r\nContent-Disposition: form-data; name="meta"\r\nContent-Transfer-Encoding: binary', "meta"),
    ],
)
def test_headers_as_clients_write_them(header: str, name: str) -> None:
    assert list(parse(whole(DASHED + b"\r\n" + header.encode() + b"\r\n\r\n{}\r\n"))) == [name]


def test_preamble_epilogue_blanks_and_empty_parts_are_as_in_the_standard() -> None:
    headless = DASHED + b' \t\r\nContent-Disposition: form-data; name="empty"\r\n\r\n'
    parts = parse(b"a preamble\r\n" + headless + whole(part("also", b"")) + b"an epilogue " * 10_000)
    assert {name: found.data for name, found in parts.items()} == {"empty": b"", "also": b""}


def test_no_parts_at_all() -> None:
    assert parse(whole()) == {}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "does not begin"),
        (b"no boundary here", "does not begin"),
        (b"x" * (PREAMBLE_BYTES + 10) + b"\r\n" + whole(META), "does not begin"),
        (b"x" * 1_000_000, "does not begin"),
        (META, "final boundary|end of its line"),
        (META[:-2], "final boundary"),
        (META[:-10], "no end within"),
        (whole(META)[:-4], "end of its line"),
        (whole(META, META), "two parts of the name 'meta'"),
        (whole(part("attachment://a", b"1"), META, part("attachment://a", b"2")), "two parts"),
        (whole(DASHED + b"\r\n\r\n{}\r\n"), "no end|well-formed"),
        (whole(DASHED + b"\r\nContent-Type: text/plain\r\n\r\n{}\r\n"), "no Content-Disposition"),
        (whole(DASHED + b'\r\nContent-Disposition: attachment; name="meta"\r\n\r\n{}\r\n'), "no Content-Disposition"),
        (whole(DASHED + b"\r\nContent-Disposition: form-data\r\n\r\n{}\r\n"), "has no name"),
        (whole(part("", b"{}")), "has no name"),
        (whole(DASHED + b'\r\nContent-Disposition: form-data; name="a"; name="b"\r\n\r\n{}\r\n'), "name twice"),
        (whole(DASHED + b'\r\nContent-Disposition: form-data; name="a\r\n\r\n{}\r\n'), "well-formed"),
        (whole(part("meta", b"{}", 'Content-Disposition: form-data; name="b"')), "well-formed"),
        (whole(part("meta", b"{}", "X-Folded: a\r\n b")), "well-formed"),
        (whole(part("meta", b"{}", "X-Zero: \0")), "well-formed"),
        (whole(part("meta", b"{}", "No colon")), "well-formed"),
        (whole(part("meta", b"{}", "X-Long: " + "x" * HEADER_BYTES)), f"{HEADER_BYTES} bytes"),
        (whole(part("meta", b"{}", "Content-Transfer-Encoding: base64")), "Content-Transfer-Encoding"),
        (whole(part("meta", b"{}", "Content-Type: Multipart/Mixed; boundary=inner")), "multipart body itself"),
        (whole(DASHED + b'\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n{}\r\n'), "not UTF-8"),
        (whole(META).replace(b"\r\n", b"\n"), "end of its line"),
        (whole(DASHED + b"tail" + META[len(DASHED) :]), "end of its line"),
    ],
)
def test_what_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(MalformedRequest, match=reason):
        parse(body)


def test_too_many_parts_are_refused_with_the_limit() -> None:
    parts = [part(f"attachment://{number}", b"") for number in range(10_000)]
    with pytest.raises(InputTooLarge, match="more than 32 parts"):
        parse(whole(*parts))
    assert len(parse(whole(*parts[:32]))) == 32


def test_compressed_parts_are_refused() -> None:
    with pytest.raises(UnsupportedEncoding):
        parse(whole(part("meta", b"{}", "Content-Encoding: gzip")))


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data; charset=utf-8; BOUNDARY="a b/c"', b"a b/c"),
        ("multipart/form-data; boundary=----=_Part_1_2.3;", b"----=_Part_1_2.3"),
        ("multipart/form-data;boundary=" + "x" * 70, b"x" * 70),
    ],
)
def test_boundaries(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=" + "x" * 71,
        'multipart/form-data; boundary="a "',
        'multipart/form-data; boundary="a\r\nb"',
        "multipart/form-data; boundary=é",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary",
    ],
)
def test_boundaries_that_are_refused(content_type: str) -> None:
    with pytest.raises(MalformedRequest):
        boundary_of(content_type)


class _Sink(aiohttp.abc.AbstractStreamWriter):
    """Takes what aiohttp's client would send."""

    def __init__(self) -> None:
        self.data = bytearray()

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        self.data += chunk

    async def write_eof(self, chunk: bytes = b"") -> None: ...
    async def drain(self) -> None: ...
    def enable_compression(self, *args: object, **options: object) -> None: ...
    def enable_chunking(self) -> None: ...
    async def write_headers(self, *args: object) -> None: ...


_names = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"\\%;'), min_size=1, max_size=40)


@given(st.dictionaries(_names, st.binary(max_size=300), max_size=6))
def test_what_aiohttps_client_sends_is_read_as_python_multipart_reads_it(files: dict[str, bytes]) -> None:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, data in files.items():
        form.add_field(name, data, filename="file.bin", content_type="image/jpeg")
    payload, sink = form(), _Sink()
    asyncio.run(payload.write(sink))
    body, boundary = bytes(sink.data), boundary_of(payload.content_type)
    ours = {name: found.data for name, found in parse_multipart(body, boundary, most_parts=32).items()}
    assert ours == files
    assert list(ours.items()) == _oracle(body, boundary)


@given(
    st.lists(st.sampled_from([b"\r\n", b"--", B, DASHED, b"\r\n" + DASHED, b"--\r\n", META, b"x", b"\n", b" ", b"\r\n\r\n"]), max_size=12)
)
def test_any_mixture_is_read_or_refused(pieces: list[bytes]) -> None:
    try:
        parts = parse(b"".join(pieces))
    except (MalformedRequest, InputTooLarge, UnsupportedEncoding):
        return
    assert set(parts) <= {"meta"}


def _oracle(body: bytes, boundary: bytes) -> list[tuple[str, bytes]]:
    parts: list[tuple[str, bytes]] = []
    fields: list[tuple[bytes, bytes]] = []
    field, value, data = bytearray(), bytearray(), bytearray()

    def header_end() -> None:
        fields.append((bytes(field).lower(), bytes(value)))
        field.clear()
        value.clear()

    def part_end() -> None:
        options = parse_options_header(dict(fields)[b"content-disposition"])[1]
        parts.append((options[b"name"].decode(), bytes(data)))
        fields.clear()
        data.clear()

    parser = MultipartParser(
        boundary,
        {
            "on_header_field": lambda chunk, start, end: field.extend(chunk[start:end]),
            "on_header_value": lambda chunk, start, end: value.extend(chunk[start:end]),
            "on_header_end": header_end,
            "on_part_data": lambda chunk, start, end: data.extend(chunk[start:end]),
            "on_part_end": part_end,
        },
    )
    parser.write(body)
    parser.finalize()
    return parts
