"""What clients saw of their jobs, and whether it keeps the promises.

Clients record what they are told, in the order in which each of them is told it; afterwards `check` says which promises were broken:

* every accepted job ends, and in one way only;
* what one client sees of a job never goes backwards;
* a job that nobody was told to be accepted is not heard of;
* the frames of a session are applied in the order in which they were accepted, each of them once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise


class State(IntEnum):
    """How far a job is known to be. Greater is later."""

    ACCEPTED = 1
    STARTED = 2
    DONE = 3
    FAILED = 4

    @property
    def terminal(self) -> bool:
        return self >= State.DONE


@dataclass(frozen=True)
class Observation:
    """One thing that a client was told.

    `value`: the result or the error of a terminal state, or a digest of it; compared with `==`. `client`: who was told; two clients may hear of the same
    job in any order. `session`: given with ACCEPTED, when the job is a frame. `turn`: given with DONE of a frame, the place that the
    service says it had among the frames applied to its session, counted from any number (`count` of the dummy service).
    """

    job: str
    state: State
    value: object = None
    client: str = ""
    session: str | None = None
    turn: int | None = None


@dataclass(frozen=True)
class Violation:
    """A promise that was broken, to whom (`subject`: a job or a session), and how."""

    promise: str
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.subject}: {self.detail}"


class History:
    """Observations in the order in which they were recorded. Not locked: one event loop or one thread records."""

    def __init__(self) -> None:
        self._observations: list[Observation] = []
        self._by_job: defaultdict[str, list[Observation]] = defaultdict(list)

    def record(
        self,
        job: str,
        state: State,
        *,
        value: object = None,
        client: str = "",
        session: str | None = None,
        turn: int | None = None,
    ) -> None:
        """Note one observation; the arguments are the fields of `Observation`."""
        observation = Observation(job, state, value, client, session, turn)
        self._observations.append(observation)
        self._by_job[job].append(observation)

    @property
    def accepted(self) -> frozenset[str]:
        """The jobs that some client was told to be accepted."""
        return frozenset(seen.job for seen in self._observations if seen.state is State.ACCEPTED)

    @property
    def finished(self) -> frozenset[str]:
        """The jobs that some client saw end."""
        return frozenset(seen.job for seen in self._observations if seen.state.terminal)

    def violations(self) -> tuple[Violation, ...]:
        """Every broken promise; empty if all were kept."""
        return (*self._lost(), *self._unheard_of(), *self._two_ends(), *self._backwards(), *self._disorder())

    def check(self) -> None:
        """Raise `AssertionError` that lists every broken promise; also if nothing was accepted, since that would prove nothing."""
        assert self.accepted, "the history has no accepted job"
        broken = self.violations()
        assert not broken, f"{len(broken)} promises broken in a history of {len(self.accepted)} jobs:\n" + "\n".join(map(str, broken[:50]))

    def _lost(self) -> Iterator[Violation]:
        for job in sorted(self.accepted - self.finished):
            yield Violation("every accepted job ends", job, f"last seen {self._by_job[job][-1].state.name}")

    def _unheard_of(self) -> Iterator[Violation]:
        for job in sorted(self._by_job.keys() - self.accepted):
            yield Violation("only accepted jobs are heard of", job, f"seen {self._by_job[job][0].state.name}")

    def _two_ends(self) -> Iterator[Violation]:
        for job, seen in self._by_job.items():
            ends = [observation for observation in seen if observation.state.terminal]
            for other in ends[1:]:
                if (other.state, other.value) != (ends[0].state, ends[0].value):
                    yield Violation("a job ends in one way only", job, f"{_end(ends[0])}, then {_end(other)}")

    def _backwards(self) -> Iterator[Violation]:
        last: dict[tuple[str, str], State] = {}
        for seen in self._observations:
            before = last.get((seen.client, seen.job))
            if before is not None and seen.state < before:
                yield Violation("a job never goes backwards", seen.job, f"{before.name}, then {seen.state.name} for client {seen.client!r}")
            last[seen.client, seen.job] = seen.state

    def _disorder(self) -> Iterator[Violation]:
        turns = {seen.job: seen.turn for seen in self._observations if seen.state is State.DONE and seen.turn is not None}
        for session, jobs in self._sessions().items():
            applied = [(job, turns[job]) for job in jobs if job in turns]
            for (job, turn), (next_job, next_turn) in pairwise(applied):
                if next_turn != turn + 1:
                    detail = f"{job} was turn {turn}, and {next_job}, accepted after it, was turn {next_turn}"
                    yield Violation("frames are applied in order, each once", session, detail)

    def _sessions(self) -> dict[str, list[str]]:
        """The jobs of each session in the order of their acceptance; one that was accepted twice (a repeated request) counts once."""
        sessions: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for seen in self._observations:
            if seen.state is State.ACCEPTED and seen.session is not None:
                sessions[seen.session].setdefault(seen.job)
        return {session: list(jobs) for session, jobs in sessions.items()}


def _end(observation: Observation) -> str:
    return f"{observation.state.name} {observation.value!r}"
