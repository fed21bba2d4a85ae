"""Files of a job, decoded."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from workers.contract import Image, Sound
from workers.lib import audio, image

WAIT = 10.0
"""For the other thread to come, seconds. It comes at once, or never."""


@pytest.mark.parametrize(
    ("kind", "module", "decoder", "attribute"), [(Image, image, "decode_image", "pixels"), (Sound, audio, "decode_wav", "waveform")]
)
def test_two_threads_decode_two_files_at_the_same_time(
    kind: type[Image] | type[Sound], module: object, decoder: str, attribute: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`functools.cached_property` lets them in one by one, up to Python 3.11."""
    both = threading.Barrier(2, timeout=WAIT)
    monkeypatch.setattr(module, decoder, lambda *_, **__: both.wait())
    files = [kind(b"one"), kind(b"two")]
    with ThreadPoolExecutor(2) as pool:
        turns = list(pool.map(lambda file: getattr(file, attribute), files))
    assert sorted(turns) == [0, 1]


def test_a_picture_is_decoded_once() -> None:
    picture = Image(cv2.imencode(".png", np.full((3, 4, 3), 7, np.uint8))[1].tobytes())
    assert picture.pixels is picture.pixels
    assert picture.size == (4, 3)
