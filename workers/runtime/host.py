"""The services of one process: loaded, measured, and running between the broker and the stores."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2

from shared.errors import NoWorker, PerceptionError
from shared.log import get_logger
from shared.ports import Broker, Stores
from shared.settings import Settings
from workers.catalog import ServiceType
from workers.composing import ComposedService, Part
from workers.contract import MediaLimits, Models, Network
from workers.runtime.announcing import Announcer
from workers.runtime.batching import measure_batch
from workers.runtime.compute import Computer
from workers.runtime.cpus import usable_cpus
from workers.runtime.policy import Policy
from workers.runtime.runner import Runner
from workers.runtime.verifying import Verification

log = get_logger(__name__)


class _Recording:
    """Models that record what a service opened, for answers that explain themselves.

    ``stand_ins``: what was opened in place of each network, by name, that is not used here, be it that it is not
    installed or that another is preferred; "" for nothing.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        self.opened: list[Network] = []
        self.stand_ins: dict[str, str] = {}

    def open(self, name: str) -> Network:
        return self._opened(self._models.open(name))

    def choose(self, name: str) -> Network:
        network = self._opened(self._models.choose(name))
        if network.name != name:
            self.stand_ins[name] = network.name
        return network

    def optional(self, name: str) -> Network | None:
        network = self._models.optional(name)
        if network is None:
            self.stand_ins[name] = ""
            return None
        return self._opened(network)

    def _opened(self, network: Network) -> Network:
        if network.name not in {known.name for known in self.opened}:
            self.opened.append(network)
        return network

    def has(self, name: str) -> bool:
        return self._models.has(name)

    def path(self, name: str) -> Path:
        return self._models.path(name)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A service ready to compute, and the items of a batch that pay here."""

    computer: Computer
    batch: int


class Loader:
    """Loads services, each once: what a composite is made of is the same as what serves by itself."""

    def __init__(self, models: Models, settings: Settings) -> None:
        self._models, self._settings = models, settings
        self._known: dict[ServiceType, Loaded | PerceptionError] = {}

    def load(self, kind: ServiceType) -> Loaded:
        """Runs the service's example; takes seconds. Not for two threads at a time.

        Raises what loading or the example raises: `ModelMissing`, `ModelCorrupt`, `DeviceMissing`…
        """
        found = self._try(kind)
        if isinstance(found, PerceptionError):
            raise found
        return found

    def faults(self, kind: ServiceType) -> dict[str, PerceptionError]:
        """What a composite, loaded before, has to do without, and why."""
        parts = kind.kinds if issubclass(kind, ComposedService) else {}
        found = {name: self._try(part) for name, part in parts.items()}
        return {name: fault for name, fault in found.items() if isinstance(fault, PerceptionError)}

    def _try(self, kind: ServiceType) -> Loaded | PerceptionError:
        if kind not in self._known:
            try:
                self._known[kind] = self._compose(kind) if issubclass(kind, ComposedService) else self._load(kind)
            except PerceptionError as error:
                self._known[kind] = error
        return self._known[kind]

    def _load(self, kind: ServiceType) -> Loaded:
        cv2.setNumThreads(1)  # the runner's threads are the parallelism; OpenCV's own would fight them
        service = kind()
        recording = _Recording(self._models)
        service.load(recording)
        batch = measure_batch(service, self._settings.batch)
        return Loaded(Computer(service, MediaLimits.of(self._settings), _facts(service, recording)), batch)

    def _compose(self, kind: type[ComposedService]) -> Loaded:
        """Its parts were measured, so that it need not be."""
        found = {name: self._try(part) for name, part in kind.kinds.items()}
        parts = {name: one if isinstance(one, PerceptionError) else _part(one) for name, one in found.items()}
        loaded = [one for one in found.values() if isinstance(one, Loaded)]
        if not loaded:
            raise next((one for one in found.values() if isinstance(one, PerceptionError)), NoWorker("no service takes a picture"))
        service = kind()
        service.join(parts)
        batch = min(kind.max_batch, max(one.batch for one in loaded))
        return Loaded(Computer(service, MediaLimits.of(self._settings), _facts(service, _Recording(self._models))), batch)


def _part(loaded: Loaded) -> Part:
    computer = loaded.computer
    facts: dict[str, Any] = {name: computer.facts[name] for name in ("service", "device", "models", "stand_ins") if name in computer.facts}
    return Part(computer.service, loaded.batch, facts)


def _release() -> str:
    try:
        return version("sensorium")
    except PackageNotFoundError:
        return "unpackaged"


def _facts(service: Any, recorded: _Recording) -> dict[str, Any]:
    networks = recorded.opened
    return {
        "service": f"{service.name}/{service.version}",
        "release": _release(),
        "worker": f"{socket.gethostname()}:{os.getpid()}",
        "device": networks[0].device if networks else "cpu",
        "models": [{"name": network.name, "sha256": network.sha256} for network in networks],
        **({"stand_ins": recorded.stand_ins} if recorded.stand_ins else {}),
    }


class Host:
    """The runners of this process, on one pool of model threads."""

    def __init__(self, settings: Settings, broker: Broker, stores: Stores, models: Models, on_stuck: Callable[[str], None]) -> None:
        """``on_stuck`` is called with a service's name when a batch of it outlasts its time or its runner failed."""
        self._settings, self._broker, self._stores = settings, broker, stores
        self._models, self._on_stuck = models, on_stuck
        self._threads = settings.model_threads or usable_cpus()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="model")
        every, device = settings.announce_seconds, settings.device
        self._announcer = Announcer(stores.workers, every, device, self._threads, _release())
        self._runners: list[Runner] = []
        self._verification = Verification(stores.ping, self._runners)

    async def start(self, kinds: Sequence[ServiceType]) -> dict[str, PerceptionError]:
        """Load and run each service; returns those that could not be loaded, with the reason, the parts of a composite among them."""
        failed: dict[str, PerceptionError] = {}
        loader = Loader(self._models, self._settings)
        for kind in sorted(kinds, key=lambda kind: issubclass(kind, ComposedService)):  # composites last: their parts need not wait
            try:
                loaded = await asyncio.get_running_loop().run_in_executor(self._pool, loader.load, kind)
            except PerceptionError as error:
                log.error("service.unavailable", service=kind.name, code=error.code, reason=error.message)
                failed[kind.name] = error
                continue
            failed |= loader.faults(kind)
            policy = Policy.of(self._settings, self._threads, loaded.batch, stateful=kind.state_type is not None)
            runner = Runner(loaded.computer, self._broker, self._stores, policy, self._pool, self._on_stuck)
            await runner.start()
            self._runners.append(runner)
        self._verification.start()
        self._announcer.start(lambda: [runner.tell() for runner in self._runners])
        return failed

    async def verify(self) -> None:
        """Raise unless the broker and the store confirm that every runner is being served. Cheap to call often."""
        await self._verification.verify()

    async def stop(self) -> None:
        """Drain every runner, then let the threads go."""
        self._verification.stop()
        await asyncio.gather(*(runner.stop() for runner in self._runners))
        await self._announcer.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
