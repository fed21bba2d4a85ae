"""What is told of a face that the present frame does not show."""

from __future__ import annotations

import numpy as np

from workers.scene.answer import entity, remember_boxes
from workers.scene.person import Look, Person
from workers.scene.sightings import Sighting
from workers.scene.stay import Stay

SIZE = (640, 480)
POINTS = [[310, 110], [350, 108], [331, 130], [315, 150], [346, 149]]


def seen(box: tuple[float, float, float, float], head: tuple[float, float, float, float]) -> Sighting:
    return Sighting(np.array(box), np.array(box), np.array(head), 0.9, None)


def person(box: tuple[float, float, float, float] = (300, 80, 60, 80)) -> Person:
    """Somebody whose face this frame shows at ``box``."""
    one = Person(1, Stay(0.0, 0.0))
    one.gaze, one.head = [0.1, -0.2], [0.0, 0.1, 0.2]
    look = Look(np.array(box), np.array(POINTS, np.float32), 0.95, np.zeros(3), np.zeros(2))
    remember_boxes(one, seen((250, 60, 160, 300), box), look, SIZE)
    return one


def test_a_face_in_the_frame_is_told_of_to_the_pixel() -> None:
    told = entity(person(), 0.0, SIZE, seen=True)
    assert told.face_eye == ((310, 110), (350, 108))
    assert (told.face_nose, told.face_mouth) == ((331, 130), (330, 149))
    assert (told.gaze, told.head) == ((0.1, -0.2), (0.0, 0.1, 0.2))
    assert (told.face_confidence, told.gaze_confidence, told.head_confidence) == (0.95, 0.95, 0.95)


def test_a_face_that_turned_away_goes_with_the_head() -> None:
    one = person()
    remember_boxes(one, seen((400, 60, 160, 300), (400, 100, 120, 160)), None, SIZE)
    told = entity(one, 0.1, SIZE, seen=True)
    assert told.face_roi == (400, 100, 120, 160)
    assert told.face_eye == ((420, 160), (500, 156))  # twice as large, in the same part of the box
    assert (told.gaze, told.gaze_confidence, told.face_confidence) == ((0.1, -0.2), 0, 0)
    assert told.full_body_roi_confidence == 0.9


def test_a_head_at_the_edge_keeps_its_face_inside_the_picture() -> None:
    one = person()
    remember_boxes(one, seen((560, 60, 160, 300), (630, 100, 60, 80)), None, SIZE)
    told = entity(one, 0.1, SIZE, seen=True)
    assert told.face_eye is not None
    assert all(0 <= x < 640 and 0 <= y < 480 for x, y in told.face_eye)


def test_a_face_that_fills_no_pixel_is_still_told_of_where_it_was_seen() -> None:
    told = entity(person((640, 480, 5, 5)), 0.0, SIZE, seen=True)
    assert told.face_eye == ((310, 110), (350, 108))


def test_whose_face_was_never_seen_has_none() -> None:
    one = Person(1, Stay(0.0, 0.0))
    remember_boxes(one, seen((250, 60, 160, 300), (300, 80, 60, 80)), None, SIZE)
    told = entity(one, 0.0, SIZE, seen=True)
    assert (told.face_eye, told.face_nose, told.face_mouth, told.gaze, told.head) == (None, None, None, None, None)
    assert (told.face_confidence, told.gaze_confidence, told.head_confidence) == (0, 0, 0)
