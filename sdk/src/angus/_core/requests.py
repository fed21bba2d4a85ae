"""Parameters as a request: JSON, with everything that is a file beside it as an attachment."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Optional

#: Quality of the JPEGs that pictures given as arrays are sent as, 1 to 100.
JPEG_QUALITY = 85


@dataclass(frozen=True)
class Body:
    """A request's parameters as JSON, and its attachments by the names under which the JSON refers to them."""

    text: str
    attachments: dict[str, bytes] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """What httpx is given: a JSON body, or multipart with the parameters in the part ``meta`` behind the files."""
        if not self.attachments:
            return {"content": self.text.encode(), "headers": {"Content-Type": "application/json"}}
        files: list[tuple[str, Any]] = [
            (name, (name.rpartition("/")[2], data, "application/octet-stream")) for name, data in self.attachments.items()
        ]
        return {"files": [*files, ("meta", (None, self.text, "application/json"))], "headers": {}}


def body_of(parameters: Mapping[str, Any]) -> Body:
    """The request for these parameters.

    Files are open binary files, bytes, paths, and pictures as arrays (uint8, [height, width] or [height, width, 3] in BGR). Raises
    `TypeError` or `ValueError` for what cannot be sent.
    """
    attachments: dict[str, bytes] = {}

    def attach(data: bytes) -> str:
        name = f"attachment://{uuid.uuid4()}"
        attachments[name] = data
        return name

    return Body(json.dumps(parameters, default=lambda value: _encoded(value, attach)), attachments)


def frozen(parameters: Optional[Mapping[str, Any]]) -> dict[str, Any]:
    """A copy in which every open file is replaced by its bytes, for parameters that are sent more than once."""
    return {name: _frozen(value) for name, value in (parameters or {}).items()}


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _frozen(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_frozen(inner) for inner in value]
    return file_bytes(value) if hasattr(value, "read") else value


def _encoded(value: Any, attach: Callable[[bytes], str]) -> Any:
    endpoint = getattr(value, "endpoint", None)
    if isinstance(endpoint, str):  # a blob, or any other resource
        return endpoint
    if isinstance(value, datetime):
        return value.isoformat()
    if is_file(value):
        return attach(file_bytes(value))
    if hasattr(value, "item") and getattr(value, "shape", None) == ():  # a number out of an array
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be sent: neither JSON nor a file")


def is_file(value: Any) -> bool:
    """Whether the value is sent as an attachment."""
    return isinstance(value, (bytes, bytearray, memoryview, Path)) or hasattr(value, "read") or _is_picture(value)


def file_bytes(value: Any) -> bytes:
    """The bytes of a file in any of its forms. Raises `TypeError` or `ValueError` with what to do instead."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, Path):
        return value.read_bytes()
    if not hasattr(value, "read"):
        return _jpeg(value)
    data = value.read()
    if isinstance(data, str):
        raise TypeError('the file is open as text: open it in binary mode, open(path, "rb")')
    if not data:
        raise ValueError("the file is empty, or was read to its end before: open it anew, or seek(0)")
    return bytes(data)


def _is_picture(value: Any) -> bool:
    shape: tuple[int, ...] = getattr(value, "shape", ())
    return str(getattr(value, "dtype", "")) == "uint8" and (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3))


def _jpeg(pixels: Any) -> bytes:
    try:
        import cv2
    except ImportError:
        raise TypeError("to send an array as a picture, OpenCV is needed: pip install 'sensorium-sdk[opencv]'") from None
    encoded, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not encoded:
        raise ValueError("the array could not be encoded as a JPEG")
    return bytes(data.tobytes())
