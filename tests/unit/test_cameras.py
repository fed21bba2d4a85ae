"""A camera that is lost and comes back, as an IP camera is: pictures over HTTP, one after the other, from a server on this machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from sensorium.cameras import Camera, Frame, Video
from shared.errors import UnreadableInput
from tests.motion_jpeg import SIZE, motion_jpeg


async def until(camera: Camera, wanted: Callable[[Frame], bool]) -> list[Frame]:
    """The frames up to the first that is wanted."""
    frames, found = camera.frames(), list[Frame]()
    async with asyncio.timeout(60):
        while not found or not wanted(found[-1]):
            found.append(await asyncio.to_thread(next, frames))
    return found


async def test_a_camera_that_drops_the_connection_is_found_again() -> None:
    told: list[str] = []
    async with motion_jpeg(failing=True) as server:
        camera = await asyncio.to_thread(Camera, server.address.replace("//", "//user:secret@"), 100, told.append)
        try:
            found = await until(camera, lambda frame: abs(int(frame.pixels.mean()) - 120) < 10)
        finally:
            await asyncio.to_thread(camera.close)
    assert {round(float(frame.pixels.mean()) / 40) for frame in found} == {1, 3}
    assert server.connections == 3
    assert [text.partition("/video")[2] for text in told] == [" was lost; trying again", " is back"]
    assert "secret" not in "".join(told)
    assert [frame.number for frame in found] == sorted({frame.number for frame in found})
    assert [frame.seconds for frame in found] == sorted({frame.seconds for frame in found})
    assert found[-1].pixels.shape == (SIZE[1], SIZE[0], 3)


def test_a_camera_that_is_not_there_is_said_at_once() -> None:
    with pytest.raises(UnreadableInput, match=r"http://127\.0\.0\.1:1/video cannot be opened"):
        Camera("http://admin:secret@127.0.0.1:1/video")


@pytest.mark.parametrize("real_time", [False, True])
def test_a_file_goes_as_fast_as_it_can_or_at_its_own_pace(real_time: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("video") / "grey.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, SIZE)
    for _ in range(11):
        writer.write(np.full((SIZE[1], SIZE[0], 3), 99, np.uint8))
    writer.release()
    begin = time.monotonic()
    assert len(list(Video(str(path), real_time=real_time).frames())) == 11
    spent = time.monotonic() - begin
    assert (spent >= 1.0) == real_time
