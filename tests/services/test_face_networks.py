"""What goes into the networks of faces and what is made of what comes out, against slow computations from their descriptions."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from tests.services.face_crops import planes, sampled
from tests.services.helpers import astronaut, network
from workers.lib.faces import Sight
from workers.models import age_gender, expression, gaze, head_pose, yunet


def sight_of(image: np.ndarray) -> Sight:
    (faces,) = yunet.detect(network(yunet.MODEL), [image])
    assert len(faces) == 1
    return Sight(image, faces.boxes, faces.points)


def turned(degrees: float) -> np.ndarray:
    """The astronaut, turned clockwise about her nose, and at the size at which no crop of her shrinks much."""
    turn = cv2.getRotationMatrix2D((224, 125), -degrees, 1.0)
    return cv2.warpAffine(astronaut(), turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)


PICTURES = pytest.mark.parametrize("image", [turned(0), turned(18), turned(-12)], ids=["upright", "clockwise", "counter-clockwise"])


def tilt(sight: Sight) -> float:
    (x0, y0), (x1, y1) = sight.points[0, :2].tolist()
    return math.atan2(y1 - y0, x1 - x0)


def square(sight: Sight, factor: float) -> tuple[tuple[float, float], float]:
    x, y, width, height = sight.boxes[0].tolist()
    return (x + width / 2 - 0.5, y + height / 2 - 0.5), factor * max(width, height)


def shown(sight: Sight, factor: float, size: int, *, mirror: bool) -> np.ndarray:
    centre, side = square(sight, factor)
    return sampled(sight.image, centre, side, size, tilt(sight), mirror=mirror, over=1 if side < 2 * size else 6)


@PICTURES
def test_age_and_gender(image: np.ndarray) -> None:
    sight = sight_of(image)
    ages, females = [], []
    for factor in (0.9, 1.1):
        for mirror in (False, True):
            out = network(age_gender.MODEL).run({"input": planes(shown(sight, factor, 112, mirror=mirror), rgb=True)})
            females.append(float(out["gender"][0, 1]))
            if factor == 0.9:
                ages.append(float(out["age"][0, 0]))
    female = sum(females) / 4
    found = age_gender.estimate(network(age_gender.MODEL), [sight])
    assert found.age == pytest.approx([sum(ages) / 2], abs=0.3)
    assert found.age_spread == pytest.approx([abs(ages[0] - ages[1]) / 2], abs=0.3)
    assert found.female == pytest.approx([1.5 * math.log(female / (1 - female))], abs=0.1)


def test_ages_beyond_forty_are_stretched() -> None:
    class Fixed:
        """The network's answer for a 30 and a 60 years old, whatever it is shown."""

        def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            assert feeds["input"].shape == (8, 3, 112, 112)
            return {"age": np.array([[30.0], [60.0]] * 4, np.float32), "gender": np.array([[1.0, 0.0], [0.2, 0.8]] * 4, np.float32)}

    face = sight_of(astronaut())
    found = age_gender.estimate(Fixed(), [face, face])
    assert found.age.tolist() == pytest.approx([30, 40 + 1.3 * 20])
    assert found.female[1] == pytest.approx(1.5 * math.log(4))
    assert -20 < found.female[0] < -5, "certain, and finite"


def test_age_confidence_falls_with_age_and_spread() -> None:
    chances = age_gender.age_confidence(np.array([2.0, 20, 40, 70]), np.zeros(4))
    assert np.all(np.diff(chances) < 0)
    assert chances[0] > 0.85
    assert 0.2 < chances[-1] < 0.5
    assert age_gender.age_confidence(np.array([20.0]), np.array([8.0])) < chances[1]


@PICTURES
def test_expression(image: np.ndarray) -> None:
    sight = sight_of(image)
    a = [
        network(expression.MODEL_A).run({"input": planes(shown(sight, 1.2, 112, mirror=m), rgb=True)})["expression"][0]
        for m in (False, True)
    ]
    b = [network(expression.MODEL_B).run({"data": planes(shown(sight, 1.0, 64, mirror=m))})["prob_emotion"][0] for m in (False, True)]
    names_a = dict(zip(("neutral", "happiness", "sadness", "anger", "fear", "disgust", "surprise"), (a[0] + a[1]) / 2, strict=True))
    names_b = dict(zip(("neutral", "happiness", "sadness", "surprise", "anger"), (b[0] + b[1]) / 2, strict=True))
    scores = {name: names_a[name].item() + 0.001 for name in expression.EXPRESSIONS}
    weighed = {name: value**0.3 * (names_b[name].item() + 0.001) ** 0.7 for name, value in scores.items()}
    expected = [value / sum(weighed.values()) for value in weighed.values()]
    (found,) = expression.chances(expression.estimate(network(expression.MODEL_A), network(expression.MODEL_B), [sight]))
    assert found == pytest.approx(expected, abs=0.02)
    assert found.sum() == pytest.approx(1)
    assert expression.EXPRESSIONS[int(found.argmax())] == "happiness"


@PICTURES
def test_expression_of_one_network_alone(image: np.ndarray) -> None:
    sight = sight_of(image)
    shots = [planes(shown(sight, 1.2, 112, mirror=mirror), rgb=True) for mirror in (False, True)]
    mean = sum(network(expression.MODEL_A).run({"input": shot})["expression"][0] for shot in shots) / 2
    scores = mean[[0, 1, 6, 3, 2]] + 0.001
    (found,) = expression.chances(expression.estimate(network(expression.MODEL_A), None, [sight]))
    assert found == pytest.approx(scores / scores.sum(), abs=0.02)
    assert expression.EXPRESSIONS[int(found.argmax())] == "happiness"


def seen_direction(sight: Sight) -> tuple[np.ndarray, float]:
    """([right, up, ahead], roll) of the only head, by rotating its level direction in the plane of the picture."""
    results = []
    for mirror in (False, True):
        blob = (planes(shown(sight, 1.4, 64, mirror=mirror)) - 127.5) / 128
        yaw, pitch, roll = sum(network(name).run({"input": blob})["output"][0] for name in head_pose.MODELS) / 2
        results.append((-yaw if mirror else yaw, pitch, -roll if mirror else roll))
    left, up, clockwise = (math.radians((one + other) / 2) for one, other in zip(*results, strict=True))
    x, y = -math.sin(left), math.cos(left) * math.sin(up)
    a = tilt(sight)
    seen = [x * math.cos(a) + y * math.sin(a), y * math.cos(a) - x * math.sin(a)]
    return np.array([*seen, math.sqrt(1 - x * x - y * y)]), clockwise + a


@PICTURES
def test_head_pose(image: np.ndarray) -> None:
    sight = sight_of(image)
    (right, up, ahead), roll = seen_direction(sight)
    found = head_pose.estimate([network(name) for name in head_pose.MODELS], [sight])
    expected = np.degrees([math.atan2(right, ahead), math.asin(up), roll])
    assert np.degrees([found.yaw[0], found.pitch[0], found.roll[0]]) == pytest.approx(expected, abs=1.0)


@PICTURES
def test_gaze(image: np.ndarray) -> None:
    sight, a = sight_of(image), 0.0
    a = tilt(sight)
    poses = head_pose.estimate([network(name) for name in head_pose.MODELS], [sight])
    yaw, pitch = float(poses.yaw[0]), float(poses.pitch[0])
    right, up, ahead = math.cos(pitch) * math.sin(yaw), math.sin(pitch), math.cos(pitch) * math.cos(yaw)
    level = right * math.cos(a) - up * math.sin(a), up * math.cos(a) + right * math.sin(a), ahead
    head = math.degrees(math.atan2(level[0], level[2])), -math.degrees(math.asin(level[1]))
    first, second = sight.points[0, :2].tolist()
    side = 0.9 * math.dist(first, second)
    total = np.zeros(3)
    for mirror, left, other in ((False, first, second), (True, second, first)):
        crops = [planes(sampled(image, eye, side, 60, a, mirror=mirror)) for eye in (left, other)]
        angles = np.array([[-head[0] if mirror else head[0], head[1], 0]], np.float32)
        feeds = {"left_eye_image": crops[0], "right_eye_image": crops[1], "head_pose_angles": angles}
        vector = network(gaze.MODEL).run(feeds)["gaze_vector"][0] * ([-1, 1, 1] if mirror else [1, 1, 1])
        total += vector / np.linalg.norm(vector)
    x, y, z = total[0] * math.cos(a) + total[1] * math.sin(a), total[1] * math.cos(a) - total[0] * math.sin(a), -total[2]
    expected = np.degrees([math.atan2(x, z), math.atan2(y, math.hypot(x, z))])
    found = gaze.estimate(network(gaze.MODEL), [sight], poses)
    assert np.degrees([found[0][0], found[1][0]]) == pytest.approx(expected, abs=1.0)


def test_several_pictures_together_are_as_each_alone() -> None:
    sights = [sight_of(turned(degrees)) for degrees in (0, 18, -12)]
    sights.insert(1, Sight(astronaut(), np.empty((0, 4)), np.empty((0, 5, 2))))
    hp = [network(name) for name in head_pose.MODELS]
    together = head_pose.estimate(hp, sights)
    looks = np.stack(gaze.estimate(network(gaze.MODEL), sights, together))
    faces = [sight for sight in sights if len(sight)]
    for index, sight in enumerate(faces):
        alone = head_pose.estimate(hp, [sight])
        assert [together.yaw[index], together.pitch[index], together.roll[index]] == pytest.approx(
            [alone.yaw[0], alone.pitch[0], alone.roll[0]], abs=1e-3
        )
        assert looks[:, index] == pytest.approx(np.stack(gaze.estimate(network(gaze.MODEL), [sight], alone))[:, 0], abs=2e-3)
