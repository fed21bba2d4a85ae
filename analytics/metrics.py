"""Every metric of a bucket of visits, by its name: docs/metrics.md says what they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from analytics.totals import HAPPINESS_UNIT, Totals

JsonObject = dict[str, Any]


def _ratio(value: float, count: float, digits: int = 3) -> float | None:
    return round(value / count, digits) if count else None


METRICS: dict[str, Callable[[Totals], JsonObject]] = {
    "passing_by": lambda of: {"value": of.passing_by},
    "interested": lambda of: {"value": of.interested},
    "stop_time": lambda of: {"value": _ratio(of.stop_ms / 1000, of.interested)},
    "attention_time": lambda of: {"value": _ratio(of.attention_ms / 1000, of.interested)},
    "category": lambda of: {
        "senior_female": of.senior_female,
        "senior_male": of.senior_male,
        "young_female": of.young_female,
        "young_male": of.young_male,
    },
    "gender": lambda of: {"?": of.interested - of.female - of.male, "female": of.female, "male": of.male},
    "satisfaction": lambda of: {"value": _ratio(of.happiness / HAPPINESS_UNIT, of.happy_count, 4)},
    "ots": lambda of: {"value": of.passing_by},
    "watchers": lambda of: {"value": of.watchers},
    "dwell": lambda of: {"value": _ratio(of.dwell_ms / 1000, of.passing_by)},
    "attention": lambda of: {"value": _ratio(of.watched_ms / 1000, of.watchers)},
    "conversion": lambda of: {"value": _ratio(of.watchers, of.passing_by, 4)},
    "attraction": lambda of: {"value": _ratio(_mean(of.watched_ms, of.watchers), _mean(of.dwell_ms, of.passing_by), 4)},
}


def _mean(value: float, count: int) -> float:
    return value / count if count else 0.0
