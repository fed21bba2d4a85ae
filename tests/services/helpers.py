"""What the tests of services share: weights, pictures, sounds, and sessions kept the way the runner keeps them."""

from __future__ import annotations

import csv
import io
import os
import re
import resource
import sys
import wave
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import BaseModel

from models.manifest import DEFAULT_DIRECTORY
from shared.errors import PerceptionError
from tests.conftest import MODELS_ABSENT
from workers.contract import Files, Input, Item, MediaLimits, Network, Output, Service
from workers.inference.onnx import OnnxModels


@cache
def _network(name: str) -> Network | None:
    return all_models().optional(name)


def network(name: str) -> Network:
    """This very network, not one that stands in for it; where it is not installed the test is skipped."""
    found = _network(name)
    if found is None:
        pytest.skip(f"{MODELS_ABSENT}{name}; run: sensorium models pull {name}")
    return found


@cache
def all_models() -> OnnxModels:
    return OnnxModels(Path(os.environ.get("SENSORIUM_MODELS_DIR") or DEFAULT_DIRECTORY))


def chosen(name: str) -> str:
    """The model called ``name``, or the installed one that stands in for it."""
    return all_models().choose(name).name


def loaded(service: type[Service[Any, Any]], models: OnnxModels | None = None) -> Service[Any, Any]:
    """With all models that are installed unless ``models`` are given."""
    instance = service()
    instance.load(models or all_models())
    return instance


def given(service: type[Service[Any, Any]], files: dict[str, bytes] | None = None, **parameters: object) -> Input:
    """An input, validated as the runner does; ``files`` by the name of the field."""
    references = {name: f"attachment://{name}" for name in files or {}}
    source = Files({references[name]: data for name, data in (files or {}).items()}, MediaLimits(sound_seconds=60))
    return service.input_type.model_validate({**references, **parameters}, context=source.context())


def answer(service: Service[Any, Any], value: Input, state: BaseModel | None = None, skipped: int = 0) -> dict[str, Any]:
    """The result of one item, as JSON has it. Raises the item's error."""
    (output,) = service.process([Item(value, state, skipped)])
    if isinstance(output, PerceptionError):
        raise output
    assert isinstance(output, Output)
    return output.as_result()


class Session:
    """Frames of one session: the state is written down and read again after each, as between two workers."""

    def __init__(self, service: Service[Any, Any]) -> None:
        assert service.state_type is not None
        self.service = service
        self.stored = service.state_type().model_dump_json()

    def frame(self, value: Input, skipped: int = 0) -> dict[str, Any]:
        assert self.service.state_type is not None
        state = self.service.state_type.model_validate_json(self.stored)
        result = answer(self.service, value, state, skipped)
        self.stored = state.model_dump_json()
        return result


def jpeg(pixels: np.ndarray, quality: int = 95) -> bytes:
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


@cache
def astronaut() -> np.ndarray:
    """uint8 [512, 512, 3] BGR: a photograph with one face, its nose at about (224, 125)."""
    from skimage.data import astronaut

    pixels = np.ascontiguousarray(astronaut()[:, :, ::-1])
    pixels.setflags(write=False)
    return pixels


def wav(samples: np.ndarray, rate: int) -> bytes:
    """PCM 16 bit from floats in -1..1, [frames] or [frames, channels]."""
    samples = samples[:, None] if samples.ndim == 1 else samples
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(samples.shape[1])
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def labelled(task: str) -> tuple[Path, list[dict[str, str]]]:
    """(folder, rows of labels.csv) of a task's labelled data; skips the test where there are none."""
    root = os.environ.get("SENSORIUM_TESTDATA")
    if not root:
        pytest.skip("SENSORIUM_TESTDATA does not point to labelled data")
    folder = Path(root) / task
    # newline="": texts in the labels hold line breaks of both kinds
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return folder, list(csv.DictReader(file))


def by_file(rows: list[dict[str, str]]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    for name in dict.fromkeys(row["file"] for row in rows):
        yield name, [row for row in rows if row["file"] == name]


def peak_megabytes() -> float:
    """The most memory that this program ever had in hand. On Linux the kernel's own count for the program: `getrusage` starts from
    what the process that began it had."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1024  # type: ignore[index]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
