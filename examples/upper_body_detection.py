"""Boxes around people from head to hips, whether their faces are seen or not."""

from __future__ import annotations

from common import Screen, arguments, box, connect, follow, pictures


def main() -> None:
    given, conn = connect(arguments(__doc__))
    service = follow(conn.services.get_service("upper_body_detection", version=1), given.input)
    with Screen(given) as screen:
        for picture in pictures(given.input):
            result = service.process({"image": picture}).result
            for body in result["upper_bodies"]:
                box(picture, body["upper_body_roi"], f"{body['upper_body_roi_confidence']:.0%}")
            print(result["nb_upper_bodies"], "people")
            if not screen.show(picture):
                break


main()
