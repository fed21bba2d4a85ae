"""Audience analytics of a camera: gaze drawn live, visits counted. Frames go over one connection, the newest first when it is slow."""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime

import numpy as np
from common import DARK_GREEN, Screen, arguments, arrow, label, pictures

import angus.aio
from angus.results import SceneAnalysis


async def main(given: argparse.Namespace) -> None:
    sent: dict[int, np.ndarray] = {}
    async with angus.aio.connect() as conn:
        service = await conn.services.get_service("scene_analysis")
        async with service.stream({"store": True}) as stream:
            reader = asyncio.create_task(read(given, stream, sent))
            with Screen(given) as screen:
                async for answer in stream:
                    picture = sent[answer.number]
                    for number in [number for number in sent if number <= answer.number]:
                        del sent[number]
                    draw(picture, answer.parse(SceneAnalysis))
                    label(picture, (8, 20), f"{answer.seconds * 1000:.0f} ms, {answer.dropped} dropped")
                    print(f"frame {answer.number}: {len(answer.result['entities'])} people")
                    if not screen.show(picture):
                        break
            reader.cancel()


async def read(given: argparse.Namespace, stream: angus.aio.FrameStream, sent: dict[int, np.ndarray]) -> None:
    """A camera's frames as they come, a file's every one."""
    frames = pictures(given.input)
    while (picture := await asyncio.to_thread(next, frames, None)) is not None:
        parameters = {"timestamp": datetime.now(UTC)}
        if given.input.isdecimal():
            sent[stream.offer(picture, parameters)] = picture
        else:
            sent[stream.given] = picture
            await stream.send(picture, parameters)
    stream.finish()


def draw(picture: np.ndarray, scene: SceneAnalysis) -> None:
    """Two green lines from each pair of eyes."""
    for person in scene.entities.values():
        if person.gaze_confidence and person.face_eye and person.gaze:  # else of a face that was seen before, or never
            for eye in person.face_eye:
                arrow(picture, eye, (*person.gaze, 0.0), DARK_GREEN)


asyncio.run(main(arguments(__doc__).parse_args()))
