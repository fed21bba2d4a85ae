"""Rendered scenes of known truth: people cut out of photographs, put before a wall on known paths.

The people come from scikit-image's astronaut and, where there is labelled data (`SENSORIUM_TESTDATA`), from its clips. Everything else is
arithmetic: where somebody is, what hides them and whether they turn their back is known for each frame.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from tests.services.helpers import astronaut

WIDTH, HEIGHT = 640, 480
FPS = 10
WALL = (158, 150, 146)


@dataclass(frozen=True)
class Sprite:
    """Somebody from head to hips. ``front`` and ``back`` (if there is one): uint8 [height, width, 3] BGR; ``alpha``: float32 [height, width, 1], 1
    where the person is; ``head``: (x, y) of its middle, in pixels of the sprite."""

    front: np.ndarray
    back: np.ndarray | None
    alpha: np.ndarray
    head: tuple[int, int]


@dataclass(frozen=True)
class Source:
    """Where somebody is in a picture: ``head`` is the ellipse (x, y, half width, half height) around the head with its hair, ``body`` the corners
    around everything else; ``scale`` makes them all of one size."""

    file: str
    head: tuple[int, int, int, int]
    body: tuple[tuple[int, int], ...]
    scale: float


SOURCES = {
    "astronaut": Source(
        "",
        (226, 105, 78, 105),
        ((40, 511), (60, 300), (120, 220), (160, 185), (300, 185), (360, 280), (420, 360), (430, 511)),
        0.6,
    ),
    "yellow": Source(
        "upper_body_detection/book.mkv",
        (302, 145, 50, 66),
        ((188, 478), (198, 260), (240, 185), (370, 185), (415, 260), (432, 478)),
        0.75,
    ),
    "striped": Source(
        "upper_body_detection/eat.mkv",
        (303, 132, 46, 66),
        ((168, 478), (190, 260), (230, 205), (290, 180), (340, 180), (395, 220), (425, 478)),
        0.75,
    ),
    "blue": Source(
        "gaze_analysis/headpose_male.gif",
        (247, 82, 50, 66),
        ((128, 269), (140, 195), (205, 150), (216, 110), (282, 110), (290, 150), (342, 190), (360, 269)),
        1.15,
    ),
}
#: Of the astronaut: the ellipse of the face, and a patch (x, y, width, height) of nothing but hair.
FACE, HAIR = (224, 122, 62, 84), (190, 30, 70, 40)


def _cut(pixels: np.ndarray, source: Source, back: np.ndarray | None = None) -> Sprite:
    """What belongs to the person is found from the outline by colour (GrabCut)."""
    cv2.setRNGSeed(1)
    mask = np.full(pixels.shape[:2], cv2.GC_BGD, np.uint8)
    x, y, wide, high = source.head
    cv2.fillPoly(mask, [np.array(source.body, np.int32)], int(cv2.GC_PR_FGD))
    cv2.ellipse(mask, (x, y), (wide, high), 0, 0, 360, int(cv2.GC_PR_FGD), -1)
    cv2.ellipse(mask, (x, y), (wide * 3 // 5, high * 3 // 5), 0, 0, 360, int(cv2.GC_FGD), -1)
    mask, _, _ = cv2.grabCut(pixels, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
    alpha = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    front = cv2.resize(pixels[part], None, fx=source.scale, fy=source.scale, interpolation=cv2.INTER_AREA)
    size = (front.shape[1], front.shape[0])
    turned = None if back is None else cv2.resize(back[part], size, interpolation=cv2.INTER_AREA)
    soft = cv2.resize(alpha[part], size, interpolation=cv2.INTER_AREA)
    head = (round((x - int(columns[0])) * source.scale), round((y - int(rows[0])) * source.scale))
    return Sprite(front, turned, soft[..., None], head)


def _from_behind(pixels: np.ndarray) -> np.ndarray:
    """The astronaut with hair where the face is."""
    left, top, width, height = HAIR
    patch = np.vstack([pixels[top : top + height, left : left + width]] * 2)
    patch[height:] = patch[height - 1 :: -1]  # mirrored, so that it goes on without an edge
    patch = np.hstack([patch, patch[:, ::-1]])
    times = -(-pixels.shape[0] // patch.shape[0]), -(-pixels.shape[1] // patch.shape[1])
    hair = np.tile(patch, (*times, 1))[: pixels.shape[0], : pixels.shape[1]]
    cover = cv2.GaussianBlur(_ellipse(FACE, pixels.shape), (0, 0), 4)[..., None]
    return np.rint(pixels * (1 - cover) + hair * cover).astype(np.uint8)


def _ellipse(shape: tuple[int, int, int, int], size: tuple[int, ...]) -> np.ndarray:
    """float32 [height, width]: 1 inside."""
    return cv2.ellipse(np.zeros(size[:2], np.float32), shape[:2], shape[2:], 0, 0, 360, 1.0, -1)


@cache
def sprite(name: str) -> Sprite:
    """Somebody by the name in `SOURCES`, or ``other``: the astronaut in a blue suit and with dark hair, mirrored."""
    pixels = np.array(astronaut())
    if name == "astronaut":
        return _cut(pixels, SOURCES[name], _from_behind(pixels))
    if name == "other":
        found = _cut(_recoloured(pixels), SOURCES["astronaut"])
        front, alpha = (np.ascontiguousarray(one[:, ::-1]) for one in (found.front, found.alpha))
        return Sprite(front, None, alpha, (alpha.shape[1] - 1 - found.head[0], found.head[1]))
    taken, pixels = cv2.VideoCapture(str(Path(os.environ["SENSORIUM_TESTDATA"]) / SOURCES[name].file)).read()
    assert taken
    return _cut(pixels, SOURCES[name])


def _recoloured(pixels: np.ndarray) -> np.ndarray:
    """Orange becomes blue, hair dark; the face stays."""
    _, y, _, high = SOURCES["astronaut"].head
    hair, face = _ellipse(SOURCES["astronaut"].head, pixels.shape) > 0, _ellipse(FACE, pixels.shape) > 0
    hue, saturation, value = cv2.split(cv2.cvtColor(pixels, cv2.COLOR_BGR2HSV))
    below = np.arange(len(pixels))[:, None] > y + high
    hue = np.where(below & (saturation > 90) & ((hue < 25) | (hue > 170)), 112, hue)
    value = np.where(hair & ~face & (saturation > 60), value // 3, value)
    return cv2.cvtColor(np.stack([hue, saturation, value], axis=2).astype(np.uint8), cv2.COLOR_HSV2BGR)


#: Where the middle of somebody's head is at a time (seconds), in pixels; None: not in the scene.
Path_ = Callable[[float], tuple[float, float] | None]


@dataclass(frozen=True)
class Actor:
    """Who is where, and when they turn their back."""

    sprite: Sprite
    path: Path_
    turned: Callable[[float], bool] = lambda _: False


def render(actors: Sequence[Actor], time: float, pillar: tuple[int, int] | None = None) -> np.ndarray:
    """uint8 [480, 640, 3] BGR at a time: the later actors are nearer. ``pillar``: from and to (x), before everybody."""
    picture = np.full((HEIGHT, WIDTH, 3), WALL, np.uint8)
    for actor in actors:
        place = actor.path(time)
        if place is not None:
            _put(picture, actor.sprite, actor.turned(time), place)
    if pillar is not None:
        picture[:, pillar[0] : pillar[1]] = (92, 98, 104)
    return picture


def _put(picture: np.ndarray, one: Sprite, turned: bool, place: tuple[float, float]) -> None:
    pixels, alpha = one.back if turned else one.front, one.alpha
    assert pixels is not None, "nobody knows what this one looks like from behind"
    left, top = round(place[0]) - one.head[0], round(place[1]) - one.head[1]
    x, y = max(left, 0), max(top, 0)
    right, bottom = min(left + pixels.shape[1], WIDTH), min(top + pixels.shape[0], HEIGHT)
    if x < right and y < bottom:
        part = slice(y - top, bottom - top), slice(x - left, right - left)
        under = picture[y:bottom, x:right]
        picture[y:bottom, x:right] = np.rint(pixels[part] * alpha[part] + under * (1 - alpha[part])).astype(np.uint8)
