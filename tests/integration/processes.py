"""Gateways and workers as their operators run them: processes with an environment, ready when they say so."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from sqlalchemy.engine import make_url

from tests.fakes import MISBEHAVING
from tests.servers.base import free_port
from tests.support import forked

ROOT = Path(__file__).parents[2]
SECRET = "0123456789abcdef" * 4
READY_SECONDS = 60.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sensorium", *arguments]


@dataclass
class Process:
    """One process of the system, with the port on which it tells its health, and its log."""

    popen: forked.Running
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def terminate(self) -> None:
        self.popen.send_signal(signal.SIGTERM)

    async def wait(self, seconds: float = 30.0) -> int:
        async with asyncio.timeout(seconds):
            while (status := self.popen.poll()) is None:  # a thread that waits would outlive a cancelled test
                await asyncio.sleep(0.02)
        return status

    async def ready(self, seconds: float = READY_SECONDS) -> None:
        """Until /readyz answers 200. Raises with the process's own words when it ends or takes too long."""
        async with aiohttp.ClientSession() as session:
            try:
                async with asyncio.timeout(seconds):
                    while not await self._is_ready(session):
                        await asyncio.sleep(0.05)
            except TimeoutError:
                raise AssertionError(f"not ready after {seconds} s:\n{self.log.read_text()[-4000:]}") from None

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        if self.popen.poll() is not None:
            raise AssertionError(f"ended with {self.popen.returncode}:\n{self.log.read_text()[-4000:]}")
        try:
            async with session.get(f"{self.url}/readyz", timeout=aiohttp.ClientTimeout(5)) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False


#: A database file with an account and a stream, by the stream's credentials: one at most.
_provisioned: dict[tuple[str, str], bytes] = {}


@dataclass
class System:
    """Processes that share an environment; all of them end with it."""

    environment: dict[str, str]
    folder: Path
    processes: list[Process] = field(default_factory=list)
    credentials: tuple[str, str] = ("", "")
    #: Whether processes are started the long way (`forked.start`).
    afresh: bool = False

    def start(self, *arguments: str, port_option: str = "--port", port: int | None = None, **extra: str) -> Process:
        port = port or free_port()
        log = self.folder / f"{arguments[0]}-{len(self.processes)}.log"
        running = forked.start([*arguments, port_option, str(port)], {**self.environment, **extra}, ROOT, log, afresh=self.afresh)
        process = Process(running, port, log)
        self.processes.append(process)
        return process

    async def gateway(self, **extra: str) -> Process:
        process = self.start("gateway", **extra)
        await process.ready()
        return process

    def start_worker(self, *names: str, **extra: str) -> Process:
        return self.start("worker", *names, port_option="--health-port", **extra)

    async def worker(self, *names: str, **extra: str) -> Process:
        process = self.start_worker(*names, **extra)
        await process.ready()
        return process

    def run(self, *arguments: str, text: str = "") -> str:
        """A command that ends; its output."""
        done = forked.run(arguments, self.environment, ROOT, text)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def provision(self) -> None:
        """An account with a stream, whose credentials the clients get. Made by the commands once, then copied, which is quicker."""
        url = make_url(self.environment.get("SENSORIUM_DATABASE", "sqlite://"))
        if url.get_backend_name() != "sqlite" or not url.database or Path(url.database).exists():
            self._provision()
            return
        place = Path(url.database)
        if not _provisioned:
            self._provision()
            _provisioned[self.credentials] = place.read_bytes()
        ((self.credentials, content),) = _provisioned.items()
        place.write_bytes(content)

    def _provision(self) -> None:
        self.run("migrate")
        self.run("account", "create", "test@example.com", "--password-stdin", text="correct horse battery staple\n")
        stream = json.loads(self.run("account", "add-stream", "test@example.com", "door", "--json"))
        self.credentials = (stream["client_id"], stream["access_token"])

    def client(self, gateway: Process) -> aiohttp.ClientSession:
        headers = {"Authorization": aiohttp.encode_basic_auth(*self.credentials)}
        return aiohttp.ClientSession(base_url=gateway.url, headers=headers, connector=aiohttp.TCPConnector(limit=0))


@contextmanager
def running_system(folder: Path, settings: dict[str, str]) -> Iterator[System]:
    """A system without processes yet. ``settings`` without their prefix; the misbehaving service is installed."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("SENSORIUM_") or name == "SENSORIUM_MODELS_DIR"}
    own = {"SECRET_KEY": SECRET, "EXTRA_SERVICES": str(MISBEHAVING), "DATA_DIR": str(folder / "var"), **settings}
    (folder / "var").mkdir(exist_ok=True)
    system = System({**given, **{f"SENSORIUM_{name}": value for name, value in own.items()}}, folder)
    try:
        yield system
    finally:
        for process in system.processes:
            process.popen.kill()
        for process in system.processes:
            process.popen.wait()


async def post_job(
    session: aiohttp.ClientSession, service: str, parameters: dict[str, Any], files: dict[str, bytes] | None = None
) -> tuple[int, dict[str, Any]]:
    """(HTTP status, document) of a new job."""
    url = f"/services/{service}/1/jobs"
    if files is None:
        async with session.post(url, json=parameters) as response:
            return response.status, await response.json(content_type=None)
    form = aiohttp.FormData()
    form.add_field("meta", json.dumps(parameters), content_type="application/json")
    for name, data in files.items():
        form.add_field(name, data, content_type="application/octet-stream", filename="file")
    async with session.post(url, data=form) as response:
        return response.status, await response.json(content_type=None)


async def post_when_served(
    session: aiohttp.ClientSession, service: str, parameters: dict[str, Any], seconds: float = 20.0, files: dict[str, bytes] | None = None
) -> dict[str, Any]:
    """The document of an accepted asynchronous job. A gateway hears of a new worker a moment after the worker is ready."""
    async with asyncio.timeout(seconds):
        while True:
            status, document = await post_job(session, service, parameters, files)
            if status == 202:
                return document
            assert document.get("code") == "no_worker", document
            await asyncio.sleep(0.05)


async def poll_job(session: aiohttp.ClientSession, url: str, seconds: float = 30.0) -> dict[str, Any]:
    """The document of a job once it is finished."""
    async with asyncio.timeout(seconds):
        while True:
            async with session.get(url, headers={"Prefer": "wait=10"}) as response:
                document: dict[str, Any] = await response.json(content_type=None)
                if response.status == 200:
                    return document
                assert response.status in (202, 503), document
                if response.status == 503:
                    await asyncio.sleep(0.1)
