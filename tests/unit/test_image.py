from __future__ import annotations

import io
import struct
import time
import zlib

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InputTooLarge, UnreadableInput
from workers.lib.image import decode_image

BLUE, GREEN, RED, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def decode(data: bytes, max_pixels: int = 25_000_000, max_side: int = 8192) -> np.ndarray:
    return decode_image(data, max_pixels=max_pixels, max_side=max_side)


def corners(height: int = 48, width: int = 64) -> np.ndarray:
    """uint8 [48, 64, 3] BGR: blue, green / red, white, clockwise from the top left blue, green, white, red."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = BLUE, GREEN
    pixels[height // 2 :, : width // 2], pixels[height // 2 :, width // 2 :] = RED, WHITE
    return pixels


def seen(pixels: np.ndarray) -> list[tuple[int, ...]]:
    """The colours of the quarters, rounded: top left, top right, bottom left, bottom right."""
    height, width = pixels.shape[:2]
    places = [(height // 4, width // 4), (height // 4, 3 * width // 4), (3 * height // 4, width // 4), (3 * height // 4, 3 * width // 4)]
    return [tuple(255 * (int(value) > 127) for value in pixels[place]) for place in places]


def picture(mode: str = "RGB") -> PIL.Image.Image:
    return PIL.Image.fromarray(corners()[:, :, ::-1].copy()).convert(mode)


def saved(source: PIL.Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    source.save(file, kind, **options)
    return file.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *, colour: int = 0, depth: int = 1, rows: int | None = None, before: bytes = b"") -> bytes:
    """A black PNG, of which ``rows`` rows are really there."""
    line = b"\0" * (1 + (width * depth * {0: 1, 2: 3, 6: 4}[colour] + 7) // 8)
    packed = zlib.compressobj(9)
    body = b"".join(packed.compress(line) for _ in range(height if rows is None else rows)) + packed.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + before + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_pixels_are_blue_green_red(kind: str) -> None:
    pixels = decode(saved(picture(), kind))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (48, 64, 3)
    assert seen(pixels) == [BLUE, GREEN, RED, WHITE]


@pytest.mark.parametrize(
    ("mode", "kind"), [("CMYK", "JPEG"), ("P", "PNG"), ("RGBA", "PNG"), ("RGBa", "PNG"), ("YCbCr", "JPEG")], ids=lambda value: value
)
def test_other_colour_models(mode: str, kind: str) -> None:
    source = picture("RGBA") if mode == "RGBa" else picture(mode)
    assert seen(decode(saved(source, kind))) == [BLUE, GREEN, RED, WHITE]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_grey(kind: str) -> None:
    pixels = decode(saved(picture("L"), kind))
    assert pixels.shape == (48, 64, 3)
    assert np.all(pixels[:, :, 0] == pixels[:, :, 2])


def test_one_bit() -> None:
    assert seen(decode(saved(picture("L").point(lambda value: 255 * (value > 100), "1"), "PNG")))[3] == WHITE


def test_sixteen_bit() -> None:
    wide = cv2.imencode(".png", corners().astype(np.uint16) * 257)[1].tobytes()
    assert seen(decode(wide)) == [BLUE, GREEN, RED, WHITE]
    with_alpha = np.dstack([corners(), np.full((48, 64), 255)]).astype(np.uint16) * 257
    assert seen(decode(cv2.imencode(".png", with_alpha)[1].tobytes())) == [BLUE, GREEN, RED, WHITE]
    grey = decode(cv2.imencode(".png", np.full((4, 4), 0x8040, np.uint16))[1].tobytes())
    assert np.all(np.abs(grey.astype(int) - 0x80) <= 1)


def test_transparent_pixels_are_white() -> None:
    alpha = np.zeros((48, 64), np.uint8)
    alpha[:, 32:] = 255
    pixels = decode(cv2.imencode(".png", np.dstack([corners() // 255 * 40, alpha]))[1].tobytes())
    assert np.all(pixels[:, :32] == 255)
    assert pixels[5, 60].tolist() == [0, 40, 0]
    half = decode(cv2.imencode(".png", np.full((2, 2, 4), (0, 0, 0, 128), np.uint8))[1].tobytes())
    assert np.all(np.abs(half.astype(int) - 127) <= 1)


def test_a_palette_with_a_transparent_colour() -> None:
    source = PIL.Image.new("P", (8, 8), 1)
    source.putpalette([10, 20, 30, 200, 100, 50])
    source.putpixel((0, 0), 0)
    pixels = decode(saved(source, "PNG", transparency=0))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[4, 4].tolist() == [50, 100, 200]


ORIENTED = {
    1: [BLUE, GREEN, RED, WHITE],
    2: [GREEN, BLUE, WHITE, RED],
    3: [WHITE, RED, GREEN, BLUE],
    4: [RED, WHITE, BLUE, GREEN],
    5: [BLUE, RED, GREEN, WHITE],
    6: [RED, BLUE, WHITE, GREEN],
    7: [WHITE, GREEN, RED, BLUE],
    8: [GREEN, WHITE, BLUE, RED],
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", ORIENTED)
def test_the_exif_orientation(kind: str, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(saved(picture(), kind, exif=exif))
    assert pixels.shape[:2] == ((48, 64) if orientation < 5 else (64, 48))
    assert seen(pixels) == ORIENTED[orientation]


def test_a_picture_with_both_alpha_and_orientation_is_turned() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    assert seen(decode(saved(picture("RGBA"), "PNG", exif=exif))) == ORIENTED[6]


def test_an_animation_gives_its_still_picture() -> None:
    data = saved(picture(), "PNG", save_all=True, append_images=[PIL.Image.new("RGB", (64, 48))] * 3)
    assert b"acTL" in data
    assert seen(decode(data)) == [BLUE, GREEN, RED, WHITE]


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"progressive": True, "quality": 95, "subsampling": 0}, {"restart_marker_rows": 1}]
)
def test_progressive_pictures_and_restarts(options: dict[str, object]) -> None:
    assert seen(decode(saved(picture(), "JPEG", **options))) == [BLUE, GREEN, RED, WHITE]


def test_what_follows_the_picture_is_not_looked_at() -> None:
    jpeg = saved(picture(), "JPEG", progressive=True)
    assert seen(decode(jpeg + jpeg * 3 + b"\xff\xda" * 500)) == [BLUE, GREEN, RED, WHITE]
    assert seen(decode(saved(picture(), "PNG") + b"trailing")) == [BLUE, GREEN, RED, WHITE]


def test_one_pixel() -> None:
    assert decode(saved(PIL.Image.new("RGB", (1, 1)), "JPEG")).shape == (1, 1, 3)
    assert decode(png(1, 1)).shape == (1, 1, 3)


NO_PICTURES = {
    "nothing": b"",
    "text": b"a text with the name picture.jpg",
    "GIF": saved(picture("P"), "GIF"),
    "BMP": saved(picture(), "BMP"),
    "TIFF": saved(picture(), "TIFF"),
    "WebP": saved(picture(), "WEBP"),
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'/>",
    "JPEG signature": b"\xff\xd8\xff",
    "JPEG signature and noise": b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4,
    "JPEG end at once": b"\xff\xd8\xff\xd9",
    "JPEG without a frame": b"\xff\xd8\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\xff\xd9",
    "JPEG segment of no length": b"\xff\xd8\xff\xe0\x00\x00\xff\xd9",
    "PNG signature": b"\x89PNG\r\n\x1a\n",
    "PNG without a header": b"\x89PNG\r\n\x1a\n" + png_chunk(b"IEND", b"") * 4,
    "PNG of no width": png(0, 5, rows=5),
    "PNG with a chunk of 4 GB": png(8, 8)[:33] + b"\xff\xff\xff\xffIDAT" + b"\0" * 50,
}


@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_picture_is_said(name: str) -> None:
    with pytest.raises(UnreadableInput):
        decode(NO_PICTURES[name])


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
@pytest.mark.parametrize(("kind", "options"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {})])
def test_truncated(kind: str, options: dict[str, object], share: float) -> None:
    noisy = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8))
    data = saved(noisy, kind, **options)
    assert decode(data).shape == (200, 300, 3)
    with pytest.raises(UnreadableInput):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("place", [-6, 30, 45], ids=["checksum of the end", "checksum of the header", "inside the pixels"])
def test_a_damaged_png_never_raises_anything_else(place: int) -> None:
    data = bytearray(saved(picture(), "PNG"))
    data[place] ^= 0xFF
    try:
        assert decode(bytes(data)).shape == (48, 64, 3)
    except UnreadableInput:
        pass


def test_a_wrong_checksum_of_the_pixels() -> None:
    data = bytearray(saved(picture(), "PNG"))
    data[-16] ^= 0xFF
    with pytest.raises(UnreadableInput, match="damaged"):
        decode(bytes(data))


def test_sides_and_pixels_are_capped_before_decoding() -> None:
    with pytest.raises(InputTooLarge, match="at most 8192"):
        decode(png(1, 30_000))
    with pytest.raises(InputTooLarge, match="at most 8192"):
        decode(png(30_000, 1))
    with pytest.raises(InputTooLarge, match="25000000"):
        decode(png(6000, 6000))
    assert decode(png(8192, 8, colour=2, depth=8)).shape == (8, 8192, 3)
    with pytest.raises(InputTooLarge, match="at most 3071"):
        decode(saved(picture(), "JPEG"), max_pixels=48 * 64 - 1)
    assert decode(saved(picture(), "JPEG"), max_pixels=48 * 64).shape == (48, 64, 3)
    with pytest.raises(InputTooLarge):
        decode(saved(picture(), "JPEG"), max_side=63)


def peak_growth(data: bytes) -> int:
    """Bytes by which the resident memory of a fresh process rises at most while it decodes."""
    import subprocess
    import sys

    program = """
import resource, sys
from workers.lib.image import decode_image
from shared.errors import PerceptionError
import numpy, cv2
cv2.imdecode(numpy.frombuffer(cv2.imencode(".png", numpy.zeros((9, 9, 3), "u1"))[1], "u1"), 1)
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_image(data, max_pixels=25_000_000, max_side=8192)
except PerceptionError:
    pass
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""
    return int(subprocess.run([sys.executable, "-c", program], input=data, capture_output=True, check=True, timeout=60).stdout)


def test_a_bomb_of_pixels_takes_no_memory() -> None:
    bomb = png(20_000, 20_000)
    assert len(bomb) < 60_000
    assert peak_growth(bomb) < 10_000_000


def test_a_bomb_of_texts_and_profiles_takes_no_memory() -> None:
    """A hundred compressed texts and a profile of 7 MB each: 700 MB when inflated."""
    inflated = zlib.compress(b"x" * 7_000_000, 9)
    before = png_chunk(b"iCCP", b"p\0\0" + inflated) + b"".join(png_chunk(b"zTXt", b"k%d\0\0" % n + inflated) for n in range(100))
    bomb = png(64, 64, before=before)
    assert decode(bomb).shape == (64, 64, 3)
    assert peak_growth(bomb) < 30_000_000


@pytest.mark.parametrize(("depth", "side"), [(8, 5000), (16, 3535)])
def test_the_largest_picture_allowed_is_bounded(depth: int, side: int) -> None:
    assert peak_growth(png(side, side, colour=6, depth=depth)) < 320_000_000
    with pytest.raises(InputTooLarge, match="pixels"):
        decode(png(side + 1, side + 1, colour=6, depth=depth))


def scans(data: bytes, copies: int) -> bytes:
    """A progressive JPEG with its last scan so many times."""
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * copies + data[-2:]


def test_a_bomb_of_scans() -> None:
    noisy = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (1000, 1000, 3), dtype=np.uint8))
    data = saved(noisy, "JPEG", progressive=True, quality=10)
    assert decode(scans(data, 20)).shape == (1000, 1000, 3)
    began = time.perf_counter()
    with pytest.raises(UnreadableInput, match="64 scans"):
        decode(scans(data, 400))
    hidden = data[:2] + data[2:-2] + b"\xff\xfe\x00\x06\xff\xd9\xff\xd9" + scans(data, 400)[data.rindex(b"\xff\xda") :]
    with pytest.raises(UnreadableInput, match="64 scans"):
        decode(hidden)
    assert time.perf_counter() - began < 5


def test_headers_without_end_are_bounded() -> None:
    jpeg, still = saved(picture(), "JPEG"), saved(picture(), "PNG")
    for bomb in (
        jpeg[:2] + b"\xff\xfe\x00\x02" * 1_000_000 + jpeg[2:],
        jpeg[:2] + b"\xff" * 4_000_000 + b"\x00" + jpeg[2:],
        jpeg[:2] + b"\xff\x00" * 2_000_000,
        still[:33] + png_chunk(b"tEXt", b"") * 300_000 + still[33:],
    ):
        began = time.perf_counter()
        try:
            assert decode(bomb).shape == (48, 64, 3)
        except UnreadableInput:
            pass
        assert time.perf_counter() - began < 5


def test_two_frame_headers() -> None:
    """What is measured must be what is decoded."""
    data = saved(picture(), "JPEG")
    start = data.index(b"\xff\xc0")
    small = bytearray(data[start : start + 19])
    small[5:9] = struct.pack(">HH", 1, 1)
    with pytest.raises(UnreadableInput, match="several frame headers"):
        decode(data[:start] + bytes(small) + data[start:])


@given(st.data())
def test_random_damage_is_unreadable_at_worst(data: st.DataObject) -> None:
    good = bytearray(
        data.draw(st.sampled_from([saved(picture(), "JPEG"), saved(picture(), "JPEG", progressive=True), saved(picture("P"), "PNG")]))
    )
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(3, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode(bytes(good), max_pixels=1_000_000)
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
    except (UnreadableInput, InputTooLarge):
        pass
