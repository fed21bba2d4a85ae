"""A running project of the compose file, made once for all tests of this folder, each of which leaves it healthy."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack, why_not


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Built and started by the two commands of the guide, with an account. Skipped where there is no Docker engine."""
    reason = why_not()
    if reason is not None:
        pytest.skip(f"Docker cannot be used: {reason}")
    running = Stack(tmp_path_factory.mktemp("compose"), os.environ.get("SENSORIUM_MODELS_MIRROR"))
    try:
        running.build()
        running.up()
        running.provision()
        yield running
    finally:
        running.remove()
