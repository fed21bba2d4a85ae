"""Parameters become JSON and attachments."""

from __future__ import annotations

import io
import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from angus._core.requests import body_of, frozen
from angus.client.rest import Resource

cv2 = pytest.importorskip("cv2")
np = pytest.importorskip("numpy")


def test_plain_parameters_are_json() -> None:
    body = body_of({"echo": "é", "async": False})
    assert body.arguments()["headers"] == {"Content-Type": "application/json"}
    assert json.loads(body.arguments()["content"]) == {"echo": "é", "async": False}


def test_files_of_every_form_become_attachments(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"path")
    with path.open("rb") as file:
        body = body_of({"a": file, "b": io.BytesIO(b"buffer"), "c": b"bytes", "d": path, "nested": {"list": [bytearray(b"deep")]}})
    meta = json.loads(body.text)
    contents = [meta["a"], meta["b"], meta["c"], meta["d"], meta["nested"]["list"][0]]
    assert [body.attachments[reference] for reference in contents] == [b"path", b"buffer", b"bytes", b"path", b"deep"]
    assert all(reference.startswith("attachment://") for reference in contents)
    assert len(set(contents)) == 5


def test_the_parts_are_the_files_and_then_meta() -> None:
    files = body_of({"image": b"x"}).arguments()["files"]
    (name, (filename, data, kind)), (meta, (none, text, json_kind)) = files
    assert (name, data, kind) == (f"attachment://{filename}", b"x", "application/octet-stream")
    assert (meta, none, json.loads(text), json_kind) == ("meta", None, {"image": name}, "application/json")


def test_resources_and_times_are_said_by_their_text() -> None:
    blob = Resource("http://server/blobs", "http://server/blobs/1")
    moment = datetime(2024, 6, 1, 10, tzinfo=timezone.utc)
    assert json.loads(body_of({"album": {"p": [blob]}, "timestamp": moment}).text) == {
        "album": {"p": ["http://server/blobs/1"]},
        "timestamp": "2024-06-01T10:00:00+00:00",
    }


@pytest.mark.parametrize("shape", [(48, 64, 3), (48, 64)])
def test_a_picture_as_an_array_is_sent_as_a_jpeg(shape: tuple[int, ...]) -> None:
    (data,) = body_of({"image": np.full(shape, 128, np.uint8)}).attachments.values()
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).shape == shape


def test_numbers_out_of_arrays_are_numbers() -> None:
    assert json.loads(body_of({"baseline": np.float32(0.5), "n": np.arange(3)[1]}).text) == {"baseline": 0.5, "n": 1}


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (io.StringIO("text"), TypeError, '"rb"'),
        (io.BytesIO(b""), ValueError, "seek"),
        (object(), TypeError, "cannot be sent"),
        (np.zeros((4, 4, 3), np.float32), TypeError, "cannot be sent"),
    ],
)
def test_what_cannot_be_sent_is_said(value: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        body_of({"image": value})


def test_frozen_parameters_can_be_sent_twice() -> None:
    kept = frozen({"album": {"p": [io.BytesIO(b"sample")]}, "echo": "x"})
    assert kept == {"album": {"p": [b"sample"]}, "echo": "x"}
    assert body_of(kept).attachments.keys() != body_of(kept).attachments.keys()
