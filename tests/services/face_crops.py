"""Crops of faces, computed slowly from their description: what the tests of face networks compare with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def sampled(
    image: np.ndarray, centre: Sequence[float], side: float, size: int, clockwise: float = 0.0, *, mirror: bool = False, over: int = 1
) -> np.ndarray:
    """float64 [size, size, 3]: the square of ``side`` around ``centre`` of ``image``, for a thing turned ``clockwise`` (radians).

    Each pixel is the mean of ``over`` x ``over`` points of the square, between pixels of the picture by bilinear
    interpolation, outside of it from the nearest edge.
    """
    count = size * over
    steps = ((np.arange(count) + 0.5) / count - 0.5) * side
    right, down = np.meshgrid(steps, steps)
    x = centre[0] + right * np.cos(clockwise) - down * np.sin(clockwise)
    y = centre[1] + right * np.sin(clockwise) + down * np.cos(clockwise)
    crop = bilinear(image, x, y).reshape(size, over, size, over, 3).mean(axis=(1, 3))
    return crop[:, ::-1] if mirror else crop


def bilinear(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """float64 [..., 3] of ``image`` at columns ``x`` and rows ``y``, whose whole numbers are the centres of pixels."""
    height, width = image.shape[:2]
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    u, v = (x - left)[..., None], (y - top)[..., None]
    values = image.astype(np.float64)
    above = values[top, left] * (1 - u) + values[top, right] * u
    below = values[bottom, left] * (1 - u) + values[bottom, right] * u
    return above * (1 - v) + below * v


def planes(*crops: np.ndarray, rgb: bool = False) -> np.ndarray:
    """float32 [n, 3, size, size] for a network, from BGR ``crops``."""
    channels = (2, 1, 0) if rgb else (0, 1, 2)
    return np.stack([np.stack([crop[:, :, channel] for channel in channels]) for crop in crops]).astype(np.float32)
