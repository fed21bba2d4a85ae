"""face-api.js age_gender_model: age and gender of faces.

In: ``input`` float32 [n, 3, 112, 112], RGB, 0..255. Out: ``age`` [n, 1] in years, ``gender`` [n, 2], probabilities of male
and female. It depends strongly on the crop: a square of 0.9 times the longer side of YuNet's box serves best for the age (the
error doubles at 1.2), of about 1.0 for the gender, which is taken from a tighter and a wider one; with the eyes level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workers.lib.faces import Sight, eye_angles, mirrored, network_input, square_crops

Array = npt.NDArray[Any]

MODEL = "faceapi-age-gender"
SIZE = 112
#: Sides of the crops in sides of the box. The age is that of the first, the gender that of both.
FACTORS = (0.9, 1.1)
#: The network draws the ages of the old towards middle age: beyond this age the distance to it is stretched.
MIDDLE_AGE, STRETCH = 40.0, 1.3
#: Its probabilities are too even: the odds are raised to this power.
GENDER_POWER = 1.5
#: What the confidence of an age means: that the true age lies so many years around it.
WITHIN = 5.0
_ERROR_AT_BIRTH, _ERROR_PER_YEAR = 2.0, 0.16
_SURE = 1e-4  # no probability is nearer to 0 or 1


class Runs(Protocol):
    """What is needed of a network."""

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]: ...


@dataclass(frozen=True, slots=True)
class Estimates:
    """Of n faces: ``age`` float64 [n] in years, ``age_spread`` [n], half the difference between the crop and its mirror image
    in years, and ``female`` [n], the logarithm of the odds that the person is female."""

    age: Array
    age_spread: Array
    female: Array


def estimate(network: Runs, sights: Sequence[Sight]) -> Estimates:
    """Age and gender of all faces, picture by picture, in one run of the network."""
    crops = np.concatenate([_crops(sight) for sight in sights], axis=1)
    outputs = network.run({"input": network_input(crops.reshape(-1, SIZE, SIZE, 3), rgb=True)})
    ages = outputs["age"].reshape(len(crops), -1)[:2].astype(np.float64)
    ages = np.where(ages > MIDDLE_AGE, MIDDLE_AGE + STRETCH * (ages - MIDDLE_AGE), ages)
    female = outputs["gender"].reshape(len(crops), -1, 2)[:, :, 1].mean(axis=0, dtype=np.float64)
    female = np.clip(female, _SURE, 1 - _SURE)
    odds = GENDER_POWER * np.log(female / (1 - female))
    return Estimates(np.maximum(ages.mean(axis=0), 0), np.abs(ages[0] - ages[1]) / 2, odds)


def age_confidence(age: Array, spread: Array) -> Array:
    """The probability [n] that the true age is within `WITHIN` years of the estimate ``age``, whose ``spread`` is as in `Estimates`.

    Errors are taken to be spread as by Laplace about the estimate: within w with the probability 1 - exp(-w / mean error).
    The mean error grows with the age, from about 2 years for small children to 8 at 40: what was measured on UTKFace by ages,
    times 1.3, since the network has learnt part of those pictures. That the crop and its mirror image disagree adds to it.
    """
    mean_error = np.hypot(_ERROR_AT_BIRTH + _ERROR_PER_YEAR * np.asarray(age), spread)
    return np.asarray(1 - np.exp(-WITHIN / mean_error))


def _crops(sight: Sight) -> npt.NDArray[np.uint8]:
    """uint8 [4, n, 112, 112, 3] BGR: for each factor the crops and their mirror images."""
    angles = eye_angles(sight.points)
    cut = [square_crops(sight.image, sight.boxes, SIZE, factor=factor, angles=angles) for factor in FACTORS]
    return np.stack([crops for squares in cut for crops in (squares, mirrored(squares))])
