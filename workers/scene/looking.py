"""The networks of the scene analysis, run once over the people of all frames of a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from workers.contract import Image, Models, Network
from workers.faces import MOST_FACES, MOST_FACES_ON_CPU, detect_faces
from workers.lib.faces import Faces, Sight, in_groups
from workers.lib.people import People
from workers.models import age_gender, expression, gaze, head_pose, people_detector, person_reid, yunet
from workers.models.directions import open_directions
from workers.models.face_detector import open_face_detector
from workers.models.people_detector import open_people_detector
from workers.models.weights import digest
from workers.scene.person import Look

Array = npt.NDArray[Any]
T = TypeVar("T")

MODELS = (
    people_detector.MODEL,
    yunet.MODEL,
    person_reid.MODEL,
    *head_pose.MODELS,
    gaze.MODEL,
    expression.MODEL_A,
    expression.MODEL_B,
    age_gender.MODEL,
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A face to be looked at: the ``sight`` of it alone, the probability ``score`` that it is one, and what of it is due."""

    sight: Sight
    score: float
    who: bool
    expression: bool


class Networks:
    """All networks, opened once."""

    def __init__(self, models: Models) -> None:
        def opened(name: str) -> Network:
            return models.open(name)

        self._people, self._faces = open_people_detector(models), open_face_detector(models)
        self._reid = models.optional(person_reid.MODEL)
        self._directions, self._who = open_directions(models), opened(age_gender.MODEL)
        self._expressions = opened(expression.MODEL_A), models.optional(expression.MODEL_B)
        faces = self._who, *(network for network in self._expressions if network is not None)
        weights = " ".join([self._faces.sha256, self._directions.sha256, digest(faces)])
        #: 16 hex digits that stand for the weights of all networks that look at faces.
        self.measured_by = hashlib.sha256(weights.encode()).hexdigest()[:16]
        self._most = MOST_FACES_ON_CPU if self._people.device == "cpu" else MOST_FACES

    def people(self, images: Sequence[Image], faces: Sequence[Faces], lenience: Sequence[float]) -> list[People]:
        """The people in each picture, as ``lenience`` says; pictures with the same go through the network together."""
        found: dict[int, People] = {}
        for less in sorted(set(lenience)):
            members = [index for index, wanted in enumerate(lenience) if wanted == less]
            pixels, seen_faces = [images[index].pixels for index in members], [faces[index] for index in members]
            seen = self._people.detect(pixels, seen_faces, self._people.min_score - less)
            found.update(zip(members, seen, strict=True))
        return [found[index] for index in range(len(images))]

    @property
    def heads_sought(self) -> bool:
        """Whether heads are found by themselves, not taken from faces."""
        return not self._people.needs_faces

    def faces(self, images: Sequence[Image]) -> list[Faces]:
        """The faces in each picture."""
        return detect_faces(self._faces, images)

    @property
    def looks_by(self) -> str:
        """The SHA-256 of the network that says what people look like; "" without one."""
        return "" if self._reid is None else self._reid.sha256

    def embeddings(self, crops: Sequence[Array]) -> Array:
        """float32 [n, 256]: what people look like, of crops as `workers.models.person_reid.crop` makes them."""
        if self._reid is None:
            return np.empty((0, person_reid.DIMENSIONS), np.float32)
        groups = [person_reid.embed(self._reid, crops[start : start + self._most]) for start in range(0, len(crops), self._most)]
        return np.concatenate(groups) if groups else np.empty((0, person_reid.DIMENSIONS), np.float32)

    def look(self, wanted: Sequence[Wanted]) -> list[Look]:
        """Each face, with those networks that are due for it."""
        directions = self._measured(wanted, lambda sights: self._directions.estimate(sights).columns)
        who = iter(self._measured([one for one in wanted if one.who], self._age_and_gender))
        moods = iter(
            self._measured([one for one in wanted if one.expression], lambda sights: expression.estimate(*self._expressions, sights))
        )
        looks = []
        for one, angles in zip(wanted, directions, strict=True):
            age, female = next(who) if one.who else (None, None)
            mood = next(moods) if one.expression else None
            face = one.sight.boxes[0], one.sight.points[0], one.score
            looks.append(Look(*face, angles[:3], angles[3:], age, female, mood, self._directions.gaze_certainty))
        return looks

    def _age_and_gender(self, sights: Sequence[Sight]) -> Array:
        found = age_gender.estimate(self._who, sights)
        return np.column_stack([found.age, found.female])

    def _measured(self, wanted: Sequence[Wanted], measure: Callable[[Sequence[Sight]], Array]) -> list[Array]:
        """A row for each face; a crowd goes through in groups, so that it takes no more memory than a group."""
        return [row for group in in_groups([one.sight for one in wanted], self._most) for row in measure(group)]
