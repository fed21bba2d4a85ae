"""Answers in pieces over HTTP, in both forms of the system."""

from __future__ import annotations

import asyncio
import io
import json
import os
import wave
import zlib
from base64 import b64decode
from pathlib import Path

import aiohttp
import pytest

from tests.integration.processes import Process, System, poll_job, post_job
from tests.misbehaving.singer import RATE, SAMPLES, tone

JOBS = "/services/singer/1/jobs"


def samples_of(body: bytes) -> bytes:
    """The samples after the header of a WAV file whose length was not known when it began."""
    assert body[:4] == b"RIFF"
    assert body[8:16] == b"WAVEfmt "
    assert body[36:44] == b"data\xff\xff\xff\xff"
    assert int.from_bytes(body[24:28], "little") == RATE
    return body[44:]


def song(pieces: int) -> bytes:
    return b"".join(tone(number) for number in range(pieces))


@pytest.mark.parametrize(
    ("parameters", "accept"),
    [({"stream": True}, "*/*"), ({}, "audio/wav"), ({"async": False}, "audio/x-wav, application/json;q=0.5")],
)
async def test_sound_is_the_body(client: aiohttp.ClientSession, parameters: dict[str, object], accept: str) -> None:
    async with client.post(JOBS, json={"pieces": 5, **parameters}, headers={"Accept": accept}) as response:
        body = await response.read()
    assert (response.status, response.headers["Content-Type"]) == (201, "audio/wav")
    assert "Content-Length" not in response.headers
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert samples_of(body) == song(5)
    document = await poll_job(client, response.headers["Location"])
    with wave.open(io.BytesIO(zlib.decompress(b64decode(document["sound"])))) as file:
        assert file.readframes(file.getnframes()) == song(5)


async def test_the_first_piece_is_sent_before_the_second_is_made(client: aiohttp.ClientSession, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with client.post(JOBS, json={"stream": True, "pieces": 2, "wait_for": str(gate)}) as response:
        async with asyncio.timeout(10):
            first = await response.content.readexactly(44 + 2 * SAMPLES)
        assert samples_of(first) == song(1)
        await asyncio.to_thread(gate.write_text, "go on")
        assert await response.read() == tone(1)


@pytest.mark.parametrize("accept", ["*/*", "application/json", "audio/wav;q=0", "audio/wav;q=0.4, application/json", "audio/wav;q=x"])
async def test_the_answer_is_json_for_all_others(client: aiohttp.ClientSession, accept: str) -> None:
    async with client.post(JOBS, json={"async": False}, headers={"Accept": accept}) as response:
        assert (response.status, response.content_type) == (201, "application/json")
        assert "sound" in await response.json()


async def test_pieces_are_events_of_an_asynchronous_job(client: aiohttp.ClientSession) -> None:
    status, document = await post_job(client, "singer", {"async": True, "stream": True, "pieces": 3})
    assert status == 202
    async with client.get(document["url"] + "/events") as response:
        blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in (await response.text()).split("\n\n") if block]
    assert [block["event"] for block in blocks] == ["chunk", "chunk", "chunk", "done"]
    pieces = [json.loads(block["data"])["data"] for block in blocks[:-1]]
    assert [piece["number"] for piece in pieces] == [0, 1, 2]
    with wave.open(io.BytesIO(zlib.decompress(b64decode(pieces[1]["sound"])))) as file:
        assert (file.readframes(file.getnframes()), file.getframerate()) == (tone(1), RATE)


async def test_what_fails_before_the_first_piece_is_a_problem(client: aiohttp.ClientSession) -> None:
    async with client.post(JOBS, json={"stream": True, "stop_at": 0, "deed": "error"}) as response:
        assert (response.status, response.content_type) == (422, "application/problem+json")
        assert (await response.json(content_type=None))["error"] == "as told"


async def test_a_body_that_fails_half_way_is_seen_to_be_cut(client: aiohttp.ClientSession) -> None:
    async with client.post(JOBS, json={"stream": True, "pieces": 5, "stop_at": 3, "deed": "raise"}) as response:
        assert response.status == 201
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def left_after_the_first_piece(client: aiohttp.ClientSession, gate: Path, **headers: str) -> str:
    """The address of a job whose client closed its connection while the second piece was being made, which is then let go on."""
    os.mkfifo(gate)
    given = {"stream": True, "pieces": 50, "wait_for": str(gate)}
    async with asyncio.timeout(10), client.post(JOBS, json=given, headers=headers) as response:
        await response.content.readexactly(44 + 2 * SAMPLES)
        response.close()
    await asyncio.sleep(0.3)  # time for the gateway to see it
    await asyncio.to_thread(gate.write_text, "go on")
    return response.headers["Location"]


async def test_a_client_that_leaves_stops_its_job(client: aiohttp.ClientSession, gateway: Process, tmp_path: Path) -> None:
    before = len(gateway.log.read_text())
    url = await left_after_the_first_piece(client, tmp_path / "gate")
    document = await poll_job(client, url)
    assert (document["status"], document["code"]) == (409, "cancelled")
    log = gateway.log.read_text()[before:]
    (line,) = [line for line in log.splitlines() if "sound.unheard" in line and url.rsplit("/", 1)[1] in line]
    assert "info" in line
    assert "the client left" in line
    assert "request.failed" not in log  # it is no fault
    assert "sound.cut" not in log
    assert "Traceback" not in log


async def test_a_job_that_others_wait_for_goes_on_without_its_client(client: aiohttp.ClientSession, tmp_path: Path) -> None:
    url = await left_after_the_first_piece(client, tmp_path / "gate", **{"Idempotency-Key": str(tmp_path)})
    assert "sound" in await poll_job(client, url)


async def test_a_worker_that_dies_half_way_is_not_heard(system: tuple[str, System], client: aiohttp.ClientSession, tmp_path: Path) -> None:
    form, made = system
    if form == "embedded":
        pytest.skip("the only process of the embedded form would be the one that dies")
    second = await made.worker("singer")
    given = {"stream": True, "pieces": 6, "stop_at": 3, "deed": "die", "once": str(tmp_path / "once")}
    async with asyncio.timeout(60), client.post(JOBS, json=given) as response:
        body = await response.read()
    assert samples_of(body) == song(6)
    assert (tmp_path / "once").exists()
    if second.popen.poll() is None:  # it was the other one that died
        await made.worker("all")


@pytest.mark.parametrize("value", ["yes", 1, None])
async def test_stream_is_true_or_false(client: aiohttp.ClientSession, value: object) -> None:
    status, document = await post_job(client, "singer", {"async": False, "stream": value})
    assert (status, document["parameter"]) == (400, "stream")
