"""What moves in front of the camera, and where to."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from workers.contract import Image, Input, Item, Models, Output, Service
from workers.lib import flow
from workers.lib.neighbours import scipy_parts

#: The longer side of what pictures are reduced to. What moves slower than about a 500th of the picture a frame is not seen.
SIDE = 320
#: Of the JPEG in the state. Half the size of 85 and as accurate; below it slow motion in noisy pictures is lost.
_QUALITY = 50
_EVEN_POINTS = 2  # of the confidence


class MotionDetectionInput(Input):
    image: Image = Field(description="The next frame of the session, JPEG or PNG.")


class MotionTarget(BaseModel):
    mean_position: tuple[float, float] = Field(description="[x, y] in pixels: the centre of gravity of the moving points.")
    mean_velocity: tuple[float, float] = Field(
        description="[x, y] in pixels a frame: the typical velocity of the moving points, less the camera's own motion."
    )
    confidence: float = Field(ge=0, le=1, description="How significant the motion is: rises with the number of points that move together.")


class MotionDetectionOutput(Output):
    input_size: tuple[int, int] = Field(description="[width, height] of the picture in pixels.")
    nb_targets: int = Field(ge=0, description="The number of targets.")
    targets: list[MotionTarget] = Field(description="What moves, the largest first.")


class MotionDetectionState(BaseModel):
    """5,000 to 10,000 characters of JSON for a camera's pictures, by how much detail they have."""

    #: Width and height of the last picture.
    size: tuple[int, int] = (0, 0)
    #: Its view (`flow.view`), a grey relief of at most 320 pixels a side, as JPEG in base64. It leaves with the session.
    view: str = ""
    movers: list[flow.Mover] = Field(default_factory=list)


class MotionDetection(Service[MotionDetectionInput, MotionDetectionOutput]):
    """Is there anything moving in front of my object? Where exactly?

    Motion is seen between the frames of a session. A single picture, or the first of a session, has no targets, and neither has
    one whose size differs from that before it. A camera that shakes or pans, and light that changes, are not motion.
    """

    name = "motion_detection"
    input_type = MotionDetectionInput
    output_type = MotionDetectionOutput
    state_type: ClassVar[type[BaseModel]] = MotionDetectionState
    max_batch = 1

    def load(self, models: Models) -> None:
        scipy_parts()

    def process(self, batch: Sequence[Item[MotionDetectionInput]]) -> Sequence[MotionDetectionOutput]:
        return [_answer(item) for item in batch]

    @classmethod
    def example(cls) -> MotionDetectionInput:
        """A picture of coloured noise, smoothed: many points to follow."""
        noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
        picture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 4), None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
        return MotionDetectionInput(image=Image(cv2.imencode(".jpg", picture)[1].tobytes()))


def _answer(item: Item[MotionDetectionInput]) -> MotionDetectionOutput:
    size = item.input.image.size
    if item.state is None:
        return MotionDetectionOutput(input_size=size, nb_targets=0, targets=[])
    state: MotionDetectionState = item.state
    view = flow.view(item.input.image.pixels, SIDE)
    before = _unpacked(state.view) if state.size == size else None
    state.movers = _movers(state.movers, before, view, 1 + item.skipped) if before is not None else []
    state.size, state.view = size, _packed(view)
    found = [_target(mover, size, size[0] / view.shape[1]) for mover in state.movers if not mover.missed]
    return MotionDetectionOutput(input_size=size, nb_targets=len(found), targets=found)


def _movers(movers: list[flow.Mover], before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8], frames: int) -> list[flow.Mover]:
    recent = np.array([mover.position for mover in movers])
    found = flow.targets(flow.motion(before, after, recent), recent)
    return [_short(mover) for mover in flow.remember(movers, found, frames=frames)]


def _short(mover: flow.Mover) -> flow.Mover:
    """Hundredths of a pixel: enough, and short in JSON."""
    (x, y), (u, v) = mover.position, mover.velocity
    return flow.Mover((round(x, 2), round(y, 2)), (round(u, 2), round(v, 2)), mover.points, mover.seen, mover.missed)


def _target(mover: flow.Mover, size: tuple[int, int], scale: float) -> MotionTarget:
    x, y = (min(max((value + 0.5) * scale - 0.5, 0.0), side - 1.0) for value, side in zip(mover.position, size, strict=True))
    u, v = (round(value * scale, 1) + 0.0 for value in mover.velocity)  # no -0.0
    confidence = mover.points / (mover.points + _EVEN_POINTS)
    return MotionTarget(mean_position=(round(x, 1), round(y, 1)), mean_velocity=(u, v), confidence=round(confidence, 4))


def _packed(view: npt.NDArray[np.uint8]) -> str:
    small = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    return base64.b64encode(cv2.imencode(".jpg", view, small)[1].tobytes()).decode()


def _unpacked(text: str) -> npt.NDArray[np.uint8] | None:
    if not text:
        return None
    return cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_GRAYSCALE)  # type: ignore[return-value]
