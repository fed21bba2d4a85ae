"""What one frame of a session asks of the store, and costs each process.

Sessions of `scene_analysis` at two frames a second through gateway, broker, store and worker: slow enough that nothing waits. What Redis was asked is
its own count, less what it is asked while nobody sends anything. CPU time a frame varies with what else the machine does; the counts do not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import redis

from bench.processes import Group
from bench.sessions import PARAMETERS, Running, distributed, frames
from bench.systems import Servers
from sensorium.bench.sessions import Load, measure

FPS, SESSIONS = 2.0, 2


@dataclass(frozen=True)
class Counts:
    """What was counted until a moment: commands by name, all that came over connections, bytes, CPU seconds by role."""

    at: float
    commands: Mapping[str, int]
    received: int
    sent: int
    memory: int
    cpu: Mapping[str, float]


def _counts(store: redis.Redis, groups: Mapping[str, Group]) -> Counts:
    stats = store.info("stats")
    commands = {name.removeprefix("cmdstat_"): value["calls"] for name, value in store.info("commandstats").items()}
    cpu = {role: group.cpu_seconds() for role, group in groups.items()}
    used = store.info("memory")["used_memory"]
    return Counts(time.monotonic(), commands, stats["total_net_input_bytes"], stats["total_net_output_bytes"], used, cpu)


def table(servers: Servers, seconds: float) -> str:
    """The counts of a frame; ``seconds`` of frames, after as long without any."""
    with redis.Redis.from_url(servers.store) as store, distributed(servers) as running:
        begin = _counts(store, running.groups)
        time.sleep(seconds)
        idle = _counts(store, running.groups)
        _send(running, 2.0)  # scripts are loaded, connections made
        before = _counts(store, running.groups)
        sent = _send(running, seconds)
        after = _counts(store, running.groups)
    share = (after.at - before.at) / (idle.at - begin.at)

    def a_frame(first: float, second: float, third: float, fourth: float) -> float:
        return ((fourth - third) - (second - first) * share) / sent

    names = sorted(after.commands)
    commands = {name: a_frame(*(counts.commands.get(name, 0) for counts in (begin, idle, before, after))) for name in names}
    asked = [f"{name.upper()} {value:.1f}" for name, value in sorted(commands.items(), key=lambda pair: -pair[1]) if value >= 0.05]
    cpu = {role: 1000 * a_frame(begin.cpu[role], idle.cpu[role], before.cpu[role], after.cpu[role]) for role in after.cpu}
    rows = [
        "| a frame | |",
        "|---|---|",
        f"| commands in Redis, those of scripts included | {sum(commands.values()):.0f}: {', '.join(asked)} |",
        f"| bytes into Redis | {a_frame(begin.received, idle.received, before.received, after.received):,.0f} |",
        f"| bytes out of Redis | {a_frame(begin.sent, idle.sent, before.sent, after.sent):,.0f} |",
        f"| bytes that stay in Redis as long as results are kept | {a_frame(begin.memory, idle.memory, before.memory, after.memory):,.0f} |",
        f"| CPU ms | {', '.join(f'{role} {value:.2f}' for role, value in cpu.items())} |",
    ]
    return "\n".join(rows)


def _send(running: Running, seconds: float) -> int:
    """Frames that were answered. Raises when one was not: then the counts would be of something else."""
    load = Load(SESSIONS, frames(), FPS, seconds, warm_up=0, parameters=PARAMETERS)
    figures = asyncio.run(measure(running.url, running.user, load))
    if figures.answered != figures.frames:
        raise RuntimeError(f"frames were left without an answer, the machine is too busy: {figures}")
    return figures.answered
