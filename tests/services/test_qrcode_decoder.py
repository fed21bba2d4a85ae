from __future__ import annotations

import cv2
import numpy as np
import pytest
import qrcode

from tests.services.helpers import answer, astronaut, given, jpeg, labelled, loaded, png
from workers.services import qrcode_decoder
from workers.services.qrcode_decoder import QrcodeDecoder

TEXT = "http://www.angus.ai"


def drawn(text: str, module: int = 6) -> np.ndarray:
    """uint8 [side, side] with the quiet zone."""
    code = qrcode.QRCode(border=4)
    code.add_data(text)
    return cv2.resize(
        np.where(np.array(code.get_matrix()), 0, 255).astype(np.uint8), None, fx=module, fy=module, interpolation=cv2.INTER_NEAREST
    )


def read(pixels: np.ndarray) -> dict[str, object]:
    return answer(loaded(QrcodeDecoder), given(QrcodeDecoder, {"image": png(pixels)}))


@pytest.mark.parametrize("text", [TEXT, "línea 1\r\nline 2\n\tэто 漢字 🙂", "x", "0123456789" * 20, "<SOH> \x01 control", '"><script>'])
def test_the_text_of_a_code(text: str) -> None:
    result = read(drawn(text))
    assert (result["type"], result["data"]) == ("QRCODE", text)
    (code,) = result["codes"]
    assert (code["type"], code["text"]) == ("QRCODE", text)


def test_the_corners_of_a_turned_code() -> None:
    upright = drawn(TEXT)
    side, border = len(upright), 24
    result = read(cv2.rotate(upright, cv2.ROTATE_90_CLOCKWISE))
    (code,) = result["codes"]
    expected = [(side - border, border), (side - border, side - border), (border, side - border), (border, border)]
    assert np.allclose(code["corners"], expected, atol=4)


def test_no_code() -> None:
    assert read(astronaut()) == {"codes": []}
    assert read(np.zeros((1, 1), np.uint8)) == {"codes": []}


def test_every_code_of_a_picture() -> None:
    result = read(np.vstack([drawn("first"), drawn("second")]))
    assert result["data"] == "first"
    assert [code["text"] for code in result["codes"]] == ["first", "second"]


def test_a_code_in_black_on_nothing() -> None:
    alpha = 255 - drawn(TEXT)
    assert read(np.dstack([np.zeros_like(alpha)] * 3 + [alpha]))["data"] == TEXT


def test_a_small_blurred_code_needs_the_other_views() -> None:
    canvas = np.full((480, 640), 200, np.uint8)
    canvas[200:262, 300:362] = cv2.resize(drawn(TEXT, 8), (62, 62), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(canvas, (0, 0), 1)
    assert qrcode_decoder._read(blurred) == [], "the first view would do: nothing is tested"
    result = read(blurred)
    assert result["data"] == TEXT
    assert np.allclose(result["codes"][0]["corners"][0], (300 + 8, 200 + 8), atol=3), "in pixels of the picture, not of the view"


def test_a_large_photograph_of_a_code() -> None:
    canvas = np.full((3000, 4000), 120, np.uint8)
    code = drawn(TEXT, 20)
    canvas[1000 : 1000 + len(code), 2000 : 2000 + len(code)] = code
    result = answer(loaded(QrcodeDecoder), given(QrcodeDecoder, {"image": jpeg(canvas, 80)}))
    assert result["data"] == TEXT
    assert np.allclose(result["codes"][0]["corners"][0], (2080, 1080), atol=12)


def test_damaged_codes_are_never_misread() -> None:
    """What the error correction cannot mend is not a code."""
    random = np.random.default_rng(7)
    code = drawn(TEXT)
    read_right = 0
    for _ in range(40):
        damaged = code.copy()
        for x, y in random.integers(24, len(code) - 60, (int(random.integers(1, 9)), 2)):
            damaged[y : y + 18, x : x + 18] = random.choice([0, 255])
        result = read(damaged)
        assert result.get("data") in (None, TEXT)
        read_right += "data" in result
    assert 0 < read_right < 40


def test_the_example_has_a_code() -> None:
    assert answer(loaded(QrcodeDecoder), QrcodeDecoder.example())["data"] == "https://example.com/"


def test_labelled_codes() -> None:
    folder, rows = labelled("qrcode_decoder")
    service = loaded(QrcodeDecoder)
    right = wrong = codes = 0
    for row in rows:
        text = answer(service, given(QrcodeDecoder, {"image": (folder / row["file"]).read_bytes()})).get("data")
        codes += row["n_codes"] == "1"
        if text is not None:
            same = row["n_codes"] == "1" and text.strip() == row["text"].strip()
            right += same
            wrong += not same
    assert (codes, wrong) == (37, 0)
    assert right >= 36
