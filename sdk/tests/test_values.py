"""Pauses, answers as dataclasses, sounds, lanes, parts of streams: what needs no server."""

from __future__ import annotations

import base64
import json
import threading
import zlib
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any, Optional

import pytest

from angus import results, sound
from angus._core.lanes import Lanes
from angus._core.parts import PartReader, boundary_of, part_of
from angus.errors import AngusError
from angus.retries import NO_RETRIES, Retries, retry_after_of


def test_pauses_grow_are_drawn_and_respect_the_server() -> None:
    retries = Retries(attempts=4, first=1.0, longest=20.0)
    drawn = [[retries.pause(sent, None) or 0.0 for _ in range(200)] for sent in (1, 2, 3)]
    assert [max(pauses) <= limit for pauses, limit in zip(drawn, (1, 2, 4))] == [True] * 3
    assert all(len(set(pauses)) > 100 for pauses in drawn)
    assert max(drawn[2]) > 2
    assert all(3 <= (retries.pause(1, 3.0) or 0) <= 4 for _ in range(50))


@pytest.mark.parametrize(("sent", "retry_after"), [(4, None), (1, 21.0), (9, 1.0)])
def test_there_is_an_end_to_it(sent: int, retry_after: Optional[float]) -> None:
    assert Retries(attempts=4, longest=20.0).pause(sent, retry_after) is None
    assert NO_RETRIES.pause(1, None) is None


def test_retry_after_is_a_number_or_a_date() -> None:
    date = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=30), usegmt=True)
    assert 27 < (retry_after_of({"Retry-After": date}) or 0) <= 30
    assert [retry_after_of({"Retry-After": text}) for text in ("2", "0", "-5", "soon")] == [2, 0, 0, None]
    assert retry_after_of({}) is None


def test_answers_become_dataclasses() -> None:
    face = {"roi": [1, 2, 3, 4], "roi_confidence": 0.9, "names": [{"key": "a", "confidence": 0.8}], "news": 1}
    answer = results.parse(results.FaceRecognition, {"url": "u", "status": 201, "input_size": [640, 480], "nb_faces": 1, "faces": [face]})
    assert answer.faces[0] == results.NamedFace((1, 2, 3, 4), 0.9, [results.Name("a", 0.8)])
    assert answer.input_size == (640, 480)
    assert answer.album_errors is None


def test_an_entity_of_whom_little_is_known() -> None:
    entity: dict[str, Any] = {
        "face_roi": [0, 0, 1, 1],
        "face_roi_confidence": 0,
        "full_body_roi": [0, 0, 2, 2],
        "full_body_roi_confidence": 1,
    }
    scene = {"timestamp": "t", "input_size": [1, 1], "events": [], "entities": {"e": {**entity, "age": None, "face_eye": [[1, 2], [3, 4]]}}}
    person = results.parse(results.SceneAnalysis, scene).entities["e"]
    assert (person.age, person.face_eye, person.gaze) == (None, ((1, 2), (3, 4)), None)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"url": "u", "status": 202}, "no answer of FaceDetection"),
        ({"status": 422, "error": "not a picture"}, "not a picture"),
        ({"input_size": [1, 2], "nb_faces": 1, "faces": 5}, "no answer of FaceDetection"),
        (None, "not the answer"),
    ],
)
def test_nothing_is_made_up(document: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        results.parse(results.FaceDetection, document)


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


def test_a_sound_is_unpacked() -> None:
    assert sound.decode(packed(b"RIFF" + bytes(100_000))) == b"RIFF" + bytes(100_000)
    assert sound.decode(packed(bytes(1000)), most_bytes=1000) == bytes(1000)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (packed(bytes(50_000_000)), "larger than 1000000"),
        (packed(bytes(1_000_001)), "larger than 1000000"),
        (base64.b64encode(zlib.compress(bytes(range(256)) * 99)[:-20]).decode(), "cut short"),
        ("!!!", "no sound"),
        (base64.b64encode(b"not zlib").decode(), "no sound"),
    ],
)
def test_a_bomb_and_what_is_no_sound_are_refused(given: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        sound.decode(given, most_bytes=1_000_000)


def test_calls_of_a_lane_keep_their_order_and_others_pass_them() -> None:
    lanes, seen, go = Lanes(4, 40), [], threading.Event()
    first = lanes.submit(lambda: (go.wait(), seen.append(0)), "a")
    rest = [lanes.submit(lambda n=n: seen.append(n), "a") for n in range(1, 20)]
    assert lanes.submit(lambda: "passed", "b").result(10) == "passed"
    assert lanes.submit(lambda: "free").result(10) == "free"
    assert not first.done()
    go.set()
    for future in rest:
        future.result(10)
    assert seen == list(range(20))
    lanes.close()


def test_a_call_that_raises_or_is_cancelled_does_not_stop_its_lane() -> None:
    lanes, go = Lanes(1, 10), threading.Event()
    lanes.submit(go.wait, "a")
    failing, cancelled = lanes.submit(lambda: 1 / 0, "a"), lanes.submit(lambda: 1, "a")
    assert cancelled.cancel()
    last = lanes.submit(lambda: 2, "a")
    go.set()
    assert last.result(10) == 2
    with pytest.raises(ZeroDivisionError):
        failing.result(10)
    lanes.close()


def test_a_full_pool_makes_the_caller_wait() -> None:
    lanes, go = Lanes(1, 2), threading.Event()
    for _ in range(2):
        lanes.submit(go.wait)
    entered = threading.Event()
    caller = threading.Thread(target=lambda: (entered.set(), lanes.submit(lambda: None)))
    caller.start()
    assert entered.wait(10)
    caller.join(0.2)
    assert caller.is_alive()
    go.set()
    caller.join(10)
    assert not caller.is_alive()
    lanes.close()


ANSWERS = [json.dumps({"n": n, "text": "x" * n * 7}) for n in range(5)]
STREAM = b"".join(f"--b\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}\r\n".encode() for text in ANSWERS)


@pytest.mark.parametrize("size", [1, 2, 7, 10, 64, 10_000])
def test_parts_come_whole_however_the_network_cuts_them(size: int) -> None:
    reader = PartReader("b")
    data = STREAM + b"--b--\r\n"
    got = [part for begin in range(0, len(data), size) for part in reader.feed(data[begin : begin + size])]
    assert got == ANSWERS
    assert reader.ended


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 20_000,
        b"--b\r\nContent-Length: 999999999\r\n\r\n",
        b"--b\r\nContent-Type: application/json\r\n\r\n{}",
        b"--b\r\nX: " + b"x" * 20_000,
    ],
)
def test_what_is_no_stream_ends_it(data: bytes) -> None:
    with pytest.raises(AngusError):
        list(PartReader("b").feed(data))


def test_a_frame_as_a_part() -> None:
    part = part_of({"timestamp": "t"}, "image", b"\xff\xd8jpeg")
    head, _, content = part.partition(b"\r\n\r\n")
    assert head.decode().split("\r\n") == [
        "--myboundary",
        "Content-Type: image/jpeg",
        "Content-Length: 6",
        "X-Angus-DataField: image",
        'X-Angus-Parameters: {"timestamp": "t"}',
    ]
    assert content == b"\xff\xd8jpeg\r\n"
    assert b"Content-Type: audio/wav" in part_of({}, "sound", b"RIFF....")
    assert boundary_of('multipart/x-mixed-replace; boundary="b"; charset=ascii') == "b"


@pytest.mark.parametrize("name", ["", "a\r\nEvil: 1", "ä"])
def test_no_header_is_smuggled_in_by_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="field"):
        part_of({}, name, b"x")
