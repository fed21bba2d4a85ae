"""Other formats into ONNX, with free batch dimensions.

The public addresses of some weights hold OpenVINO IR, tensorflow.js shards, TensorFlow Lite, or ONNX traced with batch 1 or computed
slowly.
Each program here is a function of bytes, and a deterministic one: equal input gives equal bytes, whatever the version of the
`onnx` package (1.16 to 1.23 were compared), so that the result is checked by the digest in the manifest like any download.
`onnx` and `tflite` are needed only here: they are the extra ``convert`` and are imported when a conversion begins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from models.manifest import Conversion

if TYPE_CHECKING:
    import onnx

Files = Mapping[str, bytes]


class ConversionFailed(Exception):
    """The originals are not what the program reads, or a package that it needs is not installed."""


@dataclass(frozen=True, slots=True)
class Program:
    """``module`` in this package, its ``function`` (files by name, keyword arguments → model), the packages it needs."""

    module: str
    function: str
    needs: tuple[str, ...] = ("onnx",)


PROGRAMS: Mapping[str, Program] = {
    "openvino": Program("openvino", "convert"),
    "faceapi-age-gender": Program("faceapi", "age_gender"),
    "faceapi-expression": Program("faceapi", "expression"),
    "faceapi-recognition": Program("faceapi", "recognition"),
    "dynamic-batch": Program("dynamic_batch", "convert"),
    "yolox-person": Program("yolox_person", "convert"),
    "tflite-yolox": Program("yolox", "convert", ("onnx", "tflite")),
    "tflite-yamnet": Program("yamnet", "convert", ("onnx", "tflite")),
    "free-axes": Program("free_axes", "convert"),
    "tfjs-graph": Program("tfjs_graph", "convert"),
    "integer-convolutions": Program("integer_convolutions", "convert"),
}


def require(program: str) -> None:
    """Raises `ConversionFailed`, naming the command that helps, unless everything that ``program`` imports is installed."""
    missing = [package for package in PROGRAMS[program].needs if find_spec(package) is None]
    if missing:
        raise ConversionFailed(
            f'the public address holds another format, and converting it needs {" and ".join(missing)}; run: pip install "sensorium[convert]"'
        )


def convert(conversion: Conversion, files: Files) -> bytes:
    """The file as installed. ``files``: the originals by their bare name, in the order of the manifest. Raises `ConversionFailed`."""
    require(conversion.program)
    program = PROGRAMS[conversion.program]
    function: Callable[..., onnx.ModelProto] = getattr(import_module(f"models.convert.{program.module}"), program.function)
    try:
        return bytes(function(files, **conversion.arguments).SerializeToString(deterministic=True))
    except (KeyError, ValueError, IndexError, AssertionError, NotImplementedError) as error:
        raise ConversionFailed(f"the conversion {conversion.program} of {', '.join(files)} failed: {error!r}") from error


def only(files: Files, suffix: str = "") -> bytes:
    """The one file whose name ends so. Raises `ValueError`."""
    found = [content for name, content in files.items() if name.endswith(suffix)]
    if len(found) != 1:
        raise ValueError(f"expected one file *{suffix}, got {', '.join(files) or 'none'}")
    return found[0]
