"""What moves, and where to."""

from __future__ import annotations

import cv2
from common import WHITE, Screen, arguments, connect, pictures


def main() -> None:
    given, conn = connect(arguments(__doc__))
    service = conn.services.get_service("motion_detection", version=1)
    service.enable_session()
    with Screen(given) as screen:
        for picture in pictures(given.input):
            for target in service.process({"image": picture}).result["targets"]:
                x, y = map(int, target["mean_position"])
                right, down = target["mean_velocity"]
                print(f"at {x}, {y}: {right:+.0f}, {down:+.0f} pixels a frame")
                cv2.circle(picture, (x, y), 5, WHITE, 2)
                cv2.arrowedLine(picture, (x, y), (x + int(5 * right), y + int(5 * down)), WHITE, 2)
            if not screen.show(picture):
                break


main()
