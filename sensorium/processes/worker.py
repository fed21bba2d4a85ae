"""The worker process: ``sensorium worker NAME…``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack

from sensorium.processes.adapters import open_broker, open_stores
from shared.log import get_logger
from shared.process import run_process, started
from shared.settings import Settings, read_settings
from workers.catalog import SHORT_NAMES, CatalogError, ServiceType, load_catalog
from workers.inference.onnx import open_models
from workers.runtime.health import serve_health
from workers.runtime.host import Host, Loader

log = get_logger(__name__)

#: Exit statuses, from sysexits.h: what the orchestrator shows is what went wrong.
EXIT_UNAVAILABLE = 69
EXIT_SOFTWARE = 70
EXIT_DEVICE = 71


def choose(names: Sequence[str], settings: Settings) -> list[ServiceType]:
    """The services called by name, short name or ``name.version``; all of them for ``all``. Raises `CatalogError`."""
    catalog = load_catalog(settings.extra_services)
    if list(names) == ["all"]:
        return list(catalog.values())
    chosen = []
    for given in names:
        name, _, version = given.partition(".")
        name = SHORT_NAMES.get(name, name)
        found = [kind for key, kind in catalog.items() if key[0] == name and version in ("", str(key[1]))]
        if not found:
            known = ", ".join(sorted({key[0] for key in catalog}))
            raise CatalogError(f"there is no service {given!r}; there are {known}")
        chosen.extend(found)
    return chosen


def check(kinds: Sequence[ServiceType], settings: Settings) -> None:
    """Load each service and run its example, as a worker would at start. Raises what fails."""
    loader = Loader(open_models(settings), settings)
    for kind in kinds:
        loaded = loader.load(kind)
        for fault in loader.faults(kind).values():
            raise fault
        print(f"{kind.name} {kind.version}: works, {loaded.batch} items a batch")


async def serve(kinds: Sequence[ServiceType], settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. The root of the process: what it opens, readiness asks and shutdown closes."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(open_broker(settings))
        stores = await stack.enter_async_context(open_stores(settings, None))
        host = Host(settings, broker, stores, open_models(settings, lost), _die)
        stack.push_async_callback(host.stop)
        starting = asyncio.create_task(host.start(kinds))
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            return 0
        for name, error in starting.result().items():
            print(f"sensorium: {name} cannot be served: {error.message}", file=sys.stderr)
            return EXIT_UNAVAILABLE
        started()
        await stack.enter_async_context(serve_health(settings.host, settings.health_port, host.verify))
        await host.verify()
        log.info("worker.ready", services=[kind.name for kind in kinds])
        await stopping.wait()
        log.info("worker.stopping")
    return 0


def _die(service: str) -> None:
    """A model thread cannot be ended from outside, but its process can: the broker gives its work to another one."""
    log.error("worker.stuck", service=service)
    sys.stderr.flush()
    os._exit(EXIT_SOFTWARE)


def lost(model: str) -> None:
    """What a driver says after an error is the same until the process ends, so a new one has to try."""
    log.error("worker.device_lost", model=model)
    sys.stderr.flush()
    os._exit(EXIT_DEVICE)


def run(kinds: Sequence[ServiceType], settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    return run_process(settings, "worker", serve(kinds, settings))


if __name__ == "__main__":
    SETTINGS = read_settings()
    raise SystemExit(run(choose(sys.argv[1:], SETTINGS), SETTINGS))
