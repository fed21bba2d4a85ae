"""Directions in which somebody looks, as yaw and pitch in radians.

Yaw is the angle to the right of the picture, pitch the angle upwards; 0, 0 is into the camera. The direction seen in the
picture is (cos pitch · sin yaw) to the right and sin pitch upwards, whatever the roll.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def vectors(yaw: Array, pitch: Array) -> Array:
    """Unit vectors [n, 3]: to the right of the picture, upwards, towards the camera."""
    return np.stack([np.cos(pitch) * np.sin(yaw), np.sin(pitch), np.cos(pitch) * np.cos(yaw)], axis=-1)


def angles(directions: Array) -> tuple[Array, Array]:
    """(yaw, pitch) [n] of ``directions`` [n, 3] as in `vectors`, of any length."""
    right, up, ahead = np.moveaxis(np.asarray(directions, np.float64), -1, 0)
    return np.arctan2(right, ahead), np.arctan2(up, np.hypot(right, ahead))


def turned(directions: Array, clockwise: Array) -> Array:
    """``directions`` [n, 3] in a picture that was turned clockwise by so many radians [n]."""
    right, up, ahead = np.moveaxis(np.asarray(directions, np.float64), -1, 0)
    cos, sin = np.cos(clockwise), np.sin(clockwise)
    return np.stack([right * cos + up * sin, up * cos - right * sin, ahead], axis=-1)
