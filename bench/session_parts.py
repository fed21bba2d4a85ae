"""Where the time of a frame of `scene_analysis` goes: CPU milliseconds of one model thread, by what they go into.

The scene and its timestamps are those of `bench.sessions`, so networks run as often as they do there: seldom ones are a share of a frame.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import cv2

from bench.services import TimedModels
from bench.sessions import PARAMETERS, SERVICE
from shared.jobs import Job, Turn
from shared.ports import Snapshot
from tests.services.scenes import FPS
from workers.contract import Image, MediaLimits
from workers.inference.onnx import OnnxModels
from workers.runtime.batching import Work
from workers.runtime.compute import Computer
from workers.services import scene_analysis as scene

_START = datetime(2024, 5, 1, 12, tzinfo=UTC)
_REST = "the rest: boxes, crops, bookkeeping"


@dataclass
class Stopwatch:
    """CPU seconds of this thread by part; what runs inside a part that is timed itself counts there only."""

    spent: dict[str, float] = field(default_factory=dict)
    _inner: list[float] = field(default_factory=lambda: [0.0])

    def around(self, part: str, does: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **given: Any) -> Any:
            begin = time.thread_time()
            self._inner.append(0.0)
            try:
                return does(*args, **given)
            finally:
                whole = time.thread_time() - begin
                self.spent[part] = self.spent.get(part, 0.0) + whole - self._inner.pop()
                self._inner[-1] += whole

        return timed


def table(pictures: Sequence[bytes]) -> str:
    """A row for each part, the dearest first."""
    found = parts(pictures)
    rows = [f"| {part} | {value:.2f} |" for part, value in sorted(found.items(), key=lambda pair: -pair[1])]
    return "\n".join(["| a frame in a worker | CPU ms |", "|---|---:|", *rows, f"| all | {sum(found.values()):.1f} |"])


def parts(pictures: Sequence[bytes], loops: int = 3) -> dict[str, float]:
    """CPU milliseconds a frame in one model thread, by what they go into."""
    cv2.setNumThreads(1)
    watch, models = Stopwatch(), TimedModels(OnnxModels())
    service = scene.SceneAnalysis()
    service.load(models)
    for network in models.networks:
        network.run = watch.around(f"network {network.network.name}", network.network.run)  # type: ignore[method-assign]
    computer = Computer(service, MediaLimits(), {})
    with _timed(watch):
        state: bytes | None = None
        for number in range(-len(pictures), loops * len(pictures)):
            if number == 0:
                watch.spent.clear()
            state = watch.around(_REST, _compute)(computer, pictures[number % len(pictures)], state, number + len(pictures))
    return {part: 1000 * seconds / loops / len(pictures) for part, seconds in watch.spent.items()}


def _compute(computer: Computer, picture: bytes, state: bytes | None, number: int) -> bytes | None:
    reference, now = "attachment://frame", time.time()
    parameters = {**PARAMETERS, "image": reference, "timestamp": (_START + timedelta(seconds=number / FPS)).isoformat()}
    turn = Turn("bench", number + 1)
    job = Job("bench", SERVICE, 1, "bench", now, now + 3600, parameters, {reference: picture}, turn=turn)
    seen = Snapshot(state, finished=number, numbered=number + 1)
    (outcome,) = computer.run([Work(None, job, now, seen=seen)])  # type: ignore[arg-type]
    if outcome.event is None or outcome.event.type != "done":
        raise RuntimeError(f"frame {number}: {outcome.event}")
    return outcome.state


_PARTS: list[tuple[object, str, str]] = [
    (Image, "decode", "decoding the JPEG"),
    (scene, "sight", "tracking"),
    (scene, "wanted_looks", "tracking"),
    (scene, "follow", "tracking"),
    (scene, "give_up", "tracking"),
    (scene, "entity", "encoding the answer"),
    (scene.SceneAnalysisOutput, "as_result", "encoding the answer"),
    (scene.SceneAnalysisState, "model_dump_json", "encoding the session's state"),
    (scene.SceneAnalysisState, "model_validate_json", "decoding the session's state"),
]


@contextmanager
def _timed(watch: Stopwatch) -> Iterator[None]:
    """The parts of the service, timed."""
    kept = [(owner, name, owner.__dict__.get(name), getattr(owner, name)) for owner, name, _ in _PARTS]
    try:
        for (owner, name, part), (*_, does) in zip(_PARTS, kept, strict=True):
            setattr(owner, name, staticmethod(watch.around(part, does)) if name == "model_validate_json" else watch.around(part, does))
        yield
    finally:
        for owner, name, own, _ in kept:
            if own is None:
                delattr(owner, name)
            else:
                setattr(owner, name, own)
