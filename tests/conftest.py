"""Fixtures that every test may use: real servers, and names of its own in them."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from pathlib import Path

import cv2
import pytest
from hypothesis import settings
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from models.manifest import DEFAULT_DIRECTORY, State, load_manifest
from tests.servers import RabbitMQ, Server, ServerAbsent, obtain, start_rabbitmq, start_redis

# What an example may take depends on what else the machine does.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# As in a worker: the lanes of tests are the parallelism, and threads of OpenCV's that wait for a processor make it ten times slower.
cv2.setNumThreads(1)

ABSENT = "server absent: "
MODELS_ABSENT = "models absent: "
#: Folders by how long their files take, the longest first.
_LONGEST_FIRST = ("faults", "browser", "integration", "programs", "contract", "services")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no process has one left when the others are done. A file's tests stay as they stand in it."""

    def rank(item: pytest.Item) -> tuple[bool, int]:
        folder = item.path.parent.name
        return item.path.name != "test_memory.py", (*_LONGEST_FIRST, folder).index(folder)

    items.sort(key=rank)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """At home a test is skipped whose server or model cannot be had; in CI that is an error, since otherwise nothing would be tested."""
    report = yield
    reason = str(call.excinfo.value) if call.excinfo is not None else ""
    if report.skipped and reason.startswith((ABSENT, MODELS_ABSENT)) and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: {reason}"
    return report


@pytest.fixture(autouse=True)
def _models_of_the_marker(request: pytest.FixtureRequest) -> None:
    """Skips a test marked ``models`` where these are not installed: it is about their figures, not about what stands in for them."""
    marker = request.node.get_closest_marker("models")
    if marker is not None:
        missing = missing_models(marker.args)
        if missing:
            pytest.skip(f"{MODELS_ABSENT}{' '.join(missing)}; run: sensorium models pull --upgrade")


def missing_models(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that are not installed; without names, of all primary models."""
    manifest = load_manifest()
    directory = Path(os.environ.get("SENSORIUM_MODELS_DIR") or DEFAULT_DIRECTORY)
    wanted = manifest.select(tuple(names) or [model.name for model in manifest.models if model.role == "primary"])
    return [model.name for model in wanted if model.state(directory, read=False) is State.MISSING]


def _or_skip(start: Callable[[], Server]) -> Server:
    try:
        return start()
    except ServerAbsent as error:
        pytest.skip(f"{ABSENT}{error}")


def _shared(kind: str, factory: pytest.TempPathFactory) -> Iterator[Server]:
    with _or_skip(lambda: obtain(kind, factory.mktemp(kind))) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A broker that all tests share: put `namespace` into the names of queues, and never disturb it."""
    yield from _shared("rabbitmq", tmp_path_factory)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Redis that all tests share: put `namespace` into the names of keys, and never flush it."""
    yield from _shared("redis", tmp_path_factory)


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A PostgreSQL that all tests share: make a database or schema named by `namespace`. The user may create both."""
    yield from _shared("postgresql", tmp_path_factory)


@pytest.fixture(scope="module")
def _rabbitmq_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    folder: Path = tmp_path_factory.mktemp("own-rabbitmq")
    try:
        server = start_rabbitmq(folder)
    except ServerAbsent as error:
        pytest.skip(f"{ABSENT}{error}")
    with server:
        yield server


@pytest.fixture
def own_rabbitmq(_rabbitmq_of_module: RabbitMQ) -> RabbitMQ:
    """A broker to kill, pause and restart. The module's tests use it one after the other, each finds it running; names as above."""
    _rabbitmq_of_module.revive()
    return _rabbitmq_of_module


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Server]:
    """An empty Redis of this test's own, to do anything to."""
    with _or_skip(lambda: start_redis(tmp_path)) as server:
        yield server


@pytest.fixture
def namespace() -> str:
    """A name that no other test has, of lower-case letters and digits, fit for queues, keys, databases and files."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def postgresql_database(postgresql_server: Server, namespace: str) -> AsyncIterator[str]:
    """The URL of an empty database on PostgreSQL, of this test's own."""
    server = make_url(postgresql_server.url).set(drivername="postgresql+asyncpg")
    admin = create_async_engine(server, isolation_level="AUTOCOMMIT")
    async with admin.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {namespace}"))
    yield server.set(database=namespace).render_as_string(hide_password=False)
    async with admin.connect() as connection:
        await connection.execute(text(f"DROP DATABASE {namespace} WITH (FORCE)"))
    await admin.dispose()
