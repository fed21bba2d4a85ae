"""Networks of face-api.js: tensorflow.js shards (weights only, 8 bits) → ONNX.

The shards carry no graph; the layers are those of face-api.js (`ageGenderNet` on `TinyXception`, `faceExpressionNet` on
`FaceFeatureExtractor`, `faceRecognitionNet`). Input of all: ``input`` float32 [N, 3, side, side], RGB, 0..255, with the
networks' own normalisation inside the graph; the side is 112, of the recognition network 150.
"""

from __future__ import annotations

import json
import math

import numpy as np
import onnx

from models.convert import Files, only
from models.convert.build import BATCH, Array, Graph, floats

_MEAN = np.array([122.782, 117.001, 104.298], np.float32).reshape(1, 3, 1, 1)
_SIDE = 112
_RECOGNITION_SIDE = 150


def age_gender(files: Files) -> onnx.ModelProto:
    """Outputs ``age`` [N, 1] in years and ``gender`` [N, 2], softmax over (male, female)."""
    net = _Net(_weights(files))
    x = net.normalised(256)
    x = net.relu(net.convolution(x, "entry_flow/conv_in", stride=2))
    x = _reduction(net, x, "entry_flow/reduction_block_0", activate=False)
    x = _reduction(net, x, "entry_flow/reduction_block_1")
    for block in range(2):
        before = x
        for layer in range(3):
            x = net.separable(net.relu(x), f"middle_flow/main_block_{block}/separable_conv{layer}")
        x = net.graph.op("Add", [x, before])
    x = _reduction(net, x, "exit_flow/reduction_block")
    x = net.pooled(net.relu(net.separable(x, "exit_flow/separable_conv")))
    net.dense(x, "fc/age", output="age")
    net.graph.op("Softmax", [net.dense(x, "fc/gender")], "gender", axis=1)
    return net.model("faceapi_age_gender", {"age": 1, "gender": 2})


def expression(files: Files) -> onnx.ModelProto:
    """Output ``expression`` [N, 7], softmax over (neutral, happy, sad, angry, fearful, disgusted, surprised)."""
    net = _Net(_weights(files))
    x = net.normalised(255)
    for block in range(4):
        x = _dense_block(net, x, f"dense{block}", first=block == 0)
    net.graph.op("Softmax", [net.dense(net.pooled(x), "fc")], "expression", axis=1)
    return net.model("faceapi_expression", {"expression": 7})


def recognition(files: Files) -> onnx.ModelProto:
    """Output ``embedding`` [N, 128]: dlib's residual network of 29 convolutions, `dlib_face_recognition_resnet_model_v1`.

    Divided by 255 after the mean is subtracted, as @vladmandic/face-api does (dlib divides by 256).
    """
    net = _Net(_weights(files))
    x = net.normalised(255)
    x = net.relu(net.scaled(x, "conv32_down", stride=2))
    x = net.graph.op("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2])
    side = ((_RECOGNITION_SIDE - 7) // 2 + 1 - 3) // 2 + 1
    for width, count in ((32, 3), (64, 3), (128, 2), (256, 2)):
        if width > 32:
            x, side = _residual_down(net, x, f"conv{width}_down", side, new_channels=width // 2)
        for block in range(count):
            name = f"conv{width}_{block + 1}"
            y = net.scaled(net.relu(net.scaled(x, f"{name}/conv1")), f"{name}/conv2")
            x = net.relu(net.graph.op("Add", [y, x]))
    x, _ = _residual_down(net, x, "conv256_down_out", side, new_channels=0)
    x = net.graph.op("Flatten", [net.graph.op("GlobalAveragePool", [x])], axis=1)
    net.graph.op("MatMul", [x, net.weight("fc")], "embedding")
    return net.model("faceapi_recognition", {"embedding": 128}, _RECOGNITION_SIDE)


def _residual_down(net: _Net, x: str, name: str, side: int, new_channels: int) -> tuple[str, int]:
    """Half the height and width; returns the value and its side.

    The shortcut is pooled, and zeros take the place of the channels that it has not. Where the convolution gives one row and
    column less than the pooling, zeros take their place below and at the right.
    """
    y = net.scaled(net.relu(net.scaled(x, f"{name}/conv1", stride=2)), f"{name}/conv2")
    shortcut = net.graph.op("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
    pooled, convolved = side // 2, (side - 3) // 2 + 1
    y = net.padded(y, [0, 0, pooled - convolved, pooled - convolved])
    shortcut = net.padded(shortcut, [0, new_channels, 0, 0])
    return net.relu(net.graph.op("Add", [shortcut, y])), pooled


def _reduction(net: _Net, x: str, name: str, activate: bool = True) -> str:
    y = net.separable(net.relu(x) if activate else x, f"{name}/separable_conv0")
    y = net.separable(net.relu(y), f"{name}/separable_conv1")
    y = net.graph.op("MaxPool", [y], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    return net.graph.op("Add", [y, net.convolution(x, f"{name}/expansion_conv", stride=2)])


def _dense_block(net: _Net, x: str, name: str, first: bool) -> str:
    """Each layer sees the rectified sum of all before it; the first one halves height and width."""
    conv0 = net.convolution(x, f"{name}/conv0", stride=2) if first else net.separable(x, f"{name}/conv0", stride=2)
    layers = [net.relu(conv0)]
    x = layers[0]
    for index in range(1, 4):
        layers.append(net.separable(x, f"{name}/conv{index}"))
        total = layers[-1]
        for earlier in reversed(layers[:-1]):
            total = net.graph.op("Add", [earlier, total])
        x = net.relu(total)
    return x


class _Net:
    """The layers that the networks are made of; ``weights`` in tensorflow's order (height, width, in, out)."""

    def __init__(self, weights: dict[str, Array]) -> None:
        self.graph = Graph()
        self._weights = weights

    def normalised(self, divisor: float) -> str:
        centred = self.graph.op("Sub", ["input", self.graph.weight(_MEAN)])
        return self.graph.op("Div", [centred, self.graph.weight(np.array([divisor], np.float32))])

    def relu(self, x: str) -> str:
        return self.graph.op("Relu", [x])

    def convolution(self, x: str, name: str, stride: int) -> str:
        # face-api.js calls the kernel of the entry and the expansion convolutions "filters"
        return self._conv(x, self._weights[f"{name}/filters"].transpose(3, 2, 0, 1), f"{name}/bias", stride)

    def separable(self, x: str, name: str, stride: int = 1) -> str:
        depthwise = self._weights[f"{name}/depthwise_filter"].transpose(2, 3, 0, 1)
        y = self.graph.op(
            "Conv",
            [x, self.graph.weight(depthwise)],
            group=depthwise.shape[0],
            strides=[stride, stride],
            kernel_shape=[3, 3],
            auto_pad="SAME_UPPER",
        )
        pointwise = self._weights[f"{name}/pointwise_filter"].transpose(3, 2, 0, 1)
        weights = [self.graph.weight(pointwise), self.graph.weight(self._weights[f"{name}/bias"])]
        return self.graph.op("Conv", [y, *weights], kernel_shape=[1, 1])

    def pooled(self, x: str) -> str:
        return self.graph.op("Flatten", [self.graph.op("AveragePool", [x], kernel_shape=[7, 7], strides=[2, 2])], axis=1)

    def dense(self, x: str, name: str, output: str | None = None) -> str:
        weights = [self.graph.weight(self._weights[f"{name}/{part}"]) for part in ("weights", "bias")]
        return self.graph.op("Gemm", [x, *weights], output)

    def scaled(self, x: str, name: str, stride: int = 1) -> str:
        """A convolution and the scaling of each channel after it, as one; not padded where it halves the sides."""
        factors = self._weights[f"{name}/scale/weights"]
        kernel = self._weights[f"{name}/conv/filters"].transpose(3, 2, 0, 1) * factors.reshape(-1, 1, 1, 1)
        bias = self._weights[f"{name}/conv/bias"] * factors + self._weights[f"{name}/scale/biases"]
        padding = "SAME_UPPER" if stride == 1 else "VALID"
        weights = [self.graph.weight(kernel), self.graph.weight(bias)]
        sides = list(kernel.shape[2:])
        return self.graph.op("Conv", [x, *weights], strides=[stride, stride], kernel_shape=sides, auto_pad=padding)

    def padded(self, x: str, after: list[int]) -> str:
        """Zeros ``after`` each of the four axes (batch, channels, height, width), where there are any to add."""
        if not any(after):
            return x
        return self.graph.op("Pad", [x, self.graph.weight(np.array([0, 0, 0, 0, *after], np.int64))])

    def weight(self, name: str) -> str:
        return self.graph.weight(self._weights[name])

    def model(self, name: str, outputs: dict[str, int], side: int = _SIDE) -> onnx.ModelProto:
        results = [floats(output, BATCH, width) for output, width in outputs.items()]
        return self.graph.model(name, [floats("input", BATCH, 3, side, side)], results)

    def _conv(self, x: str, kernel: Array, bias: str, stride: int) -> str:
        weights = [self.graph.weight(kernel), self.graph.weight(self._weights[bias])]
        return self.graph.op("Conv", [x, *weights], strides=[stride, stride], kernel_shape=list(kernel.shape[2:]), auto_pad="SAME_UPPER")


def _weights(files: Files) -> dict[str, Array]:
    """All weights by name, as float32: a quantised value is ``q * scale + min`` (tensorflow.js, `decodeWeights`)."""
    manifest = json.loads(only(files, ".json"))
    shards = _shards(files, [path for group in manifest for path in group["paths"]])
    weights: dict[str, Array] = {}
    for group in manifest:
        raw = b"".join(shards[path] for path in group["paths"])
        at = 0
        for entry in group["weights"]:
            count, quantisation = math.prod(entry["shape"]), entry.get("quantization")
            stored = np.dtype(np.uint8 if quantisation else np.float32)
            value = np.frombuffer(raw, stored, count, at).astype(np.float32)
            if quantisation:
                value = value * np.float32(quantisation["scale"]) + np.float32(quantisation["min"])
            weights[entry["name"]] = value.reshape(entry["shape"])
            at += count * stored.itemsize
        if at != len(raw):
            raise ValueError(f"{len(raw) - at} bytes of the shards belong to no weight")
    return weights


def _shards(files: Files, paths: list[str]) -> Files:
    """The shards by the names that the JSON file gives them. A single one is known without its name: packages call it otherwise."""
    found = {name: content for name, content in files.items() if not name.endswith(".json")}
    return dict(zip(paths, found.values(), strict=True)) if len(paths) == len(found) == 1 else found
