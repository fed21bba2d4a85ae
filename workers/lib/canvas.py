"""Pictures on the canvases that detectors look at: float32 planes, kept from picture to picture."""

from __future__ import annotations

import threading
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Canvases:
    """An array a thread. Cameras keep their size, so one is enough.

    The system hands out fresh megabytes page by page, which took longer than filling them.
    """

    def __init__(self, dtype: type[np.generic] = np.float32) -> None:
        self._dtype = dtype
        self._kept = threading.local()

    def of(self, shape: tuple[int, ...]) -> Array:
        """An array of this shape for the calling thread to fill, with whatever its last use left in it."""
        kept: Array | None = getattr(self._kept, "array", None)
        if kept is None or kept.shape != shape:
            kept = self._kept.array = np.empty(shape, self._dtype)
        return kept


_planes = Canvases(np.uint8)


def scaled(image: Array, size: tuple[int, int]) -> Array:
    """The picture, uint8 [height, width, 3], in ``size`` (width, height): averaged where it shrinks, interpolated where it grows."""
    width, height = size
    if image.shape[:2] == (height, width):
        return image
    shrinking = width < image.shape[1] or height < image.shape[0]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)


def put(image: Array, canvas: Array, x: int = 0, y: int = 0, *, rgb: bool = False) -> None:
    """Write a picture, uint8 [height, width, 3], into ``canvas``, float32 [3, …, …], with its upper left corner at x, y.

    With ``rgb`` its channels are turned around.

    Taken apart as bytes, then made floats in one go; into arrays that are kept, since allocating them costs more than all of that.
    """
    height, width = image.shape[:2]
    planes = _planes.of((3, height, width))
    cv2.split(image, list(planes))  # into these very arrays
    canvas[:, y : y + height, x : x + width] = planes[::-1] if rgb else planes
