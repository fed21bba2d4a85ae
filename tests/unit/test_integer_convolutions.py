"""Quantised 1-D convolutions as products of matrices: small graphs before and after, with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.convert import ConversionFailed, convert, passes
from models.convert.rewriting import Rewriting
from models.manifest import Conversion

Array = npt.NDArray[Any]
CHANNELS, OUTPUTS, LENGTH = 6, 5, 40
node = helper.make_node


def run(content: bytes, feeds: Mapping[str, Array]) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, dict(feeds))[0])


def model(nodes: list[onnx.NodeProto], inputs: Mapping[str, list[int | str]], weights: Mapping[str, Array]) -> onnx.ModelProto:
    """The output is the last node's."""
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    output = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", given, [output], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def convolution(taps: int = 3, bias: bool = True, **attributes: Any) -> bytes:
    """As ONNX Runtime's dynamic quantisation writes it: input and output float32 [1, C, t]."""
    noise = np.random.default_rng(taps)
    weights: dict[str, Any] = {
        "kernel": noise.integers(0, 256, (OUTPUTS, CHANNELS // attributes.get("group", 1), taps)).astype(np.uint8),
        "kernel_zero": np.uint8(117),
        "kernel_scale": np.float32(0.013),
        "bias": noise.normal(size=OUTPUTS).astype(np.float32),
        "shape": np.array([1, -1, 1]),
    }
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        node("ConvInteger", ["q", "kernel", "zero", "kernel_zero"], ["sum"], **attributes),
        node("Mul", ["scale", "kernel_scale"], ["scales"]),
    ]
    if bias:
        nodes += [
            node("Div", ["bias", "scales"], ["b1"]),
            node("Floor", ["b1"], ["b2"]),
            node("Cast", ["b2"], ["b3"], to=TensorProto.INT32),
        ]
        nodes += [node("Reshape", ["b3", "shape"], ["b4"]), node("Add", ["sum", "b4"], ["biased"])]
    nodes += [node("Cast", ["biased" if bias else "sum"], ["whole"], to=TensorProto.FLOAT), node("Mul", ["whole", "scales"], ["y"])]
    return bytes(model(nodes, {"x": [1, CHANNELS, "t"]}, weights).SerializeToString())


def converted(content: bytes) -> bytes:
    """From two parts, as the packages have it."""
    return convert(Conversion("integer-convolutions", {}, ()), {"one": content[:100], "two": content[100:]})


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "plain"])
@pytest.mark.parametrize(
    ("taps", "attributes"),
    [
        (1, {}),
        (1, {"strides": [2]}),
        (3, {"pads": [1, 1]}),
        (3, {"pads": [5, 2], "dilations": [3]}),
        (5, {}),
        (12, {"strides": [6], "pads": [3, 3]}),
        (3, {"strides": [2], "dilations": [2], "pads": [1, 0]}),
    ],
)
def test_a_convolution_gives_the_same_numbers(taps: int, attributes: dict[str, Any], bias: bool) -> None:
    before = convolution(taps, bias, **attributes)
    after = converted(before)
    assert "ConvInteger" not in {one.op_type for one in onnx.load_model_from_string(after).graph.node}
    for length in (LENGTH, LENGTH + 1):
        x = np.random.default_rng(length).normal(0.3, 1, (1, CHANNELS, length)).astype(np.float32)
        expected = run(before, {"x": x})
        np.testing.assert_allclose(run(after, {"x": x}), expected, rtol=1e-5, atol=1e-5)
        assert np.abs(expected).max() > 1


def test_equal_input_gives_equal_bytes() -> None:
    before = convolution()
    assert converted(before) == converted(before)


def test_other_graphs_are_refused() -> None:
    plain = model([node("Relu", ["x"], ["y"])], {"x": [1, 2, "t"]}, {}).SerializeToString()
    with pytest.raises(ConversionFailed, match="no ConvInteger"):
        converted(plain)
    with pytest.raises(ConversionFailed, match="groups"):
        converted(convolution(bias=False, group=1, auto_pad="SAME_UPPER"))


def normalised() -> onnx.ModelProto:
    """x float32 [1, C, t] and a style [1, 2 C] → AdaIN, then the activation snake."""
    a = np.linspace(0.3, 3, CHANNELS, dtype=np.float32).reshape(1, -1, 1)
    weights: dict[str, Any] = {
        "axis": np.array([2]), "epsilon": np.float32(1e-5), "one": np.float32(1), "two": np.float32(2),
        "halves": np.array([CHANNELS, CHANNELS]), "a": a, "1/a": 1 / a,
    }  # fmt: skip
    nodes = [
        node("Unsqueeze", ["style", "axis"], ["wide"]),
        node("Split", ["wide", "halves"], ["gain-1", "shift"], axis=1),
        node("Add", ["gain-1", "one"], ["gain"]),
        node("ReduceMean", ["x", "axis"], ["mean"]),
        node("Sub", ["x", "mean"], ["centred"]),
        node("Mul", ["centred", "centred"], ["squared"]),
        node("ReduceMean", ["squared", "axis"], ["variance"]),
        node("Add", ["variance", "epsilon"], ["more"]),
        node("Sqrt", ["more"], ["root"]),
        node("Div", ["centred", "root"], ["normal"]),
        node("Mul", ["gain", "normal"], ["gained"]),
        node("Add", ["gained", "shift"], ["y"]),
        node("Mul", ["a", "y"], ["ay"]),
        node("Sin", ["ay"], ["sine"]),
        node("Pow", ["sine", "two"], ["power"]),
        node("Mul", ["1/a", "power"], ["divided"]),
        node("Add", ["y", "divided"], ["out"]),
    ]
    return model(nodes, {"x": [1, CHANNELS, "t"], "style": [1, 2 * CHANNELS]}, weights)


def test_norms_and_activations_in_few_nodes() -> None:
    before = normalised()
    after = onnx.ModelProto.FromString(before.SerializeToString())
    passes.apply(after.graph)
    kinds = [one.op_type for one in after.graph.node]
    assert kinds.count("InstanceNormalization") == 1
    assert {"Pow", "ReduceMean", "Sqrt", "Div"}.isdisjoint(kinds)
    noise = np.random.default_rng(1)
    feeds = {
        "x": noise.normal(2, 3, (1, CHANNELS, LENGTH)).astype(np.float32),
        "style": noise.normal(size=(1, 2 * CHANNELS)).astype(np.float32),
    }
    expected = run(before.SerializeToString(), feeds)
    np.testing.assert_allclose(run(after.SerializeToString(), feeds), expected, rtol=1e-4, atol=1e-5)


def test_a_norm_over_another_axis_stays() -> None:
    before = normalised()
    before.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([1]), "axis"))
    del before.graph.node[-5:]
    before.graph.output[0].name = "y"
    passes.instance_norms(rewriting := Rewriting(before.graph))
    rewriting.finish()
    assert "InstanceNormalization" not in {one.op_type for one in before.graph.node}


@pytest.mark.parametrize("size", [16, 20])
def test_a_spectrum_is_that_of_the_operator(size: int) -> None:
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    weights: dict[str, Any] = {"step": np.int64(5), "window": window, "size": np.int64(size)}
    before = model([node("STFT", ["x", "step", "window", "size"], ["y"], onesided=1)], {"x": [1, "t"]}, weights)
    after = onnx.ModelProto.FromString(before.SerializeToString())
    passes.apply(after.graph)
    x = np.random.default_rng(size).normal(size=(1, 403)).astype(np.float32)
    expected, found = run(before.SerializeToString(), {"x": x}), run(after.SerializeToString(), {"x": x})
    assert found.shape == expected.shape == (1, (403 - size) // 5 + 1, size // 2 + 1, 2)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    if size == 20:
        real, imaginary = expected[0, :, [0, -1], 0], expected[0, :, [0, -1], 1]
        same = (imaginary > 0) == (found[0, :, [0, -1], 1] > 0)
        assert same[real < 0].mean() > 0.9, "the sign decides where the angle is cut"
