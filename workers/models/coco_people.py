"""YOLOX-nano of COCO, cut down to people: bodies, also from behind and with their faces hidden. Heads are those of faces found elsewhere.

In and out as `workers.lib.yolox` says, with one kind, the person: ``output`` float32 [batch, cells, 6]. The network was trained to
box as much of a person as is seen (COCO, 80 classes, of which the others are left out when the file is made).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.lib.faces import Faces
from workers.lib.people import Boxes, People, tie
from workers.lib.yolox import Runs, look

Array = npt.NDArray[Any]

MODEL = "yolox-nano-person"
MIN_SCORE = 0.3
#: Pictures are looked at with a longer side within these. At 416 crowds are counted worse (exact counts of a set that nothing was
#: chosen on: .885 against .967), near people alone slightly better.
MIN_SIDE, SIDE = 320, 640
#: A face without a body is a person from this probability on.
MIN_CHANCE_ALONE = 0.8
#: The head around a face: width and height in those of the face's box, and how far its middle is above the face's, in its height.
#: Medians over 89 faces of YuNet and 81 of CenterFace (which agree within .02) in heads that `workers.models.people` found.
HEAD_WIDTH, HEAD_HEIGHT, HEAD_ABOVE = 1.7, 1.53, 0.15
#: The furthest that a head's centre is beside its body, in widths of the head: of a face seen from the side the head is a guess.
_ASIDE = 0.25
_SLOPE, _EVEN = 7.4, 0.31  # of the probability


def detect(network: Runs, images: Sequence[Array], faces: Sequence[Faces], *, min_score: float = MIN_SCORE) -> list[People]:
    """The people in each picture, uint8 [height, width, 3] BGR, with its ``faces``; no hands.

    All scores are probabilities: of bodies as `probability` says, of heads those of their faces. There is no second look: in
    pictures without people the network found none.
    """
    found = look(network, images, MIN_SIDE, SIDE, min_score)
    return [_people(bodies, seen) for (bodies,), seen in zip(found, faces, strict=True)]


def probability(scores: Array) -> Array:
    """The probability [n] that a box with this score is a person's.

    A logistic curve fitted to 360 boxes of score 0.3 and more in 57 pictures and frames (67 people, 27 pictures without), each as it
    is and five times turned, shrunk, moved, blurred, darkened, noisy or badly compressed. Of those up to 0.6 74 % were people,
    up to 0.8 92 %, above 99 %. Who is one is known from labels, in clips from their number and what `workers.models.people`
    finds in the undisturbed frame.
    """
    return np.asarray(1 / (1 + np.exp(-_SLOPE * (np.asarray(scores, np.float64) - _EVEN))))


def heads_of(faces: Array) -> Array:
    """float32 [n, 4]: the boxes of the heads, from the top of the hair to the chin, around the boxes [n, 4] of faces."""
    faces = np.asarray(faces, np.float32).reshape(-1, 4)
    sizes = faces[:, 2:] * np.array([HEAD_WIDTH, HEAD_HEIGHT], np.float32)
    middles = faces[:, :2] + faces[:, 2:] / 2 - faces[:, 2:] * np.array([0, HEAD_ABOVE], np.float32)
    return np.hstack([middles - sizes / 2, sizes])


def _people(bodies: Boxes, faces: Faces) -> People:
    heads = heads_of(faces.boxes)
    kept = (tie(heads, bodies.boxes, _ASIDE) >= 0) | (faces.chances >= MIN_CHANCE_ALONE)
    heads = heads[kept]
    nothing = Boxes(np.empty((0, 4), np.float32), np.empty(0, np.float32))
    return People(
        Boxes(bodies.boxes, probability(bodies.scores).astype(np.float32)),
        Boxes(heads, faces.chances[kept].astype(np.float32)),
        nothing,
        tie(heads, bodies.boxes, _ASIDE),
    )
