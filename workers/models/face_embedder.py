"""Which network tells faces apart, and how it is asked: the one place that services open it through.

What two networks make of a face cannot be compared, nor what one makes of it after two detectors, since their points place the
face. So what is kept of faces is kept with `weights.digest` of the detector and the embedder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from workers.contract import Models, Network
from workers.lib.faces import Sight
from workers.lib.gallery import Calibration
from workers.models import dlib_face, face_embedding

Array = npt.NDArray[Any]

MODEL = face_embedding.MODEL


class _Room(Protocol):
    """A module of `workers.models` for a network of this task."""

    MODEL: str
    DIMENSIONS: int
    CALIBRATION: Calibration

    def embed(self, network: Network, sights: Sequence[Sight]) -> Array: ...


_ROOMS: Mapping[str, _Room] = {room.MODEL: room for room in (face_embedding, dlib_face)}


@dataclass(frozen=True, slots=True)
class FaceEmbedder:
    """Faces as directions, by ``network``; `name`, `sha256` and `device` are the network's."""

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

    @property
    def dimensions(self) -> int:
        """Of an embedding."""
        return _ROOMS[self.name].DIMENSIONS

    @property
    def calibration(self) -> Calibration:
        """What the scores of a gallery of these embeddings mean."""
        return _ROOMS[self.name].CALIBRATION

    def embed(self, sights: Sequence[Sight]) -> Array:
        """float32 [n, dimensions] of unit length: the n faces of all pictures (BGR), picture by picture."""
        return _ROOMS[self.name].embed(self.network, sights)


def open_face_embedder(models: Models) -> FaceEmbedder:
    """face-reidentification-retail-0095, or what stands in for it. Raises what `Models.choose` raises."""
    return FaceEmbedder(models.choose(MODEL))
