"""person-reidentification-retail-0277: what a person looks like, clothes more than faces, as a direction in 256 dimensions.

In: ``data`` float32 [n, 3, 256, 128], BGR, 0..255, the whole person. Out: ``reid_embedding`` [n, 256], of any length: only its
direction means something. The same person scores above 0.6 (cosine), others mostly below 0.3, look-alikes up to 0.55.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MODEL = "person-reidentification-retail-0277"
WIDTH, HEIGHT = 128, 256
DIMENSIONS = 256


class Runs(Protocol):
    """What is needed of a network."""

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]: ...


def crop(image: Array, box: Array) -> Array:
    """uint8 [256, 128, 3]: the part of ``image`` uint8 [height, width, 3] in ``box`` (x, y, width, height in pixels), cut at its edges."""
    height, width = image.shape[:2]
    left, top = int(np.clip(np.floor(box[0]), 0, width - 1)), int(np.clip(np.floor(box[1]), 0, height - 1))
    right = int(np.clip(np.ceil(box[0] + box[2]), left + 1, width))
    bottom = int(np.clip(np.ceil(box[1] + box[3]), top + 1, height))
    return cv2.resize(image[top:bottom, left:right], (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)


def embed(network: Runs, crops: Sequence[Array]) -> Array:
    """float32 [n, 256] of unit length, of crops as `crop` makes them."""
    if not len(crops):
        return np.empty((0, DIMENSIONS), np.float32)
    data = np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2), np.float32)
    raw = network.run({"data": data})["reid_embedding"].reshape(len(crops), DIMENSIONS)
    return np.asarray(raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-12), np.float32)
