"""The gateway process: ``sensorium gateway``."""

from __future__ import annotations

import asyncio
import random
import signal
from contextlib import AsyncExitStack

from aiohttp import web

from accounts.keys import derive, secret_of
from accounts.store import Accounts, open_accounts
from analytics.queries import Audience
from analytics.tokens import DataTokens
from console.app import put_console
from database.engine import Database
from gateway.app import build_app, open_gate
from gateway.http.auth import FailureLimit
from gateway.http.server import GuardedRunner
from gateway.state import DataFace
from sensorium.processes.adapters import open_broker, open_stores
from shared.job_ids import SHARDS, JobIds
from shared.log import get_logger
from shared.process import run_process, started
from shared.settings import Settings, SettingsError, read_settings
from workers.catalog import load_catalog

log = get_logger(__name__)

_LOGINS_AT_A_TIME = 8


def job_ids(secret: bytes) -> JobIds:
    """The identifiers of this process. Chance spreads gateways over the channels; two on one channel only hear more."""
    return JobIds(derive(secret, "job-ids"), random.randrange(SHARDS))  # noqa: S311 - nothing secret


async def open_data_face(settings: Settings, accounts: Accounts, stack: AsyncExitStack) -> DataFace:
    """The parts of the data API, closed with ``stack``."""
    database = Database(settings.database_url, settings.store_seconds)
    stack.push_async_callback(database.close)
    tokens = DataTokens(secret_of(settings), settings.data_token_seconds)
    return DataFace(accounts, tokens, Audience(database), FailureLimit(), asyncio.Semaphore(_LOGINS_AT_A_TIME))


def stop_on_signals() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


async def listen(app: web.Application, settings: Settings, stack: AsyncExitStack) -> int:
    """Serve the application until the stack is closed; returns the port."""
    runner = GuardedRunner(app, settings)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, settings.host, settings.port, backlog=1024).start()
    port: int = runner.addresses[0][1]
    return port


async def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. The root of the process: what it opens, readiness asks and shutdown closes."""
    if settings.secret_key is None:
        raise SettingsError("SENSORIUM_SECRET_KEY is required: at least 32 random characters, the same for every gateway")
    stopping = stop_on_signals()
    ids = job_ids(settings.secret_key.get_secret_value().encode())
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(open_broker(settings))
        stores = await stack.enter_async_context(open_stores(settings, ids.shard))
        accounts = await stack.enter_async_context(open_accounts(settings))
        catalog = load_catalog(settings.extra_services)
        gate = await stack.enter_async_context(open_gate(settings, catalog, broker, stores, accounts, ids))
        pings = {"broker": broker.ping, "store": stores.ping, "accounts": accounts.ping}
        data = await open_data_face(settings, accounts, stack)
        app = build_app(gate, pings, data)
        put_console(app, settings, accounts)
        started()
        port = await listen(app, settings, stack)
        log.info("gateway.listening", host=settings.host, port=port)
        await stopping.wait()
        log.info("gateway.stopping")
    return 0


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    return run_process(settings, "gateway", serve(settings))


if __name__ == "__main__":
    raise SystemExit(run(read_settings()))
