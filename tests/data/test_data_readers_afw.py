"""AFW: the cells of anno.mat, what settles the order of points and the signs of angles, hostile files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import mutants, survives
from matlab import cell, write_mat73
from scipy.io import savemat

from pifa_data.camera import rotation
from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers import FORMATS, parse_source, read_faces
from pifa_data.readers.afw import settled_order, settled_signs

# A face's six points in the order of afw6, x to the image's right, y up, z to the viewer.
HEAD = np.array([[-3, 3, 0], [3, 3, 0], [0, 0, 3], [-2, -3, 0.5], [0, -3, 1.5], [2, -3, 0.5]], float)


def turned(angles: np.ndarray) -> np.ndarray:
    """``(n, 6, 2)`` pixels from 1, of heads turned by yaw, pitch and roll in degrees, the project's."""
    points = np.einsum("nij,pj->npi", rotation(*np.radians(angles.T)), HEAD)
    return points[..., :2] * [10, -10] + 100


def grid(count: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(-2, 3, (count, 3)) * 15.0


def anno(points: np.ndarray, angles: np.ndarray, per_image: int = 2) -> dict[str, Any]:
    rows = []
    for first in range(0, len(points), per_image):
        faces = range(first, min(first + per_image, len(points)))
        rows += [
            f"{1000 + first}.jpg",
            cell(*(np.array([[11.0, 21.0], [91.0, 96.0]]) for _ in faces)),
            cell(*(angles[i] for i in faces)),
            cell(*(points[i] for i in faces)),
        ]
    return {"anno": cell(*rows, shape=(len(rows) // 4, 4))}


def read(path: Path) -> list[Face | Skipped]:
    return list(read_faces(f"afw:{path}", FORMATS, fittable=False))


@pytest.mark.parametrize("save", [savemat, write_mat73])
@pytest.mark.parametrize("folder", ["", "testimages"])
def test_cells_become_faces(tmp_path: Path, save, folder: str) -> None:  # type: ignore[no-untyped-def]
    points = turned(np.zeros((3, 3)))
    points[1, 2:4] = np.nan
    (tmp_path / folder).mkdir(exist_ok=True)
    save(tmp_path / folder / "anno.mat", anno(points, np.zeros((3, 3))[:, None]))
    faces = [face for face in read(tmp_path) if isinstance(face, Face)]
    assert [(face.id, face.subject, face.split) for face in faces] == [
        *(("1000_1", "1000", "test"), ("1000_2", "1000", "test"), ("1002_1", "1002", "test")),
    ]
    assert faces[2].file == f"{tmp_path / folder}/1002.jpg"
    np.testing.assert_array_equal(faces[0].landmarks, points[0] - 1)  # MATLAB counts pixels from 1
    np.testing.assert_array_equal(faces[0].box, [10, 20, 90, 95])
    np.testing.assert_array_equal(faces[1].visibility, [2, 2, 0, 0, 2, 2])
    assert faces[0].pose is None  # three faces tell no signs
    assert (faces[0].scheme, faces[0].kind) == ("afw6", "2d")
    assert parse_source(str(tmp_path), FORMATS).format.name == "afw"
    # With fewer than six points no camera can be told.
    (_, few, _) = read_faces(f"afw:{tmp_path}", FORMATS)
    assert isinstance(few, Skipped)


def test_the_labels_tell_order_and_signs(tmp_path: Path) -> None:
    angles = grid()
    points = turned(angles)
    shuffled = [4, 2, 0, 5, 3, 1]
    savemat(tmp_path / "anno.mat", anno(points[:, shuffled], (angles * [-1, 1, -1])[:, None]))
    faces = [face for face in read(tmp_path) if isinstance(face, Face)]
    assert len(faces) == 60
    for face, expected, pose in zip(faces, points, angles, strict=True):
        np.testing.assert_allclose(face.landmarks, expected - 1)
        np.testing.assert_allclose(face.pose, np.radians(pose))


@pytest.mark.parametrize("flip", [[1, 1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, -1], [-1, -1, -1]])
def test_signs_agree_with_the_projects(flip: list[int]) -> None:
    angles = grid(400)
    np.testing.assert_array_equal(settled_signs(turned(angles), angles * flip), flip)


def test_doubt_gives_no_pose() -> None:
    angles = grid(400)
    points = turned(angles)
    assert settled_signs(points[:10], angles[:10]) is None
    assert settled_signs(points, angles[::-1]) is None  # angles that say nothing of the points
    assert settled_signs(points, np.sign(angles)) is None  # left, centre, right
    assert settled_signs(points, angles * 20) is None
    np.testing.assert_array_equal(settled_order(points[:10, ::-1]), np.arange(6))


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        ((0, 0), "../../etc/passwd", "leads out"),
        ((0, 0), np.ones((1, 3)), "image's name"),
        ((0, 1), cell(np.ones((2, 2))), "boxes of 1 faces, poses of 2, points of 2"),
        ((0, 1), cell(np.ones((1, 4)), np.ones((1, 4))), "a box"),
        ((0, 1), cell("a", "b"), "a box"),
        ((0, 2), cell(np.ones((1, 2)), np.ones((1, 2))), "yaw, pitch and roll"),
        ((0, 3), cell(np.ones((5, 2)), np.ones((5, 2))), "6 points"),
        ((0, 3), cell(np.ones((3, 4)), np.ones((3, 4))), "6 points"),
        ((0, 3), cell(np.full((6, 2), np.nan), np.full((6, 2), np.nan)), "no labelled point"),
        ((0, 3), cell(np.full((6, 2), 1e9), np.full((6, 2), 1e9)), "pixels out"),
        ((1, 0), "1000.jpg", "a row before"),
    ],
)
def test_bad_cells_are_skipped(tmp_path: Path, at: tuple[int, int], value: Any, reason: str) -> None:
    arrays = anno(turned(np.zeros((4, 3))), np.zeros((4, 1, 3)))
    arrays["anno"][at] = value
    savemat(tmp_path / "anno.mat", arrays)
    found = read(tmp_path)
    bad = [face for face in found if isinstance(face, Skipped)]
    assert bad
    assert sum(isinstance(face, Face) for face in found) == 2
    assert reason in bad[0].reason


@pytest.mark.parametrize(
    "arrays", [{}, {"anno": np.ones((3, 4))}, {"anno": cell("a", "b", "c")}, {"other": np.ones(2)}]
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, Any]) -> None:
    savemat(tmp_path / "anno.mat", arrays)
    with pytest.raises(AnnotationError, match=r"anno: expected cells"):
        read(tmp_path)
    (tmp_path / "anno.mat").unlink()
    with pytest.raises(AnnotationError, match="AFW's folder"):
        read(tmp_path)


@pytest.mark.parametrize("save", [savemat, write_mat73])
def test_mutated_files_give_faces_or_our_errors(tmp_path: Path, save) -> None:  # type: ignore[no-untyped-def]
    save(tmp_path / "anno.mat", anno(turned(np.zeros((3, 3))), np.zeros((3, 1, 3))))
    good = (tmp_path / "anno.mat").read_bytes()
    assert survives(f"afw:{tmp_path}") == 3
    for data in mutants(good):
        (tmp_path / "anno.mat").write_bytes(data)
        survives(f"afw:{tmp_path}")
