"""MediaPipe's attention mesh: points of faces, and from them where heads are turned and where eyes look.

In: ``input`` float32 [n, 192, 192, 3], RGB, 0..1: a square of 1.5 times the longer side of the face's box, the eyes level. Out, in pixels of the
crop: ``mesh`` [n, 1, 1, 1404], 468 points x, y, z (> 0 away from the camera, the face's middle at about 0, as far as x would be);
``left_eye``, ``right_eye`` [n, 1, 1, 142] and ``lips`` [n, 1, 1, 160], x and y of 71 and 80 points again, closer looked at, of the eye on the
left of the picture, the other, and the mouth; ``left_iris``, ``right_iris`` [n, 1, 1, 10], the centre and four points around it;
``face`` [n, 1], whether there is a face: not used, since blurred and small faces have little of it.

The numbers of points are MediaPipe's (https://github.com/google-ai-edge/mediapipe, face_landmarker). A mesh here is float32 [478, 3]: the 468,
then the irises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workers.lib import geometry
from workers.lib.faces import Sight, eye_angles, square_matrices, unwarped, warp_faces
from workers.models.head_pose import Poses

Array = npt.NDArray[Any]

MODEL = "facemesh-attention"
SIZE = 192
#: Side of the crop in sides of the box. Crops of 1.25 to 1.5 agree with their mirror images to 0.026 of the distance of the eyes, of 2.0 to 0.06.
FACTOR = 1.5
POINTS = 478
LEFT_IRIS, RIGHT_IRIS = 468, 473
NOSE, MOUTH = 1, (61, 291)
#: Outer and inner corner of the eye on the left of the picture, and of the other.
CORNERS = ((33, 133), (263, 362))
#: The middle of the upper lid, and of the lower.
LIDS = (((159, 160, 158), (145, 144, 153)), ((386, 387, 385), (374, 373, 380)))
#: Which points of the mesh the first points of ``left_eye`` and ``right_eye`` are: the edges of the lids.
_EYES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398),
)
#: Where the corners of the mouth are among ``lips``.
_LIPS = (0, 10)
#: What of a face moves with the head alone, looking at the camera: a point on the left of the picture, its counterpart, and where the first lies to
#: the right, upwards and towards the camera. The mean of this network's own meshes of 361 faces (portraits and clips), each turned back by
#: the angles of FSA-Net and averaged with its mirror image; the root of the mean square is 1.
_RIGID = (
    (4, 4, 0.0, -0.245, 0.792),
    (6, 6, 0.0, 0.214, 0.457),
    (10, 10, 0.0, 1.140, 0.248),
    (33, 263, -0.732, 0.252, 0.022),
    (54, 284, -0.975, 0.805, -0.252),
    (67, 297, -0.575, 1.076, 0.117),
    (117, 346, -0.869, -0.021, 0.034),
    (119, 348, -0.550, -0.036, 0.175),
    (121, 350, -0.304, 0.052, 0.222),
    (127, 356, -1.145, 0.131, -0.772),
    (129, 358, -0.363, -0.329, 0.316),
    (132, 361, -1.091, -0.613, -0.765),
    (133, 362, -0.290, 0.229, 0.111),
    (136, 365, -0.793, -1.239, -0.305),
    (143, 372, -1.024, 0.155, -0.209),
    (147, 376, -1.028, -0.472, -0.150),
    (198, 420, -0.237, -0.137, 0.466),
    (205, 425, -0.676, -0.405, 0.242),
)
#: Where eyes look, from the direction of the head and from the eyes: fitted by least squares to what gaze-estimation-adas-0002 says of the same
#: 361 faces. On faces that were left out of the fit the correlation is .90 for yaw and .77 for pitch, and the spread of the estimates .83
#: and .59 of that of the network's: the mesh hardly sees eyes look up and down, and its estimates stay near the mean.
_GAZE_RIGHT = (0.933, 2.358)
#: The iris says less of a turned head's eyes: nothing from a sine of 0.7 on.
_IRIS_FADES = 2.0
_GAZE_UP = (0.359, 0.378, 3.266, -0.288)
#: The share of faces left out of the fit whose gaze lay within 10 degrees of that network's.
CERTAINTY = 0.7
_MOST = 0.95  # what of a direction of length 1 may lie in the picture


class Runs(Protocol):
    """What is needed of a network."""

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]: ...


def meshes(network: Runs, sights: Sequence[Sight]) -> Array:
    """float32 [n, 478, 3]: the faces of all sights, picture by picture, in one run. x and y in pixels of the picture, z in the same measure.

    Of a face that was looked at before (`Sight.mesh`) the mesh is not made again.
    """
    missing = [sight for sight in sights if sight.mesh is None and len(sight)]
    made = iter(_made(network, missing) if missing else ())
    parts = [sight.mesh if sight.mesh is not None else next(made) if len(sight) else _NOTHING for sight in sights]
    return np.concatenate(parts) if parts else _NOTHING


_NOTHING = np.empty((0, POINTS, 3), np.float32)


def _made(network: Runs, sights: Sequence[Sight]) -> list[Array]:
    matrices = [square_matrices(sight.boxes, SIZE, factor=FACTOR, angles=eye_angles(sight.points)) for sight in sights]
    crops = np.concatenate([warp_faces(sight.image, turns, SIZE) for sight, turns in zip(sights, matrices, strict=True)])
    found = assembled(network.run({"input": crops[..., ::-1].astype(np.float32) / np.float32(255)}))
    parts = np.split(found, np.cumsum([len(sight) for sight in sights])[:-1])
    return [_in_picture(part, turns) for part, turns in zip(parts, matrices, strict=True)]


def assembled(outputs: dict[str, Array]) -> Array:
    """float32 [n, 478, 3]: the mesh in pixels of the crop, with the points that were looked at more closely in their places."""
    count = len(outputs["mesh"])
    mesh = np.zeros((count, POINTS, 3), np.float32)
    mesh[:, :LEFT_IRIS] = outputs["mesh"].reshape(count, LEFT_IRIS, 3)
    closer = mesh.copy()
    for side, (eye, first) in enumerate(zip(("left", "right"), (LEFT_IRIS, RIGHT_IRIS), strict=True)):
        mesh[:, first : first + 5] = closer[:, first : first + 5] = mesh[:, CORNERS[side]].mean(axis=1, keepdims=True)
        closer[:, _EYES[side], :2] = outputs[f"{eye}_eye"].reshape(count, -1, 2)[:, : len(_EYES[side])]
        closer[:, first : first + 5, :2] = outputs[f"{eye}_iris"].reshape(count, 5, 2)
    closer[:, MOUTH, :2] = outputs["lips"].reshape(count, -1, 2)[:, _LIPS]
    return np.where(np.isfinite(closer), closer, mesh)  # a mesh folded to a point has no eyes to look at


def _in_picture(mesh: Array, matrices: Array) -> Array:
    scales = np.hypot(matrices[:, 0, 0], matrices[:, 1, 0])
    flat = unwarped(mesh[..., :2], matrices)
    return np.concatenate([flat, mesh[..., 2:] / scales[:, None, None]], axis=-1).astype(np.float32)


def five_points(mesh: Array) -> Array:
    """float32 [n, 5, 2]: middles of the eyes, tip of the nose and corners of the mouth, in the order of `workers.lib.faces`.

    An eye's middle is halfway between the iris and the middle of its corners: it does not run away with the gaze.
    """
    eyes = [(mesh[:, iris] + mesh[:, corners].mean(axis=1)) / 2 for iris, corners in zip((LEFT_IRIS, RIGHT_IRIS), CORNERS, strict=True)]
    points = [*eyes, mesh[:, NOSE], *(mesh[:, corner] for corner in MOUTH)]
    return np.stack(points, axis=1)[..., :2].astype(np.float32)


def directions(mesh: Array) -> tuple[Poses, Array, Array]:
    """Poses of the heads, and yaw and pitch of the gazes [n], radians, as in `workers.lib.geometry`, from meshes [n, 478, 3] of the picture."""
    tilts = eye_angles(mesh[:, [CORNERS[0][0], CORNERS[1][0]], :2])
    level = _level(mesh, tilts)
    turns = _rotations(level[:, _INDICES])
    ahead = turns[..., 2]
    roll = np.arctan2(-turns[:, 1, 0], turns[:, 1, 1])
    head = Poses(*geometry.angles(geometry.turned(ahead, tilts)), roll + tilts)
    return head, *geometry.angles(geometry.turned(_gazes(level, ahead), tilts))


def _level(mesh: Array, tilts: Array) -> Array:
    """float64 [n, 478, 3]: to the right, upwards and towards the camera, the eyes level, the middle of the rigid points at 0."""
    centred = mesh.astype(np.float64) - mesh[:, _INDICES].mean(axis=1, keepdims=True, dtype=np.float64)
    flipped = centred * [1, -1, -1]
    return geometry.turned(flipped, -tilts[:, None])


def _rotations(points: Array) -> Array:
    """float64 [n, 3, 3]: how the rigid points [n, k, 3] are turned, by least squares (Kabsch)."""
    left, _, right = np.linalg.svd(np.einsum("nki,kj->nij", points, _TEMPLATE))
    handed = np.sign(np.linalg.det(left) * np.linalg.det(right))
    left[..., 2] *= handed[:, None]
    return np.asarray(left @ right)


def _gazes(level: Array, ahead: Array) -> Array:
    """float64 [n, 3]: where eyes look in a level picture, from meshes as `_level` gives them and the directions of the heads [n, 3]."""
    aside, lid, lid_height = np.mean([_eye(level, side) for side in (0, 1)], axis=0)
    seen = np.maximum(0, 1 - _IRIS_FADES * ahead[:, 0] ** 2)
    right = _GAZE_RIGHT[0] * ahead[:, 0] + _GAZE_RIGHT[1] * seen * aside
    up = _GAZE_UP[0] * ahead[:, 1] + _GAZE_UP[1] * lid + _GAZE_UP[2] * lid_height + _GAZE_UP[3]
    flat = np.stack([right, up], axis=-1)
    flat *= np.minimum(1, _MOST / np.maximum(np.linalg.norm(flat, axis=-1, keepdims=True), 1e-9))
    return np.column_stack([flat, np.sqrt(1 - (flat**2).sum(axis=-1))])


def _eye(level: Array, side: int) -> tuple[Array, Array, Array]:
    """Of an eye, in its widths: how far the iris is to the right of its middle, how open it is, how high the middle of the lids is."""
    corners = level[:, CORNERS[side]]
    width = np.maximum(np.linalg.norm(corners[:, 0] - corners[:, 1], axis=-1), 1e-6)
    middle = corners.mean(axis=1)
    upper, lower = (level[:, lid, 1].mean(axis=1) for lid in LIDS[side])
    aside = (level[:, (LEFT_IRIS, RIGHT_IRIS)[side], 0] - middle[:, 0]) / width
    return aside, (upper - lower) / width, ((upper + lower) / 2 - middle[:, 1]) / width


def _both_sides() -> tuple[list[int], Array]:
    """Numbers of the rigid points [k], and where they lie: float64 [k, 3], their mean at 0."""
    places = {index: (x, y, z) for index, _, x, y, z in _RIGID} | {index: (-x, y, z) for _, index, x, y, z in _RIGID}
    template = np.array(list(places.values()))
    return list(places), template - template.mean(axis=0)


_INDICES, _TEMPLATE = _both_sides()
