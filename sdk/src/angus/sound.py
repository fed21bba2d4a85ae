"""The sound of ``text_to_speech``: a WAV file, compressed with zlib, in base64."""

from __future__ import annotations

import base64
import binascii
import zlib

#: More than ten minutes of speech, 16 bit at 48 kHz.
MOST_BYTES = 64 * 1024 * 1024


def decode(sound: str, most_bytes: int = MOST_BYTES) -> bytes:
    """The WAV file. Raises `ValueError` for what is none, and as soon as it would be larger than ``most_bytes``.

    The limit matters because a kilobyte of zlib can hold a megabyte.
    """
    try:
        compressed = base64.b64decode(sound, validate=True)
        unpacking = zlib.decompressobj()
        wav = unpacking.decompress(compressed, most_bytes)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"this is no sound of text_to_speech ({error})") from None
    if unpacking.unconsumed_tail:
        raise ValueError(f"the sound is larger than {most_bytes} bytes")
    if not unpacking.eof:
        raise ValueError("the sound is cut short")
    return wav
