"""Which network finds faces, and how it is asked: the one place that services of faces open their detector through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from workers.contract import Models, Network
from workers.lib.faces import Faces
from workers.models import yunet

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


def open_face_detector(models: Models) -> FaceDetector:
    """YuNet. Raises what `Models.open` raises."""
    return YuNetDetector(models.open(yunet.MODEL))
