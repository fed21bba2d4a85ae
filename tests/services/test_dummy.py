from __future__ import annotations

from tests.services.helpers import Session, answer, given, loaded
from workers.contract import Item
from workers.services.dummy import Dummy, DummyInput


def test_the_echo_comes_back() -> None:
    assert answer(loaded(Dummy), given(Dummy, echo="Hello world!")) == {"echo": "Hello world!"}


def test_without_a_parameter_it_says_echo() -> None:
    assert answer(loaded(Dummy), given(Dummy)) == {"echo": "echo"}


def test_with_a_session_it_counts_frames() -> None:
    session = Session(loaded(Dummy))
    assert [session.frame(given(Dummy, echo="x")) for _ in range(3)] == [{"echo": "x", "count": n} for n in (1, 2, 3)]


def test_items_of_a_batch_stand_alone() -> None:
    service = loaded(Dummy)
    outputs = service.process([Item(DummyInput(echo=str(n))) for n in range(service.max_batch)])
    assert [output.as_result() for output in outputs] == [{"echo": str(n)} for n in range(service.max_batch)]


def test_the_example_works() -> None:
    assert answer(loaded(Dummy), Dummy.example()) == {"echo": "Hello world!"}
