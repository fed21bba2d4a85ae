"""YOLOX-nano of COCO, exported for one picture of 416 x 416 and 80 classes → people only, pictures of any number and size.

Several people exported the same trained network; where batch normalisation was folded into the convolutions, the last bits of their
weights differ (by 2e-7 of a weight). Each weight is set to the middle of the numbers that share its first ten bits of fraction, so
that these exports give the same file. It moves no weight by more than 2^-11 of itself, as storing it in half precision would.

Input ``input`` float32 [N, 3, H, W], BGR, 0..255, H and W multiples of 32. Output ``output`` [N, A, 6] with
A = HW (1/64 + 1/256 + 1/1024): dx, dy, dw, dh (not decoded), then objectness and person as probabilities.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from models.convert import Files, only
from models.convert.build import BATCH, Array, canonical, floats

_CLASSES, _PERSON = 80, 0
_COLUMNS = 6
_DROPPED = np.uint32((1 << 13) - 1)  # of the 23 bits of fraction
_MIDDLE = np.uint32(1 << 12)


def convert(files: Files) -> onnx.ModelProto:
    """Raises `ValueError` for another graph than the one above."""
    model = onnx.load_model_from_string(only(files, ".onnx"))
    graph = model.graph
    if len(graph.input) != 1 or len(graph.output) != 1:
        raise ValueError("not one input and one output")
    weights = {weight.name: weight for weight in graph.initializer}
    before, after = graph.input[0].name, graph.output[0].name
    heads = 0
    for node in graph.node:
        for values, old, new in ((node.input, before, "input"), (node.output, after, "output")):
            values[:] = [new if value == old else value for value in values]
        if node.op_type == "Conv":
            heads += _convolution([weights[name] for name in node.input[1:]])
        elif node.op_type == "Reshape":
            node.input[1] = _flat(graph)
    if heads != 3:
        raise ValueError(f"three maps of classes were expected, not {heads}")
    _declare(graph)
    return canonical(model)


def _convolution(weights: list[onnx.TensorProto]) -> bool:
    """Changes kernel and bias in place. Whether the convolution gives the classes: only the person is kept of these."""
    arrays = [numpy_helper.to_array(weight) for weight in weights]
    classes = bool(arrays[0].shape[0] == _CLASSES)
    for weight, array in zip(weights, arrays, strict=True):
        kept = array[_PERSON : _PERSON + 1] if classes else array
        weight.CopyFrom(numpy_helper.from_array(_settled(kept), weight.name))
    return classes


def _settled(values: Array) -> Array:
    """float32, each the middle of the 2^13 numbers that share its sign, exponent and first bits of fraction."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return np.where(values == 0, np.float32(0), ((bits & ~_DROPPED) | _MIDDLE).view(np.float32))


def _flat(graph: onnx.GraphProto) -> str:
    """The target of the reshaping of a map: cells in a row, whatever their number."""
    name = "flat"
    if all(weight.name != name for weight in graph.initializer):
        graph.initializer.append(numpy_helper.from_array(np.array([0, _COLUMNS, -1], np.int64), name))
    return name


def _declare(graph: onnx.GraphProto) -> None:
    del graph.input[:], graph.output[:], graph.value_info[:]  # inner shapes were inferred for one picture of 416 x 416
    graph.input.append(floats("input", BATCH, 3, "H", "W"))
    graph.output.append(floats("output", BATCH, "A", _COLUMNS))
    graph.name = "yolox_nano_person"
