from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.manifest import Artefact, Manifest, Model
from shared.errors import DeviceMissing, ModelCorrupt, ModelMissing
from shared.settings import Settings, SettingsError
from workers.inference.onnx import OnnxModels, OnnxNetwork, open_models

WEIGHTS = np.array([[1, 2], [3, 4]], np.float32)
Install = Callable[[bytes], Manifest]


def network(nodes: list[onnx.NodeProto] | None = None, weights: onnx.TensorProto | None = None, domain: str = "") -> bytes:
    """``x`` [N, 2] times a matrix, and its sum per row."""
    nodes = nodes or [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("ReduceSum", ["product"], ["sum"], keepdims=0, noop_with_empty_axes=0),
    ]
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", ["N", 2]), ("product", ["N", 2]), ("sum", []))
    }
    graph = helper.make_graph(
        nodes, "g", [values["x"]], [values["product"], values["sum"]], [weights or numpy_helper.from_array(WEIGHTS, "w")]
    )
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return content


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Puts a file into the models directory and answers a manifest of it, where it is called ``net``."""

    def put(content: bytes) -> Manifest:
        artefact = Artefact("task/net.onnx", len(content), hashlib.sha256(content).hexdigest(), ("https://example.org/net.onnx",))
        (tmp_path / "task").mkdir(exist_ok=True)
        (tmp_path / artefact.file).write_bytes(content)
        return Manifest((Model("net", "Net", "t", "primary", "MIT", "", artefact),))

    return put


def test_runs(tmp_path: Path, install: Install) -> None:
    content = network()
    net = OnnxModels(tmp_path, manifest=install(content)).open("net")
    assert (net.name, net.sha256, net.device) == ("net", hashlib.sha256(content).hexdigest(), "cpu")
    assert isinstance(net, OnnxNetwork)
    assert (net.inputs, net.outputs) == (("x",), ("product", "sum"))
    x = np.arange(6, dtype=np.float32).reshape(2, 3).T  # not contiguous
    result = net.run({"x": x})
    np.testing.assert_array_equal(result["product"], x @ WEIGHTS)
    assert result["sum"] == (x @ WEIGHTS).sum()


def test_one_session_a_process(tmp_path: Path, install: Install) -> None:
    manifest = install(network())
    models = OnnxModels(tmp_path, manifest=manifest)
    net = models.open("net")
    assert models.open("net") is net
    assert OnnxModels(tmp_path, manifest=manifest).open("net") is net
    assert OnnxModels(tmp_path, threads=2, manifest=manifest).open("net") is not net


def test_many_threads_open_one_session_and_use_it(tmp_path: Path, install: Install) -> None:
    models = OnnxModels(tmp_path, manifest=install(network()))

    def use(number: int) -> tuple[int, bool]:
        net, x = models.open("net"), np.full((4, 2), number, np.float32)
        return id(net), all(np.array_equal(net.run({"x": x})["product"], x @ WEIGHTS) for _ in range(50))

    held = models.open("net")
    with ThreadPoolExecutor(8) as pool:
        results = set(pool.map(use, range(8)))
    assert results == {(id(held), True)}


def test_options(tmp_path: Path, install: Install) -> None:
    net = OnnxModels(tmp_path, threads=2, manifest=install(network())).open("net")
    assert isinstance(net, OnnxNetwork)
    assert not net._session._enable_fallback, "the runtime would go on with the CPU after an error of the device"
    options = net._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_missing(tmp_path: Path, install: Install) -> None:
    manifest = install(network())
    (tmp_path / "task" / "net.onnx").unlink()
    models = OnnxModels(tmp_path, manifest=manifest)
    for ask in (models.open, models.path):
        with pytest.raises(ModelMissing, match="run: sensorium models pull net"):
            ask("net")
    with pytest.raises(ModelMissing, match="no model is called 'nett'; did you mean net"):
        models.open("nett")


@pytest.mark.parametrize(
    "change", [lambda content: content[:-1], lambda content: bytes([content[0] ^ 1]) + content[1:], lambda content: b""]
)
def test_corrupt(change: Callable[[bytes], bytes], tmp_path: Path, install: Install) -> None:
    manifest = install(network())
    path = tmp_path / "task" / "net.onnx"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ModelCorrupt, match="run: sensorium models pull net"):
        OnnxModels(tmp_path, manifest=manifest).open("net")


def test_a_repaired_file_opens_without_a_restart(tmp_path: Path, install: Install) -> None:
    manifest, path = install(network()), tmp_path / "task" / "net.onnx"
    models, content = OnnxModels(tmp_path, manifest=manifest), path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(ModelCorrupt):
        models.open("net")
    path.write_bytes(content)
    assert models.open("net").name == "net"
    assert models.path("net") == path


@pytest.mark.parametrize("place", ["beside.bin", "task/beside.bin", "../outside.bin", "absolute"])
def test_weights_outside_of_the_checked_file_are_refused(
    place: str, tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the runtime may look for them: beside the model, in the models directory, in the working directory."""
    folder = tmp_path / "models"
    (folder / "task").mkdir(parents=True)
    monkeypatch.chdir(folder)
    for path in (folder / "beside.bin", folder / "task" / "beside.bin", tmp_path / "outside.bin"):
        path.write_bytes(WEIGHTS.tobytes())
    external = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 2], data_location=TensorProto.EXTERNAL)
    location = str(tmp_path / "outside.bin") if place == "absolute" else place
    for key, value in (("location", location), ("offset", "0"), ("length", str(WEIGHTS.nbytes))):
        external.external_data.add(key=key, value=value)
    manifest = install(network(weights=external))
    (tmp_path / "task" / "net.onnx").replace(folder / "task" / "net.onnx")
    with pytest.raises(ModelCorrupt, match="the runtime refuses"):
        OnnxModels(folder, manifest=manifest).open("net")


def test_foreign_operations_are_refused(tmp_path: Path, install: Install) -> None:
    nodes = [
        helper.make_node("Strange", ["x", "w"], ["product"], domain="else.where"),
        helper.make_node("ReduceSum", ["product"], ["sum"], keepdims=0),
    ]
    with pytest.raises(ModelCorrupt, match="Strange"):
        OnnxModels(tmp_path, manifest=install(network(nodes, domain="else.where"))).open("net")


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this machine's runtime knows CUDA")
def test_no_silent_fall_back(tmp_path: Path) -> None:
    with pytest.raises(DeviceMissing, match=r"sensorium\[gpu\]"):
        OnnxModels(tmp_path, device="cuda")


def test_threads_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="threads"):
        OnnxModels(tmp_path, threads=0)


def test_from_settings(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=str(tmp_path)):
        open_models(Settings(models_dir=tmp_path)).open("yunet")


def test_importing_it_does_not_import_the_runtime() -> None:
    code = "import sys, workers.inference.onnx as r; r.OnnxModels(); sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestStandIns:
    """``best`` is preferred, ``second`` stands in for it and needs ``points``, ``third`` stands in too."""

    @pytest.fixture
    def manifest(self) -> Manifest:
        content = network()

        def model(name: str, stands_in_for: tuple[str, ...] = (), companions: tuple[str, ...] = ()) -> Model:
            artefact = Artefact(f"{name}.onnx", len(content), hashlib.sha256(content).hexdigest(), ("https://example.org",))
            role = "stand-in" if stands_in_for else "primary"
            return Model(name, name, "t", role, "MIT", "", artefact, None, stands_in_for, companions)

        first = (model("best"), model("points"), model("marks", ("points",)))
        return Manifest((*first, model("second", ("best",), ("points",)), model("third", ("best",))))

    @pytest.mark.parametrize(
        ("installed", "prefer", "chosen"),
        [
            (("best", "second", "points", "third"), (), "best"),
            (("second", "points", "third"), (), "second"),
            (("second", "marks", "third"), (), "second"),
            (("second", "third"), (), "third"),
            (("best", "second", "points", "third"), ("third", "second"), "third"),
            (("best", "second"), ("second",), "best"),
        ],
    )
    def test_the_best_installed_one_answers(
        self, tmp_path: Path, manifest: Manifest, installed: tuple[str, ...], prefer: tuple[str, ...], chosen: str
    ) -> None:
        for name in installed:
            (tmp_path / f"{name}.onnx").write_bytes(network())
        assert OnnxModels(tmp_path, manifest=manifest, prefer=prefer).choose("best").name == chosen

    def test_without_any_the_preferred_one_is_named(self, tmp_path: Path, manifest: Manifest) -> None:
        with pytest.raises(ModelMissing, match="sensorium models pull best"):
            OnnxModels(tmp_path, manifest=manifest).choose("best")

    def test_a_corrupt_one_is_not_passed_over(self, tmp_path: Path, manifest: Manifest) -> None:
        (tmp_path / "best.onnx").write_bytes(b"other bytes")
        (tmp_path / "third.onnx").write_bytes(network())
        with pytest.raises(ModelCorrupt):
            OnnxModels(tmp_path, manifest=manifest).choose("best")

    def test_an_optional_one_may_be_missing(self, tmp_path: Path, manifest: Manifest) -> None:
        models = OnnxModels(tmp_path, manifest=manifest)
        assert models.optional("best") is None
        (tmp_path / "best.onnx").write_bytes(network())
        found = models.optional("best")
        assert found is not None
        assert found.name == "best"

    def test_a_preferred_name_that_is_misspelt_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="yunett"):
            open_models(Settings(prefer_models="yunett"))
