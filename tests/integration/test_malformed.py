"""Malformed and oversize inputs over HTTP: each has its answer, none is a failure of the server, and none takes much memory."""

from __future__ import annotations

import io
import re
import struct
import uuid
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import PIL.Image
import pytest
import pytest_asyncio

from sensorium.demo import astronaut_jpeg
from tests.integration.conftest import DEMO
from tests.integration.processes import Process, System, poll_job, post_job, running_system
from tests.unit.test_image import png, png_chunk, saved, scans
from workers.faces import drawn_face

SERVICES = {
    "image": (
        *("face_detection", "age_and_gender_estimation", "face_expression_estimation", "gaze_analysis", "face_recognition"),
        *("upper_body_detection", "motion_detection", "qrcode_decoder", "scene_analysis"),
    ),
    "sound": ("sound_detection", "voice_detection", "sound_localization"),
}
NEEDED: dict[str, dict[str, Any]] = {"sound_localization": {"baseline": 0.2}, "face_recognition": {"album": {}}}
MOST_BYTES = 400_000_000
PHOTOGRAPH = astronaut_jpeg()


@pytest.fixture(scope="module")
def own_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("malformed"), {"LOG_LEVEL": "warning"}) as made:
        made.credentials = DEMO
        yield made


class Watched:
    """A process and the most memory that it takes beyond what it has now, in bytes; Linux counts it."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._folder = Path("/proc") / str(process.popen.pid)
        if self._folder.exists():
            (self._folder / "clear_refs").write_text("5")  # the peak begins anew
            self._before = self._bytes("VmRSS")

    @property
    def taken(self) -> int:
        return self._bytes("VmHWM") - self._before if self._folder.exists() else 0

    def _bytes(self, name: str) -> int:
        found = re.search(rf"{name}:\s+(\d+) kB", (self._folder / "status").read_text())
        assert found is not None
        return 1024 * int(found[1])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(own_system: System) -> Watched:
    process = own_system.start("up")
    await process.ready(180)
    return Watched(process)


@pytest.fixture
async def client(own_system: System, watched: Watched) -> AsyncIterator[aiohttp.ClientSession]:
    """After each test the process has taken less than it may, failed at nothing, and still answers."""
    async with own_system.client(watched.process) as session:
        yield session
        assert watched.taken < MOST_BYTES
        assert (await post_job(session, "dummy", {"echo": "here", "async": False}))[1]["echo"] == "here"
    assert "request.failed" not in watched.process.log.read_text()


async def send(client: aiohttp.ClientSession, service: str, kind: str, data: bytes, **more: Any) -> tuple[int, dict[str, Any]]:
    parameters = {"async": False, kind: "attachment://f", **NEEDED.get(service, {}), **more}
    return await post_job(client, service, parameters, {"attachment://f": data})


def photograph(mode: str, kind: str, **options: Any) -> bytes:
    return saved(PIL.Image.open(io.BytesIO(PHOTOGRAPH)).convert(mode), kind, **options)


def noise(width: int, height: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return saved(PIL.Image.fromarray(pixels), "JPEG", quality=40)


_INFLATES = zlib.compress(b"x" * 7_000_000, 9)
PICTURES = {
    "nothing": (b"", 422),
    "a text": (b"no picture at all", 422),
    "another format": (photograph("RGB", "GIF"), 422),
    "truncated JPEG": (PHOTOGRAPH[: len(PHOTOGRAPH) // 2], 422),
    "truncated PNG": (photograph("RGB", "PNG")[:5000], 422),
    "bad checksum": (photograph("RGB", "PNG").replace(b"IHDR\0\0\2", b"IHDR\0\0\3"), 422),
    "no pixels": (png(0, 0), 422),
    "many scans": (scans(photograph("RGB", "JPEG", progressive=True), 300), 422),
    "13,000 by 13,000": (png(13_000, 13_000), 413),
    "one by 30,000": (png(1, 30_000), 413),
    "26 million pixels": (png(5100, 5100), 413),
    "inflating texts": (png(64, 64, before=png_chunk(b"iCCP", b"p\0\0" + _INFLATES) + png_chunk(b"zTXt", b"k\0\0" + _INFLATES) * 50), 201),
    "one pixel": (png(1, 1), 201),
    "one by 8,192": (png(1, 8192), 201),
    "animated": (photograph("RGB", "PNG", save_all=True, append_images=[PIL.Image.new("RGB", (512, 512))]), 201),
    "progressive": (photograph("RGB", "JPEG", progressive=True), 201),
    "CMYK": (photograph("CMYK", "JPEG"), 201),
    "grey": (photograph("L", "JPEG"), 201),
    "grey with alpha": (photograph("LA", "PNG"), 201),
    "palette": (photograph("P", "PNG", transparency=0), 201),
    "16 bit grey": (photograph("I;16", "PNG"), 201),
    "25 million pixels": (noise(8192, 3051), 201),
    "12 million pixels of 16 bit with alpha": (png(3500, 3500, colour=6, depth=16), 201),
    "13 million pixels of 16 bit with alpha": (png(3606, 3606, colour=6, depth=16), 413),
}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", PICTURES)
async def test_pictures(client: aiohttp.ClientSession, name: str) -> None:
    data, wanted = PICTURES[name]
    for service in SERVICES["image"]:
        status, answer = await send(client, service, "image", data)
        assert status == wanted, (service, answer)
        assert wanted == 201 or answer["parameter"] == "image"


@pytest.mark.models("yunet")
@pytest.mark.parametrize("orientation", range(1, 9))
async def test_the_orientation_of_cameras(client: aiohttp.ClientSession, orientation: int) -> None:
    """The same face in the same place, however the camera was held."""
    undo = PIL.Image.Transpose
    stored = [None, undo.FLIP_LEFT_RIGHT, undo.ROTATE_180, undo.FLIP_TOP_BOTTOM, undo.TRANSPOSE, undo.ROTATE_90]
    stored += [undo.TRANSVERSE, undo.ROTATE_270]
    how = stored[orientation - 1]
    picture = PIL.Image.open(io.BytesIO(PHOTOGRAPH)).crop((0, 0, 400, 300))
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    _, answer = await send(
        client, "face_detection", "image", saved(picture if how is None else picture.transpose(how), "JPEG", quality=95, exif=exif)
    )
    assert answer["input_size"] == [400, 300]
    (face,) = answer["faces"]
    assert np.allclose(face["roi"], (178, 66, 91, 110), atol=4)


def wav(
    kind: int = 1, channels: int = 1, rate: int = 16_000, bits: int = 16, data: bytes = bytes(32_000), align: int = 0, size: int = -1
) -> bytes:
    """A WAV file whose header says what it is told to."""
    align = align or channels * bits // 8
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * align % 2**32, min(align, 0xFFFF), bits)
    body = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data) if size < 0 else size) + data
    return b"RIFF" + struct.pack("<I", 0xFFFFFFFF if size > len(data) else 4 + len(body)) + b"WAVE" + body


UNREADABLE = {
    "nothing": b"",
    "a text": b"no sound at all",
    "cut in its header": wav()[:30],
    "no channels": wav(channels=0),
    "65,535 channels": wav(channels=65_535),
    "0 Hz": wav(rate=0),
    "100 MHz": wav(rate=100_000_000),
    "A-law": wav(kind=6, bits=8),
    "extensible, cut": wav(kind=0xFFFE),
    "odd frames": wav(align=3),
    "12 bit": wav(bits=12),
}
#: What mono services take; for the two channels of a localization twice as many bytes.
READABLE: dict[str, dict[str, Any]] = {
    "longer than it is": {"size": 1_000_000},
    "shorter than it is": {"size": 100},
    "without a size": {"size": 0xFFFFFFFF},
    "no frames": {"data": b""},
    "floats": {"kind": 3, "bits": 32},
    "96 kHz": {"rate": 96_000},
    "44.1 kHz": {"rate": 44_100},
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_sounds_that_are_none(client: aiohttp.ClientSession, name: str) -> None:
    for service in SERVICES["sound"]:
        status, answer = await send(client, service, "sound", UNREADABLE[name])
        assert (status, answer["parameter"]) == (422, "sound")
        assert "need" in answer["error"], "it says what is needed"


@pytest.mark.parametrize("name", READABLE)
async def test_strange_sounds(client: aiohttp.ClientSession, name: str) -> None:
    for service in SERVICES["sound"]:
        channels = 2 if service == "sound_localization" else 1
        status, answer = await send(client, service, "sound", wav(channels=channels, **READABLE[name]))
        assert status == 201, (service, answer)


async def test_sounds_of_other_kinds_than_a_service_takes(client: aiohttp.ClientSession) -> None:
    for service in SERVICES["sound"]:
        wrong = 1 if service == "sound_localization" else 2
        status, answer = await send(client, service, "sound", wav(channels=wrong))
        assert (status, answer["parameter"]) == (422, "sound")
        status, answer = await send(client, service, "sound", wav(data=bytes(61 * 32_000)))
        assert status == 413
        assert "60 s" in answer["error"]


TEXTS = {
    "nothing": ("", 400),
    "blanks": (" \n\t", 400),
    "a number": (5, 400),
    "a megabyte": ("x" * 1_000_000, 413),
    "control characters": ("\0\1\2\x1b[31m red", 201),
    "from right to left": ("שלום עולם \u202etext\u202c مرحبا", 201),
    "emoji": ("👍🎉🧑\u200d🚀", 201),
    "markup": ('<speak><break time="10000s"/></speak> [[hh]] {x} &amp;', 201),
    "200 digits": ("9" * 200, 201),
    "marks without end": ("a" + "\u0301" * 3000, 201),
}


@pytest.mark.parametrize("name", TEXTS)
async def test_texts(client: aiohttp.ClientSession, name: str) -> None:
    text, wanted = TEXTS[name]
    status, answer = await post_job(client, "text_to_speech", {"text": text, "lang": "en-US", "async": False})
    assert status == wanted, answer
    assert "sound" in answer if wanted == 201 else answer["parameter"] == "text"


async def test_a_text_that_takes_longer_to_say_than_is_allowed(client: aiohttp.ClientSession) -> None:
    _, job = await post_job(client, "text_to_speech", {"text": "9" * 5000, "lang": "en-US"})
    answer = await poll_job(client, job["url"], 100)
    assert (answer["status"], answer["parameter"]) == (413, "text")


@pytest.mark.parametrize("lang", ["xx", "", "en-US\0", "../en", "x" * 10_000])
async def test_languages_that_are_not_spoken(client: aiohttp.ClientSession, lang: str) -> None:
    status, answer = await post_job(client, "text_to_speech", {"text": "Hello", "lang": lang, "async": False})
    assert (status, answer["parameter"]) == (422, "lang")
    assert "it-IT" in answer["error"]


@pytest.mark.parametrize("value", [-0.1, 1.1, 1e9, "loud", None, [0.5]])
@pytest.mark.parametrize("service", SERVICES["sound"])
async def test_sensitivities_out_of_range(client: aiohttp.ClientSession, service: str, value: Any) -> None:
    status, answer = await send(client, service, "sound", wav(), sensitivity=value)
    assert (status, answer["parameter"]) == (400, "sensitivity")


@pytest.mark.parametrize("value", [0, -1, 1e9, 1e-9, "wide", None])
async def test_baselines_out_of_range(client: aiohttp.ClientSession, value: Any) -> None:
    status, answer = await send(client, "sound_localization", "sound", wav(channels=2), baseline=value)
    assert (status, answer["parameter"]) == (400, "baseline")


PEOPLE = {f"person {number}": [f"/blobs/{uuid.UUID(int=number)}"] for number in range(10_000)}
ALBUMS: dict[str, tuple[Any, int]] = {
    "nobody": ({}, 201),
    "10,000 people that there are not": (PEOPLE, 201),
    "10,001 samples": ({"a": ["/blobs/x"] * 10_001}, 413),
    "more values than JSON may have": ({f"person {number}": ["x"] for number in range(60_000)}, 413),
    "a list": ([], 400),
    "samples that are numbers": ({"a": [1]}, 400),
    "samples in samples": ({"a": [["x"]]}, 400),
    "a long name": ({"n" * 1000: []}, 400),
}


@pytest.mark.parametrize("name", ALBUMS)
async def test_albums(client: aiohttp.ClientSession, name: str) -> None:
    album, wanted = ALBUMS[name]
    status, answer = await send(client, "face_recognition", "image", PHOTOGRAPH, album=album)
    assert status == wanted, str(answer)[:500]
    if wanted == 201:
        assert len(answer.get("album_errors", [])) == len(album)


async def test_samples_of_no_use_are_named_one_by_one(client: aiohttp.ClientSession) -> None:
    crowd = PIL.Image.new("RGB", (1024, 512))
    for place in (0, 512):
        crowd.paste(PIL.Image.open(io.BytesIO(PHOTOGRAPH)), (place, 0))
    files = {
        "attachment://f": PHOTOGRAPH,
        "attachment://none": png(64, 64),
        "attachment://two": saved(crowd, "JPEG"),
        "attachment://text": b"no picture",
        "attachment://good": PHOTOGRAPH,
        "attachment://drawn": drawn_face(),
    }
    samples = ["attachment://none", "attachment://two", "attachment://text", "attachment://gone", "attachment://good", "attachment://good"]
    parameters = {"image": "attachment://f", "async": False, "album": {"eileen": samples, "drawn": ["attachment://drawn"]}}
    status, answer = await post_job(client, "face_recognition", parameters, files)
    assert status == 201
    assert answer["faces"][0]["names"][0]["key"] == "eileen"
    errors = {error["sample"]: error["error"] for error in answer["album_errors"]}
    assert sorted(errors) == sorted(f"attachment://{name}" for name in ("none", "two", "text", "gone"))
    assert "none" in errors["attachment://none"]
    assert "2" in errors["attachment://two"]


@pytest.mark.parametrize(
    "timestamp", ["yesterday", "0000-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2016-12-31T23:59:60Z", 5, []]
)
async def test_times_that_are_none(client: aiohttp.ClientSession, timestamp: Any) -> None:
    status, answer = await send(client, "scene_analysis", "image", PHOTOGRAPH, timestamp=timestamp)
    assert (status, answer["parameter"]) == (400, "timestamp")


@pytest.mark.parametrize("session_id", ["", "a" * 129, "../../etc", "a b", None, 5, {}])
async def test_sessions_that_are_none(client: aiohttp.ClientSession, session_id: Any) -> None:
    status, answer = await post_job(client, "dummy", {"state": {"session_id": session_id}, "async": False})
    assert (status, answer["parameter"]) == (400, "state.session_id")
