"""OpenAI's own Python client against ``/v1/audio/speech``, in both forms of the system."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator

import numpy as np
import openai
import pytest

from tests.integration.processes import Process, System

LONG = " ".join(f"This is sentence number {number}, and there is more to come." for number in range(1, 21))


@pytest.fixture
async def speech(system: tuple[str, System], gateway: Process) -> AsyncIterator[openai.AsyncOpenAI]:
    key = ":".join(system[1].credentials)
    async with openai.AsyncOpenAI(api_key=key, base_url=f"{gateway.url}/v1", max_retries=0) as client:
        yield client


async def test_a_sentence_is_spoken(speech: openai.AsyncOpenAI) -> None:
    answer = await speech.audio.speech.create(model="tts-1", voice="alloy", input="Hello there.", response_format="wav")
    sound = answer.content
    assert answer.response.headers["Content-Type"] == "audio/wav"
    assert sound[:4] == b"RIFF"
    rate = int.from_bytes(sound[24:28], "little")
    samples = np.frombuffer(sound[44:], "<i2")
    assert 0.3 < len(samples) / rate < 4
    assert np.abs(samples).max() > 3000


async def test_a_long_text_is_heard_before_it_is_spoken(speech: openai.AsyncOpenAI) -> None:
    began, arrivals = time.monotonic(), []
    call = speech.audio.speech.with_streaming_response.create(model="espeak", voice="alloy", input=LONG, response_format="pcm", speed=1.5)
    async with call as answer:
        assert answer.headers["Content-Type"] == "audio/pcm"
        assert answer.headers["X-Sample-Rate"] == "24000"
        size = 0
        async for piece in answer.iter_bytes():
            size += len(piece)
            arrivals.append(time.monotonic() - began)
    assert size / 2 / 24_000 > 20
    assert len(arrivals) > 5
    assert arrivals[0] < arrivals[-1]


async def test_the_speed_is_minded(speech: openai.AsyncOpenAI) -> None:
    sizes = []
    for speed in (0.5, 1.0, 2.0):
        answer = await speech.audio.speech.create(
            model="tts-1", voice="nova", input="How long does this sentence last?", response_format="wav", speed=speed
        )
        sizes.append(len(answer.content))
    assert sizes[0] > 1.3 * sizes[1] > 1.3 * 1.3 * sizes[2]


@pytest.mark.parametrize(
    ("changed", "parameter"),
    [({"response_format": "mp3"}, "response_format"), ({"speed": 9}, "speed"), ({"input": ""}, "input"), ({"voice": "nobody"}, "voice")],
)
async def test_what_cannot_be_done_is_said_in_their_form(speech: openai.AsyncOpenAI, changed: dict[str, object], parameter: str) -> None:
    given = {"model": "tts-1", "voice": "alloy", "input": "Hello.", "response_format": "wav", **changed}
    with pytest.raises(openai.APIStatusError) as refused:
        await speech.audio.speech.create(**given)
    assert refused.value.status_code in (400, 422)
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["param"] == parameter
    assert refused.value.body["type"] == "invalid_request_error"


async def test_a_wrong_key_is_refused(speech: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        await speech.with_options(api_key="no:key").audio.speech.create(model="tts-1", voice="alloy", input="Hello.")


async def test_what_nobody_can_come_back_for_is_stopped(system: tuple[str, System], gateway: Process) -> None:
    """``gateway``: the system runs, with a hold time of its own."""
    form, made = system
    if form == "embedded":
        pytest.skip("there is one gateway in the embedded form")
    hurried = await made.gateway(SENSORIUM_HOLD_SECONDS="0.001")
    key = ":".join(made.credentials)
    async with openai.AsyncOpenAI(api_key=key, base_url=f"{hurried.url}/v1", max_retries=0) as client:
        with pytest.raises(openai.InternalServerError) as refused:
            await client.audio.speech.create(model="tts-1", voice="alloy", input=LONG)
    assert refused.value.status_code == 504
    (line,) = [line for line in hurried.log.read_text().splitlines() if "sound.unheard" in line]
    assert "nothing was said in time" in line
    job = re.search(r"[0-9a-f]{8}-[0-9a-f-]{20,}", line)
    assert job is not None
    async with made.client(hurried) as session, session.get(f"/services/text_to_speech/1/jobs/{job[0]}") as answer:
        assert (await answer.json())["code"] == "cancelled"
