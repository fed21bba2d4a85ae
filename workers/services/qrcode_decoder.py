"""QR codes: what they say, and where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import zxingcpp
from pydantic import BaseModel, Field

from workers.contract import Image, Input, Item, Output, Service

Grey = npt.NDArray[np.uint8]

_TYPE = "QRCODE"
_FORMATS = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode)  # not micro codes: fewer checks, more texts out of nothing
_WORK_SIDE = 1280  # views other than the picture itself are at most so large, so that the work is bounded
_NO_GAIN = 1.3  # enlarging by less shows nothing new
_DARKEN = (255 * (np.arange(256) / 255) ** 3).astype(np.uint8)


class QrcodeDecoderInput(Input):
    image: Image = Field(description="The picture to look at, JPEG or PNG.")


class Code(BaseModel):
    text: str = Field(description="The content.")
    type: str = Field(description="QRCODE.")
    corners: list[tuple[int, int]] = Field(
        description="Four [x, y] in pixels of the picture: top left, top right, bottom right and bottom left of the code as it is read."
    )


class QrcodeDecoderOutput(Output):
    omit_none = True

    type: str | None = Field(default=None, description="QRCODE. Only when there is a code.")
    data: str | None = Field(default=None, description="The content of the first code. Only when there is one.")
    codes: list[Code] = Field(description="Every code, from the top of the picture to its bottom.")


class QrcodeDecoder(Service[QrcodeDecoderInput, QrcodeDecoderOutput]):
    """Do I see a QR code? What is the content?

    The picture is read as it is, and if there is no code to be read, enlarged, shrunk, smoothed and sharpened. A text is only given
    when the code's own error correction confirms it. Without a code there are neither `type` nor `data`, and `codes` is empty.
    """

    name = "qrcode_decoder"
    input_type = QrcodeDecoderInput
    output_type = QrcodeDecoderOutput

    def process(self, batch: Sequence[Item[QrcodeDecoderInput]]) -> Sequence[QrcodeDecoderOutput]:
        return [_answer(read_codes(item.input.image.pixels)) for item in batch]

    @classmethod
    def example(cls) -> QrcodeDecoderInput:
        """A code in a picture of 640 x 480."""
        code = zxingcpp.create_barcode("https://example.com/", zxingcpp.BarcodeFormat.QRCode)
        drawn = np.array(code.to_image(scale=6), np.uint8)
        picture = np.full((480, 640), 255, np.uint8)
        picture[100 : 100 + drawn.shape[0], 200 : 200 + drawn.shape[1]] = drawn
        return QrcodeDecoderInput(image=Image(cv2.imencode(".png", picture)[1].tobytes()))


def read_codes(pixels: npt.NDArray[np.uint8]) -> list[Code]:
    """The codes of the first view of a picture, uint8 [height, width, 3] BGR, that has any."""
    for view, scale in _views(pixels):
        codes = [_code(found, scale) for found in _read(view)]
        if codes:
            return sorted(codes, key=lambda code: (code.corners[0][1], code.corners[0][0]))
    return []


def _answer(codes: list[Code]) -> QrcodeDecoderOutput:
    if not codes:
        return QrcodeDecoderOutput(codes=[])
    return QrcodeDecoderOutput(type=codes[0].type, data=codes[0].text, codes=codes)


def _read(view: Grey) -> list[Any]:
    try:
        # Plain: the other modes write control characters as <SOH> and the like.
        found = zxingcpp.read_barcodes(np.ascontiguousarray(view), formats=_FORMATS, text_mode=zxingcpp.TextMode.Plain)
        return [code for code in found if code.valid and code.text]
    except (RuntimeError, ValueError):  # ValueError: a text that is not text
        return []


def _code(found: Any, scale: float) -> Code:
    place = found.position
    corners = [
        (round(point.x / scale), round(point.y / scale))
        for point in (place.top_left, place.top_right, place.bottom_right, place.bottom_left)
    ]
    return Code(text=found.text, type=_TYPE, corners=corners)


def _views(pixels: npt.NDArray[np.uint8]) -> Iterator[tuple[Grey, float]]:
    """Grey pictures to read, with their scale, in the order of what they cost and bring.

    Chosen on drawn codes, turned, tilted, unevenly lit, blurred, with noise: these views read 1.5 times as many as the
    picture alone.
    """
    grey: Grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)  # type: ignore[assignment]
    yield grey, 1.0
    longer = max(grey.shape)
    small = min(1.0, _WORK_SIDE / longer)
    # Modules printed in light colours, or cut out of a photograph: what is not nearly white in every channel is dark.
    blue, green, red = cv2.split(_resized(pixels, small))
    yield cv2.LUT(cv2.min(cv2.min(blue, green), red), _DARKEN), small  # type: ignore[misc]
    grey = _resized(grey, small)
    yield _sharpened(grey, 3, 2), small
    yield _resized(grey, 0.5), small / 2
    large = min(2.0, _WORK_SIDE / max(grey.shape))
    if large < _NO_GAIN:
        large = 1.0
    grey = _resized(grey, large)
    for change in _CHANGES:
        yield change(grey), small * large


def _resized(pixels: npt.NDArray[np.uint8], scale: float) -> npt.NDArray[np.uint8]:
    if scale == 1:
        return pixels
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)  # type: ignore[return-value]


def _sharpened(grey: Grey, radius: float, amount: float) -> Grey:
    return cv2.addWeighted(grey, 1 + amount, cv2.GaussianBlur(grey, (0, 0), radius), -amount, 0)  # type: ignore[return-value]


def _smoothed(grey: Grey) -> Grey:
    return cv2.GaussianBlur(grey, (0, 0), 2)  # type: ignore[return-value]


_CHANGES: tuple[Callable[[Grey], Grey], ...] = (lambda grey: grey, _smoothed, lambda grey: _sharpened(grey, 2, 1.5))
