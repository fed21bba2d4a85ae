"""face-reidentification-retail-0095: a face as a direction in 256 dimensions.

In: ``data`` float32 [batch, 3, 128, 128], BGR, 0..255, the five points of the face turned, scaled and moved onto `TEMPLATE`.
Out: ``embedding`` float32 [batch, 256], of any length: only its direction means something.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workers.lib.faces import Sight, align_five_points
from workers.lib.gallery import Calibration

Array = npt.NDArray[Any]

MODEL = "face-reidentification-retail-0095"
SIDE = 128
DIMENSIONS = 256
#: x, y in the crop, in pixels: eye on the left of the picture, other eye, tip of the nose, left corner of the mouth, other corner.
TEMPLATE = np.array([(40.393, 59.081), (87.376, 59.081), (64.034, 81.985), (44.732, 105.561), (83.640, 105.561)], np.float32)

#: With this network and `workers.lib.gallery.Gallery.scores` faces of one person reach 0.65 on average and of two hardly ever 0.32.
CALIBRATION = Calibration(even=0.36, slope=14.0)


class Runs(Protocol):
    """What is needed of a network."""

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]: ...


def embed(network: Runs, sights: Sequence[Sight]) -> Array:
    """float32 [n, 256] of unit length: the n faces of all pictures (BGR), picture by picture, each with its mirror image."""
    crops = np.concatenate([align_five_points(sight.image, sight.points, TEMPLATE, SIDE) for sight in sights])
    if not len(crops):
        return np.empty((0, DIMENSIONS), np.float32)
    both = np.concatenate([crops, crops[:, :, ::-1]]).transpose(0, 3, 1, 2)
    raw = network.run({"data": np.ascontiguousarray(both, np.float32)})["embedding"].reshape(2, len(crops), DIMENSIONS)
    found = raw[0] + raw[1]
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12))
