"""Who belongs to whom."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from workers.lib.assignment import best_pairs


def test_the_sum_is_the_least_not_each_cost() -> None:
    rows, columns = best_pairs(np.array([[1.0, 2.0], [1.5, 9.0]]))
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])


def test_what_is_forbidden_is_not_paired_and_nobody_goes_without_for_it() -> None:
    """The first row could have the cheaper column; then the second would have nothing."""
    rows, columns = best_pairs(np.array([[0.1, 5.0], [0.2, np.inf], [np.inf, np.inf]]))
    assert dict(zip(rows.tolist(), columns.tolist(), strict=True)) == {0: 1, 1: 0}


def test_nobody_and_nothing() -> None:
    rows, columns = best_pairs(np.empty((0, 3)))
    assert (len(rows), len(columns)) == (0, 0)


def test_the_catalogue_of_services_is_read_without_the_solver() -> None:
    """A gateway pairs nothing, and need not wait for it to load."""
    program = "import sys; from workers.catalog import load_catalog; load_catalog(None); print('scipy.optimize' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"
