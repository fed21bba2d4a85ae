"""How many items go into one `process`, and which: batching pays on a GPU and costs on a CPU, so it is measured."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.errors import PerceptionError
from shared.jobs import Job
from shared.ports import Delivery, Snapshot
from workers.contract import File, Input, Item, SampleSource, Service

#: What a batch costs beside its computation, in seconds: a thread is woken, results are stored, deliveries acknowledged.
_BATCH_COST = 0.0005
#: A batch size must bring this much more throughput than the next smaller one, since it costs latency.
_WORTHWHILE = 1.1


@dataclass(slots=True, eq=False)
class Work:
    """A delivery on its way through a worker.

    ``counted``: this delivery counts as an attempt; the first does by itself, a further one when it is taken up.
    ``seen`` is the session as it was when the frame's turn came; ``alone`` is set once somebody may have died of it.
    ``received`` is seconds since 1970, ``files`` the bytes of the job's blobs by reference, ``samples`` where those of its
    albums can be had. ``prepared``: its input, when it was validated, decoded and looked at while it waited for its turn.
    """

    delivery: Delivery
    job: Job
    received: float
    attempt: int = 1
    alone: bool = False
    seen: Snapshot | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    samples: SampleSource | None = None
    prepared: Input | None = None
    counted: bool = True


class Pending:
    """Work that waits for a free slot, in order."""

    def __init__(self) -> None:
        self._works: deque[Work] = deque()

    def __len__(self) -> int:
        return len(self._works)

    @property
    def suspect(self) -> bool:
        """Whether the next one has to be alone."""
        return bool(self._works) and self._works[0].alone

    def add(self, work: Work) -> None:
        self._works.append(work)

    def take(self, size: int) -> list[Work]:
        """The next batch: at most ``size`` items in order, at most one of a session, and a suspect by itself."""
        batch: list[Work] = []
        sessions: set[str] = set()
        kept: list[Work] = []
        while self._works and len(batch) < size:
            work = self._works.popleft()
            session = work.job.turn.session if work.job.turn else None
            if session is not None and session in sessions:
                kept.append(work)
            elif work.alone:
                if batch:
                    kept.append(work)
                    break
                batch.append(work)
                break
            else:
                batch.append(work)
                if session is not None:
                    sessions.add(session)
        self._works.extendleft(reversed(kept))
        return batch


def measure_batch(service: Service[Any, Any], wanted: int) -> int:
    """The batch size to use: ``wanted`` if given, else what brings the most items a second on this device.

    Runs the service's example (which also warms its networks up). Raises what the service raises or answers.
    """
    example = service.example()
    _rate(service, example, 1, repetitions=1)  # the first run takes longer: networks allocate what they keep
    if wanted or service.max_batch == 1:
        return max(1, min(wanted or 1, service.max_batch))
    best, best_rate = 1, _rate(service, example, 1)
    size = 2
    while size <= service.max_batch:
        rate = _rate(service, example, size)
        if rate < best_rate * _WORTHWHILE:
            break
        best, best_rate = size, rate
        size *= 2
    return best


def _rate(service: Service[Any, Any], example: Any, size: int, repetitions: int = 3) -> float:
    """Items a second, by the fastest of a few runs: the others measure what else the machine was doing."""
    times = []
    for _ in range(repetitions):
        state = service.state_type
        batch: Sequence[Item[Any]] = [Item(anew(example), state() if state else None) for _ in range(size)]
        begin = time.perf_counter()
        answers = service.process(batch)
        times.append(time.perf_counter() - begin)
        for answer in answers:
            if isinstance(answer, PerceptionError):
                raise answer
    return size / (min(times) + _BATCH_COST)


def anew(example: Input) -> Input:
    """The example with files of its own, decoded: what is remembered of a picture must not make the next run look fast."""
    files = {name: type(value)(value.data) for name in type(example).model_fields if isinstance(value := getattr(example, name), File)}
    for file in files.values():
        file.decode()
    return example.model_copy(update=files)
