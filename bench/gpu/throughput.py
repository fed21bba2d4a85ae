"""Items a second by the size of the batch, for each network and each service."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from bench.gpu.compare import Loaded
from shared.errors import PerceptionError
from workers.contract import Item
from workers.inference.onnx import OnnxModels, OnnxNetwork
from workers.runtime.batching import anew

BATCHES = (1, 8, 32)
#: What an axis without a fixed length is taken to be: pictures of 640 x 480.
_SIDES = {"height": 480, "H": 480, "width": 640, "W": 640}


def _rate(run: Callable[[], object], items: int, seconds: float) -> float:
    """Items a second over so many seconds, after two runs that do not count."""
    run()
    run()
    begin, runs = time.perf_counter(), 0
    while (spent := time.perf_counter() - begin) < seconds or not runs:
        run()
        runs += 1
    return items * runs / spent


def networks(ours: Sequence[Loaded], processor: OnnxModels, seconds: float) -> str:
    """A row a network. Inputs are made of chance: what they show does not change what has to be computed."""
    rows = [_head("network", ours)]
    for name in dict.fromkeys(network.name for one in ours for network in one.networks):
        network = next(network for one in ours for network in one.networks if network.name == name)
        plain = processor.open(name)
        if not isinstance(plain, OnnxNetwork) or not plain.batched:
            continue
        cells = [f"{_rate(partial(network.run, _feeds(plain, size)), size, seconds):,.0f}" for size in BATCHES]
        rows.append(f"| {name} | {' | '.join(cells)} | {_rate(partial(plain.run, _feeds(plain, 1)), 1, seconds):,.0f} |")
    return "\n".join(rows)


def services(ours: Sequence[Loaded], processor: Sequence[Loaded], seconds: float) -> str:
    """A row a service, on new pictures each time; what is beside the networks (decoding, crops) is part of it."""
    rows, others = [_head("service", ours)], {one.kind.name: one for one in processor}
    for one in ours:
        cells = [_service(one, size, seconds) if size <= one.kind.max_batch else "–" for size in BATCHES]
        rows.append(f"| {one.kind.name} | {' | '.join(cells)} | {_service(others[one.kind.name], 1, seconds)} |")
    return "\n".join(rows)


def _head(what: str, ours: Sequence[Loaded]) -> str:
    device = ours[0].networks[0].device if ours else "cuda"
    columns = " | ".join(f"{device}, {size} a batch" for size in BATCHES)
    return f"| {what}, items a second | {columns} | cpu, one thread, 1 a batch |\n|---|{'---:|' * (len(BATCHES) + 1)}"


def _service(one: Loaded, size: int, seconds: float) -> str:
    example = one.kind.example()

    def run() -> None:
        kind = one.kind.state_type
        batch: list[Item[Any]] = [Item(anew(example), kind() if kind else None) for _ in range(size)]
        for answer in one.service.process(batch):
            if isinstance(answer, PerceptionError):
                raise answer

    return f"{_rate(run, size, seconds):,.0f}"


def _feeds(network: OnnxNetwork, size: int) -> dict[str, Any]:
    chance = np.random.default_rng(size)
    shapes = {
        name: (size, *(side if isinstance(side, int) else _SIDES[str(side)] for side in sides)) for name, sides in network.sides().items()
    }
    return {name: chance.uniform(0, 255, shape).astype(np.float32) for name, shape in shapes.items()}
