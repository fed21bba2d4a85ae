"""What the position of the camera changes. Sizes are shares of the picture's height, angles radians."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Position = Literal["ceiling", "facing"]


@dataclass(frozen=True, slots=True)
class Preset:
    """``lenience``: how far below the people network's own least score a person may be; more where people are seen from unusual angles. ``min_head``: smaller heads are passers-by
    of another street. ``gaze_yaw`` and ``gaze_pitch``: whoever looks less far than this from the camera looks at it; a camera above a
    shop window means the window below it too, hence ``gaze_down``: how far below the camera counts. ``min_face``: in pixels, the
    smallest face of which age, gender and expression say anything."""

    lenience: float
    min_head: float
    gaze_yaw: float
    gaze_pitch: float
    gaze_down: float
    min_face: float


PRESETS: dict[Position, Preset] = {
    "facing": Preset(lenience=0.0, min_head=0.02, gaze_yaw=0.35, gaze_pitch=0.35, gaze_down=0.35, min_face=24),
    "ceiling": Preset(lenience=0.05, min_head=0.015, gaze_yaw=0.4, gaze_pitch=0.45, gaze_down=0.8, min_face=20),
}
