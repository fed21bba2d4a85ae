"""What everybody's face expresses most."""

from __future__ import annotations

from common import Screen, arguments, box, connect, follow, pictures

EXPRESSIONS = ("neutral", "happiness", "surprise", "anger", "sadness")


def main() -> None:
    given, conn = connect(arguments(__doc__))
    service = follow(conn.services.get_service("face_expression_estimation", version=1), given.input)
    with Screen(given) as screen:
        for picture in pictures(given.input):
            for face in service.process({"image": picture}).result["faces"]:
                strongest = max(EXPRESSIONS, key=lambda name: face[name])
                print(strongest)
                box(picture, face["roi"], f"{strongest} {face[strongest]:.0%}")
            if not screen.show(picture):
                break


main()
