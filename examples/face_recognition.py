"""Who of an album is in view. The album is a folder with a folder of pictures for each person: album/eileen/1.jpg, …"""

from __future__ import annotations

from pathlib import Path

from common import Screen, arguments, box, connect, is_picture, pictures

#: Below it a face is a stranger's.
LIKELY = 0.5


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--album", type=Path, required=True, help="folder of the people's folders")
    given, conn = connect(parser)
    service = conn.services.get_service("face_recognition", version=1)
    people = sorted(path for path in given.album.iterdir() if path.is_dir())
    # The pictures go to the server once; what is sent with each frame are their addresses.
    album = {person.name: [conn.blobs.create(sample) for sample in sorted(person.iterdir())] for person in people}
    parameters = {"album": album}
    if not is_picture(given.input):
        service.enable_session(parameters)
    with Screen(given) as screen:
        for picture in pictures(given.input):
            for face in service.process({"image": picture, **parameters}).result["faces"]:
                best = face["names"][0] if face["names"] else {"key": "nobody", "confidence": 0.0}
                name = best["key"] if best["confidence"] >= LIKELY else "unknown"
                print(name)
                box(picture, face["roi"], f"{name} {best['confidence']:.0%}")
            if not screen.show(picture):
                break


main()
