"""YAMNet: TensorFlow Lite (15,600 samples, quantised front end) → ONNX for any batch.

The trained weights stay as they are (8 bits a value, a scale for each channel). The front end, whose filters the file holds
in 8 bits too, is replaced by its definition in float32 (tensorflow/models, research/audioset/yamnet, `features.py`): frames
of 25 ms every 10 ms, periodic Hann window, magnitudes of a 512-point Fourier transform, 64 mel bands from 125 to 7,500 Hz,
log(x + 0.001). Input ``waveform`` float32 [N, 15600], 16 kHz mono in -1..1. Outputs ``scores`` [N, 521] (independent
probabilities), ``embedding`` [N, 1024], ``log_mel`` [N, 96, 64].
"""

from __future__ import annotations

import numpy as np
import onnx

from models.convert import Files, only
from models.convert.build import BATCH, Array, Graph, canonical, floats
from models.convert.tflite_file import RELU, Operator, convolution, kernel_layout, read, widened

_SAMPLES, _RATE = 15600, 16000
_FRAMES, _FRAME, _CHUNK = 96, 400, 80  # frames overlap in whole chunks of 5 ms
_FFT, _BINS, _BANDS = 512, 257, 64
_LOWEST, _HIGHEST = 125.0, 7500.0
_LOG_OFFSET = np.array([0.001], np.float32)


def convert(files: Files) -> onnx.ModelProto:
    """Raises `ValueError` when the file's front end is not the one above, up to its quantisation."""
    operators = read(only(files, ".tflite"))
    graph = Graph()
    _front_end(graph, operators)
    layers = [operator for operator in operators if operator.kind.endswith("CONV_2D")]
    x = graph.op("Unsqueeze", ["log_mel", graph.weight(np.array([1], np.int64))])
    for layer in layers:
        x = graph.op("Relu", [_layer(graph, layer, x)])
    x = graph.op("Squeeze", [graph.op("GlobalAveragePool", [x]), graph.weight(np.array([2, 3], np.int64))])
    logits = _dense(graph, [operator for operator in operators if operator.kind == "FULLY_CONNECTED"][-1], x)
    graph.op("Sigmoid", [logits], "scores")
    graph.op("Identity", [x], "embedding")
    outputs = [floats("scores", BATCH, 521), floats("embedding", BATCH, 1024), floats("log_mel", BATCH, _FRAMES, _BANDS)]
    return canonical(graph.model("yamnet", [floats("waveform", BATCH, _SAMPLES)], outputs))


def _front_end(graph: Graph, operators: tuple[Operator, ...]) -> None:
    """Adds ``log_mel``."""
    by_kind = {operator.kind: operator for operator in reversed(operators)}  # the first of each kind
    chunks, window, mel = by_kind["GATHER"].constant(1), by_kind["MUL"].constant(1).reshape(-1), _mel_matrix()
    _compare(window, 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME), 1e-6, "window")
    stored = by_kind["FULLY_CONNECTED"].inputs[1]
    if stored.scales is None:
        raise ValueError("the mel bands are not quantised")
    _compare(by_kind["FULLY_CONNECTED"].constant(1).T * stored.scales, mel, float(stored.scales.max()), "mel bands")

    def sizes(*values: int) -> str:
        return graph.weight(np.array(values, np.int64))

    x = graph.op("Reshape", ["waveform", sizes(-1, _SAMPLES // _CHUNK, _CHUNK)])
    x = graph.op("Gather", [x, graph.weight(chunks.astype(np.int64))], axis=1)
    x = graph.op("Reshape", [x, sizes(0, _FRAMES, _FRAME)])
    angles = 2 * np.pi * np.arange(_FFT)[:, None] * np.arange(_BINS)[None] / _FFT
    parts = []
    for wave in (np.cos, np.sin):
        part = graph.op("MatMul", [x, graph.weight((window[:, None].astype(np.float64) * wave(angles[:_FRAME])).astype(np.float32))])
        parts.append(graph.op("Mul", [part, part]))
    magnitude = graph.op("Sqrt", [graph.op("Add", parts)])
    bands = graph.op("MatMul", [magnitude, graph.weight(mel)])
    graph.op("Log", [graph.op("Add", [bands, graph.weight(_LOG_OFFSET)])], "log_mel")


def _mel_matrix() -> Array:
    """[257, 64] float32: triangles that are even on the mel scale 1127 ln(1 + f / 700); the constant component is left out."""

    def mel(hertz: Array) -> Array:
        return np.asarray(1127.0 * np.log1p(hertz / 700.0))

    bins = mel(np.linspace(0, _RATE / 2, _BINS)[1:])[:, None]
    edges = np.linspace(mel(np.asarray(_LOWEST)), mel(np.asarray(_HIGHEST)), _BANDS + 2)
    low, centre, high = edges[None, :-2], edges[None, 1:-1], edges[None, 2:]
    triangles = np.maximum(0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
    return np.vstack([np.zeros((1, _BANDS)), triangles]).astype(np.float32)


def _compare(found: Array, expected: Array, tolerance: float, what: str) -> None:
    if found.shape != expected.shape or np.abs(found - expected).max() > tolerance:
        raise ValueError(f"the file's {what} are not YAMNet's")


def _layer(graph: Graph, operator: Operator, x: str) -> str:
    if operator.options.FusedActivationFunction() != RELU:
        raise NotImplementedError("a convolution without ReLU")
    kernel = kernel_layout(operator, operator.constant(1))
    weights = [_weight(graph, operator, kernel, (-1, 1, 1, 1)), graph.weight(operator.constant(2))]
    return convolution(graph, operator, [x, *weights], kernel.shape)


def _dense(graph: Graph, operator: Operator, x: str) -> str:
    weights = _weight(graph, operator, operator.constant(1).T, (1, -1))
    return graph.op("Gemm", [x, weights, graph.weight(operator.constant(2))], transA=0, transB=0)


def _weight(graph: Graph, operator: Operator, stored: Array, scale_shape: tuple[int, ...]) -> str:
    """Float weights as they are, 8-bit ones times their scales."""
    scales = operator.inputs[1].scales
    if scales is None:
        return graph.weight(stored)
    return graph.op("Mul", [widened(graph, stored), graph.weight(scales.reshape(scale_shape))])
