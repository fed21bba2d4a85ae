"""Where sounds come from, with two microphones or a stereo recording at 48 kHz."""

from __future__ import annotations

import math

from common import arguments, connect, sounds


def main() -> None:
    parser = arguments(__doc__, sound=True)
    parser.add_argument("--baseline", type=float, default=0.14, help="distance of the microphones in metres")
    parser.add_argument("--sensitivity", type=float, default=0.7)
    given, conn = connect(parser)
    service = conn.services.get_service("sound_localization", version=1)
    service.enable_session()
    for chunk in sounds(given.input, rate=48_000, channels=2):
        parameters = {"sound": chunk, "baseline": given.baseline, "sensitivity": given.sensitivity}
        for source in service.process(parameters).result["sources"]:
            side = "right" if source["yaw"] > 0 else "left"
            print(f"{abs(math.degrees(source['yaw'])):.0f} degrees to the {side} ({source['confidence']:.0%})")


main()
