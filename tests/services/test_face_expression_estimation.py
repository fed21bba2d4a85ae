from __future__ import annotations

import cv2
import numpy as np
import pytest

from shared.errors import UnreadableInput
from tests.services.helpers import Session, all_models, answer, astronaut, given, jpeg, labelled, loaded, png
from workers.contract import Input
from workers.models import expression, yunet
from workers.models.expression import EXPRESSIONS
from workers.services.face_expression_estimation import FaceExpressionEstimation


def picture(pixels: np.ndarray) -> Input:
    return given(FaceExpressionEstimation, {"image": jpeg(pixels)})


def strongest(face: dict[str, float]) -> str:
    return max(EXPRESSIONS, key=lambda name: face[name])


def test_a_smile() -> None:
    result = answer(loaded(FaceExpressionEstimation), picture(astronaut()))
    assert result["input_size"] == [512, 512]
    (face,) = result["faces"]
    assert sorted(face) == sorted([*EXPRESSIONS, "roi", "roi_confidence"])
    assert face["happiness"] > 0.8
    assert sum(face[name] for name in EXPRESSIONS) == pytest.approx(1, abs=1e-3)


def test_an_open_mouth_and_raised_brows() -> None:
    """The example is drawn so."""
    result = answer(loaded(FaceExpressionEstimation), FaceExpressionEstimation.example())
    assert result["nb_faces"] == 1
    assert strongest(result["faces"][0]) == "surprise"


def test_tilted_mirrored_and_grey_it_is_still_a_smile() -> None:
    service = loaded(FaceExpressionEstimation)
    turn = cv2.getRotationMatrix2D((224, 125), 25, 1.0)
    for pixels in (
        cv2.warpAffine(astronaut(), turn, (512, 512), borderMode=cv2.BORDER_REPLICATE),
        np.ascontiguousarray(astronaut()[:, ::-1]),
        cv2.cvtColor(astronaut(), cv2.COLOR_BGR2GRAY),
    ):
        (face,) = answer(service, picture(pixels))["faces"]
        assert strongest(face) == "happiness"


@pytest.mark.parametrize("size", [(1, 1), (2, 3000), (64, 64)])
def test_nobody(size: tuple[int, int]) -> None:
    value = given(FaceExpressionEstimation, {"image": png(np.full((*size, 3), 40, np.uint8))})
    assert answer(loaded(FaceExpressionEstimation), value) == {"input_size": [size[1], size[0]], "nb_faces": 0, "faces": []}


def test_not_a_picture() -> None:
    value = given(FaceExpressionEstimation, {"image": b""})
    with pytest.raises(UnreadableInput):
        value.image.decode()  # type: ignore[attr-defined]


def test_with_a_session_from_the_fourth_frame_on_and_with_an_id() -> None:
    session = Session(loaded(FaceExpressionEstimation))
    results = [session.frame(picture(astronaut())) for _ in range(5)]
    assert [result["nb_faces"] for result in results] == [0, 0, 0, 1, 1]
    (face,) = results[-1]["faces"]
    assert face["id"] == 1
    assert face["happiness"] > 0.8


def test_in_a_session_a_change_shows_within_frames_but_not_at_once() -> None:
    """The face of the drawing, grown to the astronaut's place, after hers: happiness fades, surprise comes."""
    session = Session(loaded(FaceExpressionEstimation))
    drawn = cv2.imdecode(np.frombuffer(FaceExpressionEstimation.example().image.data, np.uint8), cv2.IMREAD_COLOR)
    other = cv2.warpAffine(drawn, np.array([[0.55, 0, 46], [0, 0.55, -15]]), (512, 512), borderMode=cv2.BORDER_REPLICATE)
    (before,) = [session.frame(picture(astronaut())) for _ in range(6)][-1]["faces"]
    changing = [session.frame(picture(other))["faces"][0] for _ in range(8)]
    assert {face["id"] for face in changing} == {before["id"]}
    surprise = [face["surprise"] for face in changing]
    alone = answer(loaded(FaceExpressionEstimation), picture(other))["faces"][0]["surprise"]
    assert before["surprise"] < surprise[0] < alone - 0.1
    # Of one network alone, what is in neither of the two may pass between.
    slack = 0.0 if all_models().has(expression.MODEL_B) and all_models().has(yunet.MODEL) else 0.03
    assert np.all(np.diff(surprise) >= -slack)
    assert surprise[-1] == pytest.approx(alone, abs=0.1)


@pytest.mark.models(yunet.MODEL, expression.MODEL_B)
def test_labelled_faces() -> None:
    folder, rows = labelled("face_expression_estimation")
    service = loaded(FaceExpressionEstimation)
    right: dict[str, list[bool]] = {name: [] for name in EXPRESSIONS}
    for row in rows:
        faces = answer(service, given(FaceExpressionEstimation, {"image": (folder / row["file"]).read_bytes()}))["faces"]
        face = max(faces, key=lambda face: face["roi"][2] * face["roi"][3])
        right[row["expression"]].append(strongest(face) == row["expression"])
    assert {len(found) for found in right.values()} == {12}
    assert np.mean([np.mean(found) for found in right.values()]) >= 0.83
