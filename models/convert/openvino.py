"""OpenVINO IR → ONNX with a free batch dimension.

Covers the operations of the networks in the manifest. Weights stay as stored (float16 or int8) and are cast to float32 in
the graph: the runtime folds that when it opens the model, and the file stays small. `FakeQuantize` on activations, a hint
for integer hardware, is left out: activations are float32. Semantics: docs.openvino.ai, "Operation sets".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.convert import Files, only
from models.convert.build import BATCH, Array, floats, make_model
from models.convert.openvino_ir import Layer, Network, Port, read

_TYPES = {"f32": TensorProto.FLOAT, "f16": TensorProto.FLOAT, "i64": TensorProto.INT64, "i32": TensorProto.INT32}
_SMALL = 64  # float16 constants up to this many values are widened here; a node for each would cost more than it saves
_END = 2**31 - 1
_NAME = 40
_PRODUCER = "ir2onnx"  # part of the bytes, hence of the digests in the manifest


def convert(files: Files, *, outputs: Mapping[str, int], inputs: Mapping[str, str] | None = None) -> onnx.ModelProto:
    """``outputs``: width by name, in the order of the IR's results; each becomes [N, width]. ``inputs``: new names by old."""
    network = read(only(files, ".xml"), only(files, ".bin"))
    translation = _Translation(network, inputs or {})
    for layer in network.layers:
        translation.add(layer)
    model = translation.model(outputs)
    return onnx.shape_inference.infer_shapes(model)


class _Graph:
    """The ONNX graph under construction.

    One counter numbers all names, so that they are the same at every conversion.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}
        #: Values that are known already; they become weights only if something needs them at run time.
        self._constants: dict[str, Array] = {}
        self._cast: set[str] = set()
        self._count = 0

    def name(self, base: str) -> str:
        self._count += 1
        return f"{base}_{self._count}"

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{output}/{kind}", **attributes))
        return output

    def weight(self, value: Array | np.generic, base: str = "c") -> str:
        name = self.name(base)
        self.weights[name] = np.asarray(value)
        return name

    def constant_named(self, base: str, value: Array) -> str:
        """A constant that becomes a weight only if something needs it at run time."""
        name = self.name(base)
        self._constants[name] = value
        return name

    def constant(self, name: str) -> Array | None:
        return self._constants.get(name)

    def at_run_time(self, name: str) -> str:
        """The value for a node to read: constants become weights, float16 ones are widened."""
        constant = self._constants.get(name)
        if constant is None:
            return name
        if constant.dtype != np.float16:
            self.weights[name] = constant
            return name
        if constant.size <= _SMALL:
            self.weights[f"{name}_f32"] = constant.astype(np.float32)
            return f"{name}_f32"
        self.weights[name] = constant
        return self.widened(name)

    def widened(self, name: str) -> str:
        output = f"{name}_cast"
        if output not in self._cast:
            self._cast.add(output)
            self.node("Cast", [name], output, to=TensorProto.FLOAT)
        return output

    def reshaped_constant(self, name: str, shape: list[int]) -> str:
        """The constant ``name`` in another shape, as a node reads it."""
        value = self._constants[name].reshape(shape)
        self.weights[f"{name}_g"] = value
        return self.widened(f"{name}_g") if value.dtype == np.float16 else f"{name}_g"


class _Translation:
    """A network on its way into a graph, fed layer by layer."""

    def __init__(self, network: Network, input_names: Mapping[str, str]) -> None:
        self._network = network
        self._input_names = input_names
        self.graph = _Graph()
        self._inputs: list[onnx.ValueInfoProto] = []
        self._results: list[str] = []
        self._values: dict[Port, str] = {}
        self._shapes: dict[Port, tuple[int, ...]] = {}

    def add(self, layer: Layer) -> None:
        output = self.graph.name(f"{layer.kind}_{layer.name.replace('/', '_')[-_NAME:]}")
        if layer.kind == "Result":
            self._results.append(self._values[layer.inputs[0]])
            return
        if layer.kind == "Parameter":
            value = self._parameter(layer)
        elif layer.kind == "Const":
            value = self.graph.constant_named("W", self._network.constant(layer))
        elif layer.kind in _OPERATIONS:
            value = _OPERATIONS[layer.kind](_Operation(self, layer, output))
        else:
            raise NotImplementedError(f"the operation {layer.kind}")
        for port, shape in layer.outputs.items():
            self._values[layer.id, port], self._shapes[layer.id, port] = value, shape

    def model(self, outputs: Mapping[str, int]) -> onnx.ModelProto:
        for (name, _), result in zip(outputs.items(), self._results, strict=True):
            target = self.graph.weight(np.array([0, -1], np.int64), "flat")
            self.graph.nodes.append(helper.make_node("Reshape", [result, target], [name], name=f"out_{name}"))
        nodes = _live(self.graph.nodes, outputs)
        used = set(chain.from_iterable(node.input for node in nodes))
        kept = {name: value for name, value in self.graph.weights.items() if name in used}
        weights = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in kept.items()]
        results = [floats(name, BATCH, width) for name, width in outputs.items()]
        return make_model(nodes, self._network.name, self._inputs, results, weights, producer_name=_PRODUCER)

    def value(self, port: Port) -> str:
        return self._values[port]

    def shape(self, port: Port) -> tuple[int, ...]:
        return self._shapes[port]

    def constant(self, port: Port) -> Array | None:
        return self.graph.constant(self._values[port])

    def _parameter(self, layer: Layer) -> str:
        name = self._input_names.get(layer.name, layer.name)
        self._inputs.append(floats(name, BATCH, *layer.ints("shape")[1:]))
        return name


class _Operation:
    """One layer being translated: its operands by number, and ``output``, the name of its value."""

    def __init__(self, translation: _Translation, layer: Layer, output: str) -> None:
        self._translation = translation
        self.graph = translation.graph
        self.layer = layer
        self.output = output

    def operand(self, index: int) -> str:
        return self.graph.at_run_time(self.value(index))

    def value(self, index: int) -> str:
        """The name of the operand's value, which may be a constant."""
        return self._translation.value(self.layer.inputs[index])

    def operands(self) -> list[str]:
        return [self.operand(index) for index in range(len(self.layer.inputs))]

    def shape(self, index: int) -> tuple[int, ...]:
        return self._translation.shape(self.layer.inputs[index])

    def constant(self, index: int) -> Array | None:
        return self._translation.constant(self.layer.inputs[index])

    def integers(self, index: int) -> list[int]:
        """The operand's constant value, flat."""
        value = self.constant(index)
        if value is None:
            raise NotImplementedError(f"{self.layer.kind} with a computed operand {index}")
        return [int(number) for number in value.reshape(-1)]

    def vector(self, values: list[int]) -> str:
        return self.graph.weight(np.array(values, np.int64))

    def emit(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        return self.graph.node(kind, inputs, self.output, **attributes)

    def step(self, kind: str, inputs: list[str], base: str, **attributes: Any) -> str:
        """An intermediate value."""
        return self.graph.node(kind, inputs, self.graph.name(base), **attributes)


_Translate = Callable[[_Operation], str]


def _same(kind: str) -> _Translate:
    """An operation that ONNX has too, without attributes."""
    return lambda op: op.emit(kind, op.operands())


def _along(kind: str) -> _Translate:
    """The same, with an axis."""
    return lambda op: op.emit(kind, op.operands(), axis=int(op.layer.attributes["axis"]))


def _axes(kind: str) -> _Translate:
    """`Squeeze` and `Unsqueeze`: the second operand lists axes."""
    return lambda op: op.emit(kind, [op.operand(0), op.vector(op.integers(1))])


def _convert_type(op: _Operation) -> str:
    kind, constant = op.layer.attributes["destination_type"], op.constant(0)
    if constant is None:
        return op.emit("Cast", [op.operand(0)], to=_TYPES[kind])
    if constant.dtype == np.float16:
        return op.graph.constant_named("Wf16", constant)  # widened where it is used
    return op.emit("Cast", [op.graph.weight(constant, "W8")], to=_TYPES[kind])


def _convolution(op: _Operation) -> str:
    kernel = op.operand(1)
    return _convolve(op, kernel, op.shape(1)[2:], group=1)


def _group_convolution(op: _Operation) -> str:
    """The IR has an own dimension for the groups: [groups, out, in, …]; ONNX wants [groups * out, in, …]."""
    groups, out, *rest = op.shape(1)
    name, flat = op.value(1), [groups * out, *rest]
    if op.constant(1) is None:
        kernel = op.step("Reshape", [name, op.vector(flat)], "wr")
        return _convolve(op, kernel, tuple(rest[1:]), group=groups)
    return _convolve(op, op.graph.reshaped_constant(name, flat), tuple(rest[1:]), group=groups)


def _convolve(op: _Operation, kernel: str, kernel_shape: tuple[int, ...], group: int) -> str:
    if op.layer.attributes.get("auto_pad", "explicit") != "explicit":
        raise NotImplementedError("padding that is not explicit")
    return op.emit(
        "Conv",
        [op.operand(0), kernel],
        group=group,
        kernel_shape=list(kernel_shape),
        strides=op.layer.ints("strides"),
        dilations=op.layer.ints("dilations"),
        pads=_pads(op.layer),
    )


def _pads(layer: Layer) -> list[int]:
    return layer.ints("pads_begin") + layer.ints("pads_end")


def _pool(kind: str) -> _Translate:
    def translate(op: _Operation) -> str:
        layer = op.layer
        average = {"count_include_pad": int(not layer.flag("exclude-pad", True))} if kind == "AveragePool" else {}
        return op.emit(
            kind,
            [op.operand(0)],
            kernel_shape=layer.ints("kernel"),
            strides=layer.ints("strides"),
            pads=_pads(layer),
            ceil_mode=int(layer.attributes.get("rounding_type", "floor") == "ceil"),
            **average,
        )

    return translate


def _prelu(op: _Operation) -> str:
    """Relu(x) + slope * Min(x, 0): the same values as PRelu, which is about half as fast on the CPU."""
    slope, rank = op.constant(1), len(op.shape(0))
    if slope is None:
        raise NotImplementedError("PReLU with a computed slope")
    slope = slope.astype(np.float32).reshape(-1)
    slope = slope.reshape([slope.size] + [1] * (rank - 2)) if slope.size > 1 else slope.reshape([1] * (rank - 1))
    x = op.operand(0)
    positive = op.step("Relu", [x], "pos")
    negative = op.step("Min", [x, op.graph.weight(np.float32(0))], "neg")
    scaled = op.step("Mul", [negative, op.graph.weight(slope, "slope")], "ns")
    return op.emit("Add", [positive, scaled])


def _reshape(op: _Operation) -> str:
    """A constant target that spells out the batch of 1 is freed; one computed from a shape follows by itself."""
    if op.constant(1) is None:
        return op.emit("Reshape", op.operands())
    target, before = op.integers(1), op.shape(0)
    if op.constant(0) is None and before[:1] == (1,) and target[:1] == [1]:
        target[0] = 0 if -1 in target else -1
    return op.emit("Reshape", [op.operand(0), op.vector(target)])


def _slice(op: _Operation) -> str:
    """A mask of 1 takes all of that end of the dimension; dimensions that are taken whole need no entry."""
    if any(op.layer.ints("new_axis_mask")) or any(op.layer.ints("ellipsis_mask")):
        raise NotImplementedError("StridedSlice with new axes or an ellipsis")
    begins = [0 if mask else begin for begin, mask in zip(op.integers(1), op.layer.ints("begin_mask"), strict=True)]
    ends = [_END if mask else end for end, mask in zip(op.integers(2), op.layer.ints("end_mask"), strict=True)]
    steps = op.integers(3) if len(op.layer.inputs) > 3 else [1] * len(begins)
    axes = [axis for axis in range(len(begins)) if (begins[axis], ends[axis]) != (0, _END)] or [0]
    parts = [op.vector([values[axis] for axis in axes]) for values in (begins, ends)]
    parts += [op.vector(axes), op.vector([steps[axis] for axis in axes])]
    value = op.emit("Slice", [op.operand(0), *parts])
    dropped = [axis for axis, mask in enumerate(op.layer.ints("shrink_axis_mask")) if mask]
    if not dropped:
        return value
    axes_name = op.vector(dropped)
    return op.step("Squeeze", [value, axes_name], "ss")


def _matmul(op: _Operation) -> str:
    values = op.operands()
    for index, flag in enumerate(("transpose_a", "transpose_b")):
        if op.layer.flag(flag):
            *order, last, final = range(len(op.shape(index)))
            values[index] = op.step("Transpose", [values[index]], "mt", perm=[*order, final, last])
    return op.emit("MatMul", values)


def _mvn(op: _Operation) -> str:
    """Mean-variance normalisation over the given axes: (x - mean) / sqrt(variance + eps)."""
    if op.layer.attributes.get("eps_mode", "inside_sqrt").lower() != "inside_sqrt":
        raise NotImplementedError("MVN with eps outside of the root")
    x, axes = op.operand(0), op.integers(1)
    mean = op.step("ReduceMean", [x], "mu", axes=axes, keepdims=1)
    centred = op.step("Sub", [x, mean], "df")
    squared = op.step("Mul", [centred, centred], "sq")
    variance = op.step("ReduceMean", [squared], "var", axes=axes, keepdims=1)
    epsilon = op.graph.weight(np.float32(op.layer.attributes["eps"]))
    deviation = op.step("Sqrt", [op.step("Add", [variance, epsilon], "ve")], "sd")
    return op.emit("Div", [centred, deviation])


def _reduce_mean(op: _Operation) -> str:
    return op.emit("ReduceMean", [op.operand(0)], axes=op.integers(1), keepdims=int(op.layer.flag("keep_dims", True)))


def _gather(op: _Operation) -> str:
    return op.emit("Gather", [op.operand(0), op.operand(1)], axis=op.integers(2)[0])


def _live(nodes: list[onnx.NodeProto], outputs: Mapping[str, int]) -> list[onnx.NodeProto]:
    """The nodes that an output depends on, in order."""
    needed, live = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            live.append(node)
            needed.update(node.input)
    return live[::-1]


_OPERATIONS: Mapping[str, _Translate] = {
    "Add": _same("Add"),
    "AvgPool": _pool("AveragePool"),
    "Concat": _along("Concat"),
    "Convert": _convert_type,
    "Convolution": _convolution,
    "FakeQuantize": lambda op: op.operand(0),
    "Gather": _gather,
    "GroupConvolution": _group_convolution,
    "MatMul": _matmul,
    "MaxPool": _pool("MaxPool"),
    "Multiply": _same("Mul"),
    "MVN": _mvn,
    "PReLU": _prelu,
    "ReLU": _same("Relu"),
    "ReduceMean": _reduce_mean,
    "Reshape": _reshape,
    "ShapeOf": _same("Shape"),
    "Sigmoid": _same("Sigmoid"),
    "SoftMax": _along("Softmax"),
    "Squeeze": _axes("Squeeze"),
    "StridedSlice": _slice,
    "Subtract": _same("Sub"),
    "Unsqueeze": _axes("Unsqueeze"),
}
