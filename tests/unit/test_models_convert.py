"""The converters: against the manifest's digests where the originals are at hand, and against numpy everywhere."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.convert import PROGRAMS, ConversionFailed, Program, convert, require
from models.convert.build import canonical
from models.manifest import Artefact, Conversion, Model, load_manifest
from models.mirror import FolderMirror

Array = npt.NDArray[Any]
MIRROR = os.environ.get("SENSORIUM_MODELS_MIRROR", "")
CONVERTED = [model for model in load_manifest().models if model.conversion]
BATCHED = [model for model in CONVERTED if model.conversion and model.conversion.program != "integer-convolutions"]
needs_mirror = pytest.mark.skipif(
    not Path(MIRROR).is_dir() or not MIRROR, reason="SENSORIUM_MODELS_MIRROR names no folder with the originals"
)


def run(content: bytes, feeds: Mapping[str, Array]) -> dict[str, Array]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


@pytest.fixture(scope="module")
def mirror() -> FolderMirror:
    return FolderMirror(Path(MIRROR))


def content_of(mirror: FolderMirror, artefact: Artefact) -> bytes:
    path = next(mirror.paths(artefact), None)
    if path is None:
        pytest.skip(f"the mirror has no {artefact.file}")
    return path.read_bytes()


def converted(mirror: FolderMirror, model: Model) -> bytes:
    assert model.conversion
    return convert(model.conversion, {original.base_name: content_of(mirror, original) for original in model.conversion.originals})


def inputs_of(content: bytes, batch: int) -> dict[str, Array]:
    """Noise in the size that the model documents, 64 where it is free."""
    values = onnx.load_model_from_string(content).graph.input
    noise = np.random.default_rng(5)
    shapes = {value.name: [batch] + [dim.dim_value or 64 for dim in value.type.tensor_type.shape.dim[1:]] for value in values}
    return {name: noise.uniform(0, 1 if name == "waveform" else 255, shape).astype(np.float32) for name, shape in shapes.items()}


@needs_mirror
@pytest.mark.parametrize("model", CONVERTED, ids=lambda model: model.name)
def test_gives_exactly_the_file_in_the_manifest(model: Model, mirror: FolderMirror) -> None:
    content = converted(mirror, model)
    assert len(content) == model.artefact.size
    assert hashlib.sha256(content).hexdigest() == model.artefact.sha256


@needs_mirror
@pytest.mark.parametrize("model", BATCHED, ids=lambda model: model.name)
def test_a_batch_gives_the_numbers_of_single_runs(model: Model, mirror: FolderMirror) -> None:
    content = converted(mirror, model)
    feeds = inputs_of(content, 3)
    together = run(content, feeds)
    for index in range(3):
        alone = run(content, {name: value[index : index + 1] for name, value in feeds.items()})
        for name, value in together.items():
            assert len(value) == 3
            np.testing.assert_allclose(value[index], alone[name][0], rtol=1e-4, atol=1e-4)


@needs_mirror
@pytest.mark.parametrize("name", ["fsanet-1x1", "fsanet-var"])
def test_freeing_the_batch_changes_no_number(name: str, mirror: FolderMirror) -> None:
    model = load_manifest().get(name)
    assert model.conversion
    feeds = inputs_of(converted(mirror, model), 1)
    before, after = run(content_of(mirror, model.conversion.originals[0]), feeds), run(converted(mirror, model), feeds)
    for output, value in before.items():
        np.testing.assert_array_equal(value, after[output])


@needs_mirror
def test_people_only_changes_their_numbers_by_the_rounding_of_weights(mirror: FolderMirror) -> None:
    model = load_manifest().get("yolox-nano-person")
    assert model.conversion
    picture = np.random.default_rng(5).uniform(0, 255, (1, 3, 416, 416)).astype(np.float32)
    before = run(content_of(mirror, model.conversion.originals[0]), {"images": picture})["output"][..., :6]
    after = run(converted(mirror, model), {"input": picture})["output"]
    assert after.shape == before.shape
    np.testing.assert_allclose(after[..., 4:], before[..., 4:], atol=0.01)
    np.testing.assert_allclose(after[..., :4], before[..., :4], atol=0.1)  # in cells
    wide = run(converted(mirror, model), {"input": np.zeros((2, 3, 64, 96), np.float32)})["output"]
    assert wide.shape == (2, 64 * 96 // 64 + 64 * 96 // 256 + 64 * 96 // 1024, 6)


def yolox_like(kernels: Sequence[Array], bias: Array) -> bytes:
    """Three maps of 80 classes beside objectness and place, of one picture of 32 x 32, as the exports of YOLOX have them."""
    nodes, weights = [], [numpy_helper.from_array(bias, "bias"), numpy_helper.from_array(np.array([1, 85, -1]), "target")]
    for index, kernel in enumerate(kernels):
        weights.append(numpy_helper.from_array(kernel, f"kernel{index}"))
        weights.append(numpy_helper.from_array(np.full((5, 3, 1, 1), 0.5, np.float32), f"place{index}"))
        nodes.append(helper.make_node("Conv", ["images", f"place{index}"], [f"p{index}"]))
        nodes.append(helper.make_node("Conv", ["images", f"kernel{index}", "bias"], [f"c{index}"]))
        nodes.append(helper.make_node("Concat", [f"p{index}", f"c{index}"], [f"m{index}"], axis=1))
        nodes.append(helper.make_node("Reshape", [f"m{index}", "target"], [f"f{index}"]))
    nodes.append(helper.make_node("Concat", [f"f{index}" for index in range(len(kernels))], ["all"], axis=2))
    nodes.append(helper.make_node("Transpose", ["all"], ["output"], perm=[0, 2, 1]))
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("images", [1, 3, 32, 32]), ("output", [1, 1024 * len(kernels), 85]))
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8).SerializeToString()


def test_exports_of_one_network_for_people_become_one_file() -> None:
    """Folding batch normalisation elsewhere gave some weights another last bit."""
    kernels = list(np.random.default_rng(2).normal(size=(3, 80, 3, 1, 1)).astype(np.float32))
    bias = np.linspace(-1, 1, 80, dtype=np.float32)
    bias[7] = 0.0
    others = [np.nextafter(kernel, np.float32(9)) for kernel in kernels]
    one, other = (convert(Conversion("yolox-person", {}, ()), {"a.onnx": yolox_like(some, bias)}) for some in (kernels, others))
    assert one == other
    x = np.random.default_rng(3).uniform(0, 255, (2, 3, 64, 32)).astype(np.float32)
    found = run(one, {"input": x})["output"]
    assert found.shape == (2, 3 * 64 * 32, 6)
    expected = np.einsum("nchw,c->nhw", x, kernels[1][0, :, 0, 0]).reshape(2, -1) + bias[0]
    np.testing.assert_allclose(found[:, 64 * 32 : 2 * 64 * 32, 5], expected, rtol=2**-10, atol=0.5)


def test_people_only_refuses_other_networks() -> None:
    kernels = list(np.zeros((2, 80, 3, 1, 1), np.float32))
    with pytest.raises(ConversionFailed, match="three maps of classes"):
        convert(Conversion("yolox-person", {}, ()), {"a.onnx": yolox_like(kernels, np.zeros(80, np.float32))})


def test_freeing_the_batch_of_a_small_network() -> None:
    """Both kinds of Reshape target: with a free dimension, and spelt out in full; as weight and as constant node."""
    target, full = numpy_helper.from_array(np.array([1, -1]), "target"), numpy_helper.from_array(np.array([1, 2, 3]), "")
    nodes = [
        helper.make_node("Reshape", ["x", "target"], ["flat"]),
        helper.make_node("Constant", [], ["full"], value=full),
        helper.make_node("Reshape", ["flat", "full"], ["y"]),
    ]
    float_ = TensorProto.FLOAT
    values = [helper.make_tensor_value_info(name, float_, shape) for name, shape in (("x", [1, 3, 2]), ("y", [1, 2, 3]))]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [target])
    fixed = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    free = convert(Conversion("dynamic-batch", {}, ()), {"a.onnx": fixed})
    x = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    np.testing.assert_array_equal(run(free, {"x": x})["y"], x.reshape(4, 2, 3))


def test_freeing_the_size_of_a_small_network() -> None:
    """The input and output get names and free axes; an input that no node takes is dropped."""
    kernel = numpy_helper.from_array(np.full((2, 1, 3, 3), 0.5, np.float32), "kernel")
    float_ = TensorProto.FLOAT
    shapes = {"x": [4, 1, 8, 8], "unused": [], "y": [4, 2, 8, 8]}
    values = [helper.make_tensor_value_info(name, float_, shape) for name, shape in shapes.items()]
    nodes = [helper.make_node("Conv", ["x", "kernel"], ["y"], pads=[1, 1, 1, 1])]
    fixed = helper.make_model(helper.make_graph(nodes, "g", values[:2], values[2:], [kernel])).SerializeToString()
    axes = {"inputs": {"x": ["N", 1, "h", "w"]}, "outputs": {"y": ["result", ["N", 2, "h", "w"]]}}
    free = convert(Conversion("free-axes", axes, ()), {"a.onnx": fixed})
    x = np.ones((2, 1, 5, 3), np.float32)
    assert run(free, {"x": x})["result"][1, 1, 2].tolist() == [3.0, 4.5, 3.0]
    with pytest.raises(ConversionFailed, match="the network takes"):
        convert(Conversion("free-axes", axes | {"inputs": {"z": ["N"]}}, ()), {"a.onnx": fixed})


class Ir:
    """A small OpenVINO IR, written layer by layer."""

    def __init__(self) -> None:
        self._layers: list[str] = []
        self._edges: list[str] = []
        self._weights = b""
        self._output_ports: list[int] = []

    def layer(self, kind: str, size: tuple[int, ...], /, *inputs: int, **attributes: object) -> int:
        """Adds a layer whose one output has ``size``; returns its number."""
        index = len(self._layers)
        data = " ".join(f'{key}="{value}"' for key, value in attributes.items())
        ports = "".join(f'<port id="{port}"/>' for port in range(len(inputs)))
        dims = "".join(f"<dim>{side}</dim>" for side in size)
        output = f'<output><port id="{len(inputs)}">{dims}</port></output>' if kind != "Result" else ""
        self._layers.append(
            f'<layer id="{index}" name="{kind}{index}" type="{kind}" version="opset1"><data {data}/><input>{ports}</input>{output}</layer>'
        )
        for port, source in enumerate(inputs):
            self._edges.append(
                f'<edge from-layer="{source}" from-port="{self._output_ports[source]}" to-layer="{index}" to-port="{port}"/>'
            )
        self._output_ports.append(len(inputs))
        return index

    def constant(self, value: Array) -> int:
        kind = {"float32": "f32", "float16": "f16", "int64": "i64", "int8": "i8"}[str(value.dtype)]
        offset, self._weights = len(self._weights), self._weights + value.tobytes()
        shape = ",".join(map(str, value.shape))
        return self.layer("Const", value.shape, element_type=kind, offset=offset, size=value.nbytes, shape=shape)

    def integers(self, *values: int) -> int:
        return self.constant(np.array(values, np.int64))

    def files(self) -> dict[str, bytes]:
        body = f"<layers>{''.join(self._layers)}</layers><edges>{''.join(self._edges)}</edges>"
        return {"a.xml": f'<net name="a" version="11">{body}</net>'.encode(), "a.bin": self._weights}


def openvino(files: Mapping[str, bytes], **outputs: int) -> bytes:
    return convert(Conversion("openvino", {"outputs": outputs}, ()), files)


def test_openvino_arithmetic() -> None:
    """Grouped convolution in float16, int8 weights with scale, PReLU, normalisation, slices, matrix product."""
    noise = np.random.default_rng(6)
    kernel, slope = noise.normal(size=(2, 2, 1, 1, 1)).astype(np.float16), noise.normal(size=(4,)).astype(np.float32)
    quantised, scale = noise.integers(-128, 128, (3, 8), np.int8), np.array([[0.01]], np.float16)
    ir = Ir()
    x = ir.layer("Parameter", (1, 2, 2, 2), shape="1,2,2,2", element_type="f32")
    explicit = {"strides": "1,1", "pads_begin": "0,0", "pads_end": "0,0", "dilations": "1,1"}
    y = ir.layer("GroupConvolution", (1, 4, 2, 2), x, ir.constant(kernel), **explicit)
    y = ir.layer("PReLU", (1, 4, 2, 2), y, ir.constant(slope))
    y = ir.layer("MVN", (1, 4, 2, 2), y, ir.integers(2, 3), eps="0.001", eps_mode="INSIDE_SQRT")
    masks = {"begin_mask": "1,1,1,0", "end_mask": "1,1,1,0", "shrink_axis_mask": "0,0,0,1"}
    y = ir.layer("StridedSlice", (1, 4, 2), y, ir.integers(0, 0, 0, 1), ir.integers(0, 0, 0, 2), ir.integers(1, 1, 1, 1), **masks)
    y = ir.layer("Reshape", (1, 8), y, ir.integers(1, 8), special_zero="false")
    weights = ir.layer("Convert", (3, 8), ir.constant(quantised), destination_type="f16")
    weights = ir.layer("Multiply", (3, 8), weights, ir.constant(scale))
    y = ir.layer("MatMul", (1, 3), y, weights, transpose_a="false", transpose_b="true")
    ir.layer("Result", (), ir.layer("SoftMax", (1, 3), y, axis="1"))

    value = noise.normal(size=(5, 2, 2, 2)).astype(np.float32)
    expected = np.repeat(value, 2, axis=1) * kernel.astype(np.float32).reshape(1, 4, 1, 1)
    expected = np.maximum(expected, 0) + slope.reshape(1, 4, 1, 1) * np.minimum(expected, 0)
    centred = expected - expected.mean((2, 3), keepdims=True)
    expected = centred / np.sqrt((centred**2).mean((2, 3), keepdims=True) + 0.001)
    logits = expected[..., 1].reshape(5, 8) @ (quantised * scale.astype(np.float32)).T.astype(np.float32)
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(run(openvino(ir.files(), p=3), {"Parameter0": value})["p"], expected, rtol=2e-3, atol=1e-5)


def test_openvino_refuses_what_it_does_not_know() -> None:
    ir = Ir()
    x = ir.layer("Parameter", (1, 2), shape="1,2", element_type="f32")
    ir.layer("Result", (), ir.layer("Erf", (1, 2), x))
    with pytest.raises(ConversionFailed, match="the operation Erf"):
        openvino(ir.files(), y=2)
    with pytest.raises(ConversionFailed, match="not an XML file"):
        openvino({"a.xml": b"<net", "a.bin": b""}, y=2)
    with pytest.raises(ConversionFailed, match="expected one file"):
        openvino({"a.xml": b"<net/>"}, y=2)


@pytest.mark.parametrize("program", ["tflite-yolox", "tflite-yamnet"])
def test_tflite_refuses_other_files(program: str) -> None:
    with pytest.raises(ConversionFailed, match="not a TensorFlow Lite file"):
        convert(Conversion(program, {}, ()), {"a.tflite": b"\0" * 64})


def test_canonical_form_forgets_names_and_order() -> None:
    def model(names: tuple[str, str], swap: bool) -> onnx.ModelProto:
        nodes = [helper.make_node("Exp", ["x"], [names[0]]), helper.make_node("Neg", ["x"], [names[1]], name="n")]
        nodes = [*(reversed(nodes) if swap else nodes), helper.make_node("Add", [names[0], names[1]], ["y"])]
        unused = numpy_helper.from_array(np.zeros(1, np.float32), "unused")
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
        return helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], [unused] if swap else []))

    first, second = canonical(model(("a", "b"), False)), canonical(model(("c", "d"), True))
    assert first.SerializeToString() == second.SerializeToString()
    x = np.array([0.5], np.float32)
    np.testing.assert_allclose(run(first.SerializeToString(), {"x": x})["y"], np.exp(x) - x, rtol=1e-6)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.convert.PROGRAMS", {**PROGRAMS, "x": Program("x", "x", ("no_such_package",))})
    with pytest.raises(ConversionFailed, match="no_such_package"):
        require("x")
