"""What the converters share: making a graph piece by piece, and giving a finished one its canonical form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]
OPSET = 17
IR_VERSION = 8
BATCH = "N"


class Graph:
    """Nodes and weights under construction. Values are named ``t1``, ``w2``, … by one counter, in the order of the calls."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._count = 0

    def weight(self, value: Array, name: str | None = None) -> str:
        """Adds an initializer; scalars become vectors of one, which broadcast alike."""
        name = name or self._name("w")
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def op(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Adds a node with one output and returns the output's name."""
        output = output or self._name("t")
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def model(self, name: str, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]) -> onnx.ModelProto:
        return make_model(self.nodes, name, inputs, outputs, self.weights)

    def _name(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"


def floats(name: str, *shape: int | str | None) -> onnx.ValueInfoProto:
    """A float32 input or output."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def make_model(
    nodes: Iterable[onnx.NodeProto],
    name: str,
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[onnx.TensorProto],
    **extra: Any,
) -> onnx.ModelProto:
    """A model in the format version that every supported runtime reads."""
    graph = helper.make_graph(list(nodes), name, list(inputs), list(outputs), list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, **extra)


def canonical(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with nodes depth first from the outputs and values named by first use; what is not used is left out.

    Equal graphs then have equal bytes, however they were made. Inputs and outputs keep their names.
    """
    graph = model.graph
    order = _depth_first(graph)
    weights = {weight.name: weight for weight in graph.initializer}
    names = {"": ""} | {value.name: value.name for value in [*graph.input, *graph.output]}
    used: list[onnx.TensorProto] = []
    for node in order:
        for name in node.input:
            if name in weights and name not in names:
                names[name] = f"w{len(used)}"
                used.append(weights[name])
    values = 0
    for node in order:
        for name in node.output:
            if name not in names:
                names[name] = f"t{values}"
                values += 1
    for weight in used:
        weight.name = names[weight.name]
    return make_model([_renamed(node, names) for node in order], graph.name, graph.input, graph.output, used)


def _depth_first(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    made_by = {name: index for index, node in enumerate(graph.node) for name in node.output}
    order: list[onnx.NodeProto] = []
    done: set[int] = set()
    for output in graph.output:
        stack = [(output.name, False)]
        while stack:
            name, inputs_done = stack.pop()
            index = made_by.get(name)
            if index is None or index in done:
                continue
            if inputs_done:
                done.add(index)
                order.append(graph.node[index])
            else:
                stack.append((name, True))
                stack.extend((value, False) for value in reversed(graph.node[index].input) if value)
    return order


def _renamed(node: onnx.NodeProto, names: dict[str, str]) -> onnx.NodeProto:
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return helper.make_node(node.op_type, [names[name] for name in node.input], [names[name] for name in node.output], **attributes)
