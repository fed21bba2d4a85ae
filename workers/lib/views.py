"""How pictures are put on the canvases that face detectors look at, and faces are brought back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.lib.canvas import put, scaled
from workers.lib.faces import Faces

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class View:
    """How a picture is put on the network's canvas: scaled to ``size`` (width, height), at ``offset`` (x, y) of ``canvas`` (height, width)."""

    size: tuple[int, int]
    offset: tuple[int, int]
    canvas: tuple[int, int]

    def place(self, image: Array, row: Array, *, rgb: bool = False) -> None:
        """Scale the picture, uint8 [height, width, 3] BGR, and write it into ``row`` float32 [3, height, width], with zeros around it."""
        width, height = self.size
        if self.canvas != (height, width):
            row.fill(0)
        put(scaled(image, self.size), row, *self.offset, rgb=rgb)

    def to_picture(self, faces: Faces, height: int, width: int) -> Faces:
        """From pixels of the canvas to pixels of a picture of this size."""
        if not len(faces) or (self.offset == (0, 0) and self.size == (width, height)):
            return faces
        scale = np.array([width / self.size[0], height / self.size[1]], np.float32)
        offset = np.array(self.offset, np.float32)
        corners, sizes = (faces.boxes[:, :2] - offset) * scale, faces.boxes[:, 2:] * scale
        return replace(faces, boxes=np.hstack([corners, sizes]), points=(faces.points - offset) * scale)


def fit(height: int, width: int, *, least: int, most: int, cell: int) -> View:
    """The whole picture, its longer side scaled to lie within ``least`` and ``most`` pixels, on sides that are multiples of ``cell``."""
    longer = max(height, width)
    scale = min(max(longer, least), most) / longer
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return View(size, (0, 0), (_whole(size[1], cell), _whole(size[0], cell)))


def close_up(height: int, width: int, *, side: int, border: float, cell: int) -> View:
    """The picture with a border of so much of each side, on a canvas of about this longer side: for faces that fill it."""
    scale = side / (max(height, width) * (1 + 2 * border))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    offset = round(size[0] * border), round(size[1] * border)
    return View(size, offset, (_whole(size[1] + 2 * offset[1], cell), _whole(size[0] + 2 * offset[0], cell)))


def by_canvas(views: Sequence[View]) -> dict[tuple[int, int], list[int]]:
    """The indices of the views by the shape of their canvas: these go through a network together."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index, view in enumerate(views):
        groups.setdefault(view.canvas, []).append(index)
    return groups


def _whole(side: int, cell: int) -> int:
    return -(-side // cell) * cell
