"""COFW in files of its layout, version 7.3 with the images in them, and COFW-68 in its owner's own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import COUNT, mutants, survives
from matlab import cell, write_mat73
from scipy.io import loadmat, savemat

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.images import image_exists, image_size, read_image
from pifa_data.readers import FORMATS, parse_source, read_faces

RNG = np.random.default_rng(0)


def faces_of(source: str, **options: Any) -> dict[str, Face]:
    found = list(read_faces(source, FORMATS, **options))
    assert all(isinstance(face, Face) for face in found), found
    return {face.id: face for face in found if isinstance(face, Face)}


def write_cofw(path: Path, count: int, images: bool = True) -> dict[str, np.ndarray]:
    """A part of COFW: points counted from 1, boxes x, y, width, height, images in colour and in grey."""
    end = "Tr" if "train" in path.name else "T"
    points = RNG.uniform(1, 200, (count, 58))
    arrays = {
        f"phis{end}": np.concatenate([points, RNG.integers(0, 2, (count, 29)).astype(float)], axis=1),
        f"bboxes{end}": np.column_stack([RNG.integers(1, 90, (count, 2)), RNG.integers(50, 90, (count, 2))]).astype(
            float
        ),
    }
    shapes = [(30 + i % 5, 40, 3) if i % 2 else (30, 40 + i % 5) for i in range(count if images else 1)]
    pictures = cell(*(RNG.integers(0, 255, shape, np.uint8) for shape in shapes), shape=(len(shapes), 1))
    write_mat73(path, {**arrays, f"Is{end}": pictures})
    return {name.removesuffix(end): array for name, array in arrays.items()}


def test_cofws_two_parts(tmp_path: Path) -> None:
    train, test = (write_cofw(tmp_path / f"COFW_{part}_color.mat", 6) for part in ("train", "test"))
    (tmp_path / "COFW_test.mat").write_bytes(b"the grey one, not read")
    assert parse_source(str(tmp_path), FORMATS).format.name == "cofw"
    assert parse_source(str(tmp_path / "COFW_train_color.mat"), FORMATS).format.name == "cofw"
    faces = faces_of(f"cofw:{tmp_path}")
    assert list(faces) == [f"{part}/{n}" for part in ("train", "test") for n in range(1, 7)]
    for id_, face in faces.items():
        part, number = id_.split("/")
        arrays = {"train": train, "test": test}[part]
        phis, (x, y, w, h) = arrays["phis"][int(number) - 1], arrays["bboxes"][int(number) - 1]
        np.testing.assert_allclose(face.landmarks + 1, np.stack([phis[:29], phis[29:58]], axis=1))
        np.testing.assert_array_equal(face.visibility, np.where(phis[58:] == 1, 1, 2))
        np.testing.assert_allclose(face.box, [x - 1, y - 1, x - 1 + w, y - 1 + h])
        assert (face.scheme, face.kind, face.split, face.subject) == ("cofw29", "2d", part, f"cofw-{part}-{number}")
        assert face.image == tmp_path / f"COFW_{part}_color.mat" / ("IsTr" if part == "train" else "IsT") / number
        assert image_exists(face.image)
        assert read_image(face.image).shape == (*image_size(face.image)[::-1], 3)
    assert len(faces_of(f"cofw:{tmp_path}", split="test")) == 6
    assert len(faces_of(f"cofw:{tmp_path / 'COFW_test_color.mat'}")) == 6


def test_the_first_845_of_training_are_lfpws(tmp_path: Path) -> None:
    write_cofw(tmp_path / "COFW_train.mat", 1345, images=False)
    assert [len(faces_of(f"cofw:{tmp_path}", split=name)) for name in ("train", "train-lfpw", "train-cofw")] == [
        1345,
        845,
        500,
    ]


def test_a_file_saved_in_version_7(tmp_path: Path) -> None:
    arrays = write_cofw(tmp_path / "COFW_test.mat", 3)
    expected = faces_of(f"cofw:{tmp_path}")
    savemat(tmp_path / "COFW_test.mat", {f"{name}T": array for name, array in arrays.items()}, do_compression=True)
    for id_, face in faces_of(f"cofw:{tmp_path}").items():
        np.testing.assert_array_equal(face.landmarks, expected[id_].landmarks)


def test_cofw_68_as_its_owner_has_it(shared_data: Path) -> None:
    folder = shared_data / "cofw68"
    assert parse_source(str(folder), FORMATS).format.name == "cofw"
    faces = faces_of(f"cofw:{folder}")
    assert list(faces) == [f"test/{n}" for n in (10, *range(100, 118))]
    boxes = loadmat(folder / "cofw68_test_bboxes.mat")["bboxes"]
    assert len(boxes) == FORMATS["cofw"].splits["test"].count == 507
    for id_, face in faces.items():
        number = id_.removeprefix("test/")
        arrays = loadmat(folder / f"{number}_points.mat")
        np.testing.assert_array_equal(face.landmarks, arrays["Points"] - 1)
        np.testing.assert_array_equal(face.visibility, np.where(arrays["Occ"][0] == 1, 1, 2))
        x, y, w, h = boxes[int(number) - 1].astype(float)
        assert face.box is not None
        np.testing.assert_array_equal(face.box, [x - 1, y - 1, x + w - 1, y + h - 1])
        # Boxes are as 300W's: the points' own bounds, nearly.
        bounds = np.r_[face.landmarks.min(0), face.landmarks.max(0)]
        assert np.abs(bounds - face.box).max() < 0.25 * w
        assert (face.scheme, face.kind, face.split, face.subject) == ("ibug68", "2d", "test", f"cofw-test-{number}")
        assert face.image == folder / "COFW_test_color.mat" / "IsT" / number


def put_68(folder: Path, number: int = 1, **arrays: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    values = {"Points": RNG.uniform(1, 200, (68, 2)), "Occ": RNG.integers(0, 2, (1, 68)).astype(float), **arrays}
    savemat(folder / f"{number}_points.mat", values)


def test_cofw_68_with_its_images(tmp_path: Path) -> None:
    data = tmp_path / "COFW68_Data"
    put_68(data / "test_annotations", 2)
    savemat(data / "cofw68_test_bboxes.mat", {"bboxes": np.array([[1, 2, 3, 4], [5, 6, 70, 80]], dtype=float)})
    write_cofw(data / "COFW_test.mat", 3)
    for path in (tmp_path, data, data / "test_annotations"):
        (face,) = faces_of(f"cofw:{path}").values()
        assert face.image == data / "COFW_test.mat" / "IsT" / "2"
        np.testing.assert_array_equal(face.box, [4, 5, 74, 85])
        assert image_size(face.image) == (40, 31)
    assert [face.scheme for face in faces_of(f"cofw:{data},labels=29").values()] == ["cofw29"] * 3
    other = tmp_path / "elsewhere.mat"
    (data / "COFW_test.mat").rename(other)
    (face,) = faces_of(f"cofw:{data},images={other}").values()
    assert face.image == other / "IsT" / "2"
    (face,) = faces_of(f"cofw:{data}").values()
    assert face.image == data / "COFW_test_color.mat" / "IsT" / "2"  # where it belongs


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"Points": np.ones((67, 2))}, r"Points: expected numbers of shape \(68, 2\), found float64 \(67, 2\)"),
        ({"Points": "text"}, "Points"),
        ({"Occ": np.ones((1, 67))}, "68 numbers Occ, found float64"),
        ({"Points": np.full((68, 2), np.nan)}, "finite"),
    ],
)
def test_a_bad_face_of_cofw_68_is_skipped(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    put_68(tmp_path, 1, **arrays)
    put_68(tmp_path, 2)
    bad, good = read_faces(f"cofw:{tmp_path}", FORMATS)
    assert isinstance(bad, Skipped)
    with pytest.raises(AnnotationError, match=message):
        raise AnnotationError(bad.reason)
    assert isinstance(good, Face)


def test_what_is_no_cofw_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"expected COFW_train_color\.mat"):
        faces_of(f"cofw:{tmp_path}")
    with pytest.raises(AnnotationError, match=r"expected COFW-68's files"):
        faces_of(f"cofw:{tmp_path},labels=68")
    with pytest.raises(AnnotationError, match="labels=30"):
        faces_of(f"cofw:{tmp_path},labels=30")
    path = tmp_path / "COFW_test.mat"
    for arrays, message in (
        ({"other": np.ones((3, 3))}, "expected an array phisTr or phisT"),
        (
            {"phisT": np.ones((3, 102))},
            r"phisT: expected numbers of shape \(N, 87\), found float64 \(3, 102\)",
        ),  # AFLW-LPFA's
        ({"phisT": np.ones((3, 87)), "bboxesT": np.ones((2, 4))}, r"bboxesT: expected numbers of shape \(3, 4\)"),
    ):
        savemat(path, arrays)
        with pytest.raises(AnnotationError, match=rf"COFW_test\.mat: .*{message}|COFW_test\.mat: {message}"):
            faces_of(f"cofw:{tmp_path}")
    assert not FORMATS["cofw"].matches(tmp_path / "none")
    assert not FORMATS["cofw"].matches(tmp_path / "other.mat")


def test_mutated_files(tmp_path: Path) -> None:
    cofw, other = tmp_path / "29" / "COFW_test_color.mat", tmp_path / "68"
    cofw.parent.mkdir()
    write_cofw(cofw, 3)
    put_68(other)
    savemat(other / "cofw68_test_bboxes.mat", {"bboxes": np.array([[1, 2, 3, 4]], dtype=float)})
    for path in (cofw, other / "1_points.mat", other / "cofw68_test_bboxes.mat"):
        good = path.read_bytes()
        for data in mutants(good, COUNT):
            path.write_bytes(data)
            survives(f"cofw:{path.parent}")
        path.write_bytes(good)
