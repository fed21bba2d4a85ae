"""Fixtures of the tests of services."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from models.manifest import DEFAULT_DIRECTORY, load_manifest
from tests.conftest import MODELS_ABSENT, missing_models
from workers.inference.onnx import OnnxModels


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> OnnxModels:
    """The models as a machine has them that reaches package registries alone. Skips where one of these networks is not installed."""
    models = [model for model in load_manifest().models if model.in_registries and not model.optional]
    if missing := missing_models(model.name for model in models):
        pytest.skip(f"{MODELS_ABSENT}{' '.join(missing)}; run: sensorium models pull {' '.join(missing)}")
    directory = tmp_path_factory.mktemp("registries")
    for model in models:
        path = model.path(directory)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(model.path(Path(os.environ.get("SENSORIUM_MODELS_DIR") or DEFAULT_DIRECTORY)).resolve())
    return OnnxModels(directory)
