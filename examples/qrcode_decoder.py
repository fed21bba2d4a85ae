"""The text of every code in view."""

from __future__ import annotations

import cv2
import numpy as np
from common import GREEN, Screen, arguments, connect, pictures


def main() -> None:
    given, conn = connect(arguments(__doc__))
    service = conn.services.get_service("qrcode_decoder", version=1)
    with Screen(given) as screen:
        for picture in pictures(given.input):
            for code in service.process({"image": picture}).result["codes"]:
                print(code["text"])
                cv2.polylines(picture, [np.array(code["corners"], np.int32)], True, GREEN, 2)
            if not screen.show(picture):
                break


main()
