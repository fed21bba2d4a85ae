"""The recorder process: ``sensorium recorder``."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack

from analytics.recorder import Recorder
from analytics.store import Visits
from database.engine import Database
from sensorium.processes.adapters import open_broker
from shared.log import get_logger
from shared.process import run_process, started
from shared.settings import Settings, read_settings
from workers.runtime.health import serve_health

log = get_logger(__name__)


async def serve(settings: Settings) -> int:
    """Record until SIGTERM or SIGINT. The root of the process: what it opens, readiness asks and shutdown closes.

    Raises `BrokerAway` or `StoreAway` when they are away at the start.
    """
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        database = Database(settings.database_url, settings.store_seconds)
        stack.push_async_callback(database.close)
        broker = await stack.enter_async_context(open_broker(settings))
        recorder = Recorder(settings, broker, Visits(database, settings.senior_age))
        # Alive before it is ready: adding everything up anew takes a while.
        await stack.enter_async_context(serve_health(settings.host, settings.health_port, recorder.verify))
        stack.push_async_callback(recorder.stop)
        starting, waiting = asyncio.create_task(recorder.start()), asyncio.create_task(stopping.wait())
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
            return 0
        starting.result()
        started()
        log.info("recorder.ready")
        await waiting
        log.info("recorder.stopping")
    return 0


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    return run_process(settings, "recorder", serve(settings))


if __name__ == "__main__":
    raise SystemExit(run(read_settings()))
