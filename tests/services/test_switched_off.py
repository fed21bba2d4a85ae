"""What a stream has switched off: the networks for it do not run, nothing of it is told, and nothing of it is remembered."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from shared.privacy import ANALYSES, Analysis
from shared.visits import Visit
from tests.services.helpers import all_models, astronaut, chosen, given, jpeg
from tests.services.test_scene_analysis import START, frame
from workers.catalog import load_catalog, offered
from workers.contract import Item, Network, Service
from workers.models import age_gender, expression, person_reid, yunet
from workers.services.age_and_gender_estimation import AgeAndGenderEstimation
from workers.services.scene_analysis import SceneAnalysis, SceneAnalysisOutput, SceneAnalysisState

RAN: Counter[str] = Counter()
ALL = (age_gender.MODEL, expression.MODEL_A, expression.MODEL_B, person_reid.MODEL)


class Watched:
    """A network that counts how often it runs."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.name, self.sha256, self.device = network.name, network.sha256, network.device

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        RAN[self.name] += 1
        return self._network.run(feeds)


class WatchedModels:
    def open(self, name: str) -> Network:
        return Watched(all_models().open(name))

    def choose(self, name: str) -> Network:
        return Watched(all_models().choose(name))

    def optional(self, name: str) -> Network | None:
        network = all_models().optional(name)
        return None if network is None else Watched(network)

    def has(self, name: str) -> bool:
        return all_models().has(name)

    def path(self, name: str) -> Path:
        return all_models().path(name)


@cache
def service(kind: type[Service[Any, Any]]) -> Service[Any, Any]:
    made = kind()
    made.load(WatchedModels())
    return made


class Scene:
    """A session of somebody who stands before the camera, ten frames a second."""

    def __init__(self) -> None:
        self.state, self.number = SceneAnalysisState().model_dump_json(), 0
        self.visits: list[Visit] = []
        self.events: set[str] = set()

    def see(self, frames: int, *off: Analysis, left: int | None = 150) -> SceneAnalysisOutput:
        for _ in range(frames):
            state = SceneAnalysisState.model_validate_json(self.state)
            stamp = (START + timedelta(seconds=self.number / 10)).isoformat()
            value = given(SceneAnalysis, {"image": frame(left)}, timestamp=stamp, store=True)
            (output,) = service(SceneAnalysis).process([Item(value, state, off=off)])
            self.state, self.number = state.model_dump_json(), self.number + 1
            self.visits += output.visits
            self.events |= {event.type for event in output.events}
        return output

    @property
    def person(self) -> dict[str, Any]:
        (person,) = json.loads(self.state)["people"].values()
        return dict(person)

    def close(self) -> list[Visit]:
        return list(service(SceneAnalysis).close(SceneAnalysisState.model_validate_json(self.state)))


@pytest.fixture(autouse=True)
def _fresh() -> None:
    RAN.clear()


@pytest.mark.models(*ALL)
def test_with_all_on_every_network_runs() -> None:
    """Else the tests below would prove nothing."""
    scene = Scene()
    (entity,) = scene.see(25).entities.values()
    assert all(RAN[name] for name in ALL), RAN
    assert entity.age is not None
    assert entity.gender is not None
    assert entity.emotion_happiness is not None
    assert {"age_estimated", "gender_estimated"} <= scene.events
    (visit,) = scene.close()
    assert None not in (visit.age, visit.gender, visit.happiness)


def test_with_all_off_no_such_network_runs_and_the_visit_is_counted() -> None:
    scene = Scene()
    (entity,) = scene.see(25, *ANALYSES).entities.values()
    assert not any(RAN[name] for name in ALL), RAN
    told = entity.model_dump()
    hidden = {name: value for name, value in told.items() if name.startswith(("age", "gender", "emotion"))}
    assert {name for name, value in hidden.items() if value not in (None, 0)} == set()
    assert told["gaze"] is not None
    assert scene.events <= {"appearance", "focus_locked", "direction_estimated"}
    (visit,) = scene.close()
    assert (visit.age, visit.gender, visit.happiness) == (None, None, None)
    assert visit.attention_seconds > 1


@pytest.mark.parametrize("off", ["age", "gender"])
def test_one_of_two_that_a_network_estimates_together(off: Analysis) -> None:
    scene = Scene()
    (entity,) = scene.see(25, off).entities.values()
    assert RAN[age_gender.MODEL]
    other = "gender" if off == "age" else "age"
    assert (getattr(entity, off), getattr(entity, f"{off}_confidence")) == (None, 0)
    assert getattr(entity, other) is not None
    assert f"{off}_estimated" not in scene.events
    assert f"{other}_estimated" in scene.events
    (visit,) = scene.close()
    assert (getattr(visit, off), getattr(visit, other) is None) == (None, False)
    kept = scene.person["demography"]
    assert (kept["age"], kept["spread"]) == (0, 0) if off == "age" else kept["female"] == 0


def test_what_was_known_before_is_forgotten_at_once_and_begins_anew() -> None:
    scene = Scene()
    scene.see(25)
    assert scene.person["demography"]["weight"] > 0
    assert scene.person["expressions"]["logs"]
    (entity,) = scene.see(1, *ANALYSES).entities.values()
    assert (entity.age, entity.gender, entity.emotion_neutral) == (None, None, None)
    assert scene.person["demography"]["weight"] == 0
    assert not scene.person["expressions"]["logs"]
    assert not any(track["looks"] for track in json.loads(scene.state)["following"]["tracks"])
    (visit,) = scene.close()
    assert (visit.age, visit.gender, visit.happiness) == (None, None, None)
    (entity,) = scene.see(10).entities.values()
    assert 15 < (entity.age or 0) < 70


def test_somebody_who_comes_while_it_is_off_is_nobody_known() -> None:
    scene = Scene()
    scene.see(3, "expression", left=None)
    (entity,) = scene.see(12, "expression").entities.values()
    assert not RAN[expression.MODEL_A]
    assert entity.emotion_confidence == 0
    assert entity.age is not None


def picture(**more: Any) -> Any:
    return given(AgeAndGenderEstimation, {"image": jpeg(astronaut())}, **more)


@pytest.mark.parametrize("off", ["age", "gender"])
def test_age_and_gender_apart(off: Analysis) -> None:
    (both,) = service(AgeAndGenderEstimation).process([Item(picture())])
    (one,) = service(AgeAndGenderEstimation).process([Item(picture(), off=(off,))])
    (face,), (whole,) = one.as_result()["faces"], both.as_result()["faces"]
    assert face == {name: value for name, value in whole.items() if not name.startswith(off)}


def test_neighbours_in_a_batch_have_settings_of_their_own() -> None:
    items = [Item(picture(), off=off) for off in ((), ("age",), ("gender",), ())]
    answers = [output.as_result()["faces"][0] for output in service(AgeAndGenderEstimation).process(items)]
    assert [("age" in face, "gender" in face) for face in answers] == [(True, True), (False, True), (True, False), (True, True)]
    assert answers[0] == answers[3]


def test_a_session_does_not_mix_what_was_measured_with_another_setting() -> None:
    kind = AgeAndGenderEstimation
    stored, ages = kind.state_type().model_dump_json(), []
    for off in ((),) * 5 + (("age",),) * 5 + ((),) * 2:
        state = kind.state_type.model_validate_json(stored)
        (output,) = service(kind).process([Item(picture(), state, off=off)])
        stored = state.model_dump_json()
        faces = output.as_result()["faces"]
        ages.append(faces[0].get("age") if faces else None)
        if "age" in off:
            assert all(known["values"][:2] == [0, 0] for known in json.loads(stored)["measured"].values())
    assert ages[5:10] == [None] * 5
    assert ages[10:] == [ages[4]] * 2


def test_services_without_a_purpose_left_are_not_offered() -> None:
    catalog = load_catalog()
    left = {name for name, _ in offered(catalog, ("expression", "identification"))}
    assert {name for name, _ in catalog} - left == {"face_expression_estimation", "face_recognition"}
    assert ("age_and_gender_estimation", 1) in offered(catalog, ("age",))
    assert ("age_and_gender_estimation", 1) not in offered(catalog, ("age", "gender"))
    assert offered(catalog, ()) is catalog


def test_a_composite_is_offered_over_what_is_left() -> None:
    catalog = load_catalog()
    composite: Any = offered(catalog, ("expression",))["composite", 1]
    before: Any = catalog["composite", 1]
    assert set(before.kinds) - set(composite.kinds) == {"face_expression_estimation"}
    assert set(before.output_type.model_fields) - set(composite.output_type.model_fields) == {"face_expression_estimation"}
    assert "face_expression_estimation" not in json.dumps(composite.input_type.model_json_schema())


def test_a_composite_tells_its_parts_what_is_off() -> None:
    composite: Any = load_catalog()["composite", 1]
    from workers.composing import Part

    made = composite()
    made.join({name: Part(service(kind)) for name, kind in composite.kinds.items() if name == "age_and_gender_estimation"})
    value = given(composite, {"image": jpeg(astronaut())}, services=["age_and_gender_estimation"])
    for state in (None, composite.state_type()):
        for _ in range(5):
            (output,) = made.process([Item(value, state, off=("gender",))])
        (face,) = output.as_result()["age_and_gender_estimation"]["faces"]
        assert ("age" in face, "gender" in face) == (True, False)
    assert RAN[chosen(yunet.MODEL)]
