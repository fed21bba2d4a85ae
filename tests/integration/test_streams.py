"""Streams of frames over HTTP, in both forms of the system."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np
import pytest
import qrcode

from sensorium.demo import astronaut_jpeg
from tests.integration.frame_streams import (
    FINAL,
    MULTIPART,
    about,
    answers,
    collect,
    first,
    make,
    next_answer,
    part,
    path,
    post_input,
    sending,
    socket,
    until,
)
from tests.integration.processes import Process, System


async def test_a_service_tells_where_its_streams_are_made(client: aiohttp.ClientSession) -> None:
    async with client.get("/services/dummy/1") as response:
        document = await response.json()
    assert document["streams"] == f"{document['url']}/streams"


async def test_a_stream_of_the_original_client(client: aiohttp.ClientSession) -> None:
    """Input and output at once, one session, the answers in order, and an end that the client waits for."""
    stream = await make(client, "dummy")
    assert stream["status"] == 201
    async with sending(client, stream) as (sender, posted):
        reading = asyncio.create_task(collect(client, stream))
        for number in range(20):
            sender.frame(b"not looked at", {"echo": f"Grüße {number}"})
        sender.end()
        found = await reading
        status, document = await posted
    assert [answer["echo"] for answer in found] == [f"Grüße {number}" for number in range(20)]
    assert [answer["count"] for answer in found] == list(range(1, 21))
    assert [answer["stream"] for answer in found] == [{"frame": number, "dropped": 0} for number in range(1, 21)]
    assert (status, document) == (200, {"url": stream["url"], "status": 200, "frames": 20, "dropped": 0})


async def test_the_same_over_a_websocket(client: aiohttp.ClientSession) -> None:
    stream = await make(client, "dummy", echo="of the stream")
    async with socket(client, stream) as opened:
        await opened.send_bytes(b"one")
        await opened.send_str('{"echo": "of the message"}')
        await opened.send_bytes(b"two")
        await opened.send_bytes(b"three")
        found = [await next_answer(opened) for _ in range(3)]
    assert [answer["echo"] for answer in found] == ["of the stream", "of the message", "of the message"]
    assert [answer["count"] for answer in found] == [1, 2, 3]


async def test_faces_are_followed_over_a_stream(client: aiohttp.ClientSession) -> None:
    stream, picture = await make(client, "face_detection"), astronaut_jpeg()
    async with socket(client, stream) as opened:
        for _ in range(5):
            await opened.send_bytes(picture)
        found = [await next_answer(opened) for _ in range(5)]
    assert [answer["nb_faces"] for answer in found] == [0, 0, 0, 1, 1]
    assert len({face["id"] for answer in found for face in answer["faces"]}) == 1


def picture_of(text: str, scale: int) -> bytes:
    """A QR code with ``text``, larger pictures taking longer."""
    code = qrcode.QRCode(border=4, box_size=4)
    code.add_data(text)
    code.make()
    pixels = np.array(code.get_matrix(), np.uint8)
    large = cv2.resize(255 * (1 - pixels), None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".png", large)[1].tobytes()


async def test_answers_come_in_order_whoever_is_done_first(client: aiohttp.ClientSession) -> None:
    """A service without sessions, whose frames are computed at the same time and take very different times."""
    stream = await make(client, "qrcode_decoder")
    async with sending(client, stream) as (sender, _):
        for number in range(24):
            sender.frame(picture_of(f"number {number}", 60 if number % 4 == 0 else 4))
        sender.end()
        found = await collect(client, stream)
    assert [answer.get("data") for answer in found] == [f"number {number}" for number in range(24)]
    assert [answer["stream"]["frame"] for answer in found] == list(range(1, 25))


async def test_what_is_wrong_with_a_frame_is_its_answer(client: aiohttp.ClientSession) -> None:
    stream, picture = await make(client, "face_detection"), astronaut_jpeg()
    async with sending(client, stream) as (sender, posted):
        sender.frame(picture)
        sender.write(part(picture).replace(b"X-Angus-Parameters: {}", b"X-Angus-Parameters: {not JSON"))
        sender.frame(b"no picture")
        sender.frame(picture, {"image": "http://169.254.169.254/latest"}, data_field="nothing")
        sender.frame(picture, {"explain": "yes"})
        sender.frame(picture)
        sender.end()
        found = await collect(client, stream)
        assert (await posted)[0] == 200
    assert [answer["status"] for answer in found] == [201, 400, 422, 400, 400, 201]
    assert [answer.get("parameter") for answer in found] == [None, "X-Angus-Parameters", "image", "image", "explain", None]
    assert [answer["stream"]["frame"] for answer in found] == [1, 2, 3, 4, 5, 6]
    assert "part 2" in found[1]["error"]


async def test_the_same_over_a_websocket_with_wrong_parameters(client: aiohttp.ClientSession) -> None:
    stream = await make(client, "dummy")
    async with socket(client, stream) as opened:
        for text in ('{"echo": 5}', "[1]", '{"echo": "right"}'):
            await opened.send_str(text)
            await opened.send_bytes(b"")
        found = [await next_answer(opened) for _ in range(3)]
    assert [answer["status"] for answer in found] == [400, 400, 201]
    assert found[2]["count"] == 1


async def test_the_bytes_of_a_frame_may_be_a_text(client: aiohttp.ClientSession) -> None:
    stream = await make(client, "dummy", stream={"data_field": "echo"})
    async with socket(client, stream) as opened:
        await opened.send_bytes("Grüße".encode())
        await opened.send_bytes(b"\xff")
        first, second = await next_answer(opened), await next_answer(opened)
    assert first["echo"] == "Grüße"
    assert (second["status"], second["parameter"]) == (400, "echo")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (part(b"abc", length=2) + part(b"d"), 400, "No boundary follows part 1"),
        (part(b"abc") + b"--other\r\n\r\n" + b" " * 100, 400, "No boundary follows part 1"),
        (b"hello, there is nothing in here", 400, "does not begin with its boundary"),
        (part(b"abc", length=99_000_000), 413, "Part 1 is beyond the limit"),
        (part(b"abc")[:-4], 400, "ended within part 1"),
    ],
)
async def test_a_body_that_is_not_well_formed_ends_and_the_stream_goes_on(
    client: aiohttp.ClientSession, body: bytes, status: int, words: str
) -> None:
    stream = await make(client, "dummy")
    assert (await post_input(client, stream, part(b"")))[0] == 200
    got, problem = await post_input(client, stream, body)
    assert (got, problem["status"]) == (status, status)
    assert words in problem["error"]
    reading = asyncio.create_task(collect(client, stream))
    assert (await post_input(client, stream, part(b"", {"echo": "last"}) + FINAL))[0] == 200
    found = await reading
    assert [answer["stream"]["frame"] for answer in found] == list(range(1, len(found) + 1))
    assert (found[-1]["echo"], found[-1]["count"]) == ("last", len(found))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json"}, 415),
        ({"Content-Type": "multipart/x-mixed-replace"}, 400),
        ({"Content-Encoding": "gzip"}, 415),
    ],
)
async def test_other_bodies_are_refused(client: aiohttp.ClientSession, headers: dict[str, str], status: int) -> None:
    stream = await make(client, "dummy")
    got, problem = await post_input(client, stream, part(b""), **headers)
    assert (got, problem["status"]) == (status, status)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"stream": {"live": "yes"}}, "stream.live"),
        ({"stream": {"window": 0}}, "stream.window"),
        ({"stream": {"windows": 3}}, "stream.windows"),
        ({"stream": 5}, "stream"),
        ({"state": {"session_id": "a/b"}}, "state.session_id"),
    ],
)
async def test_a_wrong_option_is_named(client: aiohttp.ClientSession, parameters: dict[str, Any], named: str) -> None:
    async with client.post("/services/dummy/1/streams", json=parameters) as response:
        problem = await response.json(content_type=None)
        assert (response.status, problem["parameter"]) == (400, named)


async def test_a_stream_may_be_of_a_session_that_goes_on_elsewhere(client: aiohttp.ClientSession) -> None:
    state = {"session_id": uuid.uuid4().hex}
    stream = await make(client, "dummy", state=state)
    async with socket(client, stream) as opened:
        await opened.send_bytes(b"")
        assert (await next_answer(opened))["count"] == 1
        async with client.post("/services/dummy/1/jobs", json={"async": False, "state": state}) as response:
            assert (await response.json())["count"] == 2
        await opened.send_bytes(b"")
        assert (await next_answer(opened))["count"] == 3


async def test_no_more_frames_are_under_way_than_the_window_holds(client: aiohttp.ClientSession, tmp_path: Path) -> None:
    stream = await make(client, "misbehaver", stream={"window": 3})
    async with sending(client, stream) as (sender, posted):
        sender.frame(b"", {"deed": "hang", "seconds": 1.5, "once": str(tmp_path / "begun")})
        for number in range(9):
            sender.frame(b"x" * 100_000, {"mark": str(number)})
        sender.end()

        async def is_full() -> bool:
            return int((await about(client, stream))["frames"]) == 3

        await until(is_full)
        await until((tmp_path / "begun").exists)
        assert not posted.done()
        assert (await about(client, stream))["frames"] == 3
        found = await collect(client, stream)
        assert (await posted)[1]["frames"] == 10
    assert found[-1]["marks"] == ["", *(str(number) for number in range(9))]


async def test_in_a_live_stream_the_newest_frame_wins(client: aiohttp.ClientSession, tmp_path: Path) -> None:
    stream = await make(client, "misbehaver", stream={"live": True})
    async with socket(client, stream) as opened:
        for number in range(10):
            deed = {"deed": "hang", "seconds": 1.5, "once": str(tmp_path / "begun")} if number == 0 else {}
            await opened.send_str(json.dumps({"mark": str(number), **deed}))
            await opened.send_bytes(b"frame")
        found = [await next_answer(opened) for _ in range(3)]
        await opened.send_str('{"mark": "after"}')
        await opened.send_bytes(b"frame")
        found.append(await next_answer(opened))
    assert [answer["mark"] for answer in found] == ["0", "1", "9", "after"]
    assert [answer["stream"]["dropped"] for answer in found] == [0, 0, 7, 0]
    assert [answer["stream"]["frame"] for answer in found] == [1, 2, 3, 4]


async def test_a_connection_that_broke_comes_back_to_the_same_session(client: aiohttp.ClientSession) -> None:
    stream = await make(client, "dummy")
    async with socket(client, stream) as opened:
        await opened.send_bytes(b"")
        assert (await next_answer(opened))["count"] == 1
        await opened.send_bytes(b"")
        await opened.send_bytes(b"")

        async def all_came() -> bool:
            return int((await about(client, stream))["frames"]) == 3

        await until(all_came)
        opened._response.connection.transport.abort()  # type: ignore[union-attr]
    async with socket(client, stream, "?after=1") as opened:
        found = [await next_answer(opened) for _ in range(2)]
        await opened.send_bytes(b"")
        found.append(await next_answer(opened))
    assert [answer["count"] for answer in found] == [2, 3, 4]
    assert [answer["stream"]["frame"] for answer in found] == [2, 3, 4]
    assert [answer["count"] async for answer in first(answers(client, stream), 4)] == [1, 2, 3, 4]


async def test_of_two_that_send_the_newer_one_wins(client: aiohttp.ClientSession) -> None:
    stream = await make(client, "dummy")
    async with socket(client, stream) as old, socket(client, stream) as new:
        await old.send_bytes(b"")
        assert (await next_answer(old))["count"] == 1
        assert (await next_answer(new))["count"] == 1
        await new.send_bytes(b"")
        assert (await next_answer(new))["count"] == 2
        assert (await next_answer(old))["count"] == 2
        await old.send_bytes(b"")
        message = await old.receive(10)
        assert (message.type, old.close_code) == (aiohttp.WSMsgType.CLOSE, 4409)
        assert "newer" in message.extra
        await new.send_bytes(b"")
        assert (await next_answer(new))["count"] == 3


async def test_deleting_ends_the_stream_once_all_is_told(client: aiohttp.ClientSession) -> None:
    stream = await make(client, "dummy")
    async with socket(client, stream) as opened:
        reading = asyncio.create_task(collect(client, stream))
        for _ in range(100):  # more than can be under way: most come to a stream that has ended
            await opened.send_bytes(b"")
        assert (await next_answer(opened))["count"] == 1
        async with client.delete(path(stream["url"])) as response:
            assert response.status == 204
        told = []
        while (message := await opened.receive(10)).type is aiohttp.WSMsgType.TEXT:
            told.append(json.loads(message.data)["count"])
        assert told == list(range(2, 1 + (await about(client, stream))["frames"]))
        assert (opened.close_code, message.extra) == (4410, "the stream was deleted")
    found = await reading
    assert [answer["count"] for answer in found[:-1]] == list(range(1, len(found)))
    assert (found[-1]["status"], found[-1]["code"], found[-1]["stream"]) == (410, "stream_ended", {"closed": True})
    status, problem = await post_input(client, stream, part(b""))
    assert (status, problem["error"]) == (410, "the stream was deleted")
    assert {"ended": True, "reason": "the stream was deleted"}.items() <= (await about(client, stream)).items()
    async with client.delete(path(stream["url"])) as response:
        assert response.status == 204
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect(path(stream["url"]))
    assert refused.value.status == 410


async def test_the_end_of_a_stream_closes_its_session(client: aiohttp.ClientSession) -> None:
    """Not only a minute later: the next frame of the session finds nothing of it."""
    state = {"session_id": uuid.uuid4().hex}
    for _ in range(2):
        stream = await make(client, "dummy", state=state)
        assert (await post_input(client, stream, part(b"") * 3 + FINAL))[0] == 200
        assert [answer["count"] for answer in await collect(client, stream)] == [1, 2, 3]


async def test_a_silent_stream_ends(client: aiohttp.ClientSession) -> None:
    stream = await make(client, "dummy")
    async with socket(client, stream) as opened:
        await opened.send_bytes(b"")
        await next_answer(opened)
        message = await opened.receive(10)
    assert (message.type, opened.close_code) == (aiohttp.WSMsgType.CLOSE, 4410)
    assert "no frame came for 2 s" in message.extra
    assert (await about(client, stream))["ended"]
    assert [answer.get("count") for answer in await collect(client, stream)] == [1, None]


async def test_an_input_in_which_no_frame_begins_is_told(client: aiohttp.ClientSession) -> None:
    stream = await make(client, "dummy")
    async with sending(client, stream) as (sender, posted):
        sender.frame(b"")
        status, problem = await asyncio.wait_for(posted, 10)
    assert (status, problem["error"]) == (408, "No part began within 2 seconds")


async def test_another_tenant_finds_nothing(client: aiohttp.ClientSession, system: tuple[str, System], gateway: Process) -> None:
    running, mail = system[1], f"{uuid.uuid4().hex}@example.com"
    stream = await make(client, "dummy")
    running.run("account", "create", mail, "--password-stdin", text="correct horse battery staple\n")
    theirs = json.loads(running.run("account", "add-stream", mail, "door", "--json"))
    headers = {"Authorization": aiohttp.encode_basic_auth(theirs["client_id"], theirs["access_token"])}
    invented = {**stream, "url": stream["url"][:-1] + ("0" if stream["url"][-1] != "0" else "1")}
    invented |= {"input": invented["url"] + "/input", "output": invented["url"] + "/output"}
    elsewhere = {name: str(value).replace("/dummy/", "/misbehaver/") for name, value in stream.items()}
    async with aiohttp.ClientSession(gateway.url, headers=headers) as stranger:
        for asking, asked in ((stranger, stream), (client, invented), (client, elsewhere)):
            for method, address in (("GET", "url"), ("DELETE", "url"), ("GET", "output"), ("POST", "input")):
                async with asking.request(method, path(asked[address]), headers=MULTIPART, data=part(b"")) as response:
                    problem = await response.json(content_type=None)
                    assert (response.status, problem["error"]) == (404, "there is no such stream")
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await asking.ws_connect(path(asked["url"]))
            assert refused.value.status == 404
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await stranger.ws_connect(path(invented["url"]) + f"?ticket={stream['ticket']}")
        assert refused.value.status == 401
    async with aiohttp.ClientSession(gateway.url) as nobody:
        for method, address in (("GET", "url"), ("DELETE", "url"), ("GET", "output"), ("POST", "input")):
            async with nobody.request(method, path(stream[address])) as response:
                assert response.status == 401
    assert (await about(client, stream))["frames"] == 0


async def test_a_ticket_opens_one_websocket_without_credentials(client: aiohttp.ClientSession, gateway: Process) -> None:
    stream = await make(client, "dummy")
    async with aiohttp.ClientSession(gateway.url) as page:
        address = path(stream["url"]) + f"?ticket={stream['ticket']}"
        async with page.ws_connect(address, headers={"Origin": gateway.url}) as opened:
            await opened.send_bytes(b"")
            assert (await next_answer(opened))["count"] == 1
        other = await make(client, "dummy")
        fresh = (await about(client, stream))["ticket"]
        for used in (address, path(other["url"]) + f"?ticket={fresh}", path(stream["url"]) + "?ticket=", address + "x"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await page.ws_connect(used)
            assert refused.value.status == 401
        async with page.ws_connect(path(stream["url"]) + f"?ticket={fresh}") as opened:
            await opened.send_bytes(b"")
            assert (await next_answer(opened))["count"] == 2


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "http://127.0.0.1:1", "http://[", "file://"])
async def test_pages_of_other_origins_are_refused(client: aiohttp.ClientSession, origin: str) -> None:
    """Whatever they bring: a browser adds credentials that it remembers."""
    stream = await make(client, "dummy")
    for query in ("", f"?ticket={stream['ticket']}"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(path(stream["url"]) + query, headers={"Origin": origin})
        assert refused.value.status == 403
