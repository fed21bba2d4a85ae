"""ONNX with dynamically quantised 1-D convolutions → the same network, computed faster by ONNX Runtime.

``ConvInteger`` of ONNX Runtime packs the weights anew at each run, and multiplies unsigned with unsigned numbers, for which it has no
fast kernel. The product of a matrix of rows of the input and of the weights as int8 gives the same integers, several times faster:
``MatMulIntegerToFloat``. What lies between the convolutions is written with fewer passes over the data (`models.convert.passes`).

The originals are parts of one file, in their order. Inputs and outputs are as before; the batch is 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx
from onnx import helper

from models.convert import Files, passes
from models.convert.build import Array
from models.convert.rewriting import CONTRIB, Chain, Rewriting, other

T = TypeVar("T")


def convert(files: Files) -> onnx.ModelProto:
    """Raises `ValueError` where the graph has no such convolution, `NotImplementedError` for one of another form."""
    model = onnx.load_model_from_string(b"".join(files.values()))
    graph = model.graph
    found = [node for node in graph.node if node.op_type == "ConvInteger"]
    if not found:
        raise ValueError("no ConvInteger")
    rewriting = Rewriting(graph)
    for node in found:
        _replace(rewriting, _read(rewriting, node))
    rewriting.finish()
    passes.apply(graph)
    if all(opset.domain != CONTRIB for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    return model


@dataclass(frozen=True, slots=True)
class _Convolution:
    """What belongs to one. ``rows``, ``scale`` and ``zero``: names of the quantised input uint8 [1, C, t], its scale and
    zero point; ``kernel`` uint8 [O, C, k] and its ``kernel_zero``; ``kernel_scale`` and ``bias`` (float32 [O], in units of ``scales``, or
    empty): names. ``scales``: name of the product of both scales. ``output``: name of the result as float32 [1, O, t'].
    """

    rows: str
    scale: str
    zero: str
    kernel: Array
    kernel_zero: int
    kernel_scale: str
    scales: str
    bias: str
    output: str
    padding: tuple[int, int]
    stride: int
    dilation: int


def _read(graph: Rewriting, node: onnx.NodeProto) -> _Convolution:
    """ConvInteger → [Add of the bias, quantised] → Cast → Mul(scale of the input · scale of the kernel)."""
    rows, kernel_name, zero, kernel_zero = node.input
    quantised = _found(graph.maker(rows, "DynamicQuantizeLinear"), node, "the input is not quantised dynamically")
    kernel = _found(graph.constant(kernel_name), node, "the kernel is computed")
    kernel_zeros = _found(graph.constant(kernel_zero), node, "the zero point of the kernel is computed")
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if kernel.ndim != 3 or kernel.dtype != np.uint8 or kernel_zeros.size != 1:
        raise NotImplementedError(f"{node.output[0]}: the kernel is not uint8 [O, C, k] with one zero point")
    if given.get("group", 1) != 1 or given.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise NotImplementedError(f"{node.output[0]}: groups or automatic padding")
    value, bias = str(node.output[0]), ""
    if (add := graph.taker(value, "Add")) is not None:
        bias = _bias(graph, other(add, value), node)
        value = add.output[0]
    cast = _found(graph.taker(value, "Cast"), node, "the result is not cast")
    scaled = _found(graph.taker(cast.output[0], "Mul"), node, "the result is not scaled")
    scales = _found(graph.maker(other(scaled, cast.output[0]), "Mul"), node, "the result is not scaled by two scales")
    before, after = given.get("pads", [0, 0])
    return _Convolution(
        rows=rows,
        scale=quantised.output[1],
        zero=zero,
        kernel=kernel,
        kernel_zero=int(kernel_zeros.reshape(())),
        kernel_scale=other(scales, quantised.output[1]),
        scales=scales.output[0],
        bias=bias,
        output=scaled.output[0],
        padding=(before, after),
        stride=given.get("strides", [1])[0],
        dilation=given.get("dilations", [1])[0],
    )


def _found(value: T | None, node: onnx.NodeProto, otherwise: str) -> T:
    if value is None:
        raise NotImplementedError(f"{node.output[0]}: {otherwise}")
    return value


def _bias(graph: Rewriting, value: str, node: onnx.NodeProto) -> str:
    """The bias that was made integers by Div by the scales, Floor, Cast and Reshape: float32 [O] as Floor gives it, in those scales.

    These are whole numbers, so that the sum with them is the same as before.
    """
    for kind in ("Reshape", "Cast"):
        value = _found(graph.maker(value, kind), node, "the bias is not quantised").input[0]
    floor = _found(graph.maker(value, "Floor"), node, "the bias is not rounded")
    divided = _found(graph.maker(floor.input[0], "Div"), node, "the bias is not in scales")
    bias = _found(graph.constant(divided.input[0]), node, "the bias is computed")
    if bias.ndim != 1 or bias.dtype != np.float32:
        raise NotImplementedError(f"{node.output[0]}: the bias is not float32 [O]")
    return value


def _replace(graph: Rewriting, it: _Convolution) -> None:
    """Rows [1, t, C] → windows [1, t', k C] → product [1, t', O] → [1, O, t']."""
    outputs, channels, taps = it.kernel.shape
    chain = Chain(it.output)
    rows = chain.op("Transpose", it.rows, perm=[0, 2, 1])
    if any(it.padding):
        before, after = it.padding
        rows = chain.op("Pad", rows, graph.whole(0, before, 0, 0, after, 0), it.zero)
    if taps > 1 or it.stride > 1:
        windows = chain.op("Gather", rows, _window(graph, chain, rows, it), axis=1)
        rows = chain.op("Reshape", windows, graph.whole(0, -1, taps * channels))
    signed = it.kernel.astype(np.int16) - 128
    matrix = graph.weight(f"{it.output}/kernel", signed.transpose(2, 1, 0).reshape(taps * channels, outputs), np.int8)
    zero = graph.weight(f"{it.output}/zero", it.kernel_zero - 128, np.int8)
    bias = [chain.op("Mul", it.bias, it.scales)] if it.bias else []
    inputs = [rows, matrix, it.scale, it.kernel_scale, it.zero, zero, *bias]
    product = chain.op("MatMulIntegerToFloat", *inputs, domain=CONTRIB)
    chain.op("Transpose", product, output=it.output, perm=[0, 2, 1])
    graph.replace(it.output, chain.nodes)


def _window(graph: Rewriting, chain: Chain, rows: str, it: _Convolution) -> str:
    """int64 [t', k]: which rows of [1, t, C] each output is made of."""
    taps = it.kernel.shape[2]
    length = chain.op("Squeeze", chain.op("Shape", rows, start=1, end=2))
    end = chain.op("Sub", length, graph.weight(f"span_{(taps - 1) * it.dilation}", (taps - 1) * it.dilation, np.int64))
    zero, stride = graph.weight("step_0", 0, np.int64), graph.weight(f"step_{it.stride}", it.stride, np.int64)
    first = chain.op("Unsqueeze", chain.op("Range", zero, end, stride), graph.whole(1))
    return chain.op("Add", first, graph.whole(*range(0, taps * it.dilation, it.dilation)))
