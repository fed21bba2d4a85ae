"""Runs one program of the 2018 documentation as its user would, with files in place of the camera, the screen, the microphone and the loudspeaker.

`python run.py SAMPLE`: the camera is the video PROGRAM_VIDEO, the microphone (see `shims/pyaudio.py`) the sound PROGRAM_SOUND, and after
PROGRAM_PRINTS calls of pprint somebody presses Ctrl-C, for the samples that go on for ever. The last line printed is JSON: how many pictures were
shown, and in how many of them something was drawn in each of the colours that the samples use.
"""

from __future__ import annotations

import collections
import json
import os
import pprint
import runpy
import subprocess
import sys

import cv2
import numpy as np

COLOURS = {"green": (0, 255, 0), "dark green": (0, 140, 0), "orange": (0, 140, 255), "white": (255, 255, 255)}
shown: collections.Counter[str] = collections.Counter()
open_video = cv2.VideoCapture


def camera(source: object) -> cv2.VideoCapture:
    """A camera's number opens the video instead."""
    return open_video(os.environ["PROGRAM_VIDEO"] if isinstance(source, int) else source)


def imshow(name: str, picture: np.ndarray) -> None:
    shown["pictures"] += 1
    for colour, value in COLOURS.items():
        shown[colour] += bool((picture == value).all(axis=2).any())


def interrupted_after(times: int) -> None:
    """Every call of pprint counts; the last one is followed by Ctrl-C."""
    print_it, left = pprint.pprint, times

    def counted(thing: object) -> None:
        nonlocal left
        print_it(thing)
        left -= 1
        if not left:
            raise KeyboardInterrupt

    pprint.pprint = counted


def main() -> None:
    cv2.VideoCapture, cv2.imshow = camera, imshow
    cv2.waitKey, cv2.destroyAllWindows = lambda _: -1, lambda: None
    subprocess.call = lambda words: print("called", *words)
    if "PROGRAM_PRINTS" in os.environ:
        interrupted_after(int(os.environ["PROGRAM_PRINTS"]))
    sample, sys.argv = sys.argv[1], sys.argv[1:]
    try:
        runpy.run_path(sample, run_name="__main__")
    except KeyboardInterrupt:
        print("interrupted")
    print(json.dumps(shown))


main()
