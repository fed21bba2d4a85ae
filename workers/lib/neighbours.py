"""Points near points, and what is connected by pairs: SciPy's k-d tree and connected components."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@cache
def scipy_parts() -> tuple[Any, Any, Any]:
    """SciPy's ``cKDTree``, ``coo_array`` and ``connected_components``.

    Importing them takes half a second: the service calls this in its `load`, and a gateway, which imports the service, never.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    return cKDTree, coo_array, connected_components


def tree_of(points: Array) -> Any:
    """A ``cKDTree`` of points [n, k]."""
    return scipy_parts()[0](points)


def connected(count: int, pairs: Sequence[Sequence[int]] | Array) -> list[Array]:
    """The numbers below ``count`` in sets, connected by pairs [n, 2] of them."""
    _, coo_array, connected_components = scipy_parts()
    one, other = np.asarray(pairs, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(one)), (one, other)), shape=(count, count))
    sets, labels = connected_components(graph, directed=False)
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels, minlength=sets))[:-1]) if count else []
