"""A row's P and labels from its face, against the same a row at a time."""

from __future__ import annotations

import numpy as np

from pifa_data.boxes import jitter_box, square_of
from pifa_data.build import mirror_params
from pifa_data.camera import crop_camera
from pifa_data.rows import crop_landmarks, crop_params, crop_windows, flip_boxes

GROW, SIZE = 1.4, 114
RNG = np.random.default_rng(5)
FACE = np.array([210.5, 80.0, 330.0, 230.25])
BOXES = np.stack([jitter_box(FACE, RNG) for _ in range(9)])


def test_params_are_those_of_each_rows_own_crop() -> None:
    params = RNG.normal(size=(9, 17)).astype(np.float32) * 100
    found = crop_params(params, BOXES, GROW, SIZE)
    assert found.dtype == np.float32
    for row, own, box in zip(found, params.astype(np.float64), BOXES, strict=True):
        np.testing.assert_allclose(
            row[:8].reshape(2, 4), crop_camera(own[:8].reshape(2, 4), square_of(box, GROW, SIZE)), rtol=1e-6
        )
        np.testing.assert_array_equal(row[8:], own[8:])


def test_params_of_flipped_boxes_are_those_of_flipped_crops() -> None:
    params = RNG.normal(size=(9, 17)) * 100
    np.testing.assert_allclose(
        crop_params(params, flip_boxes(BOXES), GROW, SIZE), mirror_params(params, BOXES, GROW, SIZE), rtol=1e-5
    )


def test_landmarks_are_those_of_each_rows_own_crop() -> None:
    landmarks = FACE[:2] + RNG.random((9, 5, 2)) * 100
    visibility = RNG.integers(0, 3, (9, 5))
    found = crop_landmarks(landmarks, visibility, BOXES, GROW, SIZE)
    for row, own, seen, box in zip(found, landmarks, visibility, BOXES, strict=True):
        expected = np.where(seen[:, None] > 0, square_of(box, GROW, SIZE).to_crop(own), 0)
        np.testing.assert_allclose(row, expected, rtol=1e-6)


def test_windows_are_the_edges_of_the_crop_in_the_picture() -> None:
    share, mirrored = 148 / 114, np.arange(9) % 2 == 0
    windows = crop_windows(BOXES, mirrored, np.tile(FACE, (9, 1)), GROW, share)
    face = square_of(FACE, GROW, SIZE)
    for window, box, turned in zip(windows, BOXES, mirrored, strict=True):
        square = square_of(box, GROW, SIZE)
        edges = np.array([square.x, square.y] * 2) + square.side / 2 * np.array([-1, -1, 1, 1])
        expected = (edges - [face.x, face.y] * 2) / (face.side * share / 2)
        np.testing.assert_allclose(window, expected[[2, 1, 0, 3]] if turned else expected, rtol=1e-5)


def test_no_rows_are_no_error() -> None:
    assert crop_params(np.zeros((0, 17)), np.zeros((0, 4)), GROW, SIZE).shape == (0, 17)
