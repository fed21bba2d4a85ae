"""Rounds: every system in turn, several times over, so that noise of the machine falls on all alike."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench import picture
from bench.load import DRAIN_LIMIT_S, Figures, Target, wait_right, wrk
from bench.processes import ChildFailed, Group
from bench.systems import PEERS, Running, Servers, Start

WARM_UP_S = 1.0
BARE_LOOP = "bare loop"


@dataclass(frozen=True)
class Plan:
    """What is compared: systems by name, the measures of each, connections, rounds and seconds of each measure."""

    systems: Mapping[str, Start]
    measures: Sequence[str]
    connections: int
    rounds: int
    seconds: float
    bare_loop: bool = False


@dataclass(frozen=True)
class Sample:
    """One system under one load in one round.

    `cpu_ms` is the CPU time a job by role; the broker's and the store's are of the server as a whole, which serves one system at
    a time. `drain_s` is how long the accepted jobs took to be done after the load had ended (asynchronous only). `others` is the share
    of all cores, 0..1, that programs outside the bench (or the host) took meanwhile: figures with more than a few per cent are doubtful.
    """

    system: str
    measure: str
    round: int
    figures: Figures
    cpu_ms: Mapping[str, float] = field(default_factory=dict)
    drain_s: float = 0.0
    others: float = 0.0


class Meter:
    """What the cores that we may use did since it was made."""

    def __init__(self) -> None:
        self._cores = sorted(psutil.Process().cpu_affinity())
        self._begin = time.monotonic()
        self._busy, self._children = self._now()

    def others(self, ours: float) -> float:
        """The share of the cores, 0..1, that went neither into `ours` (CPU seconds) nor into children that we waited for, such as wrk."""
        busy, children = self._now()
        spent = busy - self._busy - (children - self._children) - ours
        return max(0.0, spent / (len(self._cores) * (time.monotonic() - self._begin)))

    def _now(self) -> tuple[float, float]:
        times = psutil.cpu_times(percpu=True)
        busy = sum(
            sum(times[core]) - times[core].idle - times[core].iowait - times[core].guest - times[core].guest_nice for core in self._cores
        )
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return busy, children.ru_utime + children.ru_stime


def run(plan: Plan, servers: Servers) -> Iterator[Sample]:
    """All samples, round by round; each round starts with another system."""
    names = [*plan.systems, *([BARE_LOOP] if plan.bare_loop else [])]
    for number in range(plan.rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            for sample in _bare_loop(plan, servers, number) if name == BARE_LOOP else _system(plan, servers, name, number):
                _say(sample)
                yield sample


def _system(plan: Plan, servers: Servers, name: str, number: int) -> Iterator[Sample]:
    with ExitStack() as stack:
        running = plan.systems[name](servers, stack)
        groups = {**{role: child.group for role, child in running.children.items()}, **servers.groups}
        for measure in plan.measures:
            wrk(running.targets[measure], plan.connections, WARM_UP_S, servers.folder)
            _drain(running, measure)
            meter, before = Meter(), cpu_seconds(groups)
            figures = wrk(running.targets[measure], plan.connections, plan.seconds, servers.folder)
            drain_s = _drain(running, measure)
            after = cpu_seconds(groups)
            cpu_ms = {role: 1000 * (after[role] - before[role]) / max(1, figures.requests) for role in groups}
            yield Sample(name, measure, number, figures, cpu_ms, drain_s, meter.others(sum(after.values()) - sum(before.values())))


def _drain(running: Running, measure: str) -> float:
    """Wait until everything accepted is done: queues are first in, first out, so a job that waits for its result is answered last."""
    if measure != "async":
        return 0.0
    sentinel: Target = running.targets["sync"]
    return wait_right(sentinel, list(running.children.values()), DRAIN_LIMIT_S)


def cpu_seconds(groups: Mapping[str, Group]) -> dict[str, float]:
    return {role: group.cpu_seconds() for role, group in groups.items()}


def _bare_loop(plan: Plan, servers: Servers, number: int) -> Iterator[Sample]:
    jpeg: Path = servers.folder / "photograph.jpg"
    jpeg.write_bytes(picture.photograph())
    words = [sys.executable, "bare_loop.py", str(jpeg), str(plan.seconds)]
    meter = Meter()
    done = subprocess.run(words, cwd=PEERS, env={"BENCH_MODEL": str(servers.model)}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ChildFailed(f"the bare loop ended with {done.returncode}: {done.stderr[-800:]}")
    seen = json.loads(done.stdout)
    figures = Figures(seen["requests"], seen["rate"], seen["p50_ms"], seen["p99_ms"], 0)
    yield Sample(BARE_LOOP, "faces", number, figures, {"loop": 1000 * seen["cpu_s"] / seen["requests"]}, others=meter.others(0.0))


def _say(sample: Sample) -> None:
    figures = sample.figures
    cpu = ", ".join(f"{role} {value:.2f}" for role, value in sample.cpu_ms.items())
    drained = f", done {sample.drain_s:.1f} s later" if sample.drain_s else ""
    print(
        f"round {sample.round + 1}  {sample.system:<12} {sample.measure:<6} {figures.rate:8.1f}/s  p50 {figures.p50_ms:7.1f} ms  "
        f"p99 {figures.p99_ms:7.1f} ms  errors {figures.errors}  CPU ms/job: {cpu}{drained}  others {sample.others:.0%}",
        file=sys.stderr,
        flush=True,
    )
