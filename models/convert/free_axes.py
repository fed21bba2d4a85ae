"""ONNX that was exported for pictures of one size → the same network for any number and size of them.

For networks of convolutions only, whose graph holds no size anywhere but at its border.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from models.convert import Files, only

Axes = Sequence[int | str]


def convert(files: Files, inputs: Mapping[str, Axes], outputs: Mapping[str, Sequence[str | Axes]]) -> onnx.ModelProto:
    """``inputs``: the axes of each input, lengths or names of free ones. ``outputs``: each one's new name and its axes.

    Inputs that no node takes are dropped. Raises `ValueError` when an input or output is missing.
    """
    model = onnx.load_model_from_string(only(files, ".onnx"))
    graph = model.graph
    used = {name for node in graph.node for name in node.input}
    kept = [value for value in graph.input if value.name in used and value.name not in {weight.name for weight in graph.initializer}]
    if {value.name for value in kept} != inputs.keys() or {value.name for value in graph.output} != outputs.keys():
        raise ValueError(f"the network takes {[value.name for value in kept]} and gives {[value.name for value in graph.output]}")
    if any(node.op_type in ("Reshape", "Resize", "Upsample", "Expand") for node in graph.node):
        raise NotImplementedError("the graph may hold a size")
    del graph.input[:]
    graph.input.extend(kept)
    weights = [weight for weight in graph.initializer if weight.name in used]
    del graph.initializer[:]
    graph.initializer.extend(weights)
    del graph.value_info[:]
    names = {old: str(new) for old, (new, _) in outputs.items()}
    for value in graph.input:
        _set(value, inputs[value.name])
    for value in graph.output:
        _set(value, outputs[value.name][1])
        value.name = names[value.name]
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]
    return model


def _set(value: onnx.ValueInfoProto, axes: str | Axes) -> None:
    for dimension, axis in zip(value.type.tensor_type.shape.dim, axes, strict=True):
        dimension.Clear()
        if isinstance(axis, str):
            dimension.dim_param = axis
        else:
            dimension.dim_value = axis
