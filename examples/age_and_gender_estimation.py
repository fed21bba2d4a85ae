"""Age and gender of everybody in view."""

from __future__ import annotations

from common import Screen, arguments, box, connect, follow, pictures


def main() -> None:
    given, conn = connect(arguments(__doc__))
    service = follow(conn.services.get_service("age_and_gender_estimation", version=1), given.input)
    with Screen(given) as screen:
        for picture in pictures(given.input):
            for face in service.process({"image": picture}).result["faces"]:
                text = f"{face.get('gender', '?')}, {face.get('age', '?')}"  # a stream may have either switched off
                print(text)
                box(picture, face["roi"], text)
            if not screen.show(picture):
                break


main()
