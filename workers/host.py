"""The services of one process: loaded, measured, and running between the broker and the stores."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2

from shared.errors import PerceptionError, Unavailable
from shared.log import get_logger
from shared.ports import Broker, Stores
from shared.settings import Settings
from workers.batching import measure_batch
from workers.catalog import ServiceType
from workers.compute import Computer
from workers.contract import MediaLimits, Models, Network
from workers.cpus import prefer_long_slices, usable_cpus
from workers.runner import Policy, Runner

log = get_logger(__name__)

#: The broker is asked at most this often whether it still delivers to us, in seconds.
_VERIFY_EVERY = 5.0
_VERIFIED_FOR = 1.0
#: Model threads give the interpreter back to the event loop after at most this long, in seconds; the default of 5 ms
#: would be added to each answer, once a thread.
_SWITCH_INTERVAL = 0.0005


class _Recording:
    """Models that remember what a service opened, for answers that explain themselves."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self.opened: list[Network] = []

    def open(self, name: str) -> Network:
        network = self._models.open(name)
        self.opened.append(network)
        return network

    def path(self, name: str) -> Path:
        return self._models.path(name)


def load(kind: ServiceType, models: Models, settings: Settings) -> tuple[Computer, int]:
    """A service ready to compute, and the batch size that pays here. Runs its example; takes seconds.

    Raises what loading or the example raises: `ModelMissing`, `ModelCorrupt`, `DeviceMissing`…
    """
    cv2.setNumThreads(1)  # the runner's threads are the parallelism; OpenCV's own would fight them
    service = kind()
    recording = _Recording(models)
    service.load(recording)
    batch = measure_batch(service, settings.batch)
    limits = MediaLimits.of(settings)
    return Computer(service, limits, _facts(service, recording.opened)), batch


def _facts(service: Any, networks: Sequence[Network]) -> dict[str, Any]:
    try:
        release = version("sensorium")
    except PackageNotFoundError:
        release = "unpackaged"
    return {
        "service": f"{service.name}/{service.version}",
        "release": release,
        "worker": f"{socket.gethostname()}:{os.getpid()}",
        "device": networks[0].device if networks else "cpu",
        "models": [{"name": network.name, "sha256": network.sha256} for network in networks],
    }


class Host:
    """The runners of this process, on one pool of model threads."""

    def __init__(
        self, settings: Settings, broker: Broker, stores: Stores, models: Models, on_stuck: Callable[[str], None], *, long_slices: bool
    ) -> None:
        """``on_stuck`` is called with a service's name when a batch of it outlasts its time or its runner failed.

        ``long_slices``: model threads compute undisturbed where they can. Right for a process that only computes; in one that also
        speaks HTTP, its event loop would wait for them.
        """
        self._settings, self._broker, self._stores, self._models, self._on_stuck = settings, broker, stores, models, on_stuck
        self._threads = settings.model_threads or usable_cpus()
        initializer = prefer_long_slices if long_slices else None
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="model", initializer=initializer)
        self._runners: list[Runner] = []
        self._verifying: asyncio.Task[None] | None = None
        self._verified_until = 0.0
        self._lock = asyncio.Lock()

    async def start(self, kinds: Sequence[ServiceType]) -> dict[str, PerceptionError]:
        """Load and run each service; returns those that could not be loaded, with the reason."""
        sys.setswitchinterval(_SWITCH_INTERVAL)
        failed: dict[str, PerceptionError] = {}
        for kind in kinds:
            try:
                computer, batch = await asyncio.get_running_loop().run_in_executor(self._pool, load, kind, self._models, self._settings)
            except PerceptionError as error:
                log.error("service.unavailable", service=kind.name, code=error.code, reason=error.message)
                failed[kind.name] = error
                continue
            policy = Policy.of(self._settings, self._threads, batch)
            runner = Runner(computer, self._broker, self._stores, policy, self._pool, self._on_stuck)
            await runner.start()
            self._runners.append(runner)
        self._verifying = asyncio.create_task(self._keep_verifying())
        return failed

    async def verify(self) -> None:
        """Raise unless the broker and the store confirm that every runner is being served. Cheap to call often."""
        async with self._lock:
            if time.monotonic() < self._verified_until:
                return
            await self._stores.ping()
            await asyncio.gather(*(runner.verify() for runner in self._runners))
            self._verified_until = time.monotonic() + _VERIFIED_FOR

    async def stop(self) -> None:
        """Drain every runner, then let the threads go."""
        if self._verifying is not None:
            self._verifying.cancel()
        await asyncio.gather(*(runner.stop() for runner in self._runners))
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _keep_verifying(self) -> None:
        """Asking is also what mends: a consumer that the broker does not know is subscribed again."""
        while True:
            await asyncio.sleep(_VERIFY_EVERY)
            try:
                await self.verify()
            except Unavailable as error:
                log.warning("worker.not_served", code=error.code, reason=error.message)
