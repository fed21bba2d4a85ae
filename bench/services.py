"""What each service costs the processor for one typical input, beside the bare time of its networks.

One thread. The example is a 640×480 JPEG with one face, or 8192 frames of sound, the next of a session in the services that have them (the
picture moves to and fro by six pixels); decoding is included. Minutes on a shared machine vary, so the table gives medians of process time,
measured service by service in turn.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cache
from statistics import median
from typing import Any

import cv2
import numpy as np

from bench import picture
from shared.errors import PerceptionError
from shared.jobs import Job, Turn
from shared.ports import Snapshot
from workers.catalog import ServiceType, load_catalog
from workers.composing import ComposedService
from workers.contract import File, Image, MediaLimits, Network
from workers.inference.onnx import OnnxModels
from workers.runtime.batching import Work
from workers.runtime.compute import Computer

_ROUNDS = 30
_WARM_UP = 5


@dataclass
class Timed:
    """A network whose runs are timed: `seconds` of process time since it was last set."""

    network: Network
    seconds: float = 0.0
    runs: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        begin = time.process_time()
        try:
            return self.network.run(feeds)
        finally:
            self.seconds += time.process_time() - begin
            self.runs += 1


@dataclass
class TimedModels:
    """Models whose networks are timed."""

    models: OnnxModels
    networks: list[Timed] = field(default_factory=list)

    def open(self, name: str) -> Timed:
        return self._timed(self.models.open(name))

    def choose(self, name: str) -> Timed:
        return self._timed(self.models.choose(name))

    def optional(self, name: str) -> Timed | None:
        network = self.models.optional(name)
        return None if network is None else self._timed(network)

    def _timed(self, network: Network) -> Timed:
        self.networks.append(Timed(network))
        return self.networks[-1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.models, name)


def _job(kind: ServiceType, number: int) -> Job:
    """The service's example as a frame of a session, its picture replaced by the photograph."""
    parameters: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    for name, value in kind.example():
        if isinstance(value, File):
            reference = f"attachment://{name}"
            files[reference] = _frame(number % 2) if isinstance(value, Image) else value.data
            parameters[name] = reference
        elif isinstance(value, (str, int, float, bool)):
            parameters[name] = value
    now = time.time()
    return Job("bench", kind.name, kind.version, "bench", now, now + 3600, parameters, files, turn=Turn("bench", number + 1))


@cache
def _frame(place: int) -> bytes:
    """The photograph, or what a camera sees of it that stands six pixels beside."""
    pixels = cv2.imdecode(np.frombuffer(picture.photograph(), np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".jpg", np.roll(pixels, 6 * place, axis=1), [cv2.IMWRITE_JPEG_QUALITY, picture.QUALITY])[1].tobytes()


def cost(kind: ServiceType, models: OnnxModels) -> str:
    """The service's row of the table."""
    cv2.setNumThreads(1)
    timed = TimedModels(models)
    service = kind()
    service.load(timed)
    computer, state = Computer(service, MediaLimits(), {}), None
    whole, inside = [], []
    for number in range(_WARM_UP + _ROUNDS):
        for network in timed.networks:
            network.seconds, network.runs = 0.0, 0
        seen = Snapshot(state, number, number + 1) if service.state_type is not None else None
        work = Work(None, _job(kind, number), time.time(), seen=seen)  # type: ignore[arg-type]
        begin = time.process_time()
        (outcome,) = computer.run([work])
        seconds = time.process_time() - begin
        if outcome.event is None or outcome.event.type != "done":
            raise SystemExit(f"{kind.name}: {outcome.event}")
        state = outcome.state
        if number >= _WARM_UP:
            whole.append(seconds)
            inside.append(sum(network.seconds for network in timed.networks))
    runs = ", ".join(f"{network.network.name} {network.runs}×" for network in timed.networks if network.runs)
    return f"| {kind.name} | {median(whole) * 1e3:.1f} | {median(inside) * 1e3:.1f} | {runs or '–'} |"


def table() -> str:
    """Every service that can be loaded here, as a table."""
    rows: list[str] = []
    models = OnnxModels()
    for kind in load_catalog().values():
        if issubclass(kind, ComposedService):
            continue  # it costs what its parts cost
        try:
            rows.append(cost(kind, models))
        except PerceptionError as error:
            rows.append(f"| {kind.name} | not available: {error.message} | | |")
        print(rows[-1], flush=True)
    return "\n".join(["| service | CPU ms an input | of it in networks | networks |", "|---|---:|---:|---|", *sorted(rows)])
