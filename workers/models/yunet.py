"""YuNet: boxes and five points of faces.

In: ``input`` float32 [batch, 3, height, width], BGR, 0..255, sides that are multiples of 32 (zeros at the right and below).
Out, for each stride s of 8, 16 and 32: ``cls_s`` and ``obj_s`` [batch, n, 1] in 0..1, ``bbox_s`` [batch, n, 4], ``kps_s``
[batch, n, 10], where n = height / s * width / s, row by row. The cell in column x and row y says a face of score
sqrt(cls · obj), centre ((x + b0) · s, (y + b1) · s), size (exp(b2) · s, exp(b3) · s) and points ((x + p2k) · s, (y + p2k+1) · s).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workers.lib.boxes import suppress
from workers.lib.canvas import Canvases
from workers.lib.faces import Faces
from workers.lib.views import View, by_canvas, close_up, fit

Array = npt.NDArray[Any]

MODEL = "yunet"
STRIDES = (8, 16, 32)
MIN_SCORE = 0.65
MAX_OVERLAP = 0.3
#: Pictures are looked at with a longer side within these: larger loses faces that fill the picture, smaller loses distant
#: ones. Enlarging small pictures further finds no more of either and costs (245 portraits of 350 x 350: 30 lost at first look).
MIN_SIDE, SIDE = 320, 640
#: A second look for faces that fill the picture: a border of so much of each side, and a small canvas.
CLOSE_UP_BORDER = 0.4
CLOSE_UP_SIDE = 256
_SLOPE, _EVEN = 12.0, 0.57  # of the probability
_CELL = 32  # sides of the network's input are multiples of it
_MAX_EXPONENT = 10.0  # exp of what a size could be at most (e^10 strides); keeps broken values from overflowing
_canvases = Canvases()


class Runs(Protocol):
    """What is needed of a network."""

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]: ...


def detect(network: Runs, images: Sequence[Array], *, min_score: float = MIN_SCORE) -> list[Faces]:
    """The faces of each picture, uint8 [height, width, 3] BGR.

    Pictures whose canvases have the same shape go through the network in one run. Those without a face are looked at once
    more, smaller and with a border.
    """
    found = _look(network, images, [_fit(*image.shape[:2]) for image in images], min_score)
    empty = [index for index, faces in enumerate(found) if not len(faces)]
    if empty:
        again = [images[index] for index in empty]
        closer = _look(network, again, [_close_up(*image.shape[:2]) for image in again], min_score)
        for index, faces in zip(empty, closer, strict=True):
            found[index] = faces
    return found


def probability(scores: Array) -> Array:
    """The probability [n] that a box with this score is a face.

    A logistic curve fitted to 795 boxes from turned, blurred, darkened and shrunk versions of nine completely labelled pictures
    and of fourteen pictures without people: of the boxes of score 0.65 to 0.75 85 % were faces, of 0.75 to 0.85 95 %, above 98 %.
    """
    return np.asarray(1 / (1 + np.exp(-_SLOPE * (np.asarray(scores) - _EVEN))))


def _fit(height: int, width: int) -> View:
    return fit(height, width, least=MIN_SIDE, most=SIDE, cell=_CELL)


def _close_up(height: int, width: int) -> View:
    return close_up(height, width, side=CLOSE_UP_SIDE, border=CLOSE_UP_BORDER, cell=_CELL)


def _look(network: Runs, images: Sequence[Array], views: Sequence[View], min_score: float) -> list[Faces]:
    """One run for each shape of canvas; answers in the order of the pictures."""
    found: dict[int, Faces] = {}
    for canvas, members in by_canvas(views).items():
        batch = _canvases.of((len(members), 3, *canvas))
        for row, index in zip(batch, members, strict=True):
            views[index].place(images[index], row)
        outputs = network.run({"input": batch})
        for position, index in enumerate(members):
            found[index] = views[index].to_picture(decode(outputs, position, canvas, min_score), *images[index].shape[:2])
    return [found[index] for index in range(len(images))]


def decode(outputs: dict[str, Array], position: int, canvas: tuple[int, int], min_score: float) -> Faces:
    """The faces of the picture at ``position`` of the batch, in pixels of its canvas (height, width)."""
    parts = [_decode_stride(outputs, position, stride, canvas[1] // stride, min_score) for stride in STRIDES]
    boxes, scores, points = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    kept = suppress(boxes, scores, overlap=MAX_OVERLAP)
    return Faces(boxes[kept], scores[kept], points[kept], probability(scores[kept]))


def _decode_stride(outputs: dict[str, Array], position: int, stride: int, columns: int, min_score: float) -> tuple[Array, Array, Array]:
    """Boxes [k, 4], scores [k] and points [k, 5, 2] of the cells above the score: only these few are computed."""
    classes, objects = outputs[f"cls_{stride}"][position, :, 0], outputs[f"obj_{stride}"][position, :, 0]
    cells = np.flatnonzero(classes * objects >= min_score * min_score)
    if not len(cells):
        return _NOTHING
    scores = np.sqrt(np.clip(classes[cells], 0, 1) * np.clip(objects[cells], 0, 1))
    origin = np.stack([cells % columns, cells // columns], axis=1).astype(np.float32)
    raw = outputs[f"bbox_{stride}"][position][cells]
    sizes = np.exp(np.minimum(raw[:, 2:], _MAX_EXPONENT)) * stride
    corners = (origin + raw[:, :2]) * stride - sizes / 2
    points = (origin[:, None] + outputs[f"kps_{stride}"][position][cells].reshape(-1, 5, 2)) * stride
    return np.hstack([corners, sizes]), scores, points


_NOTHING = np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32)
