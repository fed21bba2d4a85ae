"""YOLOX-nano for bodies, heads and hands: TensorFlow Lite (1 x 256 x 320, NHWC, with suppression) → plain ONNX.

The graph is cut where the three scales are joined: what follows (grid, suppression) holds the fixed size, and is done better
outside. Input ``input`` float32 [N, 3, H, W], BGR, 0..255, H and W multiples of 32. Output ``output`` [N, A, 8] with
A = HW (1/64 + 1/256 + 1/1024): dx, dy, dw, dh (not decoded), then objectness, body, head, hand as probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx

from models.convert import Files, only
from models.convert.build import BATCH, Array, Graph, canonical, floats
from models.convert.tflite_file import Operator, convolution, kernel_layout, read, widened, window

_COLUMNS = 8
_END = 2**31 - 1
_NCHW_AXIS = {0: 0, 1: 2, 2: 3, 3: 1}


def convert(files: Files) -> onnx.ModelProto:
    """Raises `NotImplementedError` for another graph than the one above."""
    net = _Net()
    for operator in read(only(files, ".tflite")):
        if _joins_scales(operator):
            return net.model([tensor.index for tensor in operator.inputs])
        net.add(operator)
    raise ValueError("the place where the scales are joined was not found")


def _joins_scales(operator: Operator) -> bool:
    """Three maps, flattened to [1, 8, cells]."""
    shapes = [tensor.shape for tensor in operator.inputs]
    return operator.kind == "CONCATENATION" and len(shapes) == 3 and all(len(shape) == 3 and shape[1] == _COLUMNS for shape in shapes)


class _Net:
    """The ONNX graph under construction; ``values``: names by the index of the tensor that they stand for."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.values: dict[int, str] = {0: "input"}
        self._constants: dict[int, Array] = {}
        self._pads: dict[int, str] = {}

    def add(self, operator: Operator) -> None:
        if operator.kind == "DEQUANTIZE":
            self._constants[operator.outputs[0].index] = operator.constant(0)
        elif operator.kind in _OPERATIONS:
            self.values[operator.outputs[0].index] = _OPERATIONS[operator.kind](self, operator)
        else:
            raise NotImplementedError(f"the operation {operator.kind}")

    def model(self, scales: list[int]) -> onnx.ModelProto:
        flat = self.graph.op("Concat", [self.values[index] for index in scales], axis=2)
        self.graph.op("Transpose", [flat], "output", perm=[0, 2, 1])
        inputs, outputs = [floats("input", BATCH, 3, "H", "W")], [floats("output", BATCH, "A", _COLUMNS)]
        return canonical(self.graph.model("yolox_n_body_head_hand", inputs, outputs))

    def names(self, operator: Operator) -> list[str]:
        return [self.values[tensor.index] for tensor in operator.inputs]

    def vector(self, *values: int) -> str:
        return self.graph.weight(np.array(values, np.int64))

    def convolution(self, operator: Operator) -> str:
        _, kernel, bias = operator.inputs
        stored = kernel_layout(operator, self._constants[kernel.index])
        weights = [widened(self.graph, stored), self.graph.weight(self._constants[bias.index].astype(np.float32))]
        return convolution(self.graph, operator, [self.values[operator.inputs[0].index], *weights], stored.shape)

    def pad(self, operator: Operator) -> str:
        """[4, 2] before and after each of NHWC → all befores of NCHW, then all afters."""
        amounts = operator.inputs[1].index
        if amounts not in self._pads:
            before, after = operator.constant(1)[[0, 3, 1, 2]].T
            self._pads[amounts] = self.vector(*before, *after)
        return self.graph.op("Pad", [self.values[operator.inputs[0].index], self._pads[amounts]])

    def focus(self, operator: Operator) -> str:
        """Every second row and column of the picture, from one of the four corners (YOLOX, `Focus`)."""
        begin, step = operator.constant(1), operator.constant(3)
        if operator.inputs[0].index != 0 or list(step) != [1, 2, 2, 1]:
            raise NotImplementedError("a slice that is not the focus stage")
        parts = [self.vector(int(begin[1]), int(begin[2])), self.vector(_END, _END), self.vector(2, 3), self.vector(2, 2)]
        return self.graph.op("Slice", ["input", *parts])

    def resize(self, operator: Operator) -> str:
        """Doubles height and width, whatever they are."""
        scales = self.graph.weight(np.array([1, 1, 2, 2], np.float32))
        attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.graph.op("Resize", [self.values[operator.inputs[0].index], "", scales], **attributes)


def _plain(kind: str) -> Callable[[_Net, Operator], str]:
    return lambda net, operator: net.graph.op(kind, net.names(operator))


def _concat(net: _Net, operator: Operator) -> str:
    return net.graph.op("Concat", net.names(operator), axis=1)  # the file joins channels only


def _max_pool(net: _Net, operator: Operator) -> str:
    sides = (operator.options.FilterHeight(), operator.options.FilterWidth())
    return net.graph.op("MaxPool", net.names(operator), **window(operator, sides))


def _transpose(net: _Net, operator: Operator) -> str:
    """The file turns each scale to NCHW before it flattens it; here it is so all along."""
    if [_NCHW_AXIS[int(axis)] for axis in operator.constant(1)] != [0, 1, 2, 3]:
        raise NotImplementedError("a transposition that is not NHWC to NCHW")
    return net.values[operator.inputs[0].index]


def _flatten(net: _Net, operator: Operator) -> str:
    return net.graph.op("Reshape", [net.values[operator.inputs[0].index], net.vector(0, _COLUMNS, -1)])


_OPERATIONS: Mapping[str, Callable[[_Net, Operator], str]] = {
    "ADD": _plain("Add"),
    "CONCATENATION": _concat,
    "CONV_2D": _Net.convolution,
    "DEPTHWISE_CONV_2D": _Net.convolution,
    "LOGISTIC": _plain("Sigmoid"),
    "MAX_POOL_2D": _max_pool,
    "MUL": _plain("Mul"),
    "PAD": _Net.pad,
    "RESHAPE": _flatten,
    "RESIZE_NEAREST_NEIGHBOR": _Net.resize,
    "STRIDED_SLICE": _Net.focus,
    "TRANSPOSE": _transpose,
}
