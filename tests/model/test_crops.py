"""Crops cut on the device: the formula itself, OpenCV, the edge of the picture, flips."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from pifa_data.boxes import Square
from pifa_data.crop_rows import crop_windows
from pifa_data.images import CropSource
from pifa_model.crops import cut_crops

SIZE, LARGE = 48, 64


def bilinear(picture: np.ndarray, window: np.ndarray, size: int) -> np.ndarray:
    """``(S, S, 3)`` float64: the sum over all pixels of the picture, each weighted by its tent."""
    x0, y0, x1, y1 = window.astype(np.float64)
    share, places = (np.arange(size) + 0.5) / size, np.arange(len(picture))
    middle = len(picture) / 2

    def tents(a: float, b: float) -> np.ndarray:
        at = (a + (b - a) * share + 1) * middle - 0.5
        return np.maximum(0, 1 - np.abs(at[:, None] - places))

    return np.einsum("vi,ijc,uj->vuc", tents(y0, y1), picture.astype(np.float64), tents(x0, x1), optimize=True)


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """As smooth as a photograph: ``(300, 300, 3)`` uint8."""
    noise = np.random.default_rng(0).normal(size=(300, 300, 3))
    return (cv2.GaussianBlur(noise, (0, 0), 2.0) * 350 + 128).clip(0, 255).astype(np.uint8)


def cut(pictures: np.ndarray, windows: np.ndarray, size: int = SIZE) -> np.ndarray:
    crops = cut_crops(torch.from_numpy(pictures).permute(0, 3, 1, 2), torch.from_numpy(windows), size)
    assert crops.dtype == torch.uint8
    return crops.permute(0, 2, 3, 1).numpy()


def test_crops_are_the_bilinear_formula(photograph: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    pictures = np.stack([photograph[i * 30 : i * 30 + LARGE, i * 20 : i * 20 + LARGE] for i in range(8)])
    middle, half = rng.normal(0, 0.15, (8, 2)), rng.uniform(0.6, 0.9, (8, 2))
    windows = np.concatenate([middle - half, middle + half], axis=1).astype(np.float32)
    windows[::2] = windows[::2][:, [2, 1, 0, 3]]
    windows[-1] = [0.9, -3, 2.5, 0.4]  # mostly beyond the picture
    crops = cut(pictures, windows)
    for picture, window, crop in zip(pictures, windows, crops, strict=True):
        exact = bilinear(picture, window, SIZE)
        assert np.abs(crop - exact).max() < 0.51  # half a grey level is the rounding
    assert not crops[-1][:, SIZE // 2 :].any()


def squares(rng: np.random.Generator, copies: int) -> tuple[Square, list[Square]]:
    """A face's larger picture and jittered crops of about its scale."""
    side = 90.0
    first = Square(150.3, 149.1, side * LARGE / SIZE, LARGE)
    draws = rng.normal(size=(copies, 3)) * [0.05, 0.05, 0.04]
    return first, [Square(150.3 + side * x, 149.1 + side * y, side * (1 + s), SIZE) for x, y, s in draws]


def boxes_of(crops: list[Square]) -> np.ndarray:
    return np.array([[s.x - s.side / 2, s.y - s.side / 2, s.x + s.side / 2, s.y + s.side / 2] for s in crops])


def test_crops_are_opencvs_of_the_same_picture(photograph: np.ndarray) -> None:
    first, crops = squares(np.random.default_rng(2), 12)
    picture = CropSource(photograph, first).crop(first)
    face = np.tile(boxes_of([Square(first.x, first.y, first.side * SIZE / LARGE, SIZE)]), (12, 1))
    windows = crop_windows(boxes_of(crops), np.zeros(12, bool), face, 1.0, LARGE / SIZE)
    found = cut(np.stack([picture] * 12), windows)
    for square, crop in zip(crops, found, strict=True):
        # OpenCV's own matrix from the larger picture to the crop: out of the one square, into the other.
        into, out = (np.vstack([s.matrix, [0, 0, 1]]) for s in (square, first))
        matrix = (into @ np.linalg.inv(out))[:2]
        expected = cv2.warpAffine(picture, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
        away = np.abs(crop.astype(int) - expected)
        assert away.max() <= 2
        assert away.mean() < 0.6


def test_a_mirrored_row_is_the_flipped_crop(photograph: np.ndarray) -> None:
    first, crops = squares(np.random.default_rng(3), 6)
    pictures = np.stack([CropSource(photograph, first).crop(first)] * 6)
    face = np.tile(boxes_of([Square(first.x, first.y, first.side * SIZE / LARGE, SIZE)]), (6, 1))
    plain, flipped = (
        cut(pictures, crop_windows(boxes_of(crops), np.full(6, mirrored), face, 1.0, LARGE / SIZE))
        for mirrored in (False, True)
    )
    # Float32 coordinates differ in the last digit: a value halfway between two levels may round to either.
    assert np.abs(flipped.astype(int) - plain[:, :, ::-1]).max() <= 1


def test_the_unjittered_crop_is_cut_to_the_pixel(photograph: np.ndarray) -> None:
    face = np.array([[10.0, 20.0, 106.0, 116.0]])
    picture = photograph[:LARGE, :LARGE]
    crop = cut(picture[None], crop_windows(face, np.zeros(1, bool), face, 1.4, LARGE / SIZE))[0]
    margin = (LARGE - SIZE) // 2
    np.testing.assert_array_equal(crop, picture[margin:-margin, margin:-margin])


def test_no_rows_give_no_crops() -> None:
    assert cut(np.zeros((0, LARGE, LARGE, 3), np.uint8), np.zeros((0, 4), np.float32)).shape == (0, SIZE, SIZE, 3)
