"""What the two layouts and mirrored copies hold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pifa_data.boxes import Square, square_of
from pifa_data.build import PrepConfig, Rows, build_rows
from pifa_data.faces import Face
from pifa_data.fitting import Fitters
from pifa_data.images import crop_image, read_image
from pifa_data.morphable import MorphableModel
from pifa_data.readers import FORMATS, read_faces
from pifa_data.schemes import get_scheme

CONFIG = PrepConfig(copies=3, size=64, seed=5, mirror=True)


@pytest.fixture(scope="module")
def faces(synthetic: Path) -> list[Face]:
    return [f for f in read_faces(str(synthetic / "faces"), FORMATS) if isinstance(f, Face)][:4]


@pytest.fixture(scope="module")
def fitters(model: MorphableModel) -> Fitters:
    return Fitters(model)


@pytest.fixture(scope="module")
def crops(faces: list[Face], fitters: Fitters) -> Rows:
    return build_rows(faces, CONFIG, fitters)


def test_mirrored_copies_come_after_the_others_and_do_not_change_them(
    crops: Rows, faces: list[Face], fitters: Fitters
) -> None:
    plain = build_rows(faces, replace(CONFIG, mirror=False), fitters)
    half = ~crops.crops["mirrored"]
    for name, column in plain.crops.items():
        np.testing.assert_array_equal(crops.crops[name][half], column)
    np.testing.assert_array_equal(crops.crops["copy"].reshape(4, 6), [[0, 1, 2, 0, 1, 2]] * 4)
    np.testing.assert_array_equal(crops.crops["mirrored"].reshape(4, 6), [[False] * 3 + [True] * 3] * 4)


def test_the_first_mirrored_copy_is_the_first_copy_flipped(crops: Rows) -> None:
    columns = {name: column.reshape(4, 6, *column.shape[1:]) for name, column in crops.crops.items()}
    mirror = get_scheme("ibug68").mirror
    np.testing.assert_array_equal(columns["images"][:, 3], columns["images"][:, 0, :, ::-1])
    flipped = columns["landmarks"][:, 0][:, mirror] * [-1, 1] + [CONFIG.size - 1, 0]
    np.testing.assert_allclose(columns["landmarks"][:, 3], flipped, atol=1e-4)
    np.testing.assert_array_equal(columns["boxes"][:, 3], columns["boxes"][:, 0])
    # The others have noise of their own.
    assert np.abs(columns["boxes"][:, 4:] - columns["boxes"][:, 1:3]).max(2).min() > 0.1


def test_layout_faces_has_one_larger_crop_a_face(crops: Rows, faces: list[Face], fitters: Fitters) -> None:
    large = build_rows(faces, replace(CONFIG, layout="faces"), fitters)
    assert set(large.crops) == {"images", "boxes", "valid", "source", "copy", "mirrored"}
    for name in ("boxes", "valid", "source", "copy", "mirrored"):
        np.testing.assert_array_equal(large.crops[name], crops.crops[name])
    for name, column in crops.faces.items():
        np.testing.assert_array_equal(large.faces[name], column)
    side = large.crops["images"].shape[1]
    assert large.crops["images"].shape == (4, 84, 84, 3)
    for f, face in enumerate(faces):
        square = square_of(large.faces["box"][f].astype(float), CONFIG.grow, CONFIG.size)
        whole = crop_image(read_image(face.image), Square(square.x, square.y, square.side * side / 64, side))
        assert np.abs(whole.astype(int) - large.crops["images"][f]).mean() < 0.5
        # Its middle is the unjittered crop, pixel for pixel.
        margin = (side - 64) // 2
        middle = large.crops["images"][f, margin:-margin, margin:-margin]
        assert np.abs(middle.astype(int) - crops.crops["images"][6 * f]).mean() < 0.5


def test_rows_go_where_the_order_says(crops: Rows, faces: list[Face], fitters: Fitters) -> None:
    order = np.random.default_rng(3).permutation(24)
    mixed = build_rows(faces, CONFIG, fitters, order=order)
    for name, column in crops.crops.items():
        np.testing.assert_array_equal(mixed.crops[name][order], column)
