"""The converter of tensorflow.js graphs, against numpy."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import onnxruntime
import pytest

from models.convert import ConversionFailed, convert, tfjs_graph
from models.manifest import Artefact, Conversion


class Written:
    """A graph model under construction, with its weights."""

    def __init__(self, *shape: int) -> None:
        sizes = [{"size": str(length)} for length in (-1, *shape)]
        self.nodes: list[dict[str, Any]] = [{"name": "x", "op": "Placeholder", "attr": {"shape": {"shape": {"dim": sizes}}}}]
        self.weights: list[dict[str, Any]] = []
        self.raw = b""

    def constant(self, name: str, value: Any, *, half: bool = False) -> str:
        array = np.asarray(value, None if np.asarray(value).dtype.kind == "i" else np.float32)
        integer = array.dtype.kind == "i"
        entry: dict[str, Any] = {"name": name, "shape": list(array.shape), "dtype": "int32" if integer else "float32"}
        if half:
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
        self.nodes.append({"name": name, "op": "Const", "attr": {}})
        self.weights.append(entry)
        self.raw += array.astype("<i4" if integer else "<f2" if half else "<f4").tobytes()
        return name

    def node(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"n{len(self.nodes)}"
        # Output 0 of a node has no number, and ^ marks what only has to run before.
        self.nodes.append({"name": name, "op": op, "input": [*inputs, "^x"], "attr": attributes})
        return name

    def convolution(self, op: str, *inputs: str, fused: tuple[str, ...] = (), stride: int = 1, padding: str = "SAME") -> str:
        return self.node(
            op,
            *inputs,
            strides={"list": {"i": ["1", str(stride), str(stride), "1"]}},
            dilations={"list": {"i": ["1", "1", "1", "1"]}},
            data_format=text("NHWC"),
            padding=text(padding),
            fused_ops={"list": {"s": [text(name)["s"] for name in fused]}},
        )

    def part(self, value: str, begins: list[int], ends: list[int], **masks: int) -> str:
        count = len(self.nodes)
        numbers = [self.constant(f"{kind}{count}", np.array(what)) for kind, what in (("b", begins), ("e", ends), ("s", [1] * len(begins)))]
        names = ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
        return self.node("StridedSlice", value, *numbers, **{f"{name}_mask": {"i": str(masks.get(name, 0))} for name in names})

    def files(self, *shape: int) -> dict[str, bytes]:
        """The last node is the result, ``shape`` its axes after the first."""
        sizes = [{"size": str(length)} for length in (-1, *shape)]
        document = {
            "format": "graph-model",
            "signature": {"outputs": {"y": {"name": f"{self.nodes[-1]['name']}:0", "tensorShape": {"dim": sizes}}}},
            "modelTopology": {"node": self.nodes},
            "weightsManifest": [{"paths": ["w.bin"], "weights": self.weights}],
        }
        return {"model.json": json.dumps(document).encode(), "w.bin": self.raw}

    def run(self, x: np.ndarray, *shape: int) -> np.ndarray:
        model = tfjs_graph.convert(self.files(*shape), {"result": self.nodes[-1]["name"]})
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        assert session.get_outputs()[0].shape == ["N", *shape]
        return np.asarray(session.run(["result"], {"input": x.astype(np.float32)})[0])


def text(value: str) -> dict[str, str]:
    return {"s": base64.b64encode(value.encode()).decode()}


noise = np.random.default_rng(3)


def slid(image: np.ndarray, size: int, stride: int) -> np.ndarray:
    """float [n, rows, columns, size, size, channels]: the windows of an image that was padded as tensorflow pads (SAME)."""
    total = max((-(-image.shape[1] // stride) - 1) * stride + size - image.shape[1], 0)
    pads = (total // 2, total - total // 2)
    padded = np.pad(image, ((0, 0), pads, pads, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    return windows[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_of_convolutions(stride: int) -> None:
    net = Written(6, 6, 2)
    kernel, bias, slope = noise.normal(size=(3, 3, 2, 4)).astype(np.float16), noise.normal(size=4), noise.uniform(size=(1, 1, 4))
    weights = [net.constant("k", kernel, half=True), net.constant("b", bias), net.constant("a", slope)]
    first = net.convolution("_FusedConv2D", "x", *weights, fused=("BiasAdd", "Prelu"), stride=stride)
    depth = noise.normal(size=(3, 3, 4, 1))
    second = net.convolution("DepthwiseConv2dNative", first, net.constant("d", depth))
    total = net.node("AddV2", second, first)
    net.node("Prelu", total, "a")
    x = noise.normal(size=(2, 6, 6, 2))
    one = np.einsum("nrcijk,ijko->nrco", slid(x, 3, stride), kernel.astype(float)) + bias
    one = np.where(one < 0, one * slope, one)
    two = np.einsum("nrcijk,ijk->nrck", slid(one, 3, 1), depth[..., 0]) + one
    found = net.run(x, 6 // stride, 6 // stride, 4)
    assert np.allclose(found, np.where(two < 0, two * slope, two), atol=1e-4)


def test_pooling_padding_and_other_axes() -> None:
    net = Written(4, 4, 3)
    pooled = net.node(
        "MaxPool",
        net.node("Pad", "x", net.constant("p", np.array([[0, 0], [0, 0], [0, 0], [0, 2]]))),
        strides={"list": {"i": ["1", "2", "2", "1"]}},
        ksize={"list": {"i": ["1", "2", "2", "1"]}},
        padding=text("VALID"),
        data_format=text("NHWC"),
    )
    rows = net.node("Reshape", pooled, net.constant("s", np.array([-1, 4, 5])))
    net.node("Transpose", rows, net.constant("o", np.array([0, 2, 1])))
    x = noise.normal(size=(3, 4, 4, 3))
    pooled_x = np.pad(x, ((0, 0), (0, 0), (0, 0), (0, 2))).reshape(3, 2, 2, 2, 2, 5).max(axis=(2, 4))
    assert np.allclose(net.run(x, 5, 4), pooled_x.reshape(3, 4, 5).transpose(0, 2, 1), atol=1e-6)


def test_parts_of_axes() -> None:
    net = Written(5, 4)
    last = net.part("x", [0, 1], [0, 3], ellipsis=1)
    second = net.part("x", [0, 2, 0], [0, 3, 0], begin=5, end=5, shrink_axis=2)
    row = net.node("ExpandDims", net.part(second, [0, 1], [0, 3], begin=1, end=1), net.constant("one", np.array(1)))
    net.node("ConcatV2", last, row, net.constant("axis", np.array(1)))
    x = noise.normal(size=(2, 5, 4))
    assert np.allclose(net.run(x, 6, 2), np.concatenate([x[:, :, 1:3], x[:, 2, None, 1:3]], axis=1))


def test_shapes_that_are_computed() -> None:
    """As many zeros as the batch has rows, and a product with a matrix turned over."""
    net = Written(3, 3)
    count = net.part(net.node("Shape", "x"), [0], [1], shrink_axis=1)
    shape = net.node("Pack", count, net.constant("three", np.array(3)), net.constant("three2", np.array(3)), axis={"i": "0"})
    ones = net.node("Fill", shape, net.constant("half", np.float32(0.5)))
    product = net.node("BatchMatMulV2", "x", ones, adj_x={"b": False}, adj_y={"b": False})
    net.node("BatchMatMulV2", product, "x", adj_x={"b": False}, adj_y={"b": True})
    x = noise.normal(size=(4, 3, 3))
    assert np.allclose(net.run(x, 3, 3), x @ np.full((4, 3, 3), 0.5) @ x.transpose(0, 2, 1), atol=1e-5)


def test_the_angle_of_two_numbers() -> None:
    net = Written(2)
    y, x = (net.part("x", [0, index], [0, index + 1], begin=1, end=1) for index in (0, 1))
    net.node("Atan2", y, x)
    angles = np.linspace(-3.1, 3.1, 40)
    both = np.stack([np.sin(angles), np.cos(angles)], axis=1) * 7
    assert np.allclose(net.run(both, 1)[:, 0], angles, atol=1e-5)


def test_the_same_bytes_each_time_whatever_the_order_of_the_nodes() -> None:
    made = []
    for order in (1, -1):
        net = Written(2)
        net.node("Sigmoid", net.node("Mul", "x", net.constant("two", np.float32(2)), name="m"), name="y")
        files = net.files(2)
        net.nodes = net.nodes[::order]
        document = json.loads(files["model.json"]) | {"modelTopology": {"node": net.nodes}}
        files["model.json"] = json.dumps(document).encode()
        conversion = Conversion("tfjs-graph", {"outputs": {"result": "y"}}, (Artefact("model.json", 1, "", ("u",)),))
        made.append(convert(conversion, files))
    assert made[0] == made[1]


@pytest.mark.parametrize("what", ["operation", "fusion", "rest"])
def test_what_is_not_known_is_refused(what: str) -> None:
    net = Written(4, 4, 1)
    if what == "fusion":
        net.convolution("_FusedConv2D", "x", net.constant("k", np.ones((1, 1, 1, 1))), net.constant("b", np.ones(1)), fused=("Elu",))
    else:
        net.node("Softsign" if what == "operation" else "Neg", "x")
    if what == "rest":
        net.raw += b"1"
    conversion = Conversion("tfjs-graph", {"outputs": {"y": net.nodes[-1]["name"]}}, ())
    with pytest.raises(ConversionFailed, match={"operation": "Softsign", "fusion": "Elu", "rest": "belong to no weight"}[what]):
        convert(conversion, net.files(4, 4, 1))
