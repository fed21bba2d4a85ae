"""Who belongs to whom: pairs of rows and columns whose costs add up to the least (the Hungarian method)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

#: In the place of infinity, which the solver does not take: more than all allowed costs together, and no more digits than there are.
_FORBIDDEN = 1e6


@cache
def solver() -> Callable[[Array], tuple[Array, Array]]:
    """SciPy's. Loading it takes a third of a second: services that pair things ask for it in their `load`, all others never."""
    from scipy.optimize import linear_sum_assignment

    found: Callable[[Array], tuple[Array, Array]] = linear_sum_assignment
    return found


def best_pairs(costs: Array) -> tuple[Array, Array]:
    """Rows and columns, intp [k] each, of the pairs among ``costs`` [n, m]; infinite ones are never paired, and as many others as can be."""
    allowed = np.isfinite(costs)
    rows, columns = solver()(np.where(allowed, costs, _FORBIDDEN))
    kept = allowed[rows, columns]
    return rows[kept], columns[kept]
