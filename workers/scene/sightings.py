"""The people of one frame: bodies, heads and faces put together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.lib.assignment import best_pairs
from workers.lib.faces import Faces
from workers.lib.people import People, persons
from workers.people import HEADS_ASIDE, HEADS_DOWN

Array = npt.NDArray[Any]

#: A face belongs to a head whose centre is nearer than so many head sizes, if its size is so many of the head's.
_REACH = 0.6
_FACE_SIZES = (0.25, 1.6)
#: Of a body whose head was not found: where its head is, in its widths and heights.
_HEAD_OF_BODY = (0.3, 0.0, 0.4, 0.25)
#: A face without a head or body is a person of its own from this probability on.
_ALONE = 0.8
#: What a sighting proves whose log odds are the second or more (a score of 0.97).
_CERTAIN, _CERTAIN_ODDS = 1.75, 3.5
#: Such a person's head, in sizes of the face.
_HEAD_OF_FACE = 1.35


@dataclass(frozen=True, slots=True)
class Sighting:
    """One person in one frame. Boxes are float64 [4] (x, y, width, height in pixels), not clipped.

    ``box``: from the top of the head to the hips, as large as the head says, which is what is followed: unlike a body's box it does not
    change with arms, or with who stands before it. ``body`` and ``head`` as they were found, or None.
    ``score``: the probability of a person, 0..1. ``face``: its index among the frame's faces, or None. ``heads_sought``: whether the
    detector looks for heads, so that a body without one is in doubt; heads taken from faces are not there from behind.
    """

    box: Array
    body: Array | None
    head: Array | None
    score: float
    face: int | None
    heads_sought: bool = True

    @property
    def proof(self) -> float:
        """What this sighting adds to the belief that there is somebody: `_CERTAIN` at most, less in proportion to the log odds of its
        score, nothing at even chances; half of it without a head or face where heads are sought."""
        odds = math.log(max(self.score, 1e-9) / max(1 - self.score, 1e-9))
        proof = _CERTAIN * min(max(odds / _CERTAIN_ODDS, 0.0), 1.0)
        doubted = self.heads_sought and self.head is None and self.face is None
        return proof / 2 if doubted else proof

    @property
    def whole(self) -> Array:
        """As much of the person as was found."""
        return self.box if self.body is None else self.body


def sight(found: People, faces: Faces, *, heads_sought: bool = True) -> list[Sighting]:
    """The people in one picture, the most certain first. The scores of ``found`` are probabilities; ``heads_sought`` as in `Sighting`."""
    everybody = persons(found)
    bodies = [None if person.body is None else found.bodies.boxes[person.body].astype(np.float64) for person in everybody]
    heads = [None if person.head is None else found.heads.boxes[person.head].astype(np.float64) for person in everybody]
    likely = [_head(head, body) for head, body in zip(heads, bodies, strict=True)]
    faces_of = _tie(likely, np.asarray(faces.boxes, np.float64))
    sightings = [
        Sighting(_below(place), body, head, person.score, face, heads_sought)
        for place, head, body, person, face in zip(likely, heads, bodies, everybody, faces_of, strict=True)
    ]
    sightings = [one for one in sightings if not _doubles(one, sightings)]
    return sightings + _alone(sightings, faces, {face for face in faces_of if face is not None})


def _doubles(one: Sighting, others: list[Sighting]) -> bool:
    """Whether a body without a head has somebody else's where its own should be: a second box of the same person."""
    if one.head is not None or one.body is None:
        return False
    head = _head(None, one.body)
    centre = head[:2] + head[2:] / 2
    return any(
        other.head is not None and np.linalg.norm(other.head[:2] + other.head[2:] / 2 - centre) < _REACH * np.sqrt(other.head[2:].prod())
        for other in others
    )


def _below(head: Array) -> Array:
    """From the top of a head to the hips."""
    x, y, width, height = head
    return np.array([x + width / 2 - HEADS_ASIDE * width, y, 2 * HEADS_ASIDE * width, HEADS_DOWN * height])


def _head(head: Array | None, body: Array | None) -> Array:
    if head is not None:
        return head
    assert body is not None  # noqa: S101 - a person has one of them
    x, y, width, height = body
    left, top, wide, high = _HEAD_OF_BODY
    return np.array([x + left * width, y + top * height, wide * width, min(high * height, 1.3 * wide * width)])


def _tie(heads: list[Array], faces: Array) -> list[int | None]:
    """For each head the index of its face, so that the sum of the distances is the least."""
    pairs: list[int | None] = [None] * len(heads)
    if not heads or not len(faces):
        return pairs
    head = np.array(heads)[:, None]
    sizes = np.sqrt(np.maximum(head[..., 2] * head[..., 3], 1.0))
    apart = np.linalg.norm(head[..., :2] + head[..., 2:] / 2 - faces[None, :, :2] - faces[None, :, 2:] / 2, axis=2) / sizes
    ratio = np.sqrt(np.maximum(faces[None, :, 2] * faces[None, :, 3], 0.0)) / sizes
    forbidden = (apart > _REACH) | (ratio < _FACE_SIZES[0]) | (ratio > _FACE_SIZES[1])
    rows, columns = best_pairs(np.where(forbidden, np.inf, apart))
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        pairs[row] = column
    return pairs


def _alone(sightings: list[Sighting], faces: Faces, tied: set[int]) -> list[Sighting]:
    """People of whom nothing but the face was found: very near ones. A face within a person is that person's."""
    found = []
    for index, (box, chance) in enumerate(zip(np.asarray(faces.boxes, np.float64), faces.chances.tolist(), strict=True)):
        centre = box[:2] + box[2:] / 2
        if index in tied or chance < _ALONE or any(_contains(other.box, centre) for other in sightings):
            continue
        head = np.concatenate([centre - _HEAD_OF_FACE * box[2:] / 2, _HEAD_OF_FACE * box[2:]])
        found.append(Sighting(_below(head), None, head, chance, index))
    return found


def _contains(box: Array, point: Array) -> bool:
    return bool(np.all((point >= box[:2]) & (point <= box[:2] + box[2:])))
