"""How many cameras two cores carry, and where the time of a frame goes.

Every camera is a session of `scene_analysis` that sends a 640×480 JPEG ten times a second whether the last one was answered or not: a wall, before
which somebody walks in, stands for four seconds looking at the camera, walks out, and nobody is there for two seconds. A number of cameras is
carried when every frame was answered, nineteen of twenty within 500 ms of their tick. The load comes from a process of its own on the same cores.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median

import psutil

from bench.credentials import DEMO, provision
from bench.measure import Meter
from bench.processes import Child, Group
from bench.systems import ROOT, Servers, common, spawn
from sensorium.bench.sessions import Figures, Load, measure
from tests.servers.base import free_port
from tests.services.helpers import jpeg
from tests.services.scenes import FPS, Actor, render, sprite

SERVICE = "scene_analysis"
P95_MS = 500.0
MOST = 64
_BOUND = """Others' share is what programs outside the bench took of the cores: with more than a few per cent the number of cameras says little, while
CPU time a frame hardly depends on it. By that alone `cores × 100 ÷ CPU ms a frame` cameras would fit."""
#: Seconds of the scene: in, standing, out, nobody.
_IN, _STANDS, _OUT, _NOBODY = 2.0, 4.0, 2.0, 2.0
LOOP_S = _IN + _STANDS + _OUT + _NOBODY
PARAMETERS = {"camera_position": "facing", "store": True}


def _place(seconds: float) -> tuple[float, float] | None:
    if seconds >= LOOP_S - _NOBODY:
        return None
    steps = min(seconds, _IN) + max(0.0, seconds - _IN - _STANDS)
    return -80 + 200 * steps, 150


def frames() -> list[bytes]:
    """The scene once."""
    actors = [Actor(sprite("astronaut"), _place)]
    return [jpeg(render(actors, number / FPS), 85) for number in range(round(LOOP_S * FPS))]


@dataclass(frozen=True)
class Running:
    """A system that answers. ``worker`` tells what the worker counts."""

    url: str
    user: tuple[str, str]
    groups: Mapping[str, Group]
    worker: str


@dataclass(frozen=True)
class Trial:
    """One number of cameras once: what they saw, CPU milliseconds an answered frame by role, mean milliseconds a frame by stage, and the share of
    all cores that others took."""

    figures: Figures
    cpu_ms: Mapping[str, float]
    stages: Mapping[str, float]
    others: float


@contextmanager
def embedded(servers: Servers) -> Iterator[Running]:
    """Everything in one process."""
    with ExitStack() as stack:
        port = free_port()
        environment = {**common(servers), "SENSORIUM_DATA_DIR": str(servers.folder / f"data-{port}"), "SENSORIUM_MODEL_THREADS": "2"}
        words = [sys.executable, "-m", "sensorium", "up", SERVICE, "--port", str(port)]
        child = spawn(stack, servers, "sensorium-up", words, environment, ROOT)
        url = f"http://127.0.0.1:{port}"
        _ready(url, [child])
        yield Running(url, DEMO, {"server": child.group}, url)


@contextmanager
def distributed(servers: Servers) -> Iterator[Running]:
    """Gateway, worker, recorder, broker and store."""
    with ExitStack() as stack:
        port, health, recorder_health = free_port(), free_port(), free_port()
        environment = {
            **common(servers),
            "SENSORIUM_BROKER": servers.broker,
            "SENSORIUM_STORE": servers.store,
            "SENSORIUM_DATABASE": f"sqlite+aiosqlite:///{servers.folder / f'accounts-{port}.db'}",
            "SENSORIUM_SECRET_KEY": secrets.token_hex(32),
            "SENSORIUM_NAMESPACE": f"bench-{port}",
            "SENSORIUM_MODEL_THREADS": "2",
        }
        user = provision(environment)
        commands = {
            "worker": ["worker", SERVICE, "--health-port", str(health)],
            "gateway": ["gateway", "--port", str(port)],
            "recorder": ["recorder", "--health-port", str(recorder_health)],
        }
        children = {
            role: spawn(stack, servers, f"sensorium-{role}", [sys.executable, "-m", "sensorium", *words], environment, ROOT)
            for role, words in commands.items()
        }
        for at in (health, recorder_health, port):
            _ready(f"http://127.0.0.1:{at}", list(children.values()))
        groups = {**{role: child.group for role, child in children.items()}, **servers.groups}
        yield Running(f"http://127.0.0.1:{port}", user, groups, f"http://127.0.0.1:{health}")


def _ready(url: str, children: Sequence[Child], limit_s: float = 180.0) -> None:
    begin = time.monotonic()
    while True:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        for child in children:
            child.check()
        if time.monotonic() - begin > limit_s:
            raise RuntimeError(f"{url} is not ready after {limit_s:.0f} s")
        time.sleep(0.1)


def trial(running: Running, load: Load) -> Trial:
    """Put the load on the system once."""
    meter, before, told = Meter(), _cpu(running.groups), _stages(running.worker)
    begin = psutil.Process().cpu_times()
    figures = asyncio.run(measure(running.url, running.user, load))
    after, stages, end = _cpu(running.groups), _stages(running.worker), psutil.Process().cpu_times()
    ours = end.user + end.system - begin.user - begin.system
    done = max(1.0, stages[_DONE][0] - told[_DONE][0])
    spent = {role: after[role] - before[role] for role in running.groups}
    cpu_ms = {**{role: 1000 * value / done for role, value in spent.items()}, "load": 1000 * ours / done}
    return Trial(figures, cpu_ms, _difference(told, stages), meter.others(sum(spent.values()) + ours))


def _cpu(groups: Mapping[str, Group]) -> dict[str, float]:
    return {role: group.cpu_seconds() for role, group in groups.items()}


_STAGES = {"waits in the queue": "queue_wait", "waits for a thread": "batch_wait", "is computed": "compute", "is settled": "settle"}
_DONE = "frames done"


def _stages(url: str) -> dict[str, tuple[float, float]]:
    """(sum of seconds, count) by stage, and of `_DONE` (frames, batches), as the worker counts them."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()

    def value(name: str) -> float:
        found = re.search(rf'^sensorium_{name}{{service="{SERVICE}"}} (\S+)$', text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    stages = {stage: (value(f"{name}_seconds_sum"), value(f"{name}_seconds_count")) for stage, name in _STAGES.items()}
    return stages | {_DONE: (value("batch_items_sum"), value("batch_items_count"))}


def _difference(before: Mapping[str, tuple[float, float]], after: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    return {stage: 1000 * (after[stage][0] - before[stage][0]) / max(1.0, after[stage][1] - before[stage][1]) for stage in _STAGES}


def search(running: Running, pictures: Sequence[bytes], rounds: int, seconds: float) -> list[list[Trial]]:
    """One camera, two, three, …, each so often, until a number is not carried in most of its rounds."""
    found: list[list[Trial]] = []
    for sessions in range(1, MOST + 1):
        load = Load(sessions, pictures, FPS, seconds, parameters=PARAMETERS)
        found.append([trial(running, load) for _ in range(rounds)])
        for one in found[-1]:
            print(one, file=sys.stderr, flush=True)
        if not carried(found[-1]):
            break
    return found


def carried(trials: Sequence[Trial]) -> bool:
    return 2 * sum(one.figures.carried(P95_MS) for one in trials) > len(trials)


def table(servers: Servers, rounds: int, seconds: float) -> str:
    """Both forms of the system, one after the other."""
    pictures = frames()
    rows = []
    for form, start in (("embedded", embedded), ("distributed", distributed)):
        with start(servers) as running:
            rows.append(_rows(form, search(running, pictures, rounds, max(seconds, LOOP_S))))
    head = "| form | cameras | carried | p50 ms | p95 ms | p99 ms | frames without an answer | CPU ms a frame | a frame's ms: means | others' share |"
    return "\n".join([head, "|---|---:|---|---:|---:|---:|---:|---|---|---:|", *rows, "", _BOUND])


def _rows(form: str, found: Sequence[Sequence[Trial]]) -> str:
    """A row for each number of cameras."""
    rows = []
    for trials in found:
        figures = [one.figures for one in trials]
        cpu = {role: median(one.cpu_ms[role] for one in trials) for role in trials[0].cpu_ms}
        missing = sum(one.frames - one.answered for one in figures)
        cells = [
            form,
            str(figures[0].sessions),
            "yes" if carried(trials) else "no",
            *(f"{median(getattr(one, name) for one in figures):.0f}" for name in ("p50_ms", "p95_ms", "p99_ms")),
            f"{missing / sum(one.frames for one in figures):.1%}",
            f"{sum(cpu.values()):.1f}: " + ", ".join(f"{role} {value:.1f}" for role, value in cpu.items()),
            ", ".join(f"{stage} {median(one.stages[stage] for one in trials):.0f}" for stage in _STAGES),
            f"{median(one.others for one in trials):.0%}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)
