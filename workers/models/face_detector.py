"""Which network finds faces, and how it is asked: the one place that services of faces open their detector through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workers.contract import Models, Network
from workers.lib.faces import Faces, Sight, at_once, in_groups
from workers.models import centerface, facemesh, yunet
from workers.models.weights import digest

Array = npt.NDArray[Any]


class FaceDetector(Protocol):
    """Finds faces. ``name`` is the detecting network's; ``sha256`` stands for all weights that shape its answers, so that what
    was measured by its help can be kept by it; ``device`` as in `workers.contract.Network`."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def device(self) -> str: ...

    def detect(self, images: Sequence[Array], *, min_score: float | None = None) -> list[Faces]:
        """The faces of each picture, uint8 [height, width, 3] BGR; ``min_score``: the least `Faces.scores`, else the network's own."""


@dataclass(frozen=True, slots=True)
class YuNetDetector:
    """`workers.models.yunet`."""

    network: Network

    @property
    def name(self) -> str:
        return self.network.name

    @property
    def sha256(self) -> str:
        return self.network.sha256

    @property
    def device(self) -> str:
        return self.network.device

    def detect(self, images: Sequence[Array], *, min_score: float | None = None) -> list[Faces]:
        return yunet.detect(self.network, images, min_score=yunet.MIN_SCORE if min_score is None else min_score)


@dataclass(frozen=True, slots=True)
class CenterFaceDetector:
    """`workers.models.centerface`, whose faces `workers.models.facemesh` looks at more closely: their points are the mesh's."""

    network: Network
    mesh: Network

    @property
    def name(self) -> str:
        return self.network.name

    @property
    def sha256(self) -> str:
        return digest((self.network, self.mesh))

    @property
    def device(self) -> str:
        return self.network.device

    def detect(self, images: Sequence[Array], *, min_score: float | None = None) -> list[Faces]:
        found = centerface.detect(self.network, images, min_score=centerface.MIN_SCORE if min_score is None else min_score)
        sights = [Sight.of(image, faces) for image, faces in zip(images, found, strict=True)]
        groups = [facemesh.meshes(self.mesh, group) for group in in_groups(sights, at_once(self.device))]
        if not groups:
            return found
        meshes = np.split(np.concatenate(groups), np.cumsum([len(faces) for faces in found])[:-1])
        return [replace(faces, points=facemesh.five_points(mesh), mesh=mesh) for faces, mesh in zip(found, meshes, strict=True)]


def open_face_detector(models: Models) -> FaceDetector:
    """YuNet, or what stands in for it. Raises what `Models.choose` raises."""
    network = models.choose(yunet.MODEL)
    if network.name == centerface.MODEL:
        return CenterFaceDetector(network, models.open(facemesh.MODEL))
    return YuNetDetector(network)
