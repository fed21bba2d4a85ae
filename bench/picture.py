"""The picture and the request bodies of the load, made once: no file is shipped and nothing is downloaded."""

from __future__ import annotations

import json
from dataclasses import dataclass

import cv2
import numpy as np
from skimage import data

WIDTH, HEIGHT = 640, 480
QUALITY = 90
BOUNDARY = "sensorium-bench-7d1f3c"


@dataclass(frozen=True)
class Body:
    """A request body and its content type."""

    content: bytes
    content_type: str


def photograph(width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A JPEG of `width` × `height` pixels with one face: scikit-image's astronaut (NASA, public domain), fitted and centred on grey."""
    astronaut = np.asarray(data.astronaut())[:, :, ::-1]  # type: ignore[no-untyped-call]  # RGB to BGR
    scale = min(width / astronaut.shape[1], height / astronaut.shape[0])
    fitted = cv2.resize(astronaut, (round(astronaut.shape[1] * scale), round(astronaut.shape[0] * scale)), interpolation=cv2.INTER_AREA)
    canvas = np.full((height, width, 3), 127, np.uint8)
    top, left = (height - fitted.shape[0]) // 2, (width - fitted.shape[1]) // 2
    canvas[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    done, jpeg = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise RuntimeError("OpenCV could not encode the photograph")
    return jpeg.tobytes()


def form(parts: list[tuple[str, str, bytes]]) -> Body:
    """A multipart/form-data body of (name, content type, content); every part with a content type other than JSON gets a file name."""
    lines = []
    for name, content_type, content in parts:
        file = "" if content_type == "application/json" else '; filename="photograph.jpg"'
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\nContent-Type: {content_type}\r\n\r\n'
        lines.append(head.encode() + content + b"\r\n")
    return Body(b"".join(lines) + f"--{BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={BOUNDARY}")


def job_form(jpeg: bytes) -> Body:
    """One synchronous `face_detection` job of our API: the picture as an attachment, the rest as `meta`."""
    meta = json.dumps({"async": False, "image": "attachment://bar"}).encode()
    return form([("attachment://bar", "image/jpeg", jpeg), ("meta", "application/json", meta)])


def peer_form(jpeg: bytes) -> Body:
    """The same upload for the peers: one file field `image`."""
    return form([("image", "image/jpeg", jpeg)])


def document(value: dict[str, object]) -> Body:
    """A JSON body."""
    return Body(json.dumps(value, separators=(",", ":")).encode(), "application/json")
