"""Scene analysis through its networks: a real photograph before a camera, for known times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from shared.visits import Visit
from tests.services.helpers import Session, answer, astronaut, given, jpeg, labelled, loaded
from workers.contract import Item, Service
from workers.services.scene_analysis import SceneAnalysis, SceneAnalysisOutput, SceneAnalysisState

START = datetime(2024, 3, 1, 9, tzinfo=UTC)
KEYS = {
    *(
        "face_roi",
        "face_roi_confidence",
        "full_body_roi",
        "full_body_roi_confidence",
        "age",
        "age_confidence",
        "gender",
        "gender_confidence",
    ),
    *("emotion_anger", "emotion_surprise", "emotion_sadness", "emotion_neutral", "emotion_happiness", "emotion_smiling_degree"),
    *("emotion_confidence", "face_eye", "face_mouth", "face_nose", "face_confidence", "gaze", "gaze_confidence", "head", "head_confidence"),
    "direction",
}

#: For figures that hold with these networks and not with those that stand in for them.
PREFERRED = pytest.mark.models("yolox-body-head-hand", "yunet", "person-reidentification-retail-0277")


@cache
def service() -> Service[Any, Any]:
    return loaded(SceneAnalysis)


@cache
def frame(left: int | None) -> bytes:
    """640 x 480: a plain wall, and the astronaut from ``left`` on, in pixels."""
    picture = np.full((480, 640, 3), (150, 140, 130), np.uint8)
    person = astronaut()[0:480, 60:400]
    if left is not None:
        first, last = max(0, left), min(640, left + person.shape[1])
        if first < last:
            picture[:, first:last] = person[:, first - left : last - left]
    return jpeg(picture, 90)


class Camera:
    """A session whose frames are a tenth of a second apart."""

    def __init__(self, **parameters: Any) -> None:
        self.state = SceneAnalysisState().model_dump_json()
        self.number = 0
        self.parameters = {"store": True, **parameters}
        self.visits: list[Visit] = []
        self.events: list[tuple[str, str]] = []

    def see(self, left: int | None, frames: int = 1) -> SceneAnalysisOutput:
        for _ in range(frames):
            state = SceneAnalysisState.model_validate_json(self.state)
            stamp = (START + timedelta(seconds=self.number / 10)).isoformat()
            value = given(SceneAnalysis, {"image": frame(left)}, timestamp=stamp, **self.parameters)
            (output,) = service().process([Item(value, state)])
            self.state, self.number = state.model_dump_json(), self.number + 1
            self.visits += output.visits
            self.events += [(event.type, event.entity_id) for event in output.events]
            for event in output.events:
                assert event.key in output.entities[event.entity_id].model_dump()
        return output

    def close(self) -> list[Visit]:
        return list(service().close(SceneAnalysisState.model_validate_json(self.state)))


def test_one_picture_without_a_session_is_told_of_at_once() -> None:
    result = answer(service(), given(SceneAnalysis, {"image": frame(150)}))
    (entity,) = result["entities"].values()
    assert set(entity) == KEYS
    assert result["events"] == []
    x, y, width, height = entity["face_roi"]
    assert 200 < x + width / 2 < 400
    assert y + height / 2 < 240
    assert entity["gender"] == "female"
    assert entity["emotion_happiness"] > 0.5
    assert entity["face_nose"] is not None


def test_nobody_is_nobody() -> None:
    assert answer(service(), given(SceneAnalysis, {"image": frame(None)}))["entities"] == {}


def test_a_stay_from_beginning_to_end() -> None:
    camera = Camera()
    camera.see(None, 5)
    camera.see(150, 35)
    output = camera.see(None, 25)
    kinds = [kind for kind, _ in camera.events]
    assert kinds[0] == "appearance"
    assert kinds[-1] == "disappearance"
    assert {"age_estimated", "gender_estimated", "focus_locked", "emotion_detected"} <= set(kinds)
    assert kinds.count("appearance") == kinds.count("disappearance") == 1
    assert len({entity for _, entity in camera.events}) == 1
    assert output.entities == {}
    (visit,) = camera.visits
    assert (visit.id, visit.closed, visit.gender) == (camera.events[0][1], True, "female")
    assert visit.started == pytest.approx((START + timedelta(seconds=0.5)).timestamp())
    assert visit.view_seconds == pytest.approx(3.4)
    assert visit.stop_seconds == pytest.approx(3.4)
    assert visit.attention_seconds > 3
    assert camera.close() == []


@pytest.mark.parametrize(("frames", "seconds"), [(10, 0.9), (12, 1.1), (30, 2.9), (32, 3.1)])
def test_times_are_exact_to_the_frame(frames: int, seconds: float) -> None:
    """0.9 s in view is nobody, 1.1 s passes by; 2.9 s of standing is not interested, 3.1 s is (`analytics.totals`)."""
    camera = Camera()
    camera.see(150, frames)
    (visit,) = camera.close()
    assert visit.view_seconds == pytest.approx(seconds)
    assert visit.stop_seconds == pytest.approx(seconds if seconds > 1 else 0)


def test_walking_through_has_a_direction_and_does_not_stand() -> None:
    camera = Camera()
    for left in range(-340, 640, 24):
        camera.see(left)
    camera.see(None, 20)
    (visit,) = camera.visits
    assert visit.direction == "right"
    assert visit.stop_seconds < 1.2
    assert ("direction_estimated", visit.id) in camera.events


def test_short_hiding_keeps_the_person() -> None:
    camera = Camera()
    camera.see(150, 10)
    hidden = camera.see(None, 5)
    assert len(hidden.entities) == 1
    assert next(iter(hidden.entities.values())).full_body_roi_confidence == 0
    camera.see(150, 5)
    assert [kind for kind, _ in camera.events].count("appearance") == 1
    (visit,) = camera.close()
    assert visit.view_seconds == pytest.approx(1.9)


def test_a_face_that_was_seen_stays_known() -> None:
    """Programs of 2018 unpack eyes and gaze of everybody who is told of: also of those who are hidden, or leave with this frame."""
    camera = Camera()
    shown = next(iter(camera.see(150, 10).entities.values()))
    assert shown.face_confidence > 0.5
    leaving = []
    for _ in range(25):
        output = camera.see(None)
        for entity in output.entities.values():
            for known in ("face_eye", "face_nose", "face_mouth", "face_roi", "gaze", "head"):
                assert getattr(entity, known) == getattr(shown, known)
            assert {entity.face_confidence, entity.gaze_confidence, entity.head_confidence, entity.face_roi_confidence} == {0}
        leaving += [event for event in output.events if event.type == "disappearance"]
    assert len(leaving) == 1


@PREFERRED
def test_a_visitor_of_the_labelled_clip_is_one_person() -> None:
    """From a second before the first visit to a second after it, with one salt: another may, seldom, take one person for two."""
    folder, rows = labelled("scene_analysis")
    visit = next(row for row in rows if row["n_people"] == "1")
    first, last, fps, tolerance = (int(visit[name]) for name in ("frame_start", "frame_end", "fps", "tolerance_frames"))
    video = cv2.VideoCapture(str(folder / visit["file"]))
    video.set(cv2.CAP_PROP_POS_FRAMES, first - fps)
    state = SceneAnalysisState(salt="7d444840-9dc0-11d1-b245-5ffdce74fad2")
    told = {"appearance": [], "disappearance": []}
    for number in range(first - fps, last + 2 * fps):
        picture = jpeg(video.read()[1])
        value = given(SceneAnalysis, {"image": picture}, timestamp=(START + timedelta(seconds=number / fps)).isoformat())
        (output,) = service().process([Item(value, state)])
        for event in output.events:
            told.setdefault(event.type, []).append(number)
    assert [len(told[kind]) for kind in ("appearance", "disappearance")] == [1, 1]
    assert first - tolerance <= told["appearance"][0] <= first + tolerance
    assert last - tolerance <= told["disappearance"][0] <= last + fps


def test_without_store_nothing_is_kept() -> None:
    camera = Camera(store=False)
    camera.see(150, 12)
    camera.see(None, 25)
    assert camera.visits == []
    camera.see(150, 12)
    assert camera.close() == []


def test_the_state_is_small_and_no_picture() -> None:
    camera = Camera()
    camera.see(150, 30)
    assert len(camera.state) < 2500


def test_a_batch_of_sessions_is_as_good_as_one_by_one() -> None:
    def results(together: bool) -> list[dict[str, Any]]:
        states = [SceneAnalysisState(salt=f"00000000-0000-0000-0000-00000000000{n}") for n in range(3)]
        values = [given(SceneAnalysis, {"image": frame(left)}, timestamp=START.isoformat()) for left in (100, None, 200)]
        items = [Item(value, state) for value, state in zip(values, states, strict=True)]
        for _ in range(5):
            outputs = service().process(items) if together else [service().process([item])[0] for item in items]
        return [output.as_result() for output in outputs]

    for one, other in zip(results(together=True), results(together=False), strict=True):
        assert one["events"] == other["events"]
        assert list(one["entities"]) == list(other["entities"])


@pytest.mark.parametrize(
    "stamp",
    [
        "yesterday",
        "2016-13-01T00:00:00",
        "0000-01-01T00:00:00",
        "1999-12-31T23:59:59Z",
        "2199-01-01T00:00:00Z",
        "1700000000",
        1700000000,
        "",
    ],
)
def test_a_timestamp_that_is_none(stamp: object) -> None:
    with pytest.raises(ValidationError, match="timestamp"):
        given(SceneAnalysis, {"image": b""}, timestamp=stamp)


def test_the_answer_repeats_the_timestamp() -> None:
    session = Session(service())
    for text in ("2016-10-26T16:21:01.136287+00:00", "2016-10-26T18:21:01+02:00"):
        assert session.frame(given(SceneAnalysis, {"image": frame(None)}, timestamp=text))["timestamp"] == text


@pytest.mark.parametrize(
    "wrong", [{"camera_position": "floor"}, {"sensitivity": {"appearance": 2}}, {"sensitivity": 1}, {"store": "perhaps"}]
)
def test_what_is_no_parameter_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        given(SceneAnalysis, {"image": b""}, **wrong)
