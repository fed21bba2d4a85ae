"""From faces in a picture to what networks take: the one place where a face is cut out.

Pictures are uint8 [height, width, 3]. Boxes are float [n, 4] (x, y, width, height) and points float [n, 5, 2] (x, y), both
in pixels of the picture; for points and matrices integer coordinates are the centres of pixels. The points are, in order:
the eye on the left of the picture, the other eye, the tip of the nose, the corner of the mouth on the left of the picture,
the other corner. Crops are uint8 [n, size, size, 3] in the channel order of the picture. What lies outside the picture is
taken from its nearest edge. Angles are radians, > 0 clockwise in the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]

#: Shrinking by more than this skips pixels between the samples, so the picture is averaged first.
_SKIPS = 0.5
#: A face of more than this many pixels a side is none that can be measured (an exploded box): keeps sums finite.
_MAX_SIDE = 1e6


@dataclass(frozen=True, slots=True)
class Faces:
    """The n faces of one picture as a detector finds them, by falling score."""

    #: float32 [n, 4]: x, y, width, height in pixels of the picture, not clipped to it.
    boxes: Array
    #: float32 [n] in 0..1: the detector's own score, which means something else for each network.
    scores: Array
    #: float32 [n, 5, 2]: x, y in pixels of the picture, in the order of this module.
    points: Array
    #: float64 [n] in 0..1: the probability that there is a face.
    chances: Array
    #: float32 [n, 478, 3] as `workers.models.facemesh` makes them, where the detector looked that closely.
    mesh: Array | None = None

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Sight:
    """The n faces seen in one picture: ``image`` with ``boxes`` [n, 4] and ``points`` [n, 5, 2]; ``mesh`` as in `Faces`."""

    image: Pixels
    boxes: Array
    points: Array
    mesh: Array | None = None

    @classmethod
    def of(cls, image: Pixels, faces: Faces) -> Sight:
        """All faces that a detector found in the picture."""
        return cls(image, faces.boxes, faces.points, faces.mesh)

    def __len__(self) -> int:
        return len(self.boxes)

    def part(self, first: int, last: int) -> Sight:
        """The faces ``first`` to ``last - 1``, as far as there are any."""
        mesh = None if self.mesh is None else self.mesh[first:last]
        return Sight(self.image, self.boxes[first:last], self.points[first:last], mesh)


def at_once(device: str) -> int:
    """How many faces go through a network together, so that a crowd takes no more memory than a group.

    On a CPU a batch takes as long as its faces one by one, and 16 of them instead of 4 took 280 MB more for age and gender.
    """
    return 4 if device == "cpu" else 32


def in_groups(sights: Iterable[Sight], most: int) -> Iterator[list[Sight]]:
    """The same faces in the same order, at most so many in a group, so that a crowd takes no more memory than a group."""
    group: list[Sight] = []
    room = most
    for sight in sights:
        first = 0
        while first < len(sight):
            part = sight.part(first, first + room)
            group.append(part)
            first += len(part)
            room -= len(part)
            if not room:
                yield group
                group, room = [], most
    if group:
        yield group


def align_five_points(image: Pixels, points: Array, template: Array, size: int) -> Pixels:
    """Crops uint8 [n, size, size, 3] of ``image`` in which each face's points lie as near as may be to ``template``.

    ``points`` float [n, 5, 2] in pixels of the picture; ``template`` float [5, 2] in pixels of the crop. Only turned, scaled
    and moved, never mirrored or sheared: the similarity of least squares (Umeyama, 1991; in the plane it has the closed form
    of a complex regression).
    """
    return warp_faces(image, similarities(points, template), size)


def square_crops(image: Pixels, boxes: Array, size: int, *, factor: float, angles: Array | None = None) -> Pixels:
    """Crops uint8 [n, size, size, 3]: squares around the boxes' centres, ``factor`` times as long as their longer side.

    ``angles`` [n]: how far each face is turned clockwise; its crop is turned back by as much.
    """
    return warp_faces(image, square_matrices(boxes, size, factor=factor, angles=angles), size)


def square_matrices(boxes: Array, size: int, *, factor: float, angles: Array | None = None) -> Array:
    """float64 [n, 2, 3]: from pixels of the picture to those of the crops that `square_crops` cuts."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    centres = boxes[:, :2] + boxes[:, 2:] / 2 - 0.5  # from the edges of pixels to their centres
    return _squares(centres, boxes[:, 2:].max(axis=1, initial=0) * factor, size, angles)


def eye_crops(image: Pixels, points: Array, size: int, *, factor: float, angles: Array | None = None) -> Pixels:
    """Crops uint8 [2, n, size, size, 3]: squares around the eye on the left of the picture, and around the other.

    Their side is ``factor`` times the distance between the two; ``angles`` as in `square_crops`.
    """
    eyes = np.asarray(points, np.float64)[:, :2]
    sides = np.linalg.norm(eyes[:, 1] - eyes[:, 0], axis=1) * factor
    return np.stack([warp_faces(image, _squares(eyes[:, side], sides, size, angles), size) for side in (0, 1)])


def eye_angles(points: Array) -> Array:
    """float64 [n]: how far the line from the eye on the left to the other falls towards the right, in radians."""
    line = np.asarray(points, np.float64)[:, 1] - np.asarray(points, np.float64)[:, 0]
    return np.asarray(np.arctan2(line[:, 1], line[:, 0]))


def mirrored(crops: Pixels) -> Pixels:
    """The same crops as a mirror shows them."""
    return crops[..., ::-1, :]


def network_input(crops: Pixels, *, rgb: bool = False) -> npt.NDArray[np.float32]:
    """float32 [n, 3, size, size], 0..255, from BGR crops; the channels turned around for ``rgb``."""
    planes = np.moveaxis(crops, -1, -3)
    return np.ascontiguousarray(planes[..., ::-1, :, :] if rgb else planes, np.float32)


def similarities(points: Array, template: Array) -> Array:
    """float64 [n, 2, 3]: for each set of ``points`` [n, k, 2] the similarity that brings it nearest to ``template`` [k, 2].

    Points that all fall together are only moved.
    """
    source = _complex(points)
    target = _complex(template)
    centre = source.mean(axis=1, keepdims=True)
    spread = source - centre
    weight = (spread * spread.conj()).real.sum(axis=1)
    covariance = (spread.conj() * (target - target.mean())).sum(axis=1)
    turn = np.where(weight > 1e-9, covariance / np.maximum(weight, 1e-9), 1.0)
    return _matrices(turn, target.mean() - turn * centre[:, 0])


def warp_faces(image: Pixels, matrices: Array, size: int) -> Pixels:
    """Crops uint8 [n, size, size, 3] of ``image`` through ``matrices`` [n, 2, 3], which map its pixels to those of the crop."""
    crops = np.empty((len(matrices), size, size, 3), np.uint8)
    for crop, matrix in zip(crops, matrices, strict=True):
        part, through = _averaged(image, matrix, size)
        cv2.warpAffine(part, through, (size, size), dst=crop, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return crops


def unwarped(points: Array, matrices: Array) -> Array:
    """float64 [n, k, 2]: where ``points`` [n, k, 2] of crops lie in the picture, from whose pixels ``matrices`` [n, 2, 3] lead to theirs.

    The matrices turn, scale and move, as all of this module do.
    """
    turn = (matrices[:, 0, 0] + 1j * matrices[:, 1, 0])[:, None]
    shift = _complex(matrices[:, :, 2])[:, None]
    found = (_complex(points) - shift) / turn
    return np.stack([found.real, found.imag], axis=-1)


def _averaged(image: Pixels, matrix: Array, size: int) -> tuple[Pixels, Array]:
    """The picture, or what the crop needs of it shrunk to about the crop's resolution, and the matrix for that."""
    scale = float(np.hypot(*matrix[:, 0]))
    if scale >= _SKIPS:
        return image, matrix
    corners = np.array([[0, size, 0, size], [0, 0, size, size]]) - 0.5
    needed = np.linalg.solve(matrix[:, :2], corners - matrix[:, 2:])
    margin = 2 / scale
    limits = np.array([image.shape[1], image.shape[0]])
    first = np.clip(np.floor(needed.min(axis=1) - margin), 0, limits - 1).astype(int)
    last = np.clip(np.ceil(needed.max(axis=1) + margin), first + 1, limits).astype(int)
    part = image[first[1] : last[1], first[0] : last[0]]
    width, height = (max(1, round(side * scale)) for side in (part.shape[1], part.shape[0]))
    small = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    # A pixel u of the small picture lies at first + (u + 1/2) · step - 1/2 of the picture.
    step = np.array([part.shape[1] / width, part.shape[0] / height])
    through = np.column_stack([matrix[:, :2] * step, matrix[:, :2] @ (first + step / 2 - 0.5) + matrix[:, 2]])
    return small, through  # type: ignore[return-value]


def _squares(centres: Array, sides: Array, size: int, angles: Array | None) -> Array:
    """float64 [n, 2, 3]: squares of these centres [n, 2], sides [n] in pixels and turns [n] onto ``size`` x ``size`` pixels."""
    turn = size / np.clip(sides, 1.0, _MAX_SIDE) * np.exp(-1j * (np.zeros(len(sides)) if angles is None else angles))
    return _matrices(turn, (size - 1) / 2 * (1 + 1j) - turn * _complex(centres))


def _complex(points: Array) -> Array:
    """complex128 [...] of [..., 2]: in the plane a turn with a scaling is one complex factor."""
    points = np.asarray(points, np.float64)
    return np.asarray(points[..., 0] + 1j * points[..., 1])


def _matrices(turn: Array, shift: Array) -> Array:
    """float64 [n, 2, 3] of the maps z -> turn * z + shift, both complex [n]."""
    return np.stack([np.stack([turn.real, -turn.imag, shift.real], -1), np.stack([turn.imag, turn.real, shift.imag], -1)], 1)
