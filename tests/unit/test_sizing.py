"""How many streams a machine carries, and what that means for many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.bench.command import walking_person
from sensorium.bench.sessions import Figures
from sensorium.bench.sizing import Sizing, search
from workers.contract import Image


def measured(streams: int, p95_ms: float = 100.0, answered: int | None = None, p50_ms: float = 80.0) -> Figures:
    frames = 100 * streams
    return Figures(streams, frames, frames if answered is None else answered, 0, 0, p50_ms, p95_ms, 2 * p95_ms)


@given(capacity=st.integers(0, 300), most=st.integers(1, 256))
def test_the_search_finds_what_is_carried_and_measures_little(capacity: int, most: int) -> None:
    tried: list[int] = []

    def trial(streams: int) -> Figures:
        tried.append(streams)
        return measured(streams, 100 if streams <= capacity else 900)

    found = search(trial, 500, most)
    sizing = Sizing.of(found, 10, 500)
    assert (sizing.streams if sizing else 0) == min(capacity, most)
    assert len(tried) == len(set(tried)) <= 18
    assert max(tried) <= most


def test_a_number_of_which_a_frame_stays_without_an_answer_is_not_carried() -> None:
    sizing = Sizing.of([measured(1), measured(2), measured(4, answered=399), measured(3)], 10, 500)
    assert sizing is not None
    assert sizing.streams == 3


def test_what_many_streams_need() -> None:
    sizing = Sizing(streams=10, fps=10, p50_ms=100)
    assert [sizing.workers(wanted) for wanted in (1, 8, 9, 100)] == [1, 1, 2, 13]
    assert sizing.messages() == 8  # 80 frames a second, each there for a tenth of a second
    assert sizing.most_replicas(100) == 20


def test_a_worker_is_held_at_one_message_at_least() -> None:
    assert Sizing(streams=1, fps=1, p50_ms=20).messages() == 1


def test_the_drawn_person_walks() -> None:
    pictures = walking_person()
    assert len(set(pictures)) > len(pictures) // 3
    assert Image(pictures[0]).size == (640, 480)


@pytest.mark.parametrize("p95", [100.0, 100.1])
def test_the_time_itself_is_too_late(p95: float) -> None:
    assert Sizing.of([measured(1, 100.0)], 10, p95) == (None if p95 == 100.0 else Sizing(1, 10, 80.0))
