"""Which works make a batch, and how large one pays."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from shared.errors import ModelMissing, PerceptionError
from shared.jobs import Job, Turn
from shared.ports import Delivery
from tests.fakes import misbehaver
from workers.contract import Image, Input, Item, Output, Service
from workers.faces import drawn_face
from workers.runtime.batching import Pending, Work, measure_batch


class InHand:
    """A delivery that nobody settles."""

    body = b""
    redelivered = False
    reason = None

    def ack(self) -> None:
        raise AssertionError("making batches settles nothing")

    def reject(self, *, requeue: bool) -> None:
        raise AssertionError("making batches settles nothing")


def work(turn: Turn | None = None, alone: bool = False) -> Work:
    delivery: Delivery = InHand()
    return Work(delivery, Job("id", "service", 1, "tenant", 0.0, 1.0, turn=turn), 0.0, alone=alone)


def session_of(chosen: Work) -> str | None:
    return chosen.job.turn.session if chosen.job.turn else None


def test_a_batch_holds_one_frame_of_a_session_and_a_suspect_by_itself() -> None:
    pending = Pending()
    a1, a2, b, x, c = work(Turn("a", 1)), work(Turn("a", 2)), work(Turn("b", 1)), work(alone=True), work()
    for each in (a1, a2, b, x, c):
        pending.add(each)
    assert [pending.take(4) for _ in range(4)] == [[a1, b], [a2], [x], [c]]


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.booleans())), st.lists(st.integers(1, 5), min_size=1))
def test_everything_comes_once_and_each_session_in_order(kinds: list[tuple[str | None, bool]], sizes: list[int]) -> None:
    pending = Pending()
    works = [work(None if session is None else Turn(session, number), alone) for number, (session, alone) in enumerate(kinds, 1)]
    for each in works:
        pending.add(each)
    batches: list[list[Work]] = []
    while pending:
        size = sizes[len(batches) % len(sizes)]
        batches.append(pending.take(size))
        assert 1 <= len(batches[-1]) <= size
    for batch in batches:
        sessions = [session_of(each) for each in batch if session_of(each) is not None]
        assert len(sessions) == len(set(sessions))
        assert len(batch) == 1 or not any(each.alone for each in batch)
    taken = [each for batch in batches for each in batch]
    assert sorted(map(id, taken)) == sorted(map(id, works))
    for session in ("a", "b", "c"):
        assert [each for each in taken if session_of(each) == session] == [each for each in works if session_of(each) == session]


class Nothing(Output):
    """No answer."""


class Fresh(BaseModel):
    """The state of a session that begins."""


class Timed(Service[Input, Nothing]):
    """Takes as long as its constructor was told for so many items."""

    name = "timed"
    input_type = Input
    output_type = Nothing
    state_type = Fresh
    max_batch = 8

    def __init__(self, seconds: Callable[[int], float], answer: Callable[[], Nothing | PerceptionError] = Nothing) -> None:
        super().__init__()
        self.seconds, self.answer = seconds, answer
        self.sizes: list[int] = []

    def process(self, batch: Sequence[Item[Input]]) -> Sequence[Nothing | PerceptionError]:
        assert all(item.state is not None for item in batch)
        self.sizes.append(len(batch))
        time.sleep(self.seconds(len(batch)))
        return [self.answer() for _ in batch]

    @classmethod
    def example(cls) -> Input:
        return Input()


def test_where_a_batch_costs_as_much_as_an_item_it_is_as_large_as_it_may_be() -> None:
    assert measure_batch(Timed(lambda items: 0.01), 0) == 8


def test_where_a_batch_costs_more_than_its_items_there_is_none() -> None:
    service = Timed(lambda items: 0.005 * items**2)
    assert measure_batch(service, 0) == 1
    assert max(service.sizes) == 2  # nobody measures what cannot pay


@pytest.mark.parametrize(("wanted", "size"), [(1, 1), (5, 5), (100, 8)])
def test_a_size_that_was_asked_for_is_not_measured(wanted: int, size: int) -> None:
    service = Timed(lambda items: 0.0)
    assert measure_batch(service, wanted) == size
    assert set(service.sizes) == {1}


@pytest.mark.parametrize("wanted", [0, 4])
def test_a_service_that_cannot_do_its_example_is_not_taken(wanted: int) -> None:
    with pytest.raises(ModelMissing):
        measure_batch(Timed(lambda items: 0.0, ModelMissing), wanted)


def test_the_example_of_a_service_has_an_answer() -> None:
    service: Service[Any, Any] = misbehaver()
    assert 1 <= measure_batch(service, 0) <= service.max_batch
    assert len(service.process([Item(service.example())])) == 1


class Pictured(Input):
    image: Image


class Remembering(Service[Pictured, Nothing]):
    """Knows a picture again, as the services that look at faces do: only the first look takes time, and that for each picture."""

    name = "remembering"
    input_type = Pictured
    output_type = Nothing
    max_batch = 8

    def __init__(self) -> None:
        super().__init__()
        self.known: WeakSet[Image] = WeakSet()
        self.looks = 0

    def process(self, batch: Sequence[Item[Pictured]]) -> Sequence[Nothing]:
        for item in batch:
            if item.input.image not in self.known:
                self.known.add(item.input.image)
                self.looks += 1
                time.sleep(0.005)
        return [Nothing() for _ in batch]

    @classmethod
    def example(cls) -> Pictured:
        return Pictured(image=Image(drawn_face()))


def test_a_service_that_knows_a_picture_again_is_measured_on_new_ones() -> None:
    service = Remembering()
    assert measure_batch(service, 0) == 1
    assert service.looks == 1 + 3 + 3 * 2
