"""YOLOX-nano for bodies, heads and hands: people, also from behind and with their faces hidden.

In: ``input`` float32 [batch, 3, height, width], BGR, 0..255, sides that are multiples of 32 (114 at the right and below).
Out: ``output`` float32 [batch, cells, 8], the cells of strides 8, 16 and 32 one after another, row by row; columns dx, dy, dw,
dh, objectness, body, head, hand (the last four in 0..1). The cell in column x and row y of stride s says a box of centre
((x + dx) · s, (y + dy) · s), size (exp(dw) · s, exp(dh) · s) and score objectness · class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from workers.lib.assignment import best_pairs
from workers.lib.boxes import intersection_over_union, suppress
from workers.lib.canvas import Canvases, put, scaled

Array = npt.NDArray[Any]

MODEL = "yolox-body-head-hand"
STRIDES = (8, 16, 32)
BODY, HEAD, HAND = 0, 1, 2
MIN_SCORE = 0.4
#: What a head without a body, or a body without a head, must reach over both looks to be taken for a person.
MIN_SCORE_ALONE = 0.5
MAX_OVERLAP = 0.45
#: Pictures are looked at with a longer side within these: the network is no better on pictures enlarged further.
MIN_SIDE, SIDE = 320, 640
#: Pictures whose brightest pixels (this share of them is darker) stay below this level, 0..255, are stretched first.
DARK, BRIGHT_SHARE = 100, 0.995
#: The longer side of what is looked at a second time. Smaller than a part of the picture is at first look: that is the point.
DOUBT_SIDE = 192
_BORDERS = {BODY: (0.25, 0.25, 0.25), HEAD: (1.5, 0.5, 3.0)}  # around it, in its sizes: at both sides, above, below
_MAX_DOUBTS = 16  # a picture's second looks; a crowd whose legs are hidden is tied nevertheless
_MIN_AGAIN = 0.1
_SAME = 0.5  # overlap of what is seen again
_PART = 0.75  # of a body without a head, that lies in another
_SLOPE, _EVEN = 8.1, 0.46  # of the probability
_FULL = 235.0  # the level that the brightest pixels of a dark picture are brought to
_MAX_GAIN = 8.0  # beyond it there is nothing left but noise
_CELL = 32  # sides of the network's input are multiples of it
_PADDING = 114
_MAX_EXPONENT = 10.0  # exp of what a size could be at most (e^10 strides); keeps broken values from overflowing
_MAX_CANDIDATES = 1000  # boxes of a class before suppression; a dense crowd has some hundred
_canvases = Canvases()


class Runs(Protocol):
    """What is needed of a network."""

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]: ...


@dataclass(frozen=True, slots=True)
class Boxes:
    """The n things of one kind in a picture, by falling score.

    ``boxes`` float32 [n, 4]: x, y, width, height in pixels of the picture, not clipped to it. ``scores`` float32 [n] in 0..1.
    """

    boxes: Array
    scores: Array

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class People:
    """The people in one picture.

    ``body_of_head`` int [heads]: the index of each head's body, -1 without one. A body belongs to one head at most. Heads
    and bodies without the other are there only if a second look confirmed them; their scores are those of both looks.
    """

    bodies: Boxes
    heads: Boxes
    hands: Boxes
    body_of_head: Array


@dataclass(frozen=True, slots=True)
class Person:
    """A person: indices into the bodies and heads of `People` (at least one of them), and the higher of their scores."""

    body: int | None
    head: int | None
    score: float


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


def persons(people: People) -> list[Person]:
    """Heads with their bodies, and heads and bodies without the other; by falling score."""
    heads, bodies = people.heads.scores.tolist(), people.bodies.scores.tolist()
    found = []
    for head, body in enumerate(people.body_of_head.tolist()):
        if body >= 0:
            found.append(Person(body, head, max(heads[head], bodies[body])))
        else:
            found.append(Person(None, head, heads[head]))
    tied = set(people.body_of_head.tolist())
    found += [Person(body, None, score) for body, score in enumerate(bodies) if body not in tied]
    return sorted(found, key=lambda person: -person.score)


def probability(scores: Array) -> Array:
    """The probability [n] that a person with this score is one.

    A logistic curve fitted to 267 people found in turned, shrunk, blurred, darkened and noisy versions of pictures with and
    without people. Who is one was told by what this network found in the undisturbed picture, not by labels: 41 had scores below
    0.8, of them four in five were people; of the others 97 %.
    """
    return np.asarray(1 / (1 + np.exp(-_SLOPE * (np.asarray(scores) - _EVEN))))


def look(network: Runs, images: Sequence[Array], min_side: int, max_side: int, min_score: float) -> list[list[Boxes]]:
    """The bodies, heads and hands of each picture as they come, with its longer side scaled into ``min_side``..``max_side``."""
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


def tie(heads: Array, bodies: Array) -> Array:
    """int [n]: for each head [n, 4] its body among [m, 4], or -1.

    A head's centre lies in its body, and their tops are close. Of all ways to pair them the one whose sum of distances is
    the least is taken: two heads in one box do not share it.
    """
    pairs = np.full(len(heads), -1, np.intp)
    if not len(heads) or not len(bodies):
        return pairs
    rows, columns = best_pairs(_distances(heads, bodies))
    pairs[rows] = columns
    return pairs


def _distances(heads: Array, bodies: Array) -> Array:
    """[n, m] in head heights: between the tops, and a little from the body's middle; infinite for what cannot belong together."""
    head, body = heads[:, None], bodies[None]
    centre = head[..., :2] + head[..., 2:] / 2
    height = np.maximum(head[..., 3], 1.0)
    inside = np.all((centre >= body[..., :2]) & (centre <= body[..., :2] + body[..., 2:]), axis=2)
    tops = np.abs(head[..., 1] - body[..., 1]) / height
    sideways = np.abs(centre[..., 0] - body[..., 0] - body[..., 2] / 2) / height
    return np.where(inside & (tops <= _MAX_TOPS), tops + 0.1 * sideways, np.inf)


_MAX_TOPS = 2.0  # head heights from the top of a body (a raised arm's, at most) to the top of its head


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
    put(_stretch(scaled(image, size)), row)


def _stretch(image: Array) -> Array:
    """Dark pictures made brighter, colours kept; all others as they are."""
    grey = cv2.cvtColor(np.ascontiguousarray(image[::4, ::4]), cv2.COLOR_BGR2GRAY)
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel().cumsum()
    level = int(np.searchsorted(counts, BRIGHT_SHARE * counts[-1]))
    if level >= DARK:
        return image
    return cv2.convertScaleAbs(image, alpha=min(_FULL / max(level, 1), _MAX_GAIN))


def decode(cells: Array, canvas: tuple[int, int], min_score: float) -> list[Boxes]:
    """The bodies, heads and hands of ``cells`` [cells, 8], in pixels of the canvas (height, width)."""
    scores = cells[:, 5:8] * cells[:, 4:5]
    origins, strides = _grid(canvas)
    found = []
    for kind in (BODY, HEAD, HAND):
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
