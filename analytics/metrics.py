"""The metrics of the data API, by their names; docs/metrics.md says what they mean. And what of them a stream does not show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from analytics.totals import HAPPINESS_UNIT, Totals
from shared.privacy import Analysis
from shared.visits import Visit

JsonObject = dict[str, Any]


def _ratio(value: float, count: float, digits: int = 3) -> float | None:
    return round(value / count, digits) if count else None


def _mean(value: float, count: int) -> float:
    return value / count if count else 0.0


METRICS: Mapping[str, Callable[[Totals], JsonObject]] = {
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
#: Those that break people down by what was estimated of them.
_BREAKDOWNS: Mapping[str, frozenset[Analysis]] = {
    "category": frozenset({"age", "gender"}),
    "gender": frozenset({"gender"}),
    "satisfaction": frozenset({"expression"}),
}


@dataclass(frozen=True, slots=True)
class Disclosure:
    """What is shown of a stream's people. ``off``: analyses that it has switched off; ``smallest``: people that a breakdown is of at least."""

    off: tuple[Analysis, ...] = ()
    smallest: int = 1

    def metric(self, name: str, totals: Totals) -> JsonObject:
        """The metric of this name. One that is not shown has its members, each null: nothing is known, which is not zero."""
        value = METRICS[name](totals)
        return dict.fromkeys(value) if self._hides(name, totals) else value

    def visit(self, visit: Visit) -> Visit:
        """The visit without what is not shown: it is a group of one."""
        alone = self.smallest > 1
        return replace(
            visit,
            age=None if alone or "age" in self.off else visit.age,
            gender=None if alone or "gender" in self.off else visit.gender,
            happiness=None if alone or "expression" in self.off else visit.happiness,
        )

    def _hides(self, name: str, totals: Totals) -> bool:
        needed = _BREAKDOWNS.get(name)
        return needed is not None and (not needed.isdisjoint(self.off) or 0 < totals.interested < self.smallest)
