"""Photographs of every kind, decoded upright, opaque, in 8 bits, no larger than needed, places exact."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pifa_data import photos
from pifa_data.errors import ImageError
from pifa_data.photos import decode_photo, read_photo

SPOT = (61, 35)
"""Where the picture of these tests is white, upright x and y."""


def spotted(width: int = 160, height: int = 96) -> np.ndarray:
    """Dark, with a white square of 17 pixels around SPOT."""
    image = np.full((height, width, 3), 20, np.uint8)
    x, y = SPOT
    image[y - 8 : y + 9, x - 8 : x + 9] = 250
    return image


def encoded(image: np.ndarray, form: str, orientation: int = 1) -> bytes:
    """A file that shows ``image`` when it is turned upright."""
    stored = {
        1: image,
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: np.swapaxes(image, 0, 1),
        6: np.swapaxes(image, 0, 1)[::-1],
        7: np.swapaxes(image, 0, 1)[::-1, ::-1],
        8: np.swapaxes(image, 0, 1)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    quality = {"quality": 98, "subsampling": 0} if form == "JPEG" else {"lossless": True} if form == "WEBP" else {}
    Image.fromarray(np.ascontiguousarray(stored)).save(file, form, exif=exif, **quality)
    return file.getvalue()


def spot(pixels: np.ndarray) -> np.ndarray:
    """The middle of what is bright, in pixels of the array."""
    y, x = np.nonzero(pixels[..., 1] > 130)
    weights = pixels[y, x, 1].astype(float)
    return np.array([np.average(x, weights=weights), np.average(y, weights=weights)])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_whatever_the_format(form: str, orientation: int) -> None:
    photo = decode_photo(encoded(spotted(), form, orientation), "x")
    assert photo.pixels.shape == (96, 160, 3)
    assert (photo.width, photo.height, photo.factor) == (160, 96, 1)
    np.testing.assert_allclose(spot(photo.pixels), SPOT, atol=0.6)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("width", "height"), [(160, 96), (163, 101)])
def test_places_of_a_smaller_photo_are_the_originals(form: str, orientation: int, width: int, height: int) -> None:
    box = np.array([0.0, 0.0, 100.0, 100.0])
    photo = decode_photo(encoded(spotted(width, height), form, orientation), "x", [box], 12)
    assert photo.factor == 4
    assert (photo.width, photo.height) == (width, height)
    np.testing.assert_allclose(photo.to_original(spot(photo.pixels)), SPOT, atol=1.0)


@given(st.integers(0, 7), st.floats(-50, 5000), st.floats(-50, 5000))
def test_there_and_back(power: int, x: float, y: float) -> None:
    photo = photos.Photo(np.zeros((1, 1, 3), np.uint8), 8, 8, 2 ** (power % 4), np.array([1.5, -2.0]))
    np.testing.assert_allclose(photo.from_original(photo.to_original(np.array([x, y]))), [x, y], atol=1e-6)


def test_a_huge_jpeg_is_decoded_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "SANE_PIXELS", 4000)
    photo = decode_photo(encoded(spotted(), "JPEG"), "x")
    assert photo.factor == 2
    assert photo.pixels.shape == (48, 80, 3)
    np.testing.assert_allclose(photo.to_original(spot(photo.pixels)), SPOT, atol=0.6)
    monkeypatch.setattr(photos, "LARGEST_PIXELS", 1000)
    assert decode_photo(encoded(spotted(), "JPEG"), "x").factor == 2  # made smaller while it is decoded
    progressive = io.BytesIO()
    Image.fromarray(spotted()).save(progressive, "JPEG", progressive=True)
    for data in (encoded(spotted(), "PNG"), progressive.getvalue()):
        with pytest.raises(ImageError, match=r"x: 160 × 96 pixels are more than can be decoded.*scale it down"):
            decode_photo(data, "x")


def test_a_claim_of_30000_by_30000_is_refused_by_its_header(tmp_path: Path) -> None:
    data = bytearray(encoded(spotted(), "PNG"))
    data[16:24] = (30000).to_bytes(4, "big") * 2
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ImageError, match=r"a\.png: 30000 × 30000 pixels"):
        read_photo(tmp_path / "a.png")
    with pytest.raises(ImageError, match="expected at most 100 pixels, found 160 × 96"):
        decode_photo(encoded(spotted(), "PNG"), "x", largest=100)


@pytest.mark.parametrize(("top", "grey"), [(65535, 200), (4095, 200), (1023, 200)])
def test_sensors_of_10_12_and_16_bits(top: int, grey: int) -> None:
    image = np.full((20, 30), round(top * grey / 255), np.uint16)
    image[0, 0] = top
    photo = decode_photo(cv2.imencode(".png", image)[1].tobytes(), "x")
    assert photo.pixels.shape == (20, 30, 3)
    assert abs(int(photo.pixels[5, 5, 0]) - grey) <= 1


def test_transparent_pixels_become_grey_and_colours_keep_their_order() -> None:
    image = np.zeros((20, 30, 4), np.uint8)
    image[..., 2] = 255  # red, as OpenCV has it
    image[:10, :, 3], image[10:, :, 3] = 255, 0
    photo = decode_photo(cv2.imencode(".png", image)[1].tobytes(), "x")
    assert photo.pixels[3, 3].tolist() == [255, 0, 0]
    assert photo.pixels[15, 3].tolist() == [127, 127, 127]
    grey = np.zeros((4, 6, 2), np.uint8)
    grey[..., 1] = 255
    file = io.BytesIO()
    Image.merge("LA", [Image.fromarray(grey[..., 0]), Image.fromarray(grey[..., 1])]).save(file, "PNG")
    assert decode_photo(file.getvalue(), "x").pixels.tolist() == np.zeros((4, 6, 3)).tolist()


def test_the_fourth_byte_of_a_bmp_is_padding() -> None:
    rows = np.zeros((4, 6, 4), np.uint8)
    rows[..., 2] = 200  # red; the fourth byte is 0
    masks = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
    info = struct.pack("<IiiHHIIiiII", 40, 6, -4, 1, 32, 3, rows.nbytes, 0, 0, 0, 0)
    head = b"BM" + struct.pack("<IHHI", 14 + 40 + 12 + rows.nbytes, 0, 0, 14 + 40 + 12)
    assert decode_photo(head + info + masks + rows.tobytes(), "x").pixels[0, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an image"),
        (b"hello, this is a text", "not an image"),
        (b"GIF89a" + bytes(40), "none of JPEG"),
        (encoded(spotted(), "JPEG")[:-300], "cut short"),
        (encoded(spotted(), "PNG")[:-300], "cut short"),
        (b"\xff\xd8\xff\xe0" + bytes(60) + b"\xff\xd9", "x: "),
    ],
)
def test_what_is_no_photograph_is_told(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        decode_photo(data, "x")
