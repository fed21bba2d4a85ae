"""Faces: what they express."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
from pydantic import Field

from workers.contract import Models, Network
from workers.faces import Face, FaceOutput, FaceService, Seen
from workers.lib.faces import Sight
from workers.models import expression, yunet


class ExpressiveFace(Face):
    neutral: float = Field(ge=0, le=1, description="How likely the face expresses nothing. All five add up to 1.")
    happiness: float = Field(ge=0, le=1, description="How likely it expresses happiness.")
    surprise: float = Field(ge=0, le=1, description="How likely it expresses surprise.")
    anger: float = Field(ge=0, le=1, description="How likely it expresses anger.")
    sadness: float = Field(ge=0, le=1, description="How likely it expresses sadness.")


class FaceExpressionEstimationOutput(FaceOutput[ExpressiveFace]):
    pass


class FaceExpressionEstimation(FaceService[ExpressiveFace]):
    """Are people in front looking happy or surprised?

    Each picture stands alone. With a session faces are followed over its frames: a face is reported from its fourth
    consecutive frame on, keeps its `id`, and its expression is smoothed over the last few frames.
    """

    name = "face_expression_estimation"
    output_type = FaceExpressionEstimationOutput
    models = (yunet.MODEL, expression.MODEL_A, expression.MODEL_B)
    purpose = frozenset({"expression"})
    memory = 3.0  # an expression may last for less than a second

    _networks: tuple[Network, Network | None]

    def load(self, models: Models) -> None:
        super().load(models)
        self._networks = models.open(expression.MODEL_A), models.optional(expression.MODEL_B)

    def weights(self) -> Sequence[str]:
        return (*super().weights(), *(network.sha256 for network in self._networks if network is not None))

    def measure(self, sights: Sequence[Sight]) -> npt.NDArray[Any]:
        """[n, 5]: logarithms of the chances, in the order of `expression.EXPRESSIONS`."""
        return expression.estimate(*self._networks, sights)

    def face(self, seen: Seen) -> ExpressiveFace:
        chances = expression.chances(seen.values).round(4).tolist()
        return ExpressiveFace(**seen.common, **dict(zip(expression.EXPRESSIONS, chances, strict=True)))
