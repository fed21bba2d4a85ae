"""Boxes around faces, each with a number that stays."""

from __future__ import annotations

from common import Screen, arguments, box, connect, follow, pictures


def main() -> None:
    given, conn = connect(arguments(__doc__))
    service = follow(conn.services.get_service("face_detection", version=1), given.input)
    with Screen(given) as screen:
        for picture in pictures(given.input):
            result = service.process({"image": picture}).result
            for face in result["faces"]:
                box(picture, face["roi"], f"{face.get('id', '')} {face['roi_confidence']:.0%}")
            print(result["nb_faces"], "faces")
            if not screen.show(picture):
                break


main()
