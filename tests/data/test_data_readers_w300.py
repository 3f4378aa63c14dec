"""300W: its protocols by the folders' names, its published boxes, and files mutated at random."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from fuzzing import fuzz
from scipy.io import savemat

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers import FORMATS, parse_source, read_faces
from pifa_data.readers.pts import read_points
from pifa_data.readers.w300 import read_boxes

POINTS = np.random.default_rng(0).uniform(10, 90, (68, 2)).round(3)


def put(path: Path, points: np.ndarray = POINTS) -> None:
    """A ``.pts`` file; points are given from 0, and written from 1 as iBUG does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{x:.6f} {y:.6f}\n" for x, y in (points + 1).tolist())
    path.write_text(f"version: 1\nn_points:  68\n{{\n{rows}}}\n")


def faces_of(source: str, split: str | None = None) -> dict[str, Face]:
    found = list(read_faces(source, FORMATS, split=split))
    assert all(isinstance(face, Face) for face in found), found
    return {face.id: face for face in found if isinstance(face, Face)}


LAYOUT = {
    "afw/134212_1": ("train", ("afw",), "134212", "134212_1.jpg"),
    "afw/134212_2": ("train", ("afw",), "134212", "134212_2.jpg"),
    "helen/trainset/100032540_1": ("train", ("helen",), "100032540", "100032540_1.jpg"),
    "helen/testset/296814969_3": ("full", ("common", "helen"), "296814969", "296814969_3.jpg"),
    "lfpw/trainset/image_0001": ("train", ("lfpw",), "image_train_0001", "image_0001.png"),
    "lfpw/testset/image_0001": ("full", ("common", "lfpw"), "image_test_0001", "image_0001.png"),
    "ibug/image_092 _01": ("full", ("challenging", "ibug"), "image_092", "image_092 _01.jpg"),
    "300W/01_Indoor/indoor_001": ("test", ("indoor",), "indoor_001", "indoor_001.png"),
    "300W/02_Outdoor/outdoor_001": ("test", ("outdoor",), "outdoor_001", "outdoor_001.png"),
}


def test_folders_far_above_what_is_given_say_nothing(tmp_path: Path) -> None:
    put(tmp_path / "ibug" / "mine" / "x" / "a.pts")
    (own,) = faces_of(f"300w:{tmp_path / 'ibug' / 'mine' / 'x'}").values()
    assert (own.split, own.subsets) == ("", ())
    (found,) = faces_of(f"300w:{tmp_path / 'ibug'}").values()
    assert found.subsets == ("challenging", "ibug")


def test_protocols_and_photographs_by_the_folders(tmp_path: Path) -> None:
    for name in LAYOUT:
        put(tmp_path / f"{name}.pts")
    assert parse_source(str(tmp_path), FORMATS).format.name == "300w"
    faces = faces_of(f"300w:{tmp_path}")
    assert set(faces) == set(LAYOUT)
    for name, (split, subsets, subject, image) in LAYOUT.items():
        face = faces[name]
        assert (face.split, face.subsets, face.subject, face.image.name) == (split, subsets, subject, image)
        assert face.image.parent == (tmp_path / name).parent
        np.testing.assert_allclose(face.landmarks, POINTS, atol=1e-6)
        # The same, but for the name, wherever one begins.
        (below,) = (f for f in faces_of(f"300w:{(tmp_path / name).parent}").values() if name.endswith(f.id))
        assert (below.split, below.subsets, below.subject, below.file) == (split, subsets, subject, face.file)
    counts = {split: len(faces_of(f"300w:{tmp_path}", split)) for split in FORMATS["300w"].splits}
    assert counts == {
        **{"train": 4, "full": 3, "common": 2, "challenging": 1, "test": 2, "indoor": 1, "outdoor": 1},
        **{"afw": 2, "helen": 2, "lfpw": 2, "ibug": 1},
    }


def test_the_published_counts_add_up() -> None:
    count = {name: split.count or 0 for name, split in FORMATS["300w"].splits.items()}
    assert count["full"] == count["common"] + count["challenging"] == 689
    assert count["test"] == count["indoor"] + count["outdoor"] == 600
    assert count["train"] + count["full"] == count["afw"] + count["helen"] + count["lfpw"] + count["ibug"]


def test_the_test_faces_of_300w_by_their_real_names(tmp_path: Path, shared_data: Path) -> None:
    """The real names and points of the 689 test faces, written as the owner's files lie on the disk."""
    points = {}
    with (shared_data / "300w/300w_valid.csv").open() as file:
        for row in csv.reader(file):
            if row[0] != "image_name":
                points[Path(row[0]).with_suffix("").as_posix()] = np.array(row[4:140], dtype=float).reshape(68, 2)
    for name, array in points.items():
        put(tmp_path / f"{name}.pts", array)
    faces = faces_of(f"300w:{tmp_path}")
    assert set(faces) == set(points)
    for split, count in (("full", 689), ("common", 554), ("challenging", 135)):
        assert len(faces_of(f"300w:{tmp_path}", split)) == count == FORMATS["300w"].splits[split].count
    for name, face in faces.items():
        np.testing.assert_allclose(face.landmarks, points[name], atol=1e-6)


def write_boxes(path: Path, boxes: dict[str, np.ndarray], compressed: bool = True) -> Path:
    """As published: a cell of structs with imgName, bb_detector and bb_ground_truth."""
    cells = np.empty((1, len(boxes)), object)
    for i, (name, box) in enumerate(boxes.items()):
        cells[0, i] = {"imgName": name, "bb_detector": np.array([box], float), "bb_ground_truth": np.array([box]) + 5.0}
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"bounding_boxes": cells}, do_compression=compressed)
    return path


def test_published_boxes(tmp_path: Path) -> None:
    for name in LAYOUT:
        put(tmp_path / f"{name}.pts")
    folder = tmp_path / "Bounding Boxes"
    helen, ibug = (
        {"296814969_3.jpg": [11, 21, 91, 101], "other.jpg": [1, 1, 2, 2]},
        {"image_092 _01.jpg": [3, 4, 93, 94]},
    )
    write_boxes(folder / "bounding_boxes_helen_testset.mat", helen)
    write_boxes(folder / "bounding_boxes_ibug.mat", ibug, compressed=False)
    for source in (f"300w:{tmp_path}", f"300w:{tmp_path / 'helen'}", f"300w:{tmp_path / 'helen/testset'}"):
        boxes = {id_.split("/")[-1]: face.box for id_, face in faces_of(source).items() if face.box is not None}
        np.testing.assert_array_equal(boxes["296814969_3"], [10, 20, 90, 100])  # counted from 1, as the points
        assert len(boxes) == (2 if source.endswith(tmp_path.name) else 1)
    np.testing.assert_array_equal(faces_of(f"300w:{tmp_path}")["ibug/image_092 _01"].box, [2, 3, 92, 93])
    folder.rename(tmp_path.parent / f"{tmp_path.name}-boxes")
    assert all(face.box is None for face in faces_of(f"300w:{tmp_path}").values())
    given = faces_of(f"300w:{tmp_path},boxes={tmp_path.parent / (tmp_path.name + '-boxes')}")
    np.testing.assert_array_equal(given["helen/testset/296814969_3"].box, [10, 20, 90, 100])
    with pytest.raises(AnnotationError, match="no such folder"):
        faces_of(f"300w:{tmp_path},boxes={tmp_path / 'none'}")


def test_bad_boxes_spoil_no_face_but_their_own(tmp_path: Path) -> None:
    put(tmp_path / "ibug/a_1.pts")
    put(tmp_path / "ibug/b_1.pts")
    path = tmp_path / "Bounding Boxes" / "bounding_boxes_ibug.mat"
    write_boxes(path, {"a_1.jpg": [1, 2, np.nan, 4], "b_1.jpg": [1, 2, 3, 4]})
    bad, good = read_faces(f"300w:{tmp_path}", FORMATS)
    assert isinstance(bad, Skipped)
    assert "box has no area" in bad.reason
    assert isinstance(good, Face)
    for data in (b"nothing", b"", path.read_bytes()[:-20]):
        path.write_bytes(data)
        report, *faces = read_faces(f"300w:{tmp_path}", FORMATS)
        assert isinstance(report, Skipped)
        assert "bounding_boxes_ibug.mat" in report.reason
        assert [type(face) for face in faces] == [Face, Face]
    for entry in (
        "text",
        {"imgName": "a_1.jpg"},
        {"imgName": 3.0, "bb_detector": np.ones(4)},
        {"imgName": "a", "bb_detector": 1.0},
    ):
        cells = np.empty((1, 1), object)
        cells[0, 0] = entry
        savemat(path, {"bounding_boxes": cells})
        with pytest.raises(AnnotationError, match=r"bounding_boxes\{1\}: expected a struct"):
            read_boxes(str(path))


def test_the_quick_way_reads_what_the_other_reads(tmp_path: Path) -> None:
    """Lines ended as Windows does, tabs, whole numbers, exponents, spaces around: the same numbers."""
    path = tmp_path / "a.pts"
    put(path)
    expected = read_points(path)
    text = path.read_text()
    for other in (
        text.replace("\n", "\r\n"),
        text.replace(" ", "\t"),
        text.replace("\n", " \n"),
        text.replace("}", ""),
        text.replace("{", "{ \n\n").replace("}", "\n}"),
        text.replace("000\n", "e0\n"),
    ):
        path.write_bytes(other.encode())
        np.testing.assert_allclose(read_points(path), expected)
    path.write_text("{\n" + "\n".join(f"{i} {i + 1}" for i in range(68)) + "\n}")
    assert read_points(path).dtype == np.float64
    for bad in ("1 2\n" * 67, "1 2 3\n1\n" * 34, "1 2\n" * 67 + "1 2 3", "1 -\n" * 68, "1 2-3\n" * 68, "1 .\n" * 68):
        path.write_text("{\n" + bad + "}")
        with pytest.raises(AnnotationError, match=r"a\.pts"):
            read_points(path)


def test_a_file_cut_within_its_last_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pts"
    put(path)
    path.write_text(path.read_text()[: -len("000\n}\n")])
    with pytest.raises(AnnotationError, match=r"a\.pts: expected a } behind the rows"):
        read_points(path)


def test_a_folder_that_can_not_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "one" / "a" / "a.pts")
    put(tmp_path / "one" / "b" / "b.pts")
    (tmp_path / "two" / "images").mkdir(parents=True)
    (tmp_path / "two" / "labels" / "b").mkdir(parents=True)
    (tmp_path / "two" / "labels" / "a.txt").touch()  # an image without faces
    scandir = os.scandir

    def refusing(path: str) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    face, told = read_faces(f"300w:{tmp_path}/one", FORMATS)
    assert (face.id, told.id) == ("a/a", "b")
    assert isinstance(told, Skipped)
    assert told.reason.endswith("b: the folder can't be read (Permission denied)")
    (told,) = read_faces(f"yolo-pose:{tmp_path}/two", FORMATS)
    assert told.id == "labels/b"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pts")
    put(tmp_path / "b.pts")
    waiting, face = read_faces(f"300w:{tmp_path}", FORMATS)
    assert isinstance(waiting, Skipped)
    assert isinstance(face, Face)


def test_mutated_files(tmp_path: Path) -> None:
    points, boxes = tmp_path / "ibug/a_1.pts", tmp_path / "Bounding Boxes" / "bounding_boxes_ibug.mat"
    put(points)
    write_boxes(boxes, {"a_1.jpg": [1, 2, 3, 4], "b_1.jpg": [1, 2, 3, 4]}, compressed=False)
    for path in (points, boxes):
        fuzz(path, f"300w:{tmp_path}")
