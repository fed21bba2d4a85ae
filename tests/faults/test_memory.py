"""Ten thousand jobs of mixed sizes leave the processes where the first thousand left them."""

from __future__ import annotations

from functools import partial

import pytest

from bench.memory import growth, jobs_of, mixed_load
from tests.integration.processes import System

SERVICES = ("dummy", "dummy", "dummy", "face_detection")
MOST_GROWTH = 1.05


@pytest.mark.timeout(900)
async def test_memory_is_flat(system: System) -> None:
    system.environment |= {"SENSORIUM_MODEL_THREADS": "2", "SENSORIUM_LOG_LEVEL": "warning", "SENSORIUM_BATCH": "1"}
    system.afresh = True
    gateway = await system.gateway()
    worker = await system.worker("dummy", "face_detection")
    load = partial(mixed_load, gateway.url, system.credentials, mixture=jobs_of(SERVICES))
    for grown in await growth([gateway.popen.pid, worker.popen.pid], load):
        assert grown.ratio <= MOST_GROWTH, grown
