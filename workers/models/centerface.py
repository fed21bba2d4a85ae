"""CenterFace: boxes and five points of faces.

In: ``input.1`` float32 [batch, 3, height, width], RGB, 0..255, sides that are multiples of 32 (zeros at the right and below).
Out, for each cell of 4 x 4 pixels in column x and row y: ``heat`` [batch, 1, rows, columns], the score 0..1 that a face has its centre
there; ``offset`` [batch, 2, …] (down, right): the centre lies at ((x + 1/2 + o1) · 4, (y + 1/2 + o0) · 4); ``size`` [batch, 2, …]: the face
is exp(s1) · 4 wide and exp(s0) · 4 high; ``points`` [batch, 10, …]: five times (down, right) from the upper left corner of the box, in its
heights and widths. So `prj-python/centerface.py` of Star-Clouds/CenterFace reads them (https://arxiv.org/abs/1911.03599).

Its points are too coarse to align faces by: they only say where `workers.models.facemesh` looks.
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

MODEL = "centerface"
STRIDE = 4
MIN_SCORE = 0.5
MAX_OVERLAP = 0.3
#: Pictures are looked at with a longer side within these. 640 found one more of 109 labelled faces than 416 and one false one more, at 2.3
#: times the cost (64 ms a picture of 640 x 480 instead of 28, one thread); 320 found one fewer, at 16 ms.
MIN_SIDE, SIDE = 320, 416
#: A second look for faces that fill the picture, as YuNet's: of 6 portraits in which the first look found no face it found all.
CLOSE_UP_BORDER = 0.4
CLOSE_UP_SIDE = 256
_SLOPE, _EVEN = 12.0, 0.2  # of the probability
_CELL = 32  # sides of the network's input are multiples of it
_MAX_EXPONENT = 10.0  # exp of what a size could be at most; keeps broken values from overflowing
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

    A logistic curve fitted to 314 boxes of score 0.2 and more: from turned, blurred, darkened, noisy and shrunk versions of nine completely
    labelled pictures, and of 30 pictures without people, four versions each. Below a score of 0.5 11 of 55 were no faces, from it on none of 259.
    """
    return np.asarray(1 / (1 + np.exp(-_SLOPE * (np.asarray(scores, np.float64) - _EVEN))))


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
            views[index].place(images[index], row, rgb=True)
        outputs = network.run({"input.1": batch})
        for position, index in enumerate(members):
            found[index] = views[index].to_picture(decode(outputs, position, min_score), *images[index].shape[:2])
    return [found[index] for index in range(len(images))]


def decode(outputs: dict[str, Array], position: int, min_score: float) -> Faces:
    """The faces of the picture at ``position`` of the batch, in pixels of its canvas."""
    heat = outputs["heat"][position, 0]
    rows, columns = np.nonzero(heat >= min_score)
    size, offset, points = (outputs[name][position][:, rows, columns].T for name in ("size", "offset", "points"))
    scores = np.clip(heat[rows, columns], 0, 1)
    sizes = np.exp(np.minimum(size[:, ::-1], _MAX_EXPONENT)) * STRIDE
    centres = (np.stack([columns, rows], axis=1) + 0.5 + offset[:, ::-1]) * STRIDE
    boxes = np.hstack([centres - sizes / 2, sizes]).astype(np.float32)
    kept = suppress(boxes, scores, overlap=MAX_OVERLAP)
    boxes = boxes[kept]
    places = boxes[:, None, :2] + points[kept].reshape(-1, 5, 2)[..., ::-1] * boxes[:, None, 2:]
    return Faces(boxes, scores[kept], places.astype(np.float32), probability(scores[kept]))
