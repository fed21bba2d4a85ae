"""The systems under test: how each is started, what is sent to it, and which of its processes are counted as what."""

from __future__ import annotations

import itertools
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import picture
from bench.credentials import DEMO, provision
from bench.load import Target, basic, wait_right
from bench.processes import Child, Group, clean_environment
from bench.venvs import HERE, interpreter
from tests.servers.base import free_port

ROOT = HERE.parent
PEERS = HERE / "peers"
ECHO = "Hello world!"
_count = itertools.count(1)


@dataclass(frozen=True)
class Servers:
    """What the systems share: broker and store (URL and processes), the weights of the detector, a folder for logs and files."""

    folder: Path
    broker: str = ""
    store: str = ""
    model: Path = Path()
    groups: Mapping[str, Group] = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    """A system that answers: its requests by measure and its processes by role."""

    targets: Mapping[str, Target]
    children: Mapping[str, Child]


Start = Callable[[Servers, ExitStack], Running]


def spawn(
    stack: ExitStack, servers: Servers, name: str, words: Sequence[str | Path], environment: Mapping[str, str], where: Path = PEERS
) -> Child:
    child = Child(words, environment, where, servers.folder / f"{next(_count):03}-{name}.log")
    stack.callback(child.stop)
    return child


def _wait(running: Running, measure: str) -> Running:
    wait_right(running.targets[measure], list(running.children.values()))
    return running


# --- dummy -------------------------------------------------------------------------------------------------------------------------


def _echoed(status: int, document: Any) -> bool:
    return status == 201 and document.get("echo") == ECHO


def _accepted(status: int, document: Any) -> bool:
    return status == 202 and bool(document.get("url"))


def _dummy_targets(url: str, waiting: str, authorization: str = "") -> dict[str, Target]:
    """`waiting` names the key that says whether the caller waits; ours is `async`, a keyword in Python, so the peers call it `wait`."""
    sync, later = (False, True) if waiting == "async" else (True, False)
    return {
        "sync": Target(url, picture.document({"echo": ECHO, waiting: sync}), _echoed, authorization),
        "async": Target(url, picture.document({"echo": ECHO, waiting: later}), _accepted, authorization),
    }


def sensorium_dummy(servers: Servers, stack: ExitStack) -> Running:
    """Gateway and one worker over the broker and the store."""
    base, authorization, children = distributed(servers, stack, "dummy")
    return _wait(Running(_dummy_targets(f"{base}/services/dummy/1/jobs", "async", authorization), children), "sync")


def taskiq(servers: Servers, stack: ExitStack) -> Running:
    """FastAPI and one Taskiq worker process."""
    python = interpreter("taskiq")
    environment = {"BENCH_AMQP": servers.broker, "BENCH_REDIS": servers.store}
    port = free_port()
    worker: list[str | Path] = [python, "-m", "taskiq", "worker", "taskiq_app:broker", "--workers", "1", "--log-level", "WARNING"]
    children = {
        "worker": spawn(stack, servers, "taskiq-worker", worker, environment),
        "gateway": spawn(stack, servers, "taskiq-gateway", [python, *_uvicorn("taskiq_app:app", port)], environment),
    }
    return _wait(Running(_dummy_targets(f"http://127.0.0.1:{port}/jobs", "wait"), children), "sync")


def celery(servers: Servers, stack: ExitStack) -> Running:
    """FastAPI and one Celery worker process with two threads."""
    python = interpreter("celery")
    environment = {"BENCH_AMQP": servers.broker, "BENCH_REDIS": servers.store}
    port = free_port()
    pool, concurrency = os.environ.get("BENCH_CELERY_POOL", "threads"), os.environ.get("BENCH_CELERY_CONCURRENCY", "2")
    worker: list[str | Path] = [python, "-m", "celery", "-A", "celery_app:celery", "worker", "--pool", pool, "--concurrency", concurrency]
    quiet = ["--without-gossip", "--without-mingle", "--loglevel", "WARNING"]
    children = {
        "worker": spawn(stack, servers, "celery-worker", [*worker, *quiet], environment),
        "gateway": spawn(stack, servers, "celery-gateway", [python, *_uvicorn("celery_app:app", port)], environment),
    }
    return _wait(Running(_dummy_targets(f"http://127.0.0.1:{port}/jobs", "wait"), children), "sync")


def _uvicorn(app: str, port: int) -> list[str | Path]:
    fast = ["--workers", "1", "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    return ["-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port), *fast]


# --- face_detection ----------------------------------------------------------------------------------------------------------------


def _one_face(status: int, document: Any) -> bool:
    return status in (200, 201) and document.get("nb_faces") == 1


def sensorium_embedded(servers: Servers, stack: ExitStack) -> Running:
    """Everything in one process, two model threads."""
    base, authorization, children = embedded(servers, stack, "face_detection")
    return _wait(Running({"faces": faces_target(base, authorization)}, children), "faces")


def sensorium_distributed(servers: Servers, stack: ExitStack) -> Running:
    """Gateway and one worker with two model threads over the broker and the store."""
    base, authorization, children = distributed(servers, stack, "face_detection")
    return _wait(Running({"faces": faces_target(base, authorization)}, children), "faces")


def faces_target(base: str, authorization: str) -> Target:
    """The picture to our `face_detection`, which is to find one face in it."""
    return Target(f"{base}/services/face_detection/1/jobs", picture.job_form(picture.photograph()), _one_face, authorization)


def litserve(servers: Servers, stack: ExitStack) -> Running:
    """One API process, two worker processes."""
    port = free_port()
    words: list[str | Path] = [interpreter("litserve"), "litserve_app.py", str(port)]
    children = {"server": spawn(stack, servers, "litserve", words, {"BENCH_MODEL": str(servers.model)})}
    return _wait(Running({"faces": _peer_faces(f"http://127.0.0.1:{port}/predict")}, children), "faces")


def bentoml(servers: Servers, stack: ExitStack) -> Running:
    """Two worker processes that take the requests themselves."""
    port = free_port()
    environment = {"BENCH_MODEL": str(servers.model), "BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(servers.folder / "bentoml")}
    words: list[str | Path] = [
        interpreter("bentoml"),
        "-m",
        "bentoml",
        "serve",
        "bentoml_app:Faces",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    children = {"server": spawn(stack, servers, "bentoml", words, environment)}
    return _wait(Running({"faces": _peer_faces(f"http://127.0.0.1:{port}/detect")}, children), "faces")


def _peer_faces(url: str) -> Target:
    return Target(url, picture.peer_form(picture.photograph()), _one_face)


# --- ours --------------------------------------------------------------------------------------------------------------------------


def common(servers: Servers) -> dict[str, str]:
    # Peers log warnings only and have no bound on their queues, which an asynchronous load that outruns the worker would meet.
    return {"SENSORIUM_LOG_LEVEL": "warning", "SENSORIUM_QUEUE_LIMIT": "1000000"}


def embedded(servers: Servers, stack: ExitStack, *services: str) -> tuple[str, str, dict[str, Child]]:
    """Base address, authorization and process of everything in one."""
    port = free_port()
    environment = {**common(servers), "SENSORIUM_DATA_DIR": str(servers.folder / f"data-{port}"), "SENSORIUM_MODEL_THREADS": "2"}
    words: list[str | Path] = [sys.executable, "-m", "sensorium", "up", *services, "--port", str(port)]
    children = {"server": spawn(stack, servers, "sensorium-up", words, environment, ROOT)}
    return f"http://127.0.0.1:{port}", basic(*DEMO), children


def distributed(servers: Servers, stack: ExitStack, *services: str) -> tuple[str, str, dict[str, Child]]:
    """Base address, authorization and processes of a gateway and one worker with a namespace and database of their own."""
    port = free_port()
    environment = {
        **common(servers),
        "SENSORIUM_BROKER": servers.broker,
        "SENSORIUM_STORE": servers.store,
        "SENSORIUM_DATABASE": f"sqlite+aiosqlite:///{servers.folder / f'accounts-{port}.db'}",
        "SENSORIUM_SECRET_KEY": secrets.token_hex(32),
        "SENSORIUM_NAMESPACE": f"bench-{port}",
        "SENSORIUM_MODEL_THREADS": "2",
    }
    authorization = basic(*provision(environment))
    command = [sys.executable, "-m", "sensorium"]
    children = {
        "worker": spawn(stack, servers, "sensorium-worker", [*command, "worker", *services], environment, ROOT),
        "gateway": spawn(stack, servers, "sensorium-gateway", [*command, "gateway", "--port", str(port)], environment, ROOT),
    }
    return f"http://127.0.0.1:{port}", authorization, children


def model_file() -> Path:
    """The weights of the detector as installed by the project; pulls them if they are missing."""
    from models.manifest import DEFAULT_DIRECTORY, load_manifest

    subprocess.run(
        [sys.executable, "-m", "sensorium", "models", "pull", "yunet"], cwd=ROOT, env=clean_environment(), check=True, stdout=sys.stderr
    )
    return load_manifest().get("yunet").path(Path(os.environ.get("SENSORIUM_MODELS_DIR") or DEFAULT_DIRECTORY))


DUMMY: dict[str, Start] = {"sensorium": sensorium_dummy, "taskiq": taskiq, "celery": celery}
FACES: dict[str, Start] = {"embedded": sensorium_embedded, "distributed": sensorium_distributed, "litserve": litserve, "bentoml": bentoml}
