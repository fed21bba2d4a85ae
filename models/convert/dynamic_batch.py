"""ONNX that was exported with batch 1 → the same network for any batch."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import numpy_helper

from models.convert import Files, only
from models.convert.build import BATCH, Array


def convert(files: Files) -> onnx.ModelProto:
    """Frees dimension 0 of every input and output, and of the constant targets of `Reshape` that spell out a batch of 1."""
    model = onnx.load_model_from_string(only(files, ".onnx"))
    graph = model.graph
    weights = {weight.name for weight in graph.initializer}
    for value in [*graph.input, *graph.output]:
        if value.name not in weights:
            dimension = value.type.tensor_type.shape.dim[0]
            dimension.Clear()
            dimension.dim_param = BATCH
    del graph.value_info[:]  # inner shapes were inferred for a batch of 1
    for node, target in _reshapes(graph):
        if target.size and target[0] == 1:
            free = target.copy()
            free[0] = 0 if -1 in target else -1  # 0 copies the dimension; one -1 at most is allowed
            node.input[1] = f"{node.input[1]}_dyn_{node.output[0]}"
            graph.initializer.append(numpy_helper.from_array(free, node.input[1]))
    _drop_unused(graph)
    return model


def _reshapes(graph: onnx.GraphProto) -> Iterator[tuple[onnx.NodeProto, Array]]:
    """Every `Reshape` with a constant target. Targets that are computed from a shape follow the batch by themselves."""
    constants = {weight.name: weight for weight in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    for node in graph.node:
        if node.op_type == "Reshape" and node.input[1] in constants:
            yield node, numpy_helper.to_array(constants[node.input[1]])


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Old exports list the weights among the inputs too."""
    used = {name for node in graph.node for name in node.input}
    for values in (graph.initializer, graph.input):
        kept = [value for value in values if value.name in used]
        del values[:]
        values.extend(kept)
