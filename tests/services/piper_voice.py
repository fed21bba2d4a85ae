"""A neural voice small enough to be made by a test: the inputs and outputs of a Piper voice, and a voice that can be computed.

Each number of a phoneme becomes 256 samples of a tone, as loud as the number is high.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.manifest import Manifest, parse_manifest

RATE = 16000
BLOCK = np.sin(2 * np.pi * 4 * np.arange(256) / 256).astype(np.float32) / 200
PHONEMES = "_^$ .,?!abcdefhijklmnopstuvzæðøŋœɐɑɒɔəɚɛɜɡɪɹɾʁʃʊʌʒˈˌːθçŋ̃"
NUMBERS = {phoneme: [number] for number, phoneme in enumerate(dict.fromkeys(PHONEMES))}


def network(speakers: int = 1) -> bytes:
    """An ONNX file: ``output`` [1, 1, 1, 256 n] = number * BLOCK * scales[1] (+ the speaker's number)."""
    nodes = [
        helper.make_node("Cast", ["input"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "two"], ["columns"]),
        helper.make_node("Mul", ["columns", "block"], ["tones"]),
        helper.make_node("Gather", ["scales", "one"], ["slowness"]),
        helper.make_node("Mul", ["tones", "slowness"], ["slow"]),
        helper.make_node("Cast", ["input_lengths"], ["length"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["length", "zero"], ["nothing"]),
        helper.make_node("Add", ["slow", "nothing"], ["said"]),
        helper.make_node("Reshape", ["said", "shape"], ["output"]),
    ]
    constants = {"two": np.array([2]), "one": np.array(1), "block": BLOCK, "zero": np.float32([0]), "shape": np.array([1, 1, 1, -1])}
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, [1, "n"]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    if speakers > 1:
        inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, [1]))
        nodes[6:7] = [
            helper.make_node("Cast", ["sid"], ["speaker"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["length", "speaker"], ["both"]),
            helper.make_node("Mul", ["both", "zero"], ["nothing"]),
        ]
    graph = helper.make_graph(
        nodes,
        "voice",
        inputs,
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 1, "k"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def settings(speakers: int = 1, **others: object) -> bytes:
    table = {
        "audio": {"sample_rate": RATE},
        "espeak": {"voice": "de"},
        "inference": {"noise_scale": 0.667, "length_scale": 1.5, "noise_w": 0.8},
        "num_speakers": speakers,
        "phoneme_id_map": NUMBERS,
    }
    return json.dumps({**table, **others}).encode()


def published(folder: Path, language: str = "de-DE", name: str = "tiny", speakers: int = 1, **others: object) -> Manifest:
    """A manifest with one voice, whose files lie in ``folder``."""
    folder.mkdir(exist_ok=True)
    entries = [f'schema = 1\n[[voice]]\nname = "{name}"\nlanguage = "{language}"\nlicence = "CC0-1.0"\ncard = "https://example.org/card"']
    for part, suffix, content in (("network", "onnx", network(speakers)), ("config", "onnx.json", settings(speakers, **others))):
        (folder / f"{name}.{suffix}").write_bytes(content)
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        entries.append(f'[voice.{part}]\nfile = "voices/{name}.{suffix}"\nsize = {len(content)}\nmd5 = "{digest}"\nurls = []')
    return parse_manifest("\n".join(entries))
