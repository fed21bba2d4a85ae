"""People followed, and what happens: who appears, disappears, looks at something, smiles."""

from __future__ import annotations

from datetime import UTC, datetime

from common import Screen, arguments, box, connect, pictures


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--store", action="store_true", help="count visits for the dashboard and the data API")
    given, conn = connect(parser)
    service = conn.services.get_service("scene_analysis", version=1)
    service.enable_session({"store": given.store, "camera_position": "facing"})
    with Screen(given) as screen:
        for picture in pictures(given.input):
            result = service.process({"image": picture, "timestamp": datetime.now(UTC)}).result
            for event in result["events"]:
                value = result["entities"][event["entity_id"]][event["key"]]
                print(f"{event['entity_id'][:8]} {event['type']}: {event['key']} {value}")
            for person in result["entities"].values():
                known = [str(value) for value in (person["gender"], person["age"]) if value is not None]
                box(picture, person["face_roi"], ", ".join(known))
            if not screen.show(picture):
                break
    service.disable_session()


main()
