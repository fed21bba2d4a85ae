"""Samples to tables: medians over the rounds with their range, and ratios to a reference taken within each round."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench.document import DOCUMENT, write
from bench.measure import Sample
from bench.venvs import HERE

RESULTS = HERE / "results"

__all__ = ["DOCUMENT", "noise", "save", "table", "write"]


def save(name: str, samples: Sequence[Any], facts: Mapping[str, str]) -> Path:
    """Everything measured as JSON in `bench/results/`."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps({"facts": facts, "samples": [asdict(sample) for sample in samples]}, indent=1) + "\n")
    return path


def table(samples: Sequence[Sample], measure: str, reference: str) -> str:
    """One row a system in the order of the first round: rate, latencies, ratios to `reference`, CPU time, errors."""
    chosen = [sample for sample in samples if sample.measure == measure]
    head = f"| system | jobs/s | p50 ms | p99 ms | rate ÷ {reference} | p99 ÷ {reference} | CPU ÷ {reference} | CPU ms a job | errors |"
    rows = [head, "|---|---:|---:|---:|---:|---:|---:|---|---:|"]
    for name in dict.fromkeys(sample.system for sample in chosen):
        rows.append(_row(name, [sample for sample in chosen if sample.system == name], [s for s in chosen if s.system == reference]))
    return "\n".join(rows)


def _row(name: str, own: Sequence[Sample], other: Sequence[Sample]) -> str:
    base = {sample.round: sample for sample in other}
    pairs = [(sample, base[sample.round]) for sample in own if sample.round in base]
    cells = [
        name,
        spread([sample.figures.rate for sample in own], 0 if own[0].figures.rate >= 100 else 1),
        spread([sample.figures.p50_ms for sample in own], 1),
        spread([sample.figures.p99_ms for sample in own], 1),
        spread([mine.figures.rate / theirs.figures.rate for mine, theirs in pairs], 2),
        spread([mine.figures.p99_ms / theirs.figures.p99_ms for mine, theirs in pairs], 2),
        spread([sum(mine.cpu_ms.values()) / sum(theirs.cpu_ms.values()) for mine, theirs in pairs], 2),
        _cpu(own),
        str(sum(sample.figures.errors for sample in own)),
    ]
    return "| " + " | ".join(cells) + " |"


def spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return "–"
    middle = f"{median(values):,.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def _cpu(own: Sequence[Sample]) -> str:
    medians = {role: median(sample.cpu_ms[role] for sample in own) for role in own[0].cpu_ms}
    total = "" if len(medians) < 2 else f"{sum(medians.values()):.2f}: "
    return total + ", ".join(f"{role} {value:.2f}" for role, value in medians.items())


def noise(samples: Sequence[Any]) -> str:
    """How much of the cores went to programs outside the bench (the samples' `others`), in words."""
    shares = [sample.others for sample in samples]
    return f"Programs outside the bench took {median(shares):.0%} of the cores (at most {max(shares):.0%}) during the measurements."
