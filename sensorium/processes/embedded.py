"""Everything in one process, without servers: ``sensorium up``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

from accounts.demo import DemoAccount, ensure_demo, is_loopback
from accounts.store import open_accounts
from analytics.recorder import Recorder
from analytics.store import Visits
from console.app import put_console
from database.engine import Database
from gateway.app import build_app, open_gate
from gateway.jobs.background import SessionKeeper
from sensorium.migrate import migrate
from sensorium.processes.adapters import open_broker, open_stores
from sensorium.processes.gateway import job_ids, listen, open_data_face, stop_on_signals
from sensorium.processes.secret import with_secret
from sensorium.processes.worker import choose, lost
from shared.log import get_logger
from shared.process import run_process, started
from shared.settings import Settings
from workers.inference.onnx import open_models
from workers.runtime.host import Host

log = get_logger(__name__)

#: Shorter than elsewhere: here the event loop has much to do between two networks, and a model thread that waits for it leaves a
#: core idle (8 % of two cores at 0.5 ms, 4 % at this), which costs more than the changes of threads. Seconds.
SWITCH_INTERVAL = 0.00005


async def serve(settings: Settings, names: Sequence[str]) -> int:
    """Serve the services called ``names`` until SIGTERM or SIGINT."""
    stopping = stop_on_signals()
    settings = with_secret(settings)
    await migrate(settings.database_url)
    demo = is_loopback(settings.host)
    kinds = choose(names, settings)
    async with AsyncExitStack() as stack:
        accounts = await stack.enter_async_context(open_accounts(settings, allow_demo=demo))
        account = await ensure_demo(accounts, _password(settings)) if demo else None
        broker = await stack.enter_async_context(open_broker(settings))
        ids = job_ids(settings.secret_key.get_secret_value().encode())  # type: ignore[union-attr]
        stores = await stack.enter_async_context(open_stores(settings, ids.shard))
        database = Database(settings.database_url, settings.store_seconds)
        stack.push_async_callback(database.close)
        # Before the workers and closed after them, so that what they hand over last is written too.
        recorder = Recorder(settings, broker, Visits(database, settings.senior_age))
        stack.push_async_callback(recorder.stop, empty_queue=True)
        await recorder.start()
        host = Host(settings, broker, stores, open_models(settings, lost), _stuck)
        stack.push_async_callback(host.stop)
        faults = await host.start(kinds)
        if urlsplit(settings.store).scheme == "memory":  # whoever is in view then is counted too
            closer = SessionKeeper(settings, broker, stores, ids)
            stack.push_async_callback(closer.close_all, settings.drain_seconds)
        catalog = {(kind.name, kind.version): kind for kind in kinds}
        gate = await stack.enter_async_context(open_gate(settings, catalog, broker, stores, accounts, ids, faults))
        pings = {
            "broker": broker.ping,
            "store": stores.ping,
            "accounts": accounts.ping,
            "services": host.verify,
            "recorder": recorder.verify,
        }
        data = await open_data_face(settings, accounts, stack)
        app = build_app(gate, pings, data)
        put_console(app, settings, accounts)
        started()
        port = await listen(app, settings, stack)
        print(banner(settings.public_url or f"http://{settings.host}:{port}", account), flush=True)
        for name, fault in faults.items():
            print(f"  {name} is not available: {fault.message}", flush=True)
        await stopping.wait()
        log.info("stopping")
    return 0


def banner(url: str, demo: DemoAccount | None) -> str:
    """What a newcomer reads once everything runs: where it is, and a line that works when pasted."""
    lines = ["", f"Sensorium is ready at {url}"]
    if demo is not None:
        lines += [
            f"  console        {url}/login",
            f"  demo account   {demo.email}  password {demo.password}",
            f"  demo stream    client_id {demo.stream.client_id}  access_token {demo.stream.access_token}",
            "",
            "Which faces are in a photograph of yours?",
            "",
            f"  curl -u {demo.stream.client_id}:{demo.stream.access_token} \\",
            '    -F "attachment://photo=@photo.jpg;type=image/jpeg" \\',
            """    -F 'meta={"async": false, "image": "attachment://photo"};type=application/json' \\""",
            f"    {url}/services/face_detection/1/jobs",
        ]
    else:
        lines.append(f"  console        {url}/register")
        lines.append("  the demo account works on this machine's own address only; make one with: sensorium account create")
    return "\n".join([*lines, ""])


def _password(settings: Settings) -> str | None:
    return None if settings.demo_password is None else settings.demo_password.get_secret_value()


def _stuck(service: str) -> None:
    log.error("service.stuck", service=service)


def run(settings: Settings, names: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    return run_process(settings, "embedded", serve(settings, names), switch_interval=SWITCH_INTERVAL)
