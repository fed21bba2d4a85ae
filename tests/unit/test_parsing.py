"""JSON that is refused, and why; JSON that is not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.parsing import MOST_LEVELS, MOST_VALUES, parse_json
from shared.errors import InputTooLarge, MalformedRequest

LIMIT = 1_000_000


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "line 1, column 1"),
        (b'{"a": 1', "line 1, column 8"),
        (b'{"a": 1}\n{"b": 2}', "line 2, column 1"),
        (b'{"a": 1,\n "b": 2,\n "a": 3}', "the same key stands twice"),
        (b'{"x": {"deep": 1, "deep": 2}}', "twice"),
        (b'{"a": NaN}', "line 1, column 7: NaN is not"),
        (b'{"a": Infinity}', "Infinity is not"),
        (b'{"a": -Infinity}', "-Infinity is not"),
        (b"[" + b"9" * 400 + b"]", "number is too long"),
        (b"[" + b"9" * 5000 + b"]", "number is too long"),
        (b"[18446744073709551616]", "beyond 64 bits"),
        (b"[1e999]", "too large"),
        (b"[0." + b"1" * 400 + b"]", "too long"),
        (rb'{"a": "\ud800"}', "line 1, column 8: a string holds half of a surrogate pair"),
        (rb'{"a": "\udc00\ud800"}', "surrogate pair"),
        (rb'{"\ud83d": 1}', "surrogate pair"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "byte order mark"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (b'{"a": "\x00"}', "control character"),
        (nested(MOST_LEVELS + 1), "levels"),
        (nested(10_000), "levels"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "levels"),
        (b"'a'", "line 1, column 1"),
        (b'{"a": 01}', "line 1, column 8"),
        (b"[1,]", "line 1, column"),
    ],
)
def test_json_that_is_refused_says_where_and_why(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse_json(data, limit=LIMIT)
    assert reason in caught.value.message
    assert len(caught.value.message) < 300


def test_a_key_that_stands_twice_is_named() -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse_json(b'{"image": "a",\n"image": "b"}', limit=LIMIT)
    assert caught.value.parameter == "image"


def test_many_keys_that_stand_twice_are_found_quickly() -> None:
    """Linear in the number of keys: comparing each with each would take minutes here."""
    pairs = ",".join(f'"k{number}":1' for number in range(40_000))
    with pytest.raises(MalformedRequest, match="twice"):
        parse_json(("{" + pairs + ',"k39999":2}').encode(), limit=LIMIT)


def test_the_limits_are_in_the_text() -> None:
    with pytest.raises(InputTooLarge, match="limit of 10 bytes"):
        parse_json(b'{"a": "0123456789"}', limit=10)
    with pytest.raises(InputTooLarge, match=f"limit of {MOST_VALUES} values"):
        parse_json(b"[" + b"1," * MOST_VALUES + b"1]", limit=LIMIT)


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b' \r\n\t{"a": [1, 2.5, -0, 1e10, true, false, null]} ',
        '{"ü": "日本 \U0001f600"}'.encode(),
        rb'{"a": "\ud83d\ude00 \\ud800"}',
    ],
)
def test_json_that_is_accepted_is_what_the_standard_library_reads(data: bytes) -> None:
    assert parse_json(data, limit=LIMIT) == json.loads(data)


def test_the_deepest_document_is_accepted() -> None:
    value = parse_json(nested(MOST_LEVELS), limit=LIMIT)
    for _ in range(MOST_LEVELS - 1):
        value = value[0]
    assert value == []


_text = st.text(st.characters(codec="utf-8"))
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=20,
)


@given(_values, st.booleans())
def test_any_value_comes_back(value: object, ascii_only: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only).encode(), limit=LIMIT) == value


@given(st.binary(max_size=200) | _text.map(lambda text: text.encode()))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = parse_json(data, limit=LIMIT)
    except MalformedRequest:
        return
    assert value == json.loads(data)
