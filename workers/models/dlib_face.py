"""dlib's face recognition network of 2017, as face-api carries it: a face as a direction in 128 dimensions.

In: ``input`` float32 [batch, 3, 150, 150], RGB, 0..255, the five points of the face turned, scaled and moved onto `TEMPLATE`;
the mean is subtracted inside. Out: ``embedding`` float32 [batch, 128] of lengths around 1.4.

The network was trained for distances below 0.6 between pictures of one person. Directions serve better than distances:
with one picture of each of 53 people, and 1 % of 180 unknown ones accepted, 81 % were recognised against 74 %. So its
scores are cosines as those of the other network. They all lie close to 1, since every embedding has a large part in
common; without that part (the mean of many people subtracted) 66 % were recognised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workers.lib.faces import Sight, align_five_points
from workers.lib.gallery import Calibration

Array = npt.NDArray[Any]

MODEL = "faceapi-recognition"
SIDE = 150
DIMENSIONS = 128
#: x, y in the crop, in pixels: eye on the left of the picture, other eye, tip of the nose, left corner of the mouth, other corner.
#: dlib cuts faces out so that their points lie at (mean + padding) / (1 + 2 · padding) · 150 with a padding of 0.25
#: (`get_face_chip_details` in dlib/image_transforms/interpolation.h, `dnn_face_recognition_ex.cpp`). The mean shape of its 68
#: points is there; an eye is the mean of its six points, and the tip of the nose is its point 30.
TEMPLATE = np.array([(47.549, 46.599), (100.476, 46.599), (74.013, 76.563), (50.415, 103.023), (97.610, 103.023)], np.float32)

#: 0.5 is where at most one unknown person of a hundred is taken for one of twenty known by a picture each. Measured
#: with 233 people (the labelled data, portraits of npm's tabler-ui 0.0.34 and pictures of face-api 1.7.15), the
#: threshold for each person from all others: 1.1 % of the unknown were accepted (95 %: 0.3 to 3.4) and 89 % of the 54
#: with a second picture recognised (78 to 95); known by three pictures each, 0.03 % and 99 %. YuNet's points and the
#: mesh's give the same. The slope lies between those of logistic curves fitted to the scores of first names: 153 on the
#: mesh's points, 228 on YuNet's.
CALIBRATION = Calibration(even=0.939, slope=190.0)


class Runs(Protocol):
    """What is needed of a network."""

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]: ...


def embed(network: Runs, sights: Sequence[Sight]) -> Array:
    """float32 [n, 128] of unit length: the n faces of all pictures (BGR), picture by picture, each with its mirror image."""
    crops = np.concatenate([align_five_points(sight.image, sight.points, TEMPLATE, SIDE) for sight in sights])
    if not len(crops):
        return np.empty((0, DIMENSIONS), np.float32)
    both = np.concatenate([crops, crops[:, :, ::-1]])[..., ::-1].transpose(0, 3, 1, 2)
    raw = network.run({"input": np.ascontiguousarray(both, np.float32)})["embedding"].reshape(2, len(crops), DIMENSIONS)
    found = raw[0] + raw[1]
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12))
