"""Boxes [x, y, width, height] in pixels, origin at the top left corner, as rows of arrays."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def intersection_over_union(first: Array, second: Array) -> npt.NDArray[np.float64]:
    """[n, m] in 0..1 from boxes [n, 4] and [m, 4]. A box without an area overlaps nothing."""
    a = np.asarray(first, np.float64).reshape(-1, 1, 4)
    b = np.asarray(second, np.float64).reshape(1, -1, 4)
    overlap = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = np.clip(overlap, 0, None).prod(axis=2)
    union = a[..., 2:].prod(axis=2) + b[..., 2:].prod(axis=2) - common
    shares: npt.NDArray[np.float64] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return shares


def suppress(boxes: Array, scores: Array, *, overlap: float) -> npt.NDArray[np.intp]:
    """Non-maximum suppression: the indices of the boxes that stay, by falling score.

    Of two boxes [n, 4] with an intersection over union above ``overlap`` the one with the higher score [n], above 0, stays.
    """
    if len(boxes) < 2:
        return np.arange(len(boxes))
    # OpenCV's loop is in C++ and needs no n x n matrix; a crowd has thousands of candidates.
    kept = cv2.dnn.NMSBoxes(np.asarray(boxes, np.float64), np.asarray(scores, np.float32), 0.0, overlap)  # type: ignore[arg-type]
    return np.asarray(kept, np.intp).ravel()


def clip_boxes(boxes: Array, width: int, height: int) -> npt.NDArray[np.int64]:
    """Whole pixels [n, 4] inside a picture of that size; each side is rounded, and at least one pixel is left."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    limits = np.array([width, height], np.float64)
    first = np.clip(np.rint(boxes[:, :2]), 0, limits - 1)
    last = np.clip(np.rint(boxes[:, :2] + boxes[:, 2:]), first + 1, limits)
    return np.hstack([first, last - first]).astype(np.int64)
