"""YOLOX-nano for bodies, heads and hands: people, also from behind and with their faces hidden.

In and out as `workers.lib.yolox` says, with the kinds body, head and hand: ``output`` float32 [batch, cells, 8].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.lib.boxes import intersection_over_union
from workers.lib.people import Boxes, People, tie
from workers.lib.yolox import Runs, look

Array = npt.NDArray[Any]

MODEL = "yolox-body-head-hand"
BODY, HEAD, HAND = 0, 1, 2
MIN_SCORE = 0.4
#: What a head without a body, or a body without a head, must reach over both looks to be taken for a person.
MIN_SCORE_ALONE = 0.5
#: Pictures are looked at with a longer side within these: the network is no better on pictures enlarged further.
MIN_SIDE, SIDE = 320, 640
#: The longer side of what is looked at a second time. Smaller than a part of the picture is at first look: that is the point.
DOUBT_SIDE = 192
_BORDERS = {BODY: (0.25, 0.25, 0.25), HEAD: (1.5, 0.5, 3.0)}  # around it, in its sizes: at both sides, above, below
_MAX_DOUBTS = 16  # a picture's second looks; a crowd whose legs are hidden is tied nevertheless
_MIN_AGAIN = 0.1
_SAME = 0.5  # overlap of what is seen again
_PART = 0.75  # of a body without a head, that lies in another
_SLOPE, _EVEN = 8.1, 0.46  # of the probability


def detect(network: Runs, images: Sequence[Array], *, min_score: float = MIN_SCORE) -> list[People]:
    """The people in each picture, uint8 [height, width, 3] BGR. Pictures of the same canvas go through the network in one run.

    What is tied to nothing is cut out and looked at once more, all of all pictures in one run. What the network wrongly took
    for people in the clips that this was made on were large bodies without heads (13, of furniture and of several people) that
    it did not see again when they were smaller; people whose heads were covered or cut off it mostly saw again.
    """
    first = [_people(kinds) for kinds in look(network, images, MIN_SIDE, SIDE, min_score)]
    doubts = [_doubts(people, image.shape) for people, image in zip(first, images, strict=True)]
    cuts = [image[doubt.window] for image, some in zip(images, doubts, strict=True) for doubt in some]
    again = iter(look(network, cuts, DOUBT_SIDE, DOUBT_SIDE, _MIN_AGAIN) if cuts else ())
    return [_confirmed(people, [(doubt, next(again)) for doubt in some]) for people, some in zip(first, doubts, strict=True)]


def probability(scores: Array) -> Array:
    """The probability [n] that a person with this score is one.

    A logistic curve fitted to 267 people found in turned, shrunk, blurred, darkened and noisy versions of pictures with and
    without people. Who is one was told by what this network found in the undisturbed picture, not by labels: 41 had scores below
    0.8, of them four in five were people; of the others 97 %.
    """
    return np.asarray(1 / (1 + np.exp(-_SLOPE * (np.asarray(scores) - _EVEN))))


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A head or body on its own: ``kind`` and its index there, and the ``window`` of the picture (rows, columns) to look at again."""

    kind: int
    index: int
    window: tuple[slice, slice]


def _people(kinds: list[Boxes]) -> People:
    return People(kinds[BODY], kinds[HEAD], kinds[HAND], tie(kinds[HEAD].boxes, kinds[BODY].boxes))


def _doubts(people: People, shape: Sequence[int]) -> list[_Doubt]:
    """The highest few of what is tied to nothing, with windows of its box and a border."""
    tied = set(people.body_of_head.tolist())
    alone = [(HEAD, index, people.heads) for index in np.flatnonzero(people.body_of_head < 0).tolist()]
    alone += [(BODY, index, people.bodies) for index in range(len(people.bodies)) if index not in tied]
    alone.sort(key=lambda one: -one[2].scores[one[1]])
    doubts = []
    for kind, index, boxes in alone[:_MAX_DOUBTS]:
        x, y, width, height = boxes.boxes[index].tolist()
        border = _BORDERS[kind]
        left, right = x - border[0] * width, x + (1 + border[0]) * width
        top, bottom = y - border[1] * height, y + (1 + border[2]) * height
        rows, columns = _span(top, bottom, shape[0]), _span(left, right, shape[1])
        doubts.append(_Doubt(kind, index, (rows, columns)))
    return doubts


def _span(first: float, last: float, limit: int) -> slice:
    """The whole pixels from ``first`` to ``last`` of ``limit``, at least one."""
    start = int(np.clip(first, 0, limit - 1))
    return slice(start, int(np.clip(last, start + 1, limit)))


def _confirmed(people: People, looks: list[tuple[_Doubt, list[Boxes]]]) -> People:
    """The people whose doubtful parts, beyond those, got so much in both looks together."""
    tied = people.body_of_head
    scores = {HEAD: np.where(tied >= 0, people.heads.scores, 0), BODY: np.zeros(len(people.bodies), np.float32)}
    scores[BODY][tied[tied >= 0]] = people.bodies.scores[tied[tied >= 0]]
    for doubt, seen in looks:
        first = people.heads if doubt.kind == HEAD else people.bodies
        rows, columns = doubt.window
        box = first.boxes[doubt.index] - np.array([columns.start, rows.start, 0, 0], np.float32)
        same = intersection_over_union(seen[doubt.kind].boxes, box)[:, 0] > _SAME
        again = float(seen[doubt.kind].scores[same].max(initial=0))
        both = float(np.sqrt(first.scores[doubt.index] * again))
        if both >= MIN_SCORE_ALONE and not (doubt.kind == BODY and _part(people.bodies.boxes, doubt.index, scores[BODY])):
            scores[doubt.kind][doubt.index] = both
    heads, bodies = (_only(boxes, scores[kind]) for boxes, kind in ((people.heads, HEAD), (people.bodies, BODY)))
    return People(bodies, heads, people.hands, tie(heads.boxes, bodies.boxes))


def _part(boxes: Array, index: int, scores: Array) -> bool:
    """Whether a body without a head lies mostly within one that is there (its score is not 0): its arm, its back, its coat."""
    box = boxes[index]
    common = np.minimum(boxes[:, :2] + boxes[:, 2:], box[:2] + box[2:]) - np.maximum(boxes[:, :2], box[:2])
    return bool(np.any((np.clip(common, 0, None).prod(axis=1) > _PART * box[2:].prod()) & (scores > 0)))


def _only(boxes: Boxes, scores: Array) -> Boxes:
    order = np.argsort(-scores, kind="stable")[: np.count_nonzero(scores)]
    return Boxes(boxes.boxes[order], scores[order])
