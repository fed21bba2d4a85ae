"""Which network finds people, and how it is asked: the one place that services of people open their detector through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy.typing as npt

from workers.contract import Models, Network
from workers.lib.faces import Faces
from workers.lib.people import Boxes, People
from workers.models import coco_people, people

Array = npt.NDArray[Any]

MODEL = people.MODEL


class PeopleDetector(Protocol):
    """Finds people. ``name``, ``sha256`` and ``device`` are the network's, as in `workers.contract.Network`."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def needs_faces(self) -> bool:
        """Whether `detect` takes heads from faces."""

    @property
    def min_score(self) -> float:
        """What a body or head must reach, on the network's own scale, unless `detect` is asked for less."""

    def detect(self, images: Sequence[Array], faces: Sequence[Faces], min_score: float | None = None) -> list[People]:
        """The people in each picture, uint8 [height, width, 3] BGR. The scores of bodies and heads are probabilities of a person.

        ``faces``: those of each picture; not looked at by a detector that does not need them.
        """


@dataclass(frozen=True, slots=True)
class _Detector:
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


class PartsDetector(_Detector):
    """`workers.models.people`: bodies, heads and hands of one network."""

    needs_faces = False
    min_score = people.MIN_SCORE

    def detect(self, images: Sequence[Array], faces: Sequence[Faces], min_score: float | None = None) -> list[People]:
        found = people.detect(self.network, images, min_score=self.min_score if min_score is None else min_score)
        return [replace(one, bodies=_probable(one.bodies), heads=_probable(one.heads)) for one in found]


class BodiesDetector(_Detector):
    """`workers.models.coco_people`: bodies of a network, heads of faces."""

    needs_faces = True
    min_score = coco_people.MIN_SCORE

    def detect(self, images: Sequence[Array], faces: Sequence[Faces], min_score: float | None = None) -> list[People]:
        return coco_people.detect(self.network, images, faces, min_score=self.min_score if min_score is None else min_score)


def _probable(boxes: Boxes) -> Boxes:
    return replace(boxes, scores=people.probability(boxes.scores))


def open_people_detector(models: Models) -> PeopleDetector:
    """The best installed one. Raises what `Models.choose` raises."""
    network = models.choose(MODEL)
    return BodiesDetector(network) if network.name == coco_people.MODEL else PartsDetector(network)
