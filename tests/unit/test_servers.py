"""The test servers do what the fault tests will rely on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aio_pika
import asyncpg
import pytest
from redis.asyncio import Redis

from tests.servers import RabbitMQ, Server, ServerAbsent, ServerFailed, binaries, obtain, start, start_postgresql, start_redis
from tests.servers.base import PORTS, free_port
from tests.servers.ready import answers, listens

SOON_S = 10.0
ROOT = Path(__file__).parents[2]

pytest_plugins = ["pytester"]


def gone(url: str) -> bool:
    deadline = time.monotonic() + SOON_S
    while listens(url) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not listens(url)


async def publish(url: str, queue: str, body: bytes) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, queue)


async def fetch(url: str, queue: str) -> bytes:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        message = await (await channel.get_queue(queue)).get(timeout=SOON_S)
        assert message is not None
        await message.ack()
        return message.body


async def test_rabbitmq_keeps_what_it_confirmed(own_rabbitmq: RabbitMQ, namespace: str) -> None:
    url = own_rabbitmq.url
    await publish(url, namespace, b"before a restart")
    own_rabbitmq.restart()
    await publish(url, namespace, b"before a kill")
    own_rabbitmq.kill()
    assert gone(url)
    own_rabbitmq.start()
    assert own_rabbitmq.url == url
    assert [await fetch(url, namespace), await fetch(url, namespace)] == [b"before a restart", b"before a kill"]


async def test_rabbitmq_is_told_things(own_rabbitmq: RabbitMQ, namespace: str) -> None:
    await publish(own_rabbitmq.url, namespace, b"one")
    lines = own_rabbitmq.ctl("list_queues", "name", "type", "--no-table-headers").splitlines()
    assert f"{namespace}\tquorum" in lines
    with pytest.raises(ServerFailed, match="rabbitmqctl no_such_command"):
        own_rabbitmq.ctl("no_such_command")


def test_a_paused_server_is_connected_and_silent(own_rabbitmq: RabbitMQ) -> None:
    own_rabbitmq.pause()
    assert listens(own_rabbitmq.url)
    assert not answers("rabbitmq", own_rabbitmq.url)
    own_rabbitmq.resume()
    assert answers("rabbitmq", own_rabbitmq.url)


def test_a_paused_server_can_be_killed(own_redis: Server) -> None:
    own_redis.pause()
    assert not answers("redis", own_redis.url)
    own_redis.kill()
    own_redis.start()
    assert answers("redis", own_redis.url)


async def test_redis_keeps_its_data_when_killed_and_evicts_nothing(own_redis: Server) -> None:
    async with Redis.from_url(own_redis.url) as client:
        await client.set("key", "kept")
    own_redis.kill()
    assert gone(own_redis.url)
    own_redis.start()
    async with Redis.from_url(own_redis.url) as client:
        assert await client.get("key") == b"kept"
        assert (await client.config_get("maxmemory-policy", "save", "appendonly")) == {
            "maxmemory-policy": "noeviction",
            "save": "",
            "appendonly": "yes",
        }


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[Server]:
    try:
        server = start_postgresql(tmp_path)
    except ServerAbsent as error:
        pytest.skip(f"server absent: {error}")
    with server:
        yield server


async def test_postgresql_keeps_what_was_committed_when_killed(postgresql: Server) -> None:
    connection = await asyncpg.connect(postgresql.url)
    await connection.execute("CREATE TABLE kept (value text); INSERT INTO kept VALUES ('yes')")
    await connection.close()
    postgresql.kill()
    assert gone(postgresql.url)
    postgresql.start()
    connection = await asyncpg.connect(postgresql.url)
    assert await connection.fetchval("SELECT value FROM kept") == "yes"
    await connection.close()
    postgresql.restart()
    assert answers("postgresql", postgresql.url)


def test_servers_have_an_end_with_close(own_redis: Server) -> None:
    own_redis.close()
    own_redis.close()
    assert gone(own_redis.url)


def test_servers_do_not_outlive_a_killed_test_run(own_redis: Server, tmp_path: Path) -> None:
    program = f"import os, pathlib, tests.servers as s; print(s.start_redis(pathlib.Path({str(tmp_path)!r})).url, flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    url = done.stdout.strip()
    assert url.startswith("redis://")
    assert url != own_redis.url
    assert gone(url)


def test_a_command_is_run_with_servers_around_it(own_redis: Server) -> None:
    # own_redis only makes sure that there is a Redis to be had here.
    program = "import os; print(os.environ['SENSORIUM_TEST_REDIS']); raise SystemExit(7)"
    words = [sys.executable, "-m", "tests.servers", "run", "--only", "redis", "--", sys.executable, "-c", program]
    environment = {name: value for name, value in os.environ.items() if name != "SENSORIUM_TEST_REDIS"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    url = done.stdout.strip()
    assert url not in {"", own_redis.url}
    assert gone(url)


def test_services_run_until_they_are_told_to_end(own_redis: Server) -> None:
    words = [sys.executable, "-m", "tests.servers", "--only", "redis"]
    environment = {name: value for name, value in os.environ.items() if name != "SENSORIUM_TEST_REDIS"}
    with subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name, _, url = process.stdout.readline().strip().partition("=")
        assert name == "export SENSORIUM_TEST_REDIS"
        assert answers("redis", url)
        process.terminate()
        assert process.wait(SOON_S) == 0
    assert gone(url)


def test_a_server_named_by_the_environment_is_used_and_not_touched(
    own_redis: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSORIUM_TEST_REDIS", own_redis.url)
    named = obtain("redis", tmp_path)
    assert named.url == own_redis.url
    with pytest.raises(ServerFailed, match="will not kill"):
        named.kill()
    named.close()
    assert answers("redis", own_redis.url)


def test_a_server_named_by_the_environment_must_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_TEST_REDIS", f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(ServerFailed, match="SENSORIUM_TEST_REDIS is set, but"):
        obtain("redis", tmp_path)


def test_says_what_was_tried_when_there_is_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "find", lambda _kind: None)
    monkeypatch.setattr(binaries, "can_install", lambda: False)
    monkeypatch.setattr(start, "usable", lambda: False)
    with pytest.raises(ServerAbsent, match="redis is not installed, Docker does not answer, and SENSORIUM_TEST_REDIS names no server"):
        start_redis(tmp_path)


def test_a_server_that_ends_at_once_shows_its_log(own_redis: Server, tmp_path: Path) -> None:
    # own_redis only makes sure that there is a Redis to be had here.
    folder = tmp_path / "another"
    folder.mkdir()
    (folder / "appendonlydir").write_text("a file where Redis wants a folder")
    with pytest.raises(ServerFailed, match=r"(?s)redis: ended with exit code.*appendonlydir"):
        start_redis(folder)


def test_ports_are_not_those_of_outgoing_connections() -> None:
    ports = [free_port() for _ in range(100)]
    assert set(ports) <= set(PORTS)
    assert len(set(ports)) == 100  # also before anybody listens
    assert PORTS.stop <= 32_768


@pytest.mark.parametrize(("ci", "outcome"), [("", "skipped"), ("true", "errors")])
def test_an_absent_server_skips_at_home_and_fails_in_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: str
) -> None:
    monkeypatch.setenv("CI", ci)
    pytester.makeconftest("from tests.conftest import pytest_runtest_makereport")
    pytester.makepyfile("""
        import pytest

        @pytest.fixture
        def server():
            pytest.skip("server absent: no such thing here")

        def test_needs_it(server):
            pass

        def test_skipped_for_another_reason():
            pytest.skip("no photograph")
    """)
    result = pytester.runpytest("-p", "no:asyncio")
    expected = {"skipped": 1} | ({"skipped": 2} if outcome == "skipped" else {"errors": 1})
    result.assert_outcomes(**expected)
