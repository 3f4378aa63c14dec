"""AFLW-19: splits by the owner's order, the frontal test set, visibility by mask, hostile files."""

from pathlib import Path

import numpy as np
import pytest
from fuzzing import mutants, survives
from matlab import cell, write_mat73
from scipy.io import savemat

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers import FORMATS, parse_source, read_faces

FILE = "AFLWinfo_release.mat"


def arrays(count: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(count)
    names = [f"{(0, 2, 3)[n % 3]}/image{n // 2:05}.jpg" for n in range(count)]
    return {
        "nameList": cell(*names, shape=(count, 1)),
        "data": rng.uniform(10, 90, (count, 38)),
        "mask_new": np.ones((count, 19)),
        "bbox": np.tile([10.0, 90.0, 20.0, 95.0], (count, 1)),
        "ra": rng.permutation(count)[None] + 1.0,
    }


def read(path: Path, split: str | None = None, options: str = "") -> list[Face | Skipped]:
    return list(read_faces(f"aflw-19:{path}{options}", FORMATS, split=split))


@pytest.mark.parametrize("save", [savemat, write_mat73])
def test_arrays_become_faces(tmp_path: Path, save) -> None:  # type: ignore[no-untyped-def]
    found = arrays()
    found["mask_new"][1, 3] = 0
    found["mask_new"][1, 4] = 0
    found["data"][1, [4, 23]] = 0  # x and y of point 4
    save(tmp_path / FILE, found)
    faces = [face for face in read(tmp_path) if isinstance(face, Face)]
    assert [face.id for face in faces] == [
        *("image00000_1", "image00000_2", "image00001_3", "image00001_4", "image00002_5"),
    ]
    np.testing.assert_array_equal(faces[0].landmarks, np.stack([found["data"][0, :19], found["data"][0, 19:]], 1))
    np.testing.assert_array_equal(faces[0].box, [10, 20, 90, 95])
    np.testing.assert_array_equal(faces[1].visibility, [2, 2, 2, 1, 0] + [2] * 14)
    assert faces[1].file == f"{tmp_path}/flickr/2/image00000.jpg"
    assert (faces[1].subject, faces[1].scheme, faces[1].kind) == ("image00000", "aflw19", "2d")
    assert {face.split for face in faces} == {"train"}
    assert parse_source(str(tmp_path), FORMATS).format.name == "aflw-19"
    assert parse_source(str(tmp_path / FILE), FORMATS).format.name == "aflw-19"


def test_the_first_twenty_thousand_of_the_order_are_for_training(tmp_path: Path) -> None:
    found = arrays(20_010)
    found["mask_new"][:, 0] = np.arange(20_010) % 2
    savemat(tmp_path / FILE, found)
    order = found["ra"].ravel().astype(int)
    test = read(tmp_path, "test")
    rows = [int(face.id.rpartition("_")[2]) for face in test]
    assert rows == sorted(order[20_000:])
    assert [face.id for face in read(tmp_path, "full")] == [face.id for face in test]
    assert [int(face.id.rpartition("_")[2]) for face in read(tmp_path, "frontal")] == [n for n in rows if n % 2 == 0]
    assert len(read(tmp_path, "train")) == 20_000


def test_images_are_where_one_says(tmp_path: Path) -> None:
    savemat(tmp_path / FILE, arrays())
    (face, *_) = read(tmp_path, options=",images=/pictures")
    assert isinstance(face, Face)
    assert face.file == "/pictures/0/image00000.jpg"
    (tmp_path / "data" / "flickr").mkdir(parents=True)
    (face, *_) = read(tmp_path / FILE)
    assert isinstance(face, Face)
    assert face.file == f"{tmp_path}/data/flickr/0/image00000.jpg"


def test_a_bad_face_is_skipped(tmp_path: Path) -> None:
    found = arrays()
    found["nameList"][0, 0] = "../../etc/passwd"
    found["nameList"][1, 0] = np.ones((1, 2))
    found["data"][2, 5] = np.nan
    found["bbox"][3] = [90, 10, 20, 95]
    savemat(tmp_path / FILE, found)
    reasons = [face.reason if isinstance(face, Skipped) else "" for face in read(tmp_path)]
    for reason, part in zip(reasons, ("leads out", "image's name", "finite", "no area", ""), strict=True):
        assert part in reason
    assert "row 1" in reasons[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ra": None}, "none named ra"),
        ({"data": np.ones((5, 40))}, "data: expected numbers"),
        ({"data": np.ones((4, 38))}, "data: expected numbers"),
        ({"mask_new": cell(*"abcde", shape=(5, 1))}, "mask_new: expected numbers"),
        ({"ra": np.ones((1, 5))}, "ra: expected an order"),
        ({"ra": np.arange(5.0)[None]}, "ra: expected an order"),
        ({"ra": np.full((1, 5), np.nan)}, "ra: expected an order"),
        ({"nameList": np.ones((5, 1))}, "nameList: expected"),
        ({"nameList": cell(*["0/a.jpg"] * 10, shape=(5, 2))}, "nameList: expected"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, np.ndarray | None], reason: str) -> None:
    found = {name: array for name, array in {**arrays(), **change}.items() if array is not None}
    savemat(tmp_path / FILE, found)
    with pytest.raises(AnnotationError, match=reason) as caught:
        read(tmp_path)
    assert FILE in str(caught.value)


def test_sizes_that_are_no_whole_numbers_are_refused(tmp_path: Path) -> None:
    """The size of the cell array said to be one double instead of two integers; mutation found it."""
    savemat(tmp_path / FILE, arrays())
    data = bytearray((tmp_path / FILE).read_bytes())
    assert data[152:160] == bytes([5, 0, 0, 0, 8, 0, 0, 0])  # after header, array's tag, and flags
    data[152] = 9
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(AnnotationError, match="whole numbers"):
        read(tmp_path)


@pytest.mark.parametrize("save", [savemat, write_mat73])
def test_mutated_files_give_faces_or_our_errors(tmp_path: Path, save) -> None:  # type: ignore[no-untyped-def]
    save(tmp_path / FILE, arrays(3))
    good = (tmp_path / FILE).read_bytes()
    assert survives(f"aflw-19:{tmp_path}") == 3
    for data in mutants(good):
        (tmp_path / FILE).write_bytes(data)
        survives(f"aflw-19:{tmp_path}")
