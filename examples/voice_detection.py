"""Whether somebody speaks."""

from __future__ import annotations

from common import arguments, connect, sounds


def main() -> None:
    parser = arguments(__doc__, sound=True)
    parser.add_argument("--sensitivity", type=float, default=0.5)
    given, conn = connect(parser)
    service = conn.services.get_service("voice_detection", version=1)
    service.enable_session()
    for chunk in sounds(given.input, rate=16_000):
        print(service.process({"sound": chunk, "sensitivity": given.sensitivity}).result["voice_activity"])


main()
