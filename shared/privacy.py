"""What a stream may have switched off: analyses of people that are then neither computed, nor listed, nor stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

Analysis = Literal["age", "expression", "gender", "identification"]
ANALYSES: tuple[Analysis, ...] = get_args(Analysis)


def known_analyses(names: Iterable[object]) -> tuple[Analysis, ...]:
    """Those of the names that are analyses, each once, in the order of `ANALYSES`."""
    given = list(names)
    return tuple(name for name in ANALYSES if name in given)
