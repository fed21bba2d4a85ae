"""When sounds begin and end, and with --classes what they are."""

from __future__ import annotations

from common import arguments, connect, sounds


def main() -> None:
    parser = arguments(__doc__, sound=True)
    parser.add_argument("--sensitivity", type=float, default=0.7)
    parser.add_argument("--classes", action="store_true", help="name the sounds")
    given, conn = connect(parser)
    service = conn.services.get_service("sound_detection", version=1)
    service.enable_session()
    frames = 0
    named = ""
    for chunk in sounds(given.input, rate=16_000):
        parameters = {"sound": chunk, "sensitivity": given.sensitivity}
        if given.classes:
            parameters["classes"] = True
        result = service.process(parameters).result
        for event in result["events"]:
            print(f"frame {frames + event['index']}: {event['type']}")
        for sound in result.get("sounds", []):
            heard = ", ".join(f"{each['name']} {each['confidence']:.2f}" for each in sound["classes"])
            if heard and heard != named:  # a sound that goes on is named with each piece
                print(f"  {heard}")
            named = heard
        frames += result["input_size"]


main()
