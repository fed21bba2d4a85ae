"""Where heads are turned (orange) and eyes look (green)."""

from __future__ import annotations

from common import DARK_GREEN, ORANGE, Screen, arguments, arrow, connect, follow, pictures


def main() -> None:
    given, conn = connect(arguments(__doc__))
    service = follow(conn.services.get_service("gaze_analysis", version=1), given.input)
    with Screen(given) as screen:
        for picture in pictures(given.input):
            for face in service.process({"image": picture}).result["faces"]:
                print(f"yaw {face['gaze_yaw']:+.2f}, pitch {face['gaze_pitch']:+.2f}")
                arrow(picture, face["nose"], (face["head_yaw"], face["head_pitch"], face["head_roll"]), ORANGE)
                for eye in (face["eye_left"], face["eye_right"]):
                    arrow(picture, eye, (face["gaze_yaw"], face["gaze_pitch"], 0.0), DARK_GREEN)
            if not screen.show(picture):
                break


main()
