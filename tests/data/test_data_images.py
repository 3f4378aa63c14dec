"""Images are read whole or refused, and a crop holds the pixels it should."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pifa_data.boxes import Square
from pifa_data.errors import ImageError
from pifa_data.images import LARGEST_SIDE, CropSource, crop_image, decode_image, read_image


def photograph(height: int = 90, width: int = 120) -> np.ndarray:
    """(H, W, 3) uint8 RGB with enough texture that a JPEG's data fill most of its file."""
    small = np.random.default_rng(0).integers(0, 255, (height // 6, width // 6, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image: np.ndarray, suffix: str) -> bytes:
    done, data = cv2.imencode(suffix, image[..., ::-1])
    assert done
    return data.tobytes()


def with_thumbnail(jpeg: bytes) -> bytes:
    """The JPEG with an EXIF segment that holds a whole small JPEG, end-of-image marker included."""
    thumbnail = encoded(photograph(24, 30), ".jpg")
    assert thumbnail.endswith(b"\xff\xd9")
    body = b"Exif\0\0" + b"II*\0\x08\0\0\0\0\0\0\0\0\0" + thumbnail
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


def with_orientation(jpeg: bytes, value: int) -> bytes:
    entry = b"\x12\x01\x03\0\x01\0\0\0" + value.to_bytes(4, "little")
    body = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + b"\0\0\0\0"
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_reads_rgb(tmp_path: Path, suffix: str) -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, :, 0] = 200
    path = tmp_path / f"é red{suffix}"
    path.write_bytes(encoded(image, suffix))
    found = read_image(path)
    assert found.shape == (20, 30, 3)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found, image, atol=4)


def test_png_is_exact_and_grey_becomes_rgb() -> None:
    image = photograph()
    np.testing.assert_array_equal(decode_image(encoded(image, ".png"), "x"), image)
    grey = cv2.imencode(".png", image[..., 0])[1].tobytes()
    np.testing.assert_array_equal(decode_image(grey, "x"), np.repeat(image[..., :1], 3, axis=2))


@pytest.mark.parametrize("thumbnail", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_truncated_jpeg_is_refused(tmp_path: Path, share: float, thumbnail: bool) -> None:
    whole = encoded(photograph(), ".jpg")
    whole = with_thumbnail(whole) if thumbnail else whole
    assert read_bytes(tmp_path, whole).shape == (90, 120, 3)
    with pytest.raises(ImageError, match=r"x\.jpg: the image file is cut short"):
        read_bytes(tmp_path, whole[: int(len(whole) * share)])


def read_bytes(folder: Path, data: bytes, name: str = "x.jpg") -> np.ndarray:
    (folder / name).write_bytes(data)
    return read_image(folder / name)


@pytest.mark.parametrize("lost", [1, 12, 13, 100, 5000])
def test_truncated_png_is_refused(lost: int) -> None:
    whole = encoded(photograph(), ".png")
    with pytest.raises(ImageError, match=r"cut short|not an image"):
        decode_image(whole[:-lost], "x") if lost > 4 else decode_image(whole[: -lost - 8], "x")


def test_jpeg_with_bytes_after_its_end_is_read() -> None:
    """Cameras append data of their own."""
    assert decode_image(encoded(photograph(), ".jpg") + b"\0" * 500, "x").shape == (90, 120, 3)


def test_exif_orientation_is_followed() -> None:
    turned = decode_image(with_orientation(encoded(photograph(), ".jpg"), 6), "x")
    np.testing.assert_allclose(turned, np.rot90(decode_image(encoded(photograph(), ".jpg"), "x"), -1))


@pytest.mark.parametrize("data", [b"", b"this is a text file\n" * 50, b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"\0" * 2000])
def test_what_is_not_an_image_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ImageError, match=r"text\.jpg"):
        read_bytes(tmp_path, data, "text.jpg")


def test_missing_file_folder_and_impossible_names(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jpg", tmp_path, tmp_path / ("x" * 5000), tmp_path / "a\0b.jpg"):
        with pytest.raises(ImageError):
            read_image(path)


def test_a_mutated_image_is_read_or_refused() -> None:
    """Hostile bytes give an image or an ImageError, nothing else."""
    rng = np.random.default_rng(0)
    for suffix in (".jpg", ".png"):
        whole = encoded(photograph(30, 36), suffix)
        for _ in range(60):
            data = bytearray(whole)
            for at in rng.integers(0, len(data), rng.integers(1, 6)):
                data[at] = rng.integers(256)
            try:
                image = decode_image(bytes(data), "x")
            except ImageError:
                continue
            assert image.ndim == 3


def ramp(width: int, height: int, slope: float) -> np.ndarray:
    """Red grows along x, green along y, by ``slope`` grey levels a pixel from 20."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([20 + slope * x, 20 + slope * y, np.zeros_like(x)], axis=2).astype(np.float32)


@pytest.mark.parametrize("factor", [0.3, 1.0, 1.7, 2.0, 3.3, 8.0, 13.7])  # image pixels a crop pixel
@pytest.mark.parametrize("odd", [0, 1, 5])
def test_crop_pixels_are_the_images_at_the_mapped_place(factor: float, odd: int) -> None:
    size = 48
    length = int(size * factor) + 40 + odd  # widths that halvings do not divide, too
    slope = 210 / length
    image = ramp(length, length + 3, slope)
    square = Square(x=length / 2 + 0.3, y=length / 2 - 0.7, side=size * factor, size=size)
    # Exact in floating point but for the warp's steps of 1/32 pixel; the image, its halving and the crop are each
    # rounded to whole grey levels otherwise, by a half at most.
    exact, rounded = crop_image(image, square), crop_image(image.round().astype(np.uint8), square).astype(float)
    u, v = np.meshgrid(np.arange(size), np.arange(size))
    place = square.to_image(np.stack([u, v], axis=2).astype(float))
    inside = (place > factor).all(2) & (place < length - 1 - factor).all(2)
    assert inside.mean() > 0.5
    for channel in range(2):
        expected = 20 + slope * place[..., channel]
        assert np.abs(exact[..., channel] - expected)[inside].max() <= 0.1
        assert np.abs(rounded[..., channel] - expected)[inside].max() <= 1.6


def test_outside_is_black_and_the_edge_is_where_it_should_be() -> None:
    image = np.full((40, 40, 3), 200, np.uint8)
    crop = crop_image(image, Square(x=-0.5, y=19.5, side=40, size=40))  # the left half lies outside
    assert (crop[:, :20] == 0).all()
    assert (crop[:, 20:] == 200).all()
    assert (crop_image(image, Square(x=500, y=500, side=40, size=40)) == 0).all()


def test_scaling_down_averages() -> None:
    """A fine chequerboard becomes grey, not one of its two colours by chance."""
    x, y = np.meshgrid(np.arange(512), np.arange(512))
    board = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    crop = crop_image(board, Square(x=255.5, y=255.5, side=300, size=32))
    assert np.abs(crop.astype(int) - 127).max() < 12


def test_a_source_gives_the_crop_that_one_call_gives_and_keeps_the_image() -> None:
    image = photograph(400, 500)
    before = image.copy()
    first = Square(x=250, y=200, side=300, size=32)
    np.testing.assert_array_equal(CropSource(image, first).crop(first), crop_image(image, first))
    np.testing.assert_array_equal(image, before)


def test_a_side_that_opencv_can_not_warp_is_refused() -> None:
    """A stitched panorama may have one; the warp would raise an error of its own and stop the build."""
    widest = np.full((2, LARGEST_SIDE, 3), 90, np.uint8)
    crop = crop_image(decode_image(encoded(widest, ".png"), "x"), Square(x=32000, y=0.5, side=2, size=32))
    assert (crop == 90).any()
    with pytest.raises(ImageError, match=r"wide\.png.*32766"):
        decode_image(encoded(np.full((2, LARGEST_SIDE + 1, 3), 90, np.uint8), ".png"), "wide.png")


def test_real_samples_are_read(shared_data: Path) -> None:
    for path in sorted((shared_data / "samples/300w_pts").glob("*.jpg")):
        image = read_image(path)
        assert image.shape[2] == 3
        with pytest.raises(ImageError):
            decode_image(path.read_bytes()[:-2000], path.name)


def test_samples_on_a_crops_grid_are_the_crop() -> None:
    """Also of an image that is halved first; the crop's blend into the black around the image is a hard edge here."""
    image = photograph(180, 240)
    for square in (Square(110.0, 80.0, 60.0, 40), Square(110.3, 80.6, 150.0, 37), Square(10.0, 170.0, 100.0, 30)):
        source = CropSource(image, square)
        grid = np.stack(np.meshgrid(np.arange(square.size), np.arange(square.size)), axis=-1)
        points = square.to_image(grid.astype(np.float64))
        sampled, crop = source.sample(points).astype(int), source.crop(square).astype(int)
        inside = ((points > 4) & (points < np.array([235, 175]))).all(2)
        outside = ((points < -1) | (points > np.array([240, 180]))).any(2)
        # OpenCV rounds the places of both to a 32nd of a pixel, each in its own way.
        assert np.abs(sampled - crop)[inside].max() <= 8
        assert not sampled[outside].any()
    assert outside.any()
    assert (source.sample(np.array([[[0.0, 0.0], [239.4, 179.4], [-0.6, 3.0]]])).any(2) == [[True, True, False]]).all()
