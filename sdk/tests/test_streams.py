"""Streams of frames in both clients, against a running Sensorium."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest

import angus.aio
import angus.client
from angus._core.requests import body_of
from angus.aio import FrameStream
from angus.errors import ApiError
from angus.results import FaceDetection, SceneAnalysis
from tests.conftest import DEMO

pytest.importorskip("websockets")
T = TypeVar("T")


@pytest.fixture
def service(live: str) -> Iterator[Any]:
    with angus.client.connect(live, client_id=DEMO[0], access_token=DEMO[1]) as root:
        yield root.services.get_service("face_detection", 1)


def test_frames_out_and_answers_in(service: Any, photo: bytes) -> None:
    texts = list(service.stream({}, (({}, "image", photo) for _ in range(6))))
    assert [json.loads(text)["nb_faces"] for text in texts] == [0, 0, 0, 1, 1, 1]
    assert all(isinstance(text, str) and text.isascii() for text in texts)


def test_a_stream_in_a_session_of_one_s_own(service: Any, photo: bytes) -> None:
    session = service.create_session()
    for _ in range(3):
        service.process({"image": photo}, session=session)
    (text,) = service.stream({}, [({}, "image", photo)], session)
    assert json.loads(text)["nb_faces"] == 1


def test_a_bad_frame_is_answered_and_the_stream_goes_on(service: Any, photo: bytes) -> None:
    frames = [({}, "image", photo), ({}, "image", b"no picture"), ({}, "image", photo)]
    assert ["error" in json.loads(text) for text in service.stream({}, frames)] == [False, True, False]


def test_what_the_frames_source_raises_is_raised(service: Any, photo: bytes) -> None:
    def frames() -> Iterator[Any]:
        yield {}, "image", photo
        raise RuntimeError("the camera is gone")

    with pytest.raises(RuntimeError, match="the camera is gone"):
        list(service.stream({}, frames()))


def test_the_reader_may_leave(service: Any, photo: bytes) -> None:
    taken = []

    def frames() -> Iterator[Any]:
        while True:
            taken.append(1)
            yield {}, "image", photo

    answers = service.stream({}, frames())
    assert json.loads(next(answers))["nb_faces"] == 0
    answers.close()
    after = len(taken)
    assert json.loads(next(service.stream({}, [({}, "image", photo)])))["nb_faces"] == 0
    assert len(taken) == after


def run(live: str, name: str, act: Callable[[Any], Awaitable[T]]) -> T:
    async def main() -> T:
        async with angus.aio.connect(live, *DEMO) as conn:
            return await act(await conn.services.get_service(name))

    return asyncio.run(asyncio.wait_for(main(), 50))


def test_every_frame_of_a_file(live: str, photo: bytes) -> None:
    async def act(service: Any) -> None:
        async with service.stream() as stream:
            stream.feed([photo] * 12, newest=False)
            answers = [answer async for answer in stream]
        assert [answer.number for answer in answers] == list(range(12))
        assert [answer.parse(FaceDetection).nb_faces for answer in answers] == [0] * 3 + [1] * 9
        assert len({answer.result["faces"][0]["id"] for answer in answers[3:]}) == 1
        assert (stream.dropped, stream.reconnected) == (0, 0)
        assert all(answer.seconds > 0 for answer in answers)

    run(live, "face_detection", act)


def test_the_newest_frame_wins(live: str, photo: bytes) -> None:
    async def act(service: Any) -> None:
        async with service.stream(window=1) as stream:
            for _ in range(40):
                stream.offer(photo)
            stream.finish()
            answers = [answer async for answer in stream]
        assert answers[-1].number == 39
        assert len(answers) + stream.dropped == 40
        assert len(answers) <= 2
        with pytest.raises(ValueError, match="finished"):
            stream.offer(photo)

    run(live, "face_detection", act)


def test_frames_with_parameters_of_their_own(live: str, photo: bytes) -> None:
    async def frames() -> AsyncIterator[Any]:
        for second in range(5):
            yield {"timestamp": f"2024-06-01T10:00:0{second}+00:00"}, photo

    async def act(service: Any) -> None:
        async with service.stream({"camera_position": "facing"}) as stream:
            stream.feed(frames(), newest=False)
            stamps = [answer.parse(SceneAnalysis).timestamp async for answer in stream]
        assert stamps == [f"2024-06-01T10:00:0{second}+00:00" for second in range(5)]

    run(live, "scene_analysis", act)


class Proxy:
    """Between client and server. `cut` breaks every connection; nothing passes while ``open`` is not set."""

    def __init__(self, live: str) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self._host, self._port = urlsplit(live).hostname, urlsplit(live).port
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, self._port)
        self._writers += [writer, back]
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer), return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self.open.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


async def through(live: str, act: Callable[[FrameStream, Proxy], Awaitable[T]]) -> T:
    """``act`` with a stream whose connections go through a proxy that can be cut."""
    proxy = Proxy(live)
    async with proxy.running() as port, angus.aio.connect(live, *DEMO) as conn:
        service = await conn.services.get_service("face_detection")
        async with service.stream() as stream:
            near = urlsplit(stream._exchange._document["websocket"])
            stream._exchange._document["websocket"] = f"ws://127.0.0.1:{port}{near.path}"
            return await act(stream, proxy)


def test_a_broken_connection_is_made_anew_with_the_session_kept(live: str, photo: bytes) -> None:
    async def act(stream: FrameStream, proxy: Proxy) -> None:
        stream.feed([photo] * 16, newest=False)
        answers = []
        async for answer in stream:
            answers.append(answer)
            if len(answers) in (5, 9):
                proxy.cut()
        assert [answer.number for answer in answers] == list(range(16))
        assert len({answer.result["faces"][0]["id"] for answer in answers[3:]}) == 1
        assert stream.reconnected == 2

    asyncio.run(asyncio.wait_for(through(live, act), 50))


def test_the_next_stream_goes_on_with_the_session_where_the_server_has_forgotten_the_first(live: str, photo: bytes) -> None:
    async def act(stream: FrameStream, proxy: Proxy) -> None:
        answers = []
        await stream.send(photo)
        async for answer in stream:
            answers.append(answer)
            if len(answers) == 4:
                exchange = stream._exchange
                address = f"{exchange._service.endpoint}/streams"
                other = await exchange._connection.ask("POST", address, body_of({}))
                exchange._document["url"] = other["url"][:-1] + ("0" if other["url"][-1] != "0" else "1")
                proxy.cut()
            if len(answers) == 6:
                stream.finish()
            else:
                await stream.send(photo)
        assert stream.reconnected == 1
        assert len({answer.result["faces"][0]["id"] for answer in answers[3:]}) == 1

    asyncio.run(asyncio.wait_for(through(live, act), 50))


def test_frames_that_were_lost_with_a_connection_are_counted(live: str, photo: bytes) -> None:
    async def act(stream: FrameStream, proxy: Proxy) -> None:
        answers = []
        stream.offer(photo)
        async for answer in stream:
            answers.append(answer)
            if len(answers) == 2:
                proxy.cut()
            if len(answers) == 5:
                stream.finish()
            else:
                stream.offer(photo)
        assert stream.given == len(answers) + stream.dropped

    asyncio.run(asyncio.wait_for(through(live, act), 50))


def test_while_the_network_stands_still_frames_give_way_and_none_is_old_afterwards(live: str, photo: bytes) -> None:
    async def act(stream: FrameStream, proxy: Proxy) -> None:
        stream.offer(photo)
        assert (await stream.__anext__()).number == 0
        proxy.open.clear()
        for _ in range(50):
            stream.offer(photo)
            await asyncio.sleep(0.01)
        begun = asyncio.get_running_loop().time()
        proxy.open.set()
        stream.finish()
        late = [answer async for answer in stream]
        assert late[-1].number == 50
        assert len(late) + stream.dropped == 50
        assert len(late) <= 5
        # What was under way when the network stood still is as old as that; the newest was given just before it moved again.
        assert late[0].seconds > 0.4
        assert late[-1].seconds < asyncio.get_running_loop().time() - begun + 0.1

    asyncio.run(asyncio.wait_for(through(live, act), 50))


def test_a_stream_that_somebody_ended_says_so(live: str, photo: bytes) -> None:
    async def act(service: Any) -> None:
        async with service.stream() as stream:
            stream.offer(photo)
            async for _ in stream:
                await service._connection.ask("DELETE", stream._exchange._document["url"])
                await asyncio.sleep(0)
                stream.offer(photo)

    with pytest.raises(ApiError) as caught:
        run(live, "face_detection", act)
    assert caught.value.status == 410


def test_wrong_parameters_are_refused_at_the_beginning(live: str) -> None:
    async def act(service: Any) -> None:
        async with service.stream({"stream": {"window": "wide"}}):
            pass

    with pytest.raises(ApiError) as caught:
        run(live, "face_detection", act)
    assert caught.value.status == 400
