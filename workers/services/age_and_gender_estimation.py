"""Faces: how old, and of which gender."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from shared.privacy import Analysis
from workers.contract import Models, Network
from workers.faces import Face, FaceOutput, FaceService, Seen
from workers.lib.faces import Sight
from workers.models import age_gender, yunet


class AgedFace(Face):
    age: int | None = Field(
        None, ge=0, description="The estimated age in years. Left out, like gender, where the stream has it switched off."
    )
    age_confidence: float | None = Field(
        None, ge=0, le=1, description=f"The probability that the person's age is within {age_gender.WITHIN:.0f} years of `age`."
    )
    gender: Literal["male", "female"] | None = Field(None, description="The estimated gender.")
    gender_confidence: float | None = Field(None, ge=0, le=1, description="The probability that the person is of that gender.")


class AgeAndGenderEstimationOutput(FaceOutput[AgedFace]):
    pass


class AgeAndGenderEstimation(FaceService[AgedFace]):
    """How old are people in front of my object? Are they male or female?

    Each picture stands alone. With a session faces are followed over its frames: a face is reported from its fourth
    consecutive frame on, keeps its `id`, and its age and gender are those of all its frames so far, so that they settle.
    """

    name = "age_and_gender_estimation"
    output_type = AgeAndGenderEstimationOutput
    models = (yunet.MODEL, age_gender.MODEL)
    purpose = frozenset({"age", "gender"})
    memory = 50.0  # neither changes; that it forgets at all mends a mix-up of two people

    _network: Network

    def load(self, models: Models) -> None:
        super().load(models)
        self._network = models.open(age_gender.MODEL)

    def weights(self) -> Sequence[str]:
        return (*super().weights(), self._network.sha256)

    def measure(self, sights: Sequence[Sight]) -> npt.NDArray[Any]:
        """[n, 3]: age in years, its spread, logarithm of the odds of being female."""
        estimates = age_gender.estimate(self._network, sights)
        return np.stack([estimates.age, estimates.age_spread, estimates.female], axis=1)

    def without(self, values: npt.NDArray[Any], off: tuple[Analysis, ...]) -> npt.NDArray[Any]:
        """One network estimates both, so it runs for what is left, and the rest is dropped at once."""
        hidden = [column for column, analysis in enumerate(("age", "age", "gender")) if analysis in off]
        if hidden and len(values):
            values = values.copy()
            values[:, hidden] = 0.0
        return values

    def face(self, seen: Seen) -> AgedFace:
        age, spread, odds = seen.values
        told: dict[str, Any] = {}
        if "age" not in seen.off:
            told |= {"age": round(age), "age_confidence": round(float(age_gender.age_confidence(age, spread)), 4)}
        if "gender" not in seen.off:
            told |= {"gender": "female" if odds > 0 else "male", "gender_confidence": round(float(1 / (1 + np.exp(-abs(odds)))), 4)}
        return AgedFace(**seen.common, **told)
