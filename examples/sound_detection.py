"""When sounds begin and end."""

from __future__ import annotations

from common import arguments, connect, sounds


def main() -> None:
    parser = arguments(__doc__, sound=True)
    parser.add_argument("--sensitivity", type=float, default=0.7)
    given, conn = connect(parser)
    service = conn.services.get_service("sound_detection", version=1)
    service.enable_session()
    frames = 0
    for chunk in sounds(given.input, rate=16_000):
        result = service.process({"sound": chunk, "sensitivity": given.sensitivity}).result
        for event in result["events"]:
            print(f"frame {frames + event['index']}: {event['type']}")
        frames += result["input_size"]


main()
