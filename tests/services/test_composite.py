"""Several services on one picture: their own answers, faces looked for once, and nobody fails for a neighbour."""

from __future__ import annotations

from typing import Any

import jsonschema
import numpy as np
import pytest
from pydantic import ValidationError

from shared.errors import ModelMissing, PerceptionError
from shared.settings import read_settings
from tests.fakes import MISBEHAVING
from tests.services.helpers import Session, answer, astronaut, chosen, given, jpeg, loaded
from tests.services.test_shared_faces import WatchedModels
from workers.catalog import load_catalog
from workers.composing import ComposedService, Part
from workers.contract import Item
from workers.models import yunet
from workers.runtime.host import Loader

CATALOG = load_catalog(MISBEHAVING)
COMPOSITE = CATALOG["composite", 1]
assert issubclass(COMPOSITE, ComposedService)
FACE_SERVICES = ("age_and_gender_estimation", "face_detection", "face_expression_estimation", "face_recognition", "gaze_analysis")
PICTURE = jpeg(astronaut())


def joined(*names: str, **faults: PerceptionError) -> ComposedService:
    """A composite of these services over real networks, and of some that could not be loaded."""
    service = COMPOSITE()
    assert isinstance(service, ComposedService)
    service.join({**{name: Part(loaded(CATALOG[name, 1]), batch=4) for name in names}, **faults})
    return service


def asked(*names: str, picture: bytes = PICTURE, **more: object) -> Any:
    return given(COMPOSITE, {"image": picture}, services=list(names), **more)


def test_it_is_made_of_whatever_takes_a_picture() -> None:
    assert set(COMPOSITE.kinds) == {name for (name, _), kind in CATALOG.items() if "image" in kind.input_type.model_fields} - {"composite"}
    assert {"onlooker", *FACE_SERVICES} <= set(COMPOSITE.kinds)
    assert "composite" not in COMPOSITE.kinds
    assert "onlooker" not in load_catalog()["composite", 1].kinds  # type: ignore[attr-defined]
    assert set(COMPOSITE.models) == {model for kind in COMPOSITE.kinds.values() for model in kind.models}
    takes = COMPOSITE.input_type.model_json_schema()
    assert {"services", "image", "album", "sensitivity", "mark"} <= set(takes["properties"])
    assert takes["required"] == ["services", "image"]


def test_each_result_is_the_services_own() -> None:
    album = {"eileen": "attachment://image"}
    composite = answer(joined(*FACE_SERVICES), asked(*FACE_SERVICES, album=album))
    assert list(composite) == list(FACE_SERVICES)
    for name in FACE_SERVICES:
        kind = CATALOG[name, 1]
        more = {"album": album} if name == "face_recognition" else {}
        assert composite[name] == answer(loaded(kind), given(kind, {"image": PICTURE}, **more)), name
    jsonschema.Draft202012Validator(COMPOSITE.output_type.model_json_schema(mode="serialization")).validate(composite)


def test_faces_are_looked_for_once() -> None:
    models = WatchedModels()
    names = (*FACE_SERVICES, "scene_analysis")
    service = COMPOSITE()
    assert isinstance(service, ComposedService)
    parts = {}
    for name in names:
        part = CATALOG[name, 1]()
        part.load(models)
        parts[name] = Part(part)
    service.join(parts)
    results = answer(service, asked(*names, album={"eileen": "attachment://image"}))
    detector = chosen(yunet.MODEL)
    assert models.opened[detector].rows == [1, 1], "the picture and the sample, which is an image of its own"
    assert len(results["scene_analysis"]["entities"]) == results["face_detection"]["nb_faces"] == 1
    models.opened[detector].rows.clear()
    assert answer(service, asked(*names))["face_recognition"]["faces"][0]["names"] == []
    assert models.opened[detector].rows == [1]


def test_the_services_of_a_process_are_loaded_once() -> None:
    loader = Loader(WatchedModels(), read_settings({}, batch=1))
    composite = loader.load(load_catalog()["composite", 1]).computer.service
    alone = loader.load(CATALOG["face_detection", 1]).computer.service
    assert isinstance(composite, ComposedService)
    part = composite.parts["face_detection"]
    assert isinstance(part, Part)
    assert part.service is alone
    assert part.facts["models"][0]["name"] == chosen(yunet.MODEL)


def test_what_a_service_cannot_be_given_is_the_requests_fault() -> None:
    for more, place in (
        ({"services": []}, ("services",)),
        ({"services": ["dummy"]}, ("services", 0)),
        ({"services": ["face_detection", "composite"]}, ("services", 1)),
        ({"services": ["onlooker"], "look": "sideways"}, ("look",)),
        ({"services": ["scene_analysis"], "sensitivity": {"appearance": 2}}, ("sensitivity", "appearance")),
    ):
        with pytest.raises(ValidationError) as error:
            given(COMPOSITE, {"image": PICTURE}, **more)
        assert error.value.errors()[0]["loc"] == place
    given(COMPOSITE, {"image": PICTURE}, services=["face_detection"], look="sideways")  # nobody was asked who reads it


def test_one_service_that_fails_leaves_the_others_their_results() -> None:
    composite = joined("onlooker", "face_detection", gaze_analysis=ModelMissing("weights are away"))
    for look, code in (("raise", "service_failed"), ("too_little", "service_failed"), ("error", "unreadable_input")):
        results = answer(composite, asked("onlooker", "gaze_analysis", "face_detection", look=look))
        assert results["onlooker"]["code"] == code
        assert results["gaze_analysis"] == {"error": "weights are away", "code": "model_missing"}
        assert results["face_detection"]["nb_faces"] == 1
        jsonschema.Draft202012Validator(COMPOSITE.output_type.model_json_schema(mode="serialization")).validate(results)
    assert results["onlooker"] == {"error": "as told", "code": "unreadable_input", "parameter": "image"}


def test_a_job_fails_when_nobody_can_answer() -> None:
    composite = joined("onlooker", gaze_analysis=ModelMissing("weights are away"))
    with pytest.raises(ModelMissing, match="weights are away"):
        answer(composite, asked("gaze_analysis", "onlooker", look="error"))


def test_an_item_that_fails_does_not_fail_its_neighbours() -> None:
    composite = joined("onlooker")
    items = [Item(asked("onlooker", look=look, mark=str(n))) for n, look in enumerate(["well", "raise", "well", "error", "well"])]
    answers = composite.process(items)
    told = [one.code if isinstance(one, PerceptionError) else one.as_result()["onlooker"]["mark"] for one in answers]
    assert told == ["0", "service_failed", "2", "unreadable_input", "4"]


def test_items_of_a_batch_go_through_a_service_together() -> None:
    composite = joined("onlooker", "face_detection")
    asking = [("onlooker",), ("face_detection",), ("onlooker", "face_detection"), *[("onlooker",)] * 4]
    answers = [one.as_result() for one in composite.process([Item(asked(*names)) for names in asking])]  # type: ignore[union-attr]
    assert [set(one) for one in answers] == [set(names) for names in asking]
    assert [one["onlooker"]["together"] for one in answers if "onlooker" in one] == [4, 4, 4, 4, 2, 2]


def test_with_a_session_each_service_follows_it_as_by_itself() -> None:
    names = ("face_detection", "gaze_analysis")
    together = Session(joined(*names))
    alone = {name: Session(loaded(CATALOG[name, 1])) for name in names}
    empty = jpeg(np.full((512, 512, 3), 127, np.uint8))
    for picture, skipped in ((PICTURE, 0), (PICTURE, 0), (PICTURE, 0), (PICTURE, 1), (empty, 0), (PICTURE, 0)):
        results = together.frame(asked(*names, picture=picture), skipped)
        for name in names:
            assert results[name] == alone[name].frame(given(CATALOG[name, 1], {"image": picture}), skipped), name
    assert results["face_detection"]["faces"][0]["id"] == 1


def test_a_frame_that_a_service_did_not_see_is_a_gap_for_it() -> None:
    session = Session(joined("onlooker", "qrcode_decoder"))
    told = []
    for names, look, skipped in (
        (("onlooker",), "well", 0),
        (("qrcode_decoder",), "well", 0),
        (("qrcode_decoder", "onlooker"), "raise", 0),
        (("onlooker",), "well", 2),
        (("onlooker",), "well", 0),
    ):
        told.append(session.frame(asked(*names, look=look), skipped).get("onlooker", {}))
    assert [(one.get("count"), one.get("skipped")) for one in told] == [(1, 0), (None, None), (None, None), (2, 4), (3, 0)]


def test_visits_of_the_services_are_the_composites() -> None:
    composite = joined("onlooker", "face_detection")
    assert COMPOSITE.state_type is not None
    state = COMPOSITE.state_type()
    (output,) = composite.process([Item(asked("onlooker", "face_detection", mark="m"), state)])
    assert [visit.id for visit in output.visits] == ["m-1"]  # type: ignore[union-attr]
    stored = COMPOSITE.state_type.model_validate_json(state.model_dump_json())
    assert [visit.id for visit in composite.close(stored)] == ["looked 1 times"]
