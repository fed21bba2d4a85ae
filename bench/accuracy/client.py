"""An embedded instance and a client of it: what an integrator would use."""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import json
import os
import tempfile
import wave
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np

from accounts.model import DEMO_SECRET
from models.manifest import DEFAULT_DIRECTORY, State, load_manifest
from tests.integration.processes import running_system

_AT_A_TIME = 2


class Client:
    """Jobs of one instance, each synchronous."""

    def __init__(self, session: aiohttp.ClientSession, data: Path) -> None:
        self._session = session
        self._data = data
        self._free = asyncio.Semaphore(_AT_A_TIME)
        self._sessions = itertools.count()

    def labels(self, task: str) -> tuple[Path, list[dict[str, str]]]:
        """(folder, rows of labels.csv) of a task."""
        folder = self._data / task
        with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
            return folder, list(csv.DictReader(file))

    def new_session(self) -> str:
        return f"accuracy-{next(self._sessions)}"

    async def do(
        self, service: str, file: bytes | None = None, *, key: str = "image", session: str | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """The document of a job, whatever became of it."""
        meta = {"async": False, **parameters, **({"state": {"session_id": session}} if session else {})}
        url = f"/services/{service}/1/jobs"
        async with self._free:
            if file is None:
                async with self._session.post(url, json=meta) as response:
                    return await response.json(content_type=None)  # type: ignore[no-any-return]
            form = aiohttp.FormData()
            form.add_field("meta", json.dumps({**meta, key: "attachment://f"}), content_type="application/json")
            form.add_field("attachment://f", file, filename="f", content_type="application/octet-stream")
            async with self._session.post(url, data=form) as response:
                return await response.json(content_type=None)  # type: ignore[no-any-return]

    async def all(self, service: str, files: Iterable[Path], **parameters: Any) -> list[dict[str, Any]]:
        """The documents of many files, in order."""
        return await asyncio.gather(*(self.do(service, path.read_bytes(), **parameters) for path in files))

    async def blob(self, data: bytes) -> str:
        form = aiohttp.FormData()
        form.add_field("meta", json.dumps({"content": "attachment://f"}), content_type="application/json")
        form.add_field("attachment://f", data, filename="f")
        async with self._session.post("/blobs", data=form) as response:
            return str((await response.json())["url"])

    async def services(self) -> set[str]:
        async with self._session.get("/services") as response:
            found = (await response.json())["services"]
        return {name for name, what in found.items() if what["available"]}


def link_registry_models(directory: Path, target: Path) -> None:
    """Link what is installed in ``directory`` and can be had from package registries into ``target``: what a machine has that
    reaches nothing else."""
    for model in load_manifest().models:
        if model.in_registries and model.state(directory, read=False) is not State.MISSING:
            link = model.path(target)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(model.path(directory).resolve())


@asynccontextmanager
async def embedded_client(data: Path, *, registry_models: bool = False) -> AsyncIterator[Client]:
    """A client of an instance that lives as long as the block; with ``registry_models`` it has no others."""
    with tempfile.TemporaryDirectory() as name:
        settings = {"LOG_LEVEL": "warning", "BLOBS_PER_STREAM": "100000"}
        if registry_models:
            settings["MODELS_DIR"] = f"{name}/models"
            link_registry_models(Path(os.environ.get("SENSORIUM_MODELS_DIR") or DEFAULT_DIRECTORY), Path(name, "models"))
        with running_system(Path(name), settings) as system:
            system.credentials = (DEMO_SECRET.client_id, DEMO_SECRET.access_token)
            system.afresh = True
            process = system.start("up")
            await process.ready(180)
            async with system.client(process) as session:
                yield Client(session, data)


def frames(path: Path, numbers: Sequence[int] | None = None) -> Iterable[tuple[int, bytes]]:
    """(number, JPEG) of the frames of a clip: all, or those of these numbers."""
    capture = cv2.VideoCapture(str(path))
    wanted = None if numbers is None else set(numbers)
    for number in itertools.count():
        there, picture = capture.read()
        if not there:
            return
        if wanted is None or number in wanted:
            yield number, encode(picture)


def encode(picture: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def count_frames(path: Path) -> int:
    return sum(1 for _ in frames(path))


def wav_bytes(samples: np.ndarray, rate: int) -> bytes:
    """float [frames] or [frames, channels] in -1..1 as 16 bit PCM."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def data_folder() -> Path:
    """Where the labelled data is. Raises `SystemExit` saying what to set."""
    given = os.environ.get("SENSORIUM_TESTDATA")
    if not given or not Path(given).is_dir():
        raise SystemExit("set SENSORIUM_TESTDATA to the folder of the labelled data")
    return Path(given)
