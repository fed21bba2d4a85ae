"""Pictures from bytes of strangers: JPEG and PNG, by their signatures only.

What a decoder would allocate is read from the header first, and what makes decoders work without need (metadata that
inflates, scans without end) is refused or cut out before OpenCV sees the bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from shared.errors import InputTooLarge, UnreadableInput

Pixels = npt.NDArray[np.uint8]

#: Marker segments before the first scan. Cameras write a dozen; a colour profile or extended XMP some hundred.
MAX_SEGMENTS = 4096
#: Scans of a progressive JPEG. Encoders write about ten; each costs a pass over the whole picture.
MAX_SCANS = 64
#: Chunks of a PNG. The smallest IDAT chunks in the wild (8 KiB) make 2,500 of 20 MB.
MAX_CHUNKS = 65_536

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_NEEDED = "a JPEG or PNG picture is needed"
_ROWS = 256  # rows blended at a time, so that blending costs no second picture


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the header says. ``width`` and ``height`` are as stored, before the EXIF orientation; ``data`` is what is to be decoded;
    ``deep``: decoding takes twice the memory, 16 bytes a pixel, since there are 16 bits for each colour and for the transparency."""

    width: int
    height: int
    alpha: bool
    data: bytes
    deep: bool = False


def decode_image(data: bytes, *, max_pixels: int, max_side: int) -> Pixels:
    """uint8 [height, width, 3], BGR, with the EXIF orientation applied.

    Grey, palette, 16 bit and CMYK pictures are converted; transparent ones are laid over white (codes are often drawn in
    black on nothing). Of an animated PNG the still picture is taken. Releases the GIL while it decodes.

    Raises `UnreadableInput` for what is not a whole JPEG or PNG, and `InputTooLarge`, before decoding, for more than
    ``max_pixels`` pixels, half as many with 16 bits and transparency, or a side longer than ``max_side``.
    """
    header = read_header(data)
    if header.width > max_side or header.height > max_side:
        raise InputTooLarge(f"the image is {header.width} x {header.height}; a side may have at most {max_side} pixels")
    most, kind = (max_pixels // 2, " with 16 bits and transparency") if header.deep else (max_pixels, "")
    if header.width * header.height > most:
        raise InputTooLarge(f"the image has {header.width * header.height} pixels; at most {most} are allowed{kind}")
    if header.alpha:
        return _over_white(_decode(header.data, cv2.IMREAD_UNCHANGED))
    return _decode(header.data, cv2.IMREAD_COLOR)


def read_header(data: bytes) -> ImageHeader:
    """The header of a JPEG or PNG, without decoding. Raises `UnreadableInput`."""
    try:
        if data.startswith(_JPEG):
            return _read_jpeg(data)
        if data.startswith(_PNG):
            return _read_png(data)
    except (struct.error, IndexError):
        raise UnreadableInput(f"the image ends inside its header; {_NEEDED}") from None
    raise UnreadableInput(f"this is neither a JPEG nor a PNG file; {_NEEDED}")


def _decode(data: bytes, mode: int) -> Pixels:
    try:
        pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise UnreadableInput(f"the image is damaged or of a variety that is not supported; {_NEEDED}")
    return pixels  # type: ignore[no-any-return]


def _over_white(pixels: npt.NDArray[Any]) -> Pixels:
    """[h, w, 4] BGRA of 8 or 16 bit, or what a decoder gave instead, over white."""
    blended = np.empty((*pixels.shape[:2], 3), np.uint8)
    for top in range(0, pixels.shape[0], _ROWS):
        part = pixels[top : top + _ROWS]
        if part.dtype == np.uint16:
            part = (part >> 8).astype(np.uint8)
        if part.ndim == 3 and part.shape[2] == 4:
            alpha = part[:, :, 3:].astype(np.uint16)
            part = (part[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255
        blended[top : top + _ROWS] = part if part.ndim == 3 else part[:, :, None]
    return blended


# JPEG: segments of a marker (0xFF and a code) and, for most, a length and so many bytes.

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_ALONE = frozenset((0x01, *range(0xD0, 0xD8)))  # markers without a length
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15 without DHT, JPG, DAC
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)  # inside a scan 0xFF is followed by 0 or a restart


def _segments(data: bytes, position: int) -> Iterator[tuple[int, int, int]]:
    """(code, start, end) of the marker segments from ``position`` on; of a scan that of its header.

    Steps over garbage between segments as libjpeg does, so that both see the same segments.
    """
    while True:
        found = _MARKER.search(data, position)
        if found is None:
            return
        code, start = found[1][0], found.end()
        if code in _ALONE or code in (_SOI, _EOI):
            yield code, start, start
            position = start
            continue
        (length,) = struct.unpack_from(">H", data, start)
        if length < 2:
            raise UnreadableInput(f"the JPEG has a segment without a length; {_NEEDED}")
        position = start + length
        yield code, start + 2, position


def _read_jpeg(data: bytes) -> ImageHeader:
    frame: tuple[int, int, int, int] | None = None  # kind, height, width, components
    for count, (code, start, _) in enumerate(_segments(data, 2)):
        if count > MAX_SEGMENTS:
            raise UnreadableInput(f"the JPEG has more than {MAX_SEGMENTS} segments before its picture")
        if code in _FRAMES:
            if frame:
                raise UnreadableInput("the JPEG has several frame headers")
            frame = (code, *struct.unpack_from(">xHHB", data, start))
        elif code == _SOS:
            if frame is None:
                break
            # A picture in one scan ends with it: libjpeg reads no further, and no walk through all its bytes is needed.
            several = frame[0] in _PROGRESSIVE or data[start] < frame[3]
            if not _ends(data, start, several):
                raise UnreadableInput("the JPEG is truncated: its end is missing")
            return _header(width=frame[2], height=frame[1], alpha=False, data=data)
        elif code in (_SOI, _EOI):
            break
    raise UnreadableInput(f"the JPEG holds no picture; {_NEEDED}")


def _ends(data: bytes, start: int, several: bool) -> bool:
    """Whether the picture whose first scan begins at ``start`` is closed. Raises `UnreadableInput` for too many scans."""
    if not several:
        return data.rfind(b"\xff\xd9", start) >= 0  # from behind, where it usually is
    scans = 1
    for count, (code, _, _) in enumerate(_segments(data, start)):
        scans += code == _SOS
        if scans > MAX_SCANS or count > MAX_SEGMENTS:
            raise UnreadableInput(f"the JPEG has more than {MAX_SCANS} scans")
        if code == _EOI:
            return True
    return False


# PNG: chunks of a length, a four-letter type, so many bytes and a checksum.

#: What a picture is made of. All else is left out: libpng inflates compressed texts and profiles, megabytes each.
_PICTURE = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf"))
_COLOURS_WITH_ALPHA = (4, 6)


def _read_png(data: bytes) -> ImageHeader:
    length, kind, width, height, depth, colour = struct.unpack_from(">I4sIIBB", data, len(_PNG))
    if kind != b"IHDR" or length != 13:
        raise UnreadableInput(f"the PNG does not begin with its header; {_NEEDED}")
    kinds: set[bytes] = set()
    kept: list[tuple[int, int]] = []
    for kind, start, end in _chunks(data):
        kinds.add(kind)
        if kind in _PICTURE:
            if kept and kept[-1][1] == start:
                kept[-1] = (kept[-1][0], end)
            else:
                kept.append((start, end))
    if b"IEND" not in kinds:
        raise UnreadableInput("the PNG is truncated: its end is missing")
    if len(kept) > 1:
        data = _PNG + b"".join(data[start:end] for start, end in kept)
    # OpenCV gives either the alpha channel or the orientation; the few pictures with both are seen without alpha.
    alpha = (colour in _COLOURS_WITH_ALPHA or b"tRNS" in kinds) and b"eXIf" not in kinds
    return _header(width=width, height=height, alpha=alpha, data=data, deep=alpha and depth == 16)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of each whole chunk, up to IEND."""
    position = len(_PNG)
    for _ in range(MAX_CHUNKS):
        if position + 12 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            return
        yield kind, position, end
        if kind == b"IEND":
            return
        position = end
    raise UnreadableInput(f"the PNG has more than {MAX_CHUNKS} chunks")


def _header(*, width: int, height: int, alpha: bool, data: bytes, deep: bool = False) -> ImageHeader:
    if width == 0 or height == 0:
        raise UnreadableInput(f"the image has no pixels; {_NEEDED}")
    return ImageHeader(width, height, alpha, data, deep)
