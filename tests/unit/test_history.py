"""The history checker finds what it is there to find, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.history import History, State


def sound() -> History:
    history = History()
    for number in range(3):
        history.record(f"job-{number}", State.ACCEPTED, session="s")
        history.record(f"job-{number}", State.STARTED)
    for number in (1, 0, 2):  # the answers may come in any order
        history.record(f"job-{number}", State.DONE, value={"n": number}, turn=number + 1)
        history.record(f"job-{number}", State.DONE, value={"n": number}, turn=number + 1)
    return history


def test_a_sound_history_passes() -> None:
    history = sound()
    history.check()
    assert history.violations() == ()
    assert history.accepted == history.finished == {"job-0", "job-1", "job-2"}


def test_another_client_may_hear_earlier_states_later() -> None:
    history = sound()
    history.record("job-0", State.STARTED, client="slow")
    history.record("job-0", State.DONE, value={"n": 0}, client="slow")
    history.check()


def test_an_empty_history_proves_nothing() -> None:
    with pytest.raises(AssertionError, match="no accepted job"):
        History().check()


def test_a_failed_frame_takes_no_turn() -> None:
    history = History()
    for number in range(3):
        history.record(f"job-{number}", State.ACCEPTED, session="s")
    history.record("job-0", State.DONE, turn=7)
    history.record("job-1", State.FAILED, value="bad_image")
    history.record("job-2", State.DONE, turn=8)
    history.check()


def lose(history: History) -> None:
    history.record("lost", State.ACCEPTED)
    history.record("lost", State.STARTED)


def invent(history: History) -> None:
    history.record("ghost", State.DONE)


def answer_twice_differently(history: History) -> None:
    history.record("job-0", State.DONE, value={"n": 99}, turn=1)


def fail_what_was_done(history: History) -> None:
    history.record("job-0", State.FAILED, value="deadline_exceeded")


def go_back(history: History) -> None:
    history.record("job-0", State.ACCEPTED, session="s")


def swap_frames(history: History) -> None:
    history.record("frame-a", State.ACCEPTED, session="swapped")
    history.record("frame-b", State.ACCEPTED, session="swapped")
    history.record("frame-a", State.DONE, turn=2)
    history.record("frame-b", State.DONE, turn=1)


def apply_twice(history: History) -> None:
    history.record("frame-a", State.ACCEPTED, session="twice")
    history.record("frame-b", State.ACCEPTED, session="twice")
    history.record("frame-a", State.DONE, turn=1)
    history.record("frame-b", State.DONE, turn=3)


@pytest.mark.parametrize(
    ("break_it", "promise", "subject"),
    [
        (lose, "every accepted job ends", "lost"),
        (invent, "only accepted jobs are heard of", "ghost"),
        (answer_twice_differently, "a job ends in one way only", "job-0"),
        (fail_what_was_done, "a job ends in one way only", "job-0"),
        (go_back, "a job never goes backwards", "job-0"),
        (swap_frames, "frames are applied in order, each once", "swapped"),
        (apply_twice, "frames are applied in order, each once", "twice"),
    ],
)
def test_each_broken_promise_is_found_alone(break_it: Callable[[History], None], promise: str, subject: str) -> None:
    history = sound()
    break_it(history)
    assert [(found.promise, found.subject) for found in history.violations()] == [(promise, subject)]
    with pytest.raises(AssertionError, match=promise):
        history.check()
