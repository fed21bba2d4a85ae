"""What PyTorch's export spells out in many small nodes, in few: each pass over a long sound costs as much as reading it from memory."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper

from models.convert.build import Array
from models.convert.rewriting import Chain, Rewriting, other

#: What ONNX Runtime's STFT of 20 samples makes of an impulse at each of them, as the imaginary parts of its first and last bin, times
#: 1e7. They would be 0 but for the rounding of its float32 waves. Where a network takes the angle of a bin, their sign decides between
#: π and -π for half of the sounds: these keep 99 of 100 of those signs as they were.
_ROUNDING = {
    20: (
        [-4.5] * 20,
        [-5.861, 9.587, -8.604, 9.438, -15.845, 16.888, -9.587, 13.908, -8.692, 17.112, -20.166, 39.612, -13.461, 27.17, -24.935, 27.915,
         -25.531, 64.572, -25.23, 29.852],
    )
}  # fmt: skip


def apply(graph: onnx.GraphProto) -> None:
    """All of them, one after the other."""
    for one in (squares, instance_norms, snakes, spectra):
        rewriting = Rewriting(graph)
        one(rewriting)
        rewriting.finish()


def squares(graph: Rewriting) -> None:
    """Pow(x, 2) → Mul(x, x)."""
    for node in graph.graph.node:
        if node.op_type == "Pow" and graph.is_number(node.input[1], 2):
            graph.replace(node.output[0], [helper.make_node("Mul", [node.input[0], node.input[0]], list(node.output))])


def instance_norms(graph: Rewriting) -> None:
    """gain · (x - mean) / sqrt(variance + epsilon) + shift, over time → InstanceNormalization.

    ``x`` float32 [1, C, t]; ``gain`` and ``shift`` [1, C, 1] are computed, from a style.
    """
    for node in graph.graph.node:
        if node.op_type != "Div" or (found := _normalised(graph, node)) is None:
            continue
        x, epsilon = found
        for gained in graph.takers(node.output[0]):
            gain = other(gained, node.output[0])
            shifted = graph.taker(gained.output[0], "Add") if gained.op_type == "Mul" else None
            shift = other(shifted, gained.output[0]) if shifted is not None else ""
            if shifted is None or not _of_channels(graph, gain) or not _of_channels(graph, shift):
                continue
            chain = Chain(shifted.output[0])
            factors = [chain.op("Reshape", value, graph.whole(-1)) for value in (gain, shift)]
            chain.op("InstanceNormalization", x, *factors, output=shifted.output[0], epsilon=epsilon)
            graph.replace(shifted.output[0], chain.nodes)


def _normalised(graph: Rewriting, divided: onnx.NodeProto) -> tuple[str, float] | None:
    """(x, epsilon), if it is (x - mean) / sqrt(mean of squares + epsilon) over axis 2."""
    centred, root = graph.maker(divided.input[0], "Sub"), graph.maker(divided.input[1], "Sqrt")
    added = graph.maker(root.input[0], "Add") if root is not None else None
    if centred is None or added is None:
        return None
    epsilon = graph.constant(added.input[1])
    square = _mean_of(graph, added.input[0])
    squared = graph.maker(square, "Mul") if square is not None else None
    if epsilon is None or squared is None or set(squared.input) != {centred.output[0]}:
        return None
    return (centred.input[0], float(epsilon.reshape(()))) if _mean_of(graph, centred.input[1]) == centred.input[0] else None


def _mean_of(graph: Rewriting, name: str) -> str | None:
    """What a value is the mean of, over axis 2."""
    mean = graph.maker(name, "ReduceMean")
    return mean.input[0] if mean is not None and len(mean.input) > 1 and graph.is_number(mean.input[1], 2) else None


def _of_channels(graph: Rewriting, name: str) -> bool:
    """Whether a value, but for a number that is added, is part of a vector that was given a third axis."""
    if (added := graph.maker(name, "Add")) is not None:
        name = added.input[0]
    split = graph.maker(name, "Split")
    widened = graph.maker(split.input[0], "Unsqueeze") if split is not None else None
    return widened is not None and graph.is_number(widened.input[1], 2)


def snakes(graph: Rewriting) -> None:
    """y + sin²(a y) / a of a normalised y → (z + sin²(z)) / a with z = a y, the norm multiplying with a at no cost.

    The activation "snake" (Ziyin et al., 2020), ``a`` float32 [1, C, 1].
    """
    for node in graph.graph.node:
        scaled = graph.maker(node.input[0], "Mul") if node.op_type == "Sin" else None
        if scaled is None:
            continue
        factor, y = sorted(scaled.input, key=lambda name: graph.constant(name) is None)
        norm, a = graph.maker(y, "InstanceNormalization"), graph.constant(factor)
        square = graph.taker(node.output[0], "Mul")
        divided = graph.taker(square.output[0], "Mul") if square is not None else None
        added = graph.taker(divided.output[0], "Add") if divided is not None else None
        if norm is None or a is None or square is None or divided is None or added is None:
            continue
        inverse = other(divided, square.output[0])
        if not _is_inverse(graph.constant(inverse), a) or y not in added.input or len(graph.takers(y)) != 2:
            continue
        chain = Chain(added.output[0])
        vector = graph.weight(f"{factor}/vector", a.reshape(-1), np.float32)
        factors = [chain.op("Mul", value, vector) for value in norm.input[1:]]
        chain.op("InstanceNormalization", norm.input[0], *factors, output=scaled.output[0], epsilon=norm.attribute[0].f)
        graph.replace(scaled.output[0], chain.nodes)
        last = Chain(f"{added.output[0]}/sum")
        last.op("Mul", last.op("Add", scaled.output[0], square.output[0]), inverse, output=added.output[0])
        graph.replace(added.output[0], last.nodes)


def _is_inverse(found: Array | None, a: Array) -> bool:
    return found is not None and found.shape == a.shape and a.shape[::2] == (1, 1) and np.allclose(found * a, 1, rtol=1e-5)


def spectra(graph: Rewriting) -> None:
    """STFT of one real signal with a constant window → Conv with the windowed waves as kernels.

    ``signal`` float32 [1, t] → [1, frames, bins, 2], real and imaginary.
    """
    for node in graph.graph.node:
        if node.op_type != "STFT":
            continue
        step, window = graph.constant(node.input[1]), graph.constant(node.input[2])
        if step is None or window is None or len(window) != int(_number(graph.constant(node.input[3]), len(window))):
            continue
        name, bins = node.output[0], len(window) // 2 + 1
        kernel = graph.weight(f"{name}/waves", _waves(window), np.float32)
        chain = Chain(name)
        signal = chain.op("Reshape", node.input[0], graph.whole(1, 1, -1))
        found = chain.op("Conv", signal, kernel, kernel_shape=[len(window)], strides=[int(_number(step, 1))])
        parts = chain.op("Reshape", found, graph.whole(1, bins, 2, -1))
        chain.op("Transpose", parts, output=name, perm=[0, 3, 1, 2])
        graph.replace(name, chain.nodes)


def _number(value: Array | None, otherwise: float) -> float:
    return otherwise if value is None else float(value.reshape(()))


def _waves(window: Array) -> Array:
    """float32 [2 bins, 1, n]: for each bin cosine and negative sine times the window.

    Rounded to 12 digits, so that they are the same everywhere; the first and the last bin, which have no sine, get `_ROUNDING`.
    """
    size = len(window)
    turns = [2 * math.pi * step / size for step in range(size)]
    table = np.round([[math.cos(turn), -math.sin(turn)] for turn in turns], 12)  # [n, 2]
    phases = np.outer(np.arange(size // 2 + 1), np.arange(size)) % size  # [bins, n]
    waves = table[phases]  # [bins, n, 2]
    if size in _ROUNDING:
        waves[[0, -1], :, 1] = np.array(_ROUNDING[size]) * 1e-7
    waves = waves * window[None, :, None]
    return waves.transpose(0, 2, 1).reshape(-1, 1, size).astype(np.float32)
