"""How a page is registered: a module in `console/routes` with ``ROUTES``, and ``NAVIGATION`` if it is to be found by its visitors.

Nothing else is edited. `console.guard` sees to it that a page without further words is for whoever is signed in, that a page whose
address has a ``{stream}`` shows the account's own streams only, and that nothing changes without the token of a form.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto

from aiohttp import web

import console.routes

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Access(Enum):
    """Who may ask for a page."""

    PUBLIC = auto()
    SIGNED_IN = auto()
    OPERATOR = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """A page. ``path`` as aiohttp writes it; ``{stream}`` in it is the client_id of a stream, which the handler gets from `console.state.stream_of`."""

    method: str
    path: str
    handler: Handler
    access: Access = Access.SIGNED_IN


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the navigation, from the left by ``order``. Operators' entries are shown to operators only."""

    order: int
    label: str
    path: str
    access: Access = Access.SIGNED_IN


def collect() -> tuple[list[Route], list[Entry]]:
    """Every route and entry of the modules in `console/routes`. One that cannot be imported raises, and so stops the process."""
    routes: list[Route] = []
    entries: list[Entry] = []
    for found in sorted(pkgutil.iter_modules(console.routes.__path__), key=lambda module: module.name):
        module = importlib.import_module(f"{console.routes.__name__}.{found.name}")
        routes += module.ROUTES
        entries += getattr(module, "NAVIGATION", [])
    return routes, sorted(entries, key=lambda entry: (entry.order, entry.label))
