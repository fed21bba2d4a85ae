"""Any order of numbering, applying, giving up and closing, over every store, beside a model that keeps plain lists."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from shared.jobs import Turn
from shared.ports import Snapshot
from tests.contract.stores import Pair, memory_pair, redis_pair, remove

SESSION = "tenant/service.1/session"
SESSION_S = 0.001
PLACES = st.integers(0, 8)


class Model:
    """A session as the port describes it: what became of each number."""

    def __init__(self) -> None:
        self.numbered = 0
        self.ends: dict[int, str] = {}
        self.states: dict[int, bytes | None] = {}
        self.closing: set[int] = set()
        self.jumped: set[int] = set()
        self.open = False

    def number(self) -> int:
        self.numbered += 1
        self.open = True
        return self.numbered

    def apply(self, turn: Turn, seen: int, state: bytes | None) -> bool:
        if seen != self.finished or turn.number <= self.finished:
            return False
        for number in range(self.finished + 1, turn.number):
            self.ends[number] = "given up"
            self.jumped.add(number)
        self._end(turn, "applied")
        self.states[turn.number] = None if turn.closing else state
        return True

    def give_up(self, turn: Turn) -> None:
        if turn.number > self.finished:
            self._end(turn, "given up")

    def _end(self, turn: Turn, how: str) -> None:
        self.numbered = max(self.numbered, turn.number)
        self.ends.setdefault(turn.number, how)
        if how == "applied":
            self.ends[turn.number] = how
        if turn.closing:
            self.closing.add(turn.number)

    def close_if_over(self, closing: int) -> None:
        """The session is over once its closing is finished, unless there are newer frames."""
        if closing <= self.finished and self.open:
            self.open = self.numbered > closing

    @property
    def finished(self) -> int:
        number = 0
        while number + 1 in self.ends:
            number += 1
        return number

    @property
    def snapshot(self) -> Snapshot:
        state, skipped = None, 0
        for number in range(1, self.finished + 1):
            if self.ends[number] == "applied":
                state, skipped = self.states[number], 0
            elif number in self.closing and number not in self.jumped:
                state, skipped = None, 0
            else:
                skipped += 1
        return Snapshot(state, self.finished, self.numbered, skipped)


class Sessions(RuleBasedStateMachine):
    """Runs each step on a store and on the model."""

    opened: AbstractAsyncContextManager[Pair]
    runner: asyncio.Runner

    @initialize()
    def begin(self) -> None:
        self.session = f"{SESSION}-{uuid.uuid4().hex}"
        self.model = Model()
        self.seen: list[Snapshot] = []
        self.claim: Turn | None = None
        self.sessions = self.pair.gateway.sessions

    pair: Pair

    def _run(self, work: Any) -> Any:
        return self.runner.run(work)

    def _turn(self, place: int) -> Turn:
        """One of the numbers given, most often one of the last."""
        number = 1 + (self.model.numbered - 1 - place) % self.model.numbered
        return Turn(self.session, number, closing=self.claim is not None and number == self.claim.number)

    @rule()
    def number(self) -> None:
        assert self._run(self.sessions.number(self.session)) == self.model.number()

    @rule()
    def look(self) -> None:
        self.seen.append(self._run(self.sessions.load(self.session)))

    @precondition(lambda self: self.model.numbered > 0)
    @rule(place=PLACES, behind=st.integers(0, 2), state=st.one_of(st.none(), st.binary(max_size=3)))
    def apply(self, place: int, behind: int, state: bytes | None) -> None:
        turn = self._turn(place)
        seen = [*self.seen, self._run(self.sessions.load(self.session))][-1 - min(behind, len(self.seen))]
        saved = self._run(self.sessions.save(turn, seen, state, None))
        assert saved == self.model.apply(turn, seen.finished, state)
        self._settle_claim()

    @precondition(lambda self: self.model.numbered > 0)
    @rule(place=PLACES)
    def give_up(self, place: int) -> None:
        turn = self._turn(place)
        assert self._run(self.sessions.save(turn, None, None, None))
        self.model.give_up(turn)
        self._settle_claim()

    @precondition(lambda self: self.claim is None)
    @rule()
    def fall_silent(self) -> None:
        self._run(asyncio.sleep(5 * SESSION_S))
        closing = [turn for turn in self._run(self.sessions.expired()) if turn.session == self.session]
        if not self.model.open:
            assert closing == []
            return
        self.model.numbered += 1
        self.claim = Turn(self.session, self.model.numbered, closing=True)
        assert closing == [self.claim]

    def _settle_claim(self) -> None:
        if self.claim is not None and self.claim.number <= self.model.finished:
            self.model.close_if_over(self.claim.number)
            self.claim = None

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "model"):
            assert self._run(self.sessions.load(self.session)) == self.model.snapshot


@pytest.fixture(params=["memory", "redis"])
def machine(request: pytest.FixtureRequest, namespace: str) -> Iterator[type[Sessions]]:
    """The machine over an open store, on a loop of its own since hypothesis is not asynchronous."""
    times = {"session_seconds": SESSION_S, "result_seconds": 600.0, "deadline_seconds": SESSION_S}
    with asyncio.Runner() as runner:
        url = request.getfixturevalue("redis_server").url if request.param == "redis" else None
        opened = memory_pair(namespace, **times) if url is None else redis_pair(url, namespace, **times)
        pair = runner.run(opened.__aenter__())
        yield type("SessionsOver", (Sessions,), {"pair": pair, "runner": runner})
        runner.run(opened.__aexit__(None, None, None))
        if url is not None:
            runner.run(remove(url, namespace))


def test_any_history_of_a_session_agrees_with_the_model(machine: type[Sessions]) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), database=None),
    )
