"""People in a picture as a detector gives them: bodies, heads and hands, and which head belongs to which body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.lib.assignment import best_pairs

Array = npt.NDArray[Any]

#: Head heights from the top of a body (a raised arm's, at most) to the top of its head.
_MAX_TOPS = 2.0


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


def tie(heads: Array, bodies: Array, aside: float = 0.0) -> Array:
    """int [n]: for each head [n, 4] its body among [m, 4], or -1.

    A head's centre lies in its body, or beside it by ``aside`` of the head's width at most, and their tops are close. Of all ways
    to pair them the one whose sum of distances is the least is taken: two heads in one box do not share it.
    """
    pairs = np.full(len(heads), -1, np.intp)
    if not len(heads) or not len(bodies):
        return pairs
    rows, columns = best_pairs(_distances(heads, bodies, aside))
    pairs[rows] = columns
    return pairs


def _distances(heads: Array, bodies: Array, aside: float) -> Array:
    """[n, m] in head heights: between the tops, and a little from the body's middle; infinite for what cannot belong together."""
    head, body = heads[:, None], bodies[None]
    centre = head[..., :2] + head[..., 2:] / 2
    height = np.maximum(head[..., 3], 1.0)
    spare = head[..., 2:] * [aside, 0.0]
    inside = np.all((centre >= body[..., :2] - spare) & (centre <= body[..., :2] + body[..., 2:] + spare), axis=2)
    tops = np.abs(head[..., 1] - body[..., 1]) / height
    sideways = np.abs(centre[..., 0] - body[..., 0] - body[..., 2] / 2) / height
    return np.where(inside & (tops <= _MAX_TOPS), tops + 0.1 * sideways, np.inf)
