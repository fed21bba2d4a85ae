"""tensorflow.js graph model (model.json with topology, and one .bin) → ONNX.

Reads the operations that occur in MediaPipe's attention mesh; any other one, or an attribute that is not known here, is an error. All values keep
tensorflow's order of axes, height, width, channels, but for what convolutions pass to each other: that stays in planes (channels, height,
width) as long as possible. Integers become int64, as ONNX wants them for shapes. The first axis of the input stays free.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from models.convert import Files, only
from models.convert.build import BATCH, Array, Graph, canonical, floats

_TO_PLANES, _FROM_PLANES = [0, 3, 1, 2], [0, 2, 3, 1]
_LAST = np.iinfo(np.int64).max
_TYPES = {"DT_FLOAT": TensorProto.FLOAT, "DT_INT32": TensorProto.INT64}
Node = Mapping[str, Any]


def convert(files: Files, outputs: Mapping[str, str]) -> onnx.ModelProto:
    """``outputs``: nodes of the graph by the names that their values get, in this order. The input is called ``input``."""
    document = json.loads(only(files, ".json"))
    if document["format"] != "graph-model":
        raise ValueError(f"not a graph model: {document['format']}")
    nodes = {node["name"]: {**node, "input": _inputs(node)} for node in document["modelTopology"]["node"]}
    net = _Net(nodes, _constants(document["weightsManifest"], only(files, ".bin")))
    (placeholder,) = (node for node in nodes.values() if node["op"] == "Placeholder")
    shape = [int(axis["size"]) for axis in _attribute(placeholder, "shape")["dim"]]
    net.values[placeholder["name"]] = "input"
    for name in _inputs_first(nodes, outputs.values()):  # so that no value waits for a long chain of others
        if name not in net.constants:
            net.planes(name) if net.passes_planes(name) else net.value(name)
    for name, node in outputs.items():
        net.graph.op("Identity", [net.value(node)], name)
    results = [floats(name, BATCH, *(None for _ in _shape(document, node)[1:])) for name, node in outputs.items()]
    for result, node in zip(results, outputs.values(), strict=True):
        for axis, length in zip(result.type.tensor_type.shape.dim[1:], _shape(document, node)[1:], strict=True):
            axis.dim_value = length
    return canonical(net.graph.model("tfjs_graph", [floats("input", BATCH, *shape[1:])], results))


class _Net:
    """The graph while it is converted: each node when its value is first asked for, so that what is not needed is not looked at."""

    def __init__(self, nodes: Mapping[str, Node], constants: Mapping[str, Array]) -> None:
        self.graph = Graph()
        self.nodes = nodes
        self.constants = constants
        #: Names in the new graph of values in tensorflow's order of axes, and of those in planes.
        self.values: dict[str, str] = {}
        self.in_planes: dict[str, str] = {}

    def value(self, name: str) -> str:
        """The value of a node, in tensorflow's order of axes."""
        if name not in self.values:
            if name in self.constants:
                self.values[name] = self.constant(self.constants[name])
            else:
                made, in_planes = self._make(name)
                if in_planes:
                    self.in_planes[name] = made
                    made = self.graph.op("Transpose", [made], perm=_FROM_PLANES)
                self.values[name] = made
        return self.values[name]

    def planes(self, name: str) -> str:
        """The value [n, height, width, channels] of a node as [n, channels, height, width]."""
        if name not in self.in_planes:
            if name not in self.values and name not in self.constants and self.passes_planes(name):
                self.in_planes[name], _ = self._make(name)
            else:
                self.in_planes[name] = self.graph.op("Transpose", [self.value(name)], perm=_TO_PLANES)
        return self.in_planes[name]

    def passes_planes(self, name: str) -> bool:
        """Whether a node's value is computed in planes."""
        node = self.nodes[name]
        if name in self.constants:
            return False
        if node["op"] in ("AddV2", "Mul"):
            return any(self.passes_planes(given) for given in node["input"]) and all(
                self.passes_planes(given) or self._a_channel(given) for given in node["input"]
            )
        return node["op"] in _PLANE_OPS

    def operand(self, name: str) -> str:
        """An operand of an operation on planes: planes, or a number a channel."""
        if self.passes_planes(name):
            return self.planes(name)
        return self.constant(self.constants[name].reshape(-1, 1, 1))

    def number(self, name: str) -> Array:
        """A constant that is no operand, but says what to do. Raises `NotImplementedError` when it is computed."""
        if name not in self.constants:
            raise NotImplementedError(f"{name} is no constant")
        return self.constants[name]

    def constant(self, value: Array | Sequence[int] | int) -> str:
        """Scalars stay scalars."""
        array = np.asarray(value, np.int64 if np.asarray(value).dtype.kind == "i" else None, order="C")
        name = f"c{len(self.graph.weights)}"
        self.graph.weights.append(numpy_helper.from_array(array, name))
        return name

    def _a_channel(self, name: str) -> bool:
        """Whether a constant is a number for each channel."""
        return name in self.constants and self.constants[name].size == self.constants[name].shape[-1:][0]

    def _make(self, name: str) -> tuple[str, bool]:
        node = self.nodes[name]
        if self.passes_planes(name):
            return _PLANE_OPS[node["op"]](self, node), True
        if node["op"] not in _OPS:
            raise NotImplementedError(f"{node['op']} of {name}")
        return _OPS[node["op"]](self, node), False


# Operations on planes


def _convolution(net: _Net, node: Node) -> str:
    """With its bias, and the rectifier when there is one."""
    image, kernel, bias, *slope = node["input"]
    fused = [base64.b64decode(name).decode() for name in _attribute(node, "fused_ops")["s"]]
    if fused != ["BiasAdd", "Prelu"][: 1 + len(slope)]:
        raise NotImplementedError(f"a convolution fused with {fused}")
    weights = [net.constant(net.number(kernel).transpose(3, 2, 0, 1)), net.constant(net.number(bias))]
    made = net.graph.op("Conv", [net.planes(image), *weights], kernel_shape=net.number(kernel).shape[:2], **_strides(node))
    return net.graph.op("PRelu", [made, net.operand(slope[0])]) if slope else made


def _depthwise(net: _Net, node: Node) -> str:
    image, kernel = node["input"]
    height, width, channels, times = net.number(kernel).shape
    weights = net.constant(net.number(kernel).transpose(2, 3, 0, 1).reshape(channels * times, 1, height, width))
    return net.graph.op("Conv", [net.planes(image), weights], group=channels, kernel_shape=[height, width], **_strides(node))


def _sum(net: _Net, node: Node) -> str:
    return net.graph.op("Add", [net.operand(name) for name in node["input"]])


def _product(net: _Net, node: Node) -> str:
    return net.graph.op("Mul", [net.operand(name) for name in node["input"]])


def _prelu(net: _Net, node: Node) -> str:
    image, slope = node["input"]
    return net.graph.op("PRelu", [net.planes(image), net.operand(slope)])


def _max_pool(net: _Net, node: Node) -> str:
    window = _integers(node, "ksize")[1:3]
    return net.graph.op("MaxPool", [net.planes(node["input"][0])], kernel_shape=window, **_strides(node, dilated=False))


def _pad(net: _Net, node: Node) -> str:
    image, pads = node["input"]
    around = net.number(pads)[_TO_PLANES]
    return net.graph.op("Pad", [net.planes(image), net.constant(around.T.reshape(-1))])


def _strides(node: Node, *, dilated: bool = True) -> dict[str, Any]:
    padding = base64.b64decode(_attribute(node, "padding")).decode()
    if base64.b64decode(_attribute(node, "data_format")) != b"NHWC" or (dilated and set(_integers(node, "dilations")) != {1}):
        raise NotImplementedError(f"{node['name']}: the order of axes or the dilation")
    return {"strides": _integers(node, "strides")[1:3], "auto_pad": {"SAME": "SAME_UPPER", "VALID": "VALID"}[padding]}


# Operations in tensorflow's order of axes


def _plain(kind: str) -> Callable[[_Net, Node], str]:
    """An operation that is the same in ONNX."""
    return lambda net, node: net.graph.op(kind, [net.value(name) for name in node["input"]])


def _cast(net: _Net, node: Node) -> str:
    return net.graph.op("Cast", [net.value(node["input"][0])], to=_TYPES[_attribute(node, "DstT")])


def _concat(net: _Net, node: Node) -> str:
    *parts, axis = node["input"]
    return net.graph.op("Concat", [net.value(part) for part in parts], axis=int(net.number(axis)))


def _pack(net: _Net, node: Node) -> str:
    axis = int(node["attr"]["axis"].get("i", 0))
    parts = [net.graph.op("Unsqueeze", [net.value(part), net.constant([axis])]) for part in node["input"]]
    return net.graph.op("Concat", parts, axis=axis)


def _expand(net: _Net, node: Node) -> str:
    value, axis = node["input"]
    return net.graph.op("Unsqueeze", [net.value(value), net.constant([int(net.number(axis))])])


def _gather(net: _Net, node: Node) -> str:
    value, indices, axis = node["input"]
    return net.graph.op("Gather", [net.value(value), net.value(indices)], axis=int(net.number(axis)))


def _transpose(net: _Net, node: Node) -> str:
    value, order = node["input"]
    return net.graph.op("Transpose", [net.value(value)], perm=net.number(order).tolist())


def _matrices(net: _Net, node: Node) -> str:
    """Products of matrices; those whose second is turned over have three axes."""
    first, second = (net.value(name) for name in node["input"])
    if _flag(node, "adj_x") or _flag(node, "transpose_a") or _flag(node, "transpose_b"):
        raise NotImplementedError(f"{node['name']}: a product with its first factor turned over")
    if _flag(node, "adj_y"):
        second = net.graph.op("Transpose", [second], perm=[0, 2, 1])
    return net.graph.op("MatMul", [first, second])


def _fill(net: _Net, node: Node) -> str:
    shape, value = node["input"]
    return net.graph.op("Expand", [net.value(value), net.value(shape)])


def _zeros_like(net: _Net, node: Node) -> str:
    shape = net.graph.op("Shape", [net.value(node["input"][0])])
    return net.graph.op("Expand", [net.constant(np.zeros((), np.float32)), shape])


def _extreme(kind: str) -> Callable[[_Net, Node], str]:
    """The least or greatest along some axes, which are dropped."""

    def make(net: _Net, node: Node) -> str:
        value, axes = node["input"]
        if _flag(node, "keep_dims"):
            raise NotImplementedError(f"{node['name']}: kept axes")
        return net.graph.op(kind, [net.value(value)], axes=np.atleast_1d(net.number(axes)).tolist(), keepdims=0)

    return make


def _atan2(net: _Net, node: Node) -> str:
    """The arctangent of y / x, moved by a half turn where x is negative: ONNX has no function of both."""
    y, x = (net.value(name) for name in node["input"])
    zero = net.constant(np.zeros((), np.float32))
    half = net.graph.op(
        "Where", [net.graph.op("Less", [y, zero]), *(net.constant(np.full((), turn, np.float32)) for turn in (-math.pi, math.pi))]
    )
    behind = net.graph.op("Where", [net.graph.op("Less", [x, zero]), half, zero])
    return net.graph.op("Add", [net.graph.op("Atan", [net.graph.op("Div", [y, x])]), behind])


def _strided_slice(net: _Net, node: Node) -> str:
    """A part of each axis; an ellipsis at the front makes the others count from the end."""
    value, begins, ends, steps = node["input"]
    masks = {name: int(node["attr"][f"{name}_mask"].get("i", 0)) for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    if masks["new_axis"] or masks["ellipsis"] not in (0, 1):
        raise NotImplementedError(f"{node['name']}: masks {masks}")
    count = len(net.number(begins))
    starts, stops, axes, dropped = [], [], [], []
    for index in range(1 if masks["ellipsis"] else 0, count):
        axis = index - count if masks["ellipsis"] else index
        begin, end = int(net.number(begins)[index]), int(net.number(ends)[index])
        if masks["shrink_axis"] >> index & 1:
            end = begin + 1 or _LAST
            dropped.append(axis)
        starts.append(0 if masks["begin"] >> index & 1 else begin)
        stops.append(_LAST if masks["end"] >> index & 1 else end)
        axes.append(axis)
    strides = net.number(steps)[count - len(axes) :]
    if np.any(strides != 1):
        raise NotImplementedError(f"{node['name']}: steps of {strides}")
    made = net.graph.op("Slice", [net.value(value), *(net.constant(numbers) for numbers in (starts, stops, axes))])
    return net.graph.op("Squeeze", [made, net.constant(dropped)]) if dropped else made


_SAME = {
    **{name: name for name in ("Sub", "Mul", "Neg", "Sin", "Cos", "Floor", "Sigmoid", "Identity", "Shape", "Reshape", "Tile", "Range")},
    **{"AddV2": "Add", "AddN": "Sum", "Minimum": "Min", "Maximum": "Max", "LogicalAnd": "And"},
    **{"LessEqual": "LessOrEqual", "GreaterEqual": "GreaterOrEqual"},
}
_OPS: dict[str, Callable[[_Net, Node], str]] = {name: _plain(kind) for name, kind in _SAME.items()} | {
    "Atan2": _atan2,
    "BatchMatMulV2": _matrices,
    "Cast": _cast,
    "ConcatV2": _concat,
    "ExpandDims": _expand,
    "Fill": _fill,
    "GatherV2": _gather,
    "MatMul": _matrices,
    "Max": _extreme("ReduceMax"),
    "Min": _extreme("ReduceMin"),
    "Pack": _pack,
    "StridedSlice": _strided_slice,
    "Transpose": _transpose,
    "ZerosLike": _zeros_like,
}
_PLANE_OPS: dict[str, Callable[[_Net, Node], str]] = {
    "_FusedConv2D": _convolution,
    "DepthwiseConv2dNative": _depthwise,
    "Prelu": _prelu,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "AddV2": _sum,
    "Mul": _product,
}


# What the files say


def _inputs_first(nodes: Mapping[str, Node], wanted: Iterable[str]) -> Iterable[str]:
    """The wanted nodes and all that they need, each after its inputs."""
    done: dict[str, None] = {}
    stack = [(name, False) for name in reversed(list(wanted))]
    while stack:
        name, inputs_done = stack.pop()
        if name in done:
            continue
        if inputs_done:
            done[name] = None
        else:
            stack.append((name, True))
            stack.extend((given, False) for given in reversed(nodes[name]["input"]))
    return done


def _constants(manifest: Sequence[Mapping[str, Any]], raw: bytes) -> dict[str, Array]:
    """All constants by name: float32, also those that are stored as float16, and int64."""
    found: dict[str, Array] = {}
    at = 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        halved = entry.get("quantization", {}).get("dtype") == "float16"
        stored = np.dtype({"float32": "<f2" if halved else "<f4", "int32": "<i4"}[entry["dtype"]])
        count = math.prod(entry["shape"])
        value = np.frombuffer(raw, stored, count, at).reshape(entry["shape"])
        found[entry["name"]] = value.astype(np.int64 if stored.kind == "i" else np.float32)
        at += count * stored.itemsize
    if at != len(raw):
        raise ValueError(f"{len(raw) - at} bytes belong to no weight")
    return found


def _shape(document: Mapping[str, Any], node: str) -> list[int]:
    """The lengths of an output's axes, as the signature says them."""
    (found,) = (output for output in document["signature"]["outputs"].values() if output["name"].partition(":")[0] == node)
    return [int(axis["size"]) for axis in found["tensorShape"]["dim"]]


def _inputs(node: Node) -> list[str]:
    """The nodes whose values are taken; not those that only have to run before."""
    given = [name for name in node.get("input", ()) if not name.startswith("^")]
    if any(":" in name for name in given):
        raise NotImplementedError(f"{node['name']}: a node with several outputs")
    return given


def _attribute(node: Node, name: str) -> Any:
    (value,) = node["attr"][name].values()
    return value


def _integers(node: Node, name: str) -> list[int]:
    return [int(value) for value in _attribute(node, name)["i"]]


def _flag(node: Node, name: str) -> bool:
    return bool(node["attr"].get(name, {}).get("b", False))
