"""What the services that look at people have in common: where a person's upper body is, and a drawing of one."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from workers.lib.people import People, Person, persons

Array = npt.NDArray[Any]

#: From the top of the head to the hips, in heights of the head's box, and from its middle to either side, in widths.
HEADS_DOWN, HEADS_ASIDE = 3.2, 1.9
#: The same where only the head is seen.
HEADS_DOWN_ALONE, HEADS_ASIDE_ALONE = 3.0, 1.2
#: A body without its head: the upper part of somebody standing, all of somebody who is cut off or sits.
SHARE_OF_BODY, WIDTHS_OF_BODY = 0.55, 1.25


def upper_bodies(found: People) -> tuple[Array, Array]:
    """Boxes float [n, 4] (x, y, width, height in pixels, not clipped) and scores [n] of the upper bodies, by falling score."""
    everybody = persons(found)
    boxes = [_upper_body(found, person) for person in everybody]
    return np.array(boxes, np.float64).reshape(-1, 4), np.array([person.score for person in everybody])


def _upper_body(found: People, person: Person) -> tuple[float, float, float, float]:
    if person.head is None:
        x, y, width, height = found.bodies.boxes[person.body].tolist()
        return x, y, width, min(height, max(SHARE_OF_BODY * height, WIDTHS_OF_BODY * width))
    x, y, width, height = found.heads.boxes[person.head].tolist()
    middle = x + width / 2
    if person.body is None:
        return middle - HEADS_ASIDE_ALONE * width, y, 2 * HEADS_ASIDE_ALONE * width, HEADS_DOWN_ALONE * height
    body_x, body_y, body_width, body_height = found.bodies.boxes[person.body].tolist()
    # Both ways at least the head: a body's box may end above its chin.
    left = min(max(body_x, middle - HEADS_ASIDE * width), x)
    right = max(min(body_x + body_width, middle + HEADS_ASIDE * width), x + width)
    bottom = max(min(body_y + body_height, y + HEADS_DOWN * height), y + height)
    return left, y, right - left, bottom - y


def drawn_person() -> bytes:
    """A JPEG of 640 x 480 with one person from the hips up."""
    picture = np.full((480, 640, 3), (150, 140, 130), np.uint8)
    shirt, skin, hair = (120, 60, 40), (140, 175, 225), (30, 40, 60)
    cv2.ellipse(picture, (320, 480), (105, 235), 0, 180, 360, shirt, -1)  # shoulders and chest
    for side in (-1, 1):
        cv2.line(picture, (320 + side * 85, 320), (320 + side * 125, 480), shirt, 48)
    cv2.line(picture, (320, 200), (320, 262), skin, 44)
    cv2.ellipse(picture, (320, 165), (50, 68), 0, 0, 360, skin, -1)
    cv2.ellipse(picture, (320, 125), (53, 38), 0, 180, 360, hair, -1)
    for x in (300, 340):
        cv2.ellipse(picture, (x, 155), (9, 5), 0, 0, 360, (40, 40, 40), -1)
        cv2.ellipse(picture, (x, 143), (12, 4), 0, 180, 360, hair, 3)
    cv2.line(picture, (320, 158), (315, 180), (100, 130, 185), 3)
    cv2.ellipse(picture, (320, 200), (18, 7), 0, 0, 180, (70, 70, 180), -1)
    return cv2.imencode(".jpg", cv2.GaussianBlur(picture, (0, 0), 2))[1].tobytes()
