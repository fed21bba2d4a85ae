"""Telling sets of weights apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from workers.contract import Network


def digest(networks: Iterable[Network]) -> str:
    """64 hex digits that stand for the weights of all ``networks`` together, in this order; of one alone its own SHA-256."""
    parts = [network.sha256 for network in networks]
    return parts[0] if len(parts) == 1 else hashlib.sha256(" ".join(parts).encode()).hexdigest()
