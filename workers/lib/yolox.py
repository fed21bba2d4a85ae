"""What the YOLOX networks of `workers.models` have in common: how a picture is put before them, and how their cells are read.

In: ``input`` float32 [batch, 3, height, width], BGR, 0..255, sides that are multiples of 32 (114 at the right and below).
Out: ``output`` float32 [batch, cells, 5 + kinds], the cells of strides 8, 16 and 32 one after another, row by row; columns dx, dy,
dw, dh, objectness, then a column for each kind of thing (these and objectness in 0..1). The cell in column x and row y of stride s
says a box of centre ((x + dx) · s, (y + dy) · s), size (exp(dw) · s, exp(dh) · s) and score objectness · kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from workers.lib.boxes import suppress
from workers.lib.canvas import Canvases, put, scaled
from workers.lib.people import Boxes

Array = npt.NDArray[Any]

STRIDES = (8, 16, 32)
MAX_OVERLAP = 0.45
#: Pictures whose brightest pixels (this share of them is darker) stay below this level, 0..255, are stretched first.
DARK, BRIGHT_SHARE = 100, 0.995
_FULL = 235.0  # the level that the brightest pixels of a dark picture are brought to
_MAX_GAIN = 8.0  # beyond it there is nothing left but noise
_CELL = 32  # sides of the network's input are multiples of it
_PADDING = 114
_MAX_EXPONENT = 10.0  # exp of what a size could be at most (e^10 strides); keeps broken values from overflowing
_MAX_CANDIDATES = 1000  # boxes of a kind before suppression; a dense crowd has some hundred
_FIRST_KIND = 5
_canvases = Canvases()


class Runs(Protocol):
    """What is needed of a network."""

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]: ...


def look(network: Runs, images: Sequence[Array], min_side: int, max_side: int, min_score: float) -> list[list[Boxes]]:
    """The things of each kind in each picture as they come, with its longer side scaled into ``min_side``..``max_side``."""
    sizes = [_fit(image.shape[0], image.shape[1], min_side, max_side) for image in images]
    groups: dict[tuple[int, int], list[int]] = {}
    for index, (width, height) in enumerate(sizes):
        groups.setdefault((_whole_cells(height), _whole_cells(width)), []).append(index)
    found: dict[int, list[Boxes]] = {}
    for canvas, members in groups.items():
        batch = _canvases.of((len(members), 3, *canvas))
        for row, index in zip(batch, members, strict=True):
            _place(images[index], sizes[index], row)
        output = network.run({"input": batch})["output"]
        for index, cells in zip(members, output, strict=True):
            height, width = images[index].shape[:2]
            scale = np.array([width / sizes[index][0], height / sizes[index][1]] * 2, np.float32)
            found[index] = [Boxes(kind.boxes * scale, kind.scores) for kind in decode(cells, canvas, min_score)]
    return [found[index] for index in range(len(images))]


def _fit(height: int, width: int, min_side: int, max_side: int) -> tuple[int, int]:
    """(width, height) of the picture on its canvas."""
    longer = max(height, width)
    scale = min(max(longer, min_side), max_side) / longer
    return max(1, round(width * scale)), max(1, round(height * scale))


def _whole_cells(side: int) -> int:
    return -(-side // _CELL) * _CELL


def _place(image: Array, size: tuple[int, int], row: Array) -> None:
    """Scale the picture to ``size`` (width, height), stretch it if it is dark, and write it into ``row`` float32 [3, height, width]."""
    width, height = size
    if row.shape[1:] != (height, width):
        row.fill(_PADDING)
    put(stretch(scaled(image, size)), row)


def stretch(image: Array) -> Array:
    """Dark pictures made brighter, colours kept; all others as they are."""
    grey = cv2.cvtColor(np.ascontiguousarray(image[::4, ::4]), cv2.COLOR_BGR2GRAY)
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel().cumsum()
    level = int(np.searchsorted(counts, BRIGHT_SHARE * counts[-1]))
    if level >= DARK:
        return image
    return cv2.convertScaleAbs(image, alpha=min(_FULL / max(level, 1), _MAX_GAIN))


def decode(cells: Array, canvas: tuple[int, int], min_score: float) -> list[Boxes]:
    """The things of each kind in ``cells`` [cells, 5 + kinds], in pixels of the canvas (height, width)."""
    scores = cells[:, _FIRST_KIND:] * cells[:, _FIRST_KIND - 1 : _FIRST_KIND]
    origins, strides = _grid(canvas)
    found = []
    for kind in range(scores.shape[1]):
        chosen = np.flatnonzero(scores[:, kind] >= min_score)
        if len(chosen) > _MAX_CANDIDATES:
            chosen = chosen[np.argpartition(-scores[chosen, kind], _MAX_CANDIDATES)[:_MAX_CANDIDATES]]
        stride = strides[chosen, None]
        sizes = np.exp(np.minimum(cells[chosen, 2:4], _MAX_EXPONENT)) * stride
        boxes = np.hstack([(cells[chosen, :2] + origins[chosen]) * stride - sizes / 2, sizes])
        kept = suppress(boxes, scores[chosen, kind], overlap=MAX_OVERLAP)
        found.append(Boxes(boxes[kept], scores[chosen, kind][kept]))
    return found


def _grid(canvas: tuple[int, int]) -> tuple[Array, Array]:
    """Column and row float32 [cells, 2] and stride float32 [cells] of each cell of a canvas (height, width)."""
    origins, strides = [], []
    for stride in STRIDES:
        rows, columns = canvas[0] // stride, canvas[1] // stride
        y, x = np.divmod(np.arange(rows * columns, dtype=np.float32), columns)
        origins.append(np.stack([x, y], axis=1))
        strides.append(np.full(rows * columns, stride, np.float32))
    return np.concatenate(origins), np.concatenate(strides)
