"""The load of cameras, put on a real system."""

from __future__ import annotations

from pathlib import Path

import pytest

from accounts.model import DEMO_SECRET
from sensorium.bench.sessions import Figures, Load, measure
from tests.integration.processes import running_system
from tests.servers.base import free_port
from tests.services.helpers import astronaut, jpeg

DEMO = (DEMO_SECRET.client_id, DEMO_SECRET.access_token)


def load(**changed: object) -> Load:
    given = {"fps": 5.0, "seconds": 2.0, "warm_up": 1.0, "service": "motion_detection", **changed}
    return Load(2, [jpeg(astronaut()), jpeg(astronaut()[:, ::-1].copy())], **given)  # type: ignore[arg-type]


async def test_every_camera_sends_every_frame_and_every_answer_is_counted(tmp_path: Path) -> None:
    with running_system(tmp_path, {}) as made:
        process = made.start("up", "motion_detection")
        await process.ready()
        found = await measure(process.url, DEMO, load())
        strangers = await measure(process.url, ("nobody", "nothing"), load(warm_up=0.0, seconds=1.0))
    assert (found.sessions, found.frames, found.answered, found.dropped, found.errors) == (2, 20, 20, 0, 0)
    assert 0 < found.p50_ms <= found.p95_ms <= found.p99_ms
    assert found.carried(p95_ms=found.p95_ms + 1)
    assert not found.carried(p95_ms=found.p95_ms)
    assert (strangers.answered, strangers.errors, strangers.p95_ms) == (0, 10, float("inf"))
    assert not strangers.carried()


async def test_nobody_who_answers_is_no_answer() -> None:
    found = await measure(f"http://127.0.0.1:{free_port()}", DEMO, load(warm_up=0.0, seconds=1.0))
    assert (found.frames, found.answered, found.errors) == (10, 0, 10)


@pytest.mark.parametrize(("answered", "p95", "carried"), [(100, 499.0, True), (100, 500.0, False), (99, 10.0, False)])
def test_carried_means_every_frame_in_time(answered: int, p95: float, carried: bool) -> None:
    assert Figures(1, 100, answered, 0, 0, 1.0, p95, p95).carried() == carried
