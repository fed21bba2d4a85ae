"""Events: what was written is read, and everything else is a `ValueError`."""

from __future__ import annotations

import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import PerceptionError, ServiceFailed, error_types
from shared.events import Chunk, Done, Event, Failed, Started, decode_event
from shared.followers import stored_event, stored_form

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
moment = st.floats(0, 4e9)
values = st.dictionaries(text, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text | st.lists(st.integers(0, 9)), max_size=5)
events = st.one_of(
    st.builds(Started, moment, st.integers(1, 9)),
    st.builds(Chunk, moment, values),
    st.builds(Done, moment, values),
    st.builds(Failed, moment, st.sampled_from(sorted(error_types())), text, st.none() | text),
)


@given(events)
def test_what_was_written_is_read(event: Event) -> None:
    assert decode_event(event.encode()) == event
    assert decode_event(event.encode().decode()) == event
    assert stored_event(stored_form(event)) == event


@given(events)
def test_programs_read_the_type_and_the_time(event: Event) -> None:
    fields = orjson.loads(event.encode())
    assert (fields["type"], fields["at"]) == (event.type, event.at)


@given(events, st.data())
def test_an_event_cut_short_is_none(event: Event, data: st.DataObject) -> None:
    encoded = event.encode()
    with pytest.raises(ValueError, match=r"."):
        decode_event(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


@given(st.binary(max_size=60) | values.map(orjson.dumps))
def test_anything_else_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_event(data)


@pytest.mark.parametrize("data", [b"[]", b'"done"', b'{"type": "done"}', b'{"type": "other", "at": 1}', b'{"type": ["done"], "at": 1}'])
def test_what_looks_like_one_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a"):
        decode_event(data)


def test_what_a_newer_version_adds_is_ignored() -> None:
    assert decode_event(b'{"type": "started", "at": 2.5, "attempt": 2, "worker": "w"}') == Started(2.5, 2)


def test_only_an_end_is_final() -> None:
    assert [kind.final for kind in (Started, Chunk, Done, Failed)] == [False, False, True, True]


@pytest.mark.parametrize("kind", error_types().values(), ids=error_types())
def test_an_error_comes_through_whole(kind: type[PerceptionError]) -> None:
    error = decode_event(Failed.of(kind("why", parameter="image"), time.time()).encode()).error()  # type: ignore[attr-defined]
    assert (type(error), error.message, error.parameter) == (kind, "why", "image")


def test_a_code_that_nobody_knows_is_a_failure_of_the_service() -> None:
    error = Failed(1.0, "from_a_newer_version", "why").error()
    assert (type(error), error.message) == (ServiceFailed, "why")
