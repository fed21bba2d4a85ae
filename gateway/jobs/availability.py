"""Which services can be had now: the broker says which queues have consumers, asked by one task a process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from shared.aio import SingleFlight
from shared.errors import BrokerAway, NoWorker, PerceptionError
from shared.jobs import queue_of
from shared.log import get_logger
from shared.ports import Broker
from workers.catalog import Catalog, ServiceType

log = get_logger(__name__)
_ASK_EVERY = 2.0
#: Questions that requests for an absent service cause start at least this many seconds apart.
_ASK_AGAIN = 0.25


class Availability:
    """The reason why a service cannot be had, if there is one."""

    def __init__(self, broker: Broker, catalog: Catalog, grace: float, known_faults: Mapping[str, PerceptionError] | None = None) -> None:
        """``grace`` (seconds): a service whose last worker left stays available for that long, since most come back.

        ``known_faults``: services, by name, that this very process failed to load.
        """
        self._broker = broker
        self._catalog = catalog
        self._grace = grace
        self._known = dict(known_faults or {})
        self._seen: dict[str, float] = {}
        self._ready: dict[str, int] = {}
        self._unserved: dict[str, float] = {}
        self._broker_fault: PerceptionError | None = None
        self._asking: SingleFlight[None, None] = SingleFlight()
        self._asked = float("-inf")

    def fault(self, service: ServiceType) -> PerceptionError | None:
        """None when the service can be had."""
        if service.name in self._known:
            return self._known[service.name]
        if self._broker_fault is not None:
            return self._broker_fault
        seen = self._seen.get(queue_of(service.name, service.version))
        if seen is None or time.monotonic() - seen > self._grace + 2 * _ASK_EVERY:
            return NoWorker(f"no worker serves {service.name}; start one with: sensorium worker {service.name}")
        return None

    def fault_of_part(self, name: str) -> PerceptionError | None:
        """None when a composite can answer for this service. A worker for composites has all services, or does not start; only
        an embedded system goes on without those that it could not load."""
        return self._known.get(name)

    def require_any(self, names: Sequence[str]) -> None:
        """Raise when a composite can answer for none of these services."""
        faults = [self.fault_of_part(name) for name in names]
        if None not in faults and faults[0] is not None:
            raise faults[0]

    async def require(self, service: ServiceType) -> None:
        """Raise the reason why the service cannot be had. A worker that came a moment ago is looked for before that."""
        if self.fault(service) is None:
            return
        arrived = time.monotonic()
        while self._asked < arrived:  # an answer under way when the request came may be older than the worker
            await self._asking.do(None, self._ask_again)
        fault = self.fault(service)
        if fault is not None:
            raise fault

    def waiting(self, service: ServiceType) -> int:
        """Jobs that waited in the service's queue when the broker was last asked."""
        return self._ready.get(queue_of(service.name, service.version), 0)

    def unserved(self, queue: str) -> float:
        """For how long, in seconds, the queue has had messages and no consumer, as far as this process saw it."""
        since = self._unserved.get(queue)
        return 0.0 if since is None else time.monotonic() - since

    async def ask(self) -> None:
        """Ask the broker once about every queue."""
        began = time.monotonic()
        try:
            for name, version in self._catalog:
                queue = queue_of(name, version)
                depth = await self._broker.depth(queue)
                self._ready[queue] = depth.ready
                if depth.consumers:
                    self._seen[queue] = time.monotonic()
                if depth.ready and not depth.consumers:
                    self._unserved.setdefault(queue, began)
                else:
                    self._unserved.pop(queue, None)
            self._broker_fault = None
        except BrokerAway as error:
            if self._broker_fault is None:
                log.warning("broker.away", reason=error.message)
            self._broker_fault = error
            # nobody can be blamed for not being seen while the broker was away
            now = time.monotonic()
            self._seen = dict.fromkeys(self._seen, now)
        self._asked = began

    async def keep_asking(self) -> None:
        while True:
            await asyncio.sleep(_ASK_EVERY)
            await self._asking.do(None, self.ask)

    async def _ask_again(self) -> None:
        await asyncio.sleep(self._asked + _ASK_AGAIN - time.monotonic())
        await self.ask()
