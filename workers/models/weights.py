"""Telling sets of weights apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol


class Weighed(Protocol):
    """A network, or several behind one face."""

    @property
    def sha256(self) -> str:
        """64 hex digits that stand for all weights."""


def digest(networks: Iterable[Weighed]) -> str:
    """64 hex digits that stand for the weights of all ``networks`` together, in this order; of one alone its own SHA-256."""
    parts = [network.sha256 for network in networks]
    return parts[0] if len(parts) == 1 else hashlib.sha256(" ".join(parts).encode()).hexdigest()
