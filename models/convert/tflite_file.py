"""Reading a TensorFlow Lite file: operators in order of execution, constants as arrays. Layout there is NHWC."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tflite  # type: ignore[import-untyped]
from onnx import TensorProto

from models.convert.build import Array, Graph

_DTYPES = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT8: np.int8,
    tflite.TensorType.INT32: np.int32,
    tflite.TensorType.INT64: np.int64,
}
_KINDS = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
_OPTIONS = {"CONV_2D": tflite.Conv2DOptions, "DEPTHWISE_CONV_2D": tflite.DepthwiseConv2DOptions, "MAX_POOL_2D": tflite.Pool2DOptions}


RELU = tflite.ActivationFunctionType.RELU


@dataclass(frozen=True, slots=True)
class Tensor:
    """``value`` is None for what is computed at run time. ``scales``: per output channel, one for all, or none (not quantised)."""

    index: int
    shape: tuple[int, ...]
    value: Array | None
    scales: Array | None


@dataclass(frozen=True)
class Operator:
    """``kind`` as in the schema (``CONV_2D``)."""

    kind: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    raw: Any

    @cached_property
    def options(self) -> Any:
        """The schema's table of options of this kind."""
        table = self.raw.BuiltinOptions()
        options = _OPTIONS[self.kind]()
        options.Init(table.Bytes, table.Pos)
        return options

    def constant(self, index: int) -> Array:
        value = self.inputs[index].value
        if value is None:
            raise NotImplementedError(f"{self.kind} with a computed operand {index}")
        return value


def read(content: bytes) -> tuple[Operator, ...]:
    """Raises `ValueError` for what is not a TensorFlow Lite file of one graph."""
    if not tflite.Model.ModelBufferHasIdentifier(content, 0):
        raise ValueError("not a TensorFlow Lite file")
    model = tflite.Model.GetRootAs(content, 0)
    if model.SubgraphsLength() != 1:
        raise ValueError("more than one graph")
    graph = model.Subgraphs(0)
    tensors = [_tensor(model, graph.Tensors(index), index) for index in range(graph.TensorsLength())]
    return tuple(_operator(model, graph.Operators(index), tensors) for index in range(graph.OperatorsLength()))


def _operator(model: Any, raw: Any, tensors: list[Tensor]) -> Operator:
    code = model.OperatorCodes(raw.OpcodeIndex())
    kind = _KINDS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]  # old files fill only the second field
    inputs = tuple(tensors[index] for index in raw.InputsAsNumpy())
    return Operator(kind, inputs, tuple(tensors[index] for index in raw.OutputsAsNumpy()), raw)


def _tensor(model: Any, raw: Any, index: int) -> Tensor:
    shape = tuple(int(size) for size in raw.ShapeAsNumpy()) if raw.ShapeLength() else ()
    buffer, value = model.Buffers(raw.Buffer()), None
    if buffer.DataLength() and raw.Type() in _DTYPES:
        value = np.frombuffer(buffer.DataAsNumpy().tobytes(), _DTYPES[raw.Type()]).reshape(shape)
    return Tensor(index, shape, value, _scales(raw.Quantization()))


def _scales(quantisation: Any) -> Array | None:
    """Only symmetric quantisation (zero point 0) occurs in weights."""
    if quantisation is None or not quantisation.ScaleLength():
        return None
    if quantisation.ZeroPointLength() and np.any(quantisation.ZeroPointAsNumpy()):
        raise NotImplementedError("weights with a zero point")
    return np.asarray(quantisation.ScaleAsNumpy(), np.float32)


def kernel_layout(operator: Operator, kernel: Array) -> Array:
    """[out, height, width, in] of a convolution, [1, height, width, out] of a depthwise one, as ONNX wants it: [out, in, h, w]."""
    return kernel.transpose(3, 0, 1, 2) if operator.kind == "DEPTHWISE_CONV_2D" else kernel.transpose(0, 3, 1, 2)


def window(operator: Operator, kernel: tuple[int, int]) -> dict[str, Any]:
    """The window attributes of a convolution or a pooling, for ONNX.

    ``SAME`` means ceil(size / stride) outputs; an odd cell of padding goes behind (TensorFlow, `tf.nn`, "Notes on padding").
    Where the stride is 1 or the size is known to be a multiple of it, this does not depend on the picture's size.
    """
    options = operator.options
    strides = [options.StrideH(), options.StrideW()]
    attributes = {"kernel_shape": list(kernel), "strides": strides}
    if options.Padding() == tflite.Padding.VALID:
        return attributes
    sizes = operator.inputs[0].shape[1:3]
    totals = [_padding(*numbers) for numbers in zip(sizes, strides, kernel, strict=True)]
    before = [total // 2 for total in totals]
    return attributes | {"pads": before + [total - half for total, half in zip(totals, before, strict=True)]}


def _padding(size: int, stride: int, side: int) -> int:
    return max((math.ceil(size / stride) - 1) * stride + side - size, 0)


def convolution(graph: Graph, operator: Operator, inputs: list[str], shape: tuple[int, ...]) -> str:
    """``inputs``: names of picture, kernel, bias; ``shape``: the kernel's, [out, in, height, width]."""
    return graph.op(
        "Conv",
        inputs,
        group=shape[0] if operator.kind == "DEPTHWISE_CONV_2D" else 1,
        dilations=[operator.options.DilationHFactor(), operator.options.DilationWFactor()],
        **window(operator, (shape[2], shape[3])),
    )


def widened(graph: Graph, stored: Array) -> str:
    """A weight kept as stored (float16, int8) and cast to float32 in the graph; the runtime folds that at opening."""
    return graph.op("Cast", [graph.weight(stored)], to=TensorProto.FLOAT)
