"""Any jobs at any times from two processes, over every store, beside a model that keeps the set of seconds."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from shared.usage import DAY_SECONDS, Allowance, DayOfUse, Known, Metered, day_of, month_of
from tests.contract.meters import NOON, Meters, memory_meters, redis_meters
from tests.contract.stores import remove

STREAMS = [Metered(account, stream) for account in ("ann", "bob") for stream in ("door", "window")]
ALLOWANCES = [
    Allowance(f"{seconds}-{period}-{scope}", seconds, period, scope, paid=True)  # type: ignore[arg-type]
    for seconds in (1, 3, 8)
    for period in ("day", "month")
    for scope in ("stream", "account")
] + [Allowance("unlimited", None, "day", "stream", paid=True)]
STEPS = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0, 2.5, 3600.0, DAY_SECONDS - 1.0, float(DAY_SECONDS), 29.0 * DAY_SECONDS])


class Model:
    """All seconds that were counted, as the port describes it."""

    def __init__(self) -> None:
        self.seconds: dict[Metered, set[int]] = {}
        self.saved: dict[tuple[Metered, int], int] = {}

    def used(self, who: Metered, allowance: Allowance, now: float) -> int:
        streams = [who] if allowance.scope == "stream" else [one for one in STREAMS if one.account == who.account]
        first, after = (day_of(now), day_of(now) + 1) if allowance.period == "day" else month_of(day_of(now))
        return sum(first <= second // DAY_SECONDS < after for one in streams for second in self.seconds.get(one, ()))

    def count(self, who: Metered, allowance: Allowance, now: float) -> tuple[bool, int]:
        mine = self.seconds.setdefault(who, set())
        used = self.used(who, allowance, now)
        if int(now) not in mine:
            if allowance.seconds is not None and used >= allowance.seconds:
                return False, used
            mine.add(int(now))
            used += 1
        return True, used

    def days(self) -> dict[tuple[Metered, int], int]:
        found: dict[tuple[Metered, int], int] = {}
        for who, seconds in self.seconds.items():
            for second in seconds:
                found[who, second // DAY_SECONDS] = found.get((who, second // DAY_SECONDS), 0) + 1
        return found


class Meterings(RuleBasedStateMachine):
    """Runs each step on a meter and on the model. What the meter does not know is told from what was saved, as gateways do."""

    runner: asyncio.Runner
    meters: Meters
    #: All runs share the meters, so each run's accounts have names that no run before had.
    runs = itertools.count()

    @initialize()
    def begin(self) -> None:
        self.model = Model()
        run = next(self.runs)
        self.names = {one: Metered(f"{one.account}{run}", one.stream) for one in STREAMS}
        self._run(self.meters.time.set(NOON))

    def _run(self, work: Any) -> Any:
        return self.runner.run(work)

    @rule(step=STEPS)
    def wait(self, step: float) -> None:
        self._run(self.meters.time.pass_(step))

    @rule(who=st.sampled_from(STREAMS), allowance=st.sampled_from(ALLOWANCES), other=st.booleans())
    def job(self, who: Metered, allowance: Allowance, other: bool) -> None:
        meter, name = (self.meters.other if other else self.meters.one), self.names[who]
        count = self._run(meter.count(name, allowance))
        if not count.known:
            assert not self.model.seconds.get(who)
            self._run(meter.begin(name, self._known(who, count.now)))
            count = self._run(meter.count(name, allowance))
        assert (count.granted, count.used) == self.model.count(who, allowance, self.meters.time.now)

    def _known(self, who: Metered, now: float) -> Known:
        def total(scope: str, period: str) -> int:
            return self.model.used(who, Allowance("", None, period, scope, paid=True), now)  # type: ignore[arg-type]

        sums = [total(scope, period) for scope in ("stream", "account") for period in ("day", "month")]
        return Known(day_of(now), *sums)

    @rule(part=st.integers(0, 3))
    def save(self, part: int) -> None:
        days = [one for one in self._run(self.meters.one.unsaved(0)) if one.account in {name.account for name in self.names.values()}]
        chosen = days[: len(days) - part] if part else days
        self._run(self.meters.other.saved(chosen))
        for one in chosen:
            who = next(who for who, name in self.names.items() if (name.account, name.stream) == (one.account, one.stream))
            self.model.saved[who, one.day] = one.seconds

    @invariant()
    def saved_and_unsaved_are_everything(self) -> None:
        unsaved = {(one.account, one.stream, one.day): one for one in self._run(self.meters.one.unsaved(0))}
        for (who, day), seconds in self.model.days().items():
            name = self.names[who]
            left = unsaved.get((name.account, name.stream, day))
            assert left == DayOfUse(name.account, name.stream, day, seconds) or (left is None and self.model.saved[who, day] == seconds)


def run_machine(opened: AbstractAsyncContextManager[Meters], examples: int) -> None:
    with asyncio.Runner() as runner:
        meters = runner.run(opened.__aenter__())
        machine = type("Machine", (Meterings,), {"runner": runner, "meters": meters})
        chosen = settings(max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
        try:
            run_state_machine_as_test(machine, settings=chosen)
        finally:
            runner.run(opened.__aexit__(None, None, None))


def test_memory_does_what_the_model_does() -> None:
    run_machine(memory_meters(), 150)


@pytest.fixture
def redis_url(request: pytest.FixtureRequest, namespace: str) -> Iterator[str]:
    url: str = request.getfixturevalue("redis_server").url
    yield url
    asyncio.run(remove(url, namespace))


def test_redis_does_what_the_model_does(redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run_machine(redis_meters(redis_url, namespace, monkeypatch), 40)
