"""Visits on the wire."""

from __future__ import annotations

import dataclasses

import orjson
import pytest

from shared.visits import UndecodableVisit, Visit, decode_visit

VISIT = Visit("8a3f", 1_700_000_000.25, 12.5, 4.0, 1.5, 31.0, "female", 0.4, "left", closed=True)


@pytest.mark.parametrize("visit", [VISIT, Visit("8a3f", 0.0, 0.0)])
def test_a_visit_comes_back_as_it_was(visit: Visit) -> None:
    assert decode_visit(visit.encode("stream-1")) == ("stream-1", visit)


def test_keys_of_a_newer_program_are_ignored() -> None:
    body = {**orjson.loads(VISIT.encode("s")), "later": 1}
    assert decode_visit(orjson.dumps(body)) == ("s", VISIT)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("v", 2),
        ("stream", None),
        ("id", 7),
        ("started", "now"),
        ("view_seconds", -1),
        ("age", True),
        ("gender", "?"),
        ("direction", 3),
        ("closed", 1),
    ],
)
def test_what_is_no_visit_is_refused(key: str, value: object) -> None:
    body = {**orjson.loads(VISIT.encode("s")), key: value}
    with pytest.raises(UndecodableVisit):
        decode_visit(orjson.dumps(body))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b"SJ1\n...."])
def test_bytes_of_something_else_are_refused(body: bytes) -> None:
    with pytest.raises(UndecodableVisit):
        decode_visit(body)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Visit)])
def test_a_visit_lacks_nothing(field: str) -> None:
    body = orjson.loads(VISIT.encode("s"))
    del body[field]
    with pytest.raises(UndecodableVisit):
        decode_visit(orjson.dumps(body))
