"""AFLW's 34 points: the owner's two files as far as they are known, and the table."""

from pathlib import Path

import numpy as np
import pytest
from fuzzing import mutants, survives
from matlab import write_mat73
from scipy.io import savemat

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers import FORMATS, parse_source, read_faces
from pifa_data.readers.aflw_lpfa import HEADER

POINTS = np.random.default_rng(0).uniform(10, 90, (5, 34, 2)).round(3)


def labels(points: np.ndarray = POINTS) -> np.ndarray:
    return np.hstack([points[..., 0], points[..., 1], np.ones(points.shape[:2])])


def write(folder: Path, train: np.ndarray, test: np.ndarray, save=savemat) -> None:  # type: ignore[no-untyped-def]
    boxes = np.array([5.0, 6.0, 80.0, 90.0])
    save(folder / "Landmark.mat", {"phisTr": train, "phisT": test})
    save(
        folder / "BoundingBox.mat",
        {"bboxesTr": np.tile(boxes, (len(train), 1)), "bboxesT": np.tile(boxes, (len(test), 1))},
    )


def read(path: Path, options: str = "", split: str | None = None) -> list[Face | Skipped]:
    return list(read_faces(f"aflw-lpfa:{path}{options}", FORMATS, split=split))


@pytest.mark.parametrize("save", [savemat, write_mat73])
def test_arrays_become_faces(tmp_path: Path, save) -> None:  # type: ignore[no-untyped-def]
    train = labels()[:3]
    train[1, 68 + 4] = 0  # hidden, but with a place
    train[1, 68 + 5] = 0
    train[1, [5, 34 + 5]] = 0  # hidden, without one
    write(tmp_path, train, labels()[3:], save)
    faces = [face for face in read(tmp_path) if isinstance(face, Face)]
    assert [(face.id, face.split) for face in faces] == [
        *(("train/1", "train"), ("train/2", "train"), ("train/3", "train"), ("test/1", "test"), ("test/2", "test")),
    ]
    assert faces[1].file == f"{tmp_path}/TrainImages/2.jpg"
    assert faces[3].file == f"{tmp_path}/TestImages/1.jpg"
    np.testing.assert_array_equal(faces[0].landmarks, POINTS[0])
    np.testing.assert_array_equal(faces[3].landmarks, POINTS[3])
    np.testing.assert_array_equal(faces[1].visibility, [2, 2, 2, 2, 1, 0] + [2] * 28)
    np.testing.assert_array_equal(faces[0].box, [5, 6, 85, 96])
    assert (faces[0].scheme, faces[0].kind) == ("pifa34", "2d")
    assert len(read(tmp_path, split="test")) == 2
    assert parse_source(str(tmp_path), FORMATS).format.name == "aflw-lpfa"


def test_a_file_that_marks_hidden_points_tells_so(tmp_path: Path) -> None:
    rows = labels()
    rows[:, 68:] = 0
    rows[:, 68] = 1
    rows[:, [0, 34]] = 0  # point 0 is hidden in all
    write(tmp_path, rows, rows)
    found = read(tmp_path)
    assert all(isinstance(face, Skipped) and "visible=0" in face.reason for face in found)
    faces = read(tmp_path, ",visible=0")
    assert all(isinstance(face, Face) and face.visibility.tolist() == [0] + [2] * 33 for face in faces)
    with pytest.raises(AnnotationError, match="expected 0 or 1"):
        read(tmp_path, ",visible=yes")


def test_labels_without_boxes_are_enough(tmp_path: Path) -> None:
    savemat(tmp_path / "Landmark.mat", {"phisT": labels()})
    faces = [face for face in read(tmp_path) if isinstance(face, Face)]
    assert [face.id for face in faces] == [f"test/{n}" for n in range(1, 6)]
    assert all(face.box is None for face in faces)


@pytest.mark.parametrize(
    ("landmarks", "boxes", "reason"),
    [
        ({}, {}, "phisTr and phisT"),
        ({"phisTr": np.ones((5, 68))}, {}, "phisTr: expected numbers"),
        ({"phisTr": np.array(["a"])}, {}, "phisTr: expected numbers"),
        ({"phisTr": labels()}, {"bboxesTr": np.ones((5, 3))}, "bboxesTr: expected numbers"),
        ({"phisTr": labels()}, {"bboxesTr": np.ones((4, 4))}, "phisTr has 5 faces, bboxesTr has 4"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    tmp_path: Path, landmarks: dict[str, np.ndarray], boxes: dict[str, np.ndarray], reason: str
) -> None:
    savemat(tmp_path / "Landmark.mat", landmarks)
    savemat(tmp_path / "BoundingBox.mat", boxes)
    with pytest.raises(AnnotationError, match=reason):
        read(tmp_path)


def test_bad_rows_are_skipped(tmp_path: Path) -> None:
    rows = labels()
    rows[1, 70] = 7
    rows[2, 3] = np.nan
    write(tmp_path, rows, rows[:0])
    reasons = [face.reason if isinstance(face, Skipped) else "" for face in read(tmp_path)]
    assert [bool(reason) for reason in reasons] == [False, True, True, False, False]
    assert "row 2: a mark of visibility" in reasons[1]
    assert "row 3: a visible point has no place" in reasons[2]


def line(image: str, points: np.ndarray, split: str = "train", box: str = "5,6,80,90", mark: int = 2) -> str:
    return f"{image},{split},{box}," + ",".join(f"{x},{y},{mark}" for x, y in points.tolist())


def test_a_table_says_the_same(tmp_path: Path) -> None:
    write(tmp_path, labels()[:3], labels()[3:])
    rows = [line(f"TrainImages/{n + 1}.jpg", POINTS[n]) for n in range(3)]
    rows += [line(f"TestImages/{n - 2}.jpg", POINTS[n], "test", "nan,nan,nan,nan") for n in (3, 4)]
    table = tmp_path / "other" / "lpfa.csv"
    table.parent.mkdir()
    table.write_text("\n".join([HEADER, *rows]) + "\n")
    for face, expected in zip(read(table), read(tmp_path), strict=True):
        assert isinstance(face, Face)
        assert isinstance(expected, Face)
        np.testing.assert_array_equal(face.landmarks, expected.landmarks)
        np.testing.assert_array_equal(face.visibility, expected.visibility)
        assert face.split == expected.split
        assert Path(face.file).relative_to(table.parent) == Path(expected.file).relative_to(tmp_path)
        if face.split == "train":
            np.testing.assert_array_equal(face.box, expected.box)
        else:
            assert face.box is None
    assert parse_source(str(table), FORMATS).format.name == "aflw-lpfa"
    assert parse_source(str(table.parent), FORMATS).format.name == "aflw-lpfa"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (line("../a.jpg", POINTS[0]), "leads out"),
        (line("", POINTS[0]), "leads out"),
        (line("a.jpg", POINTS[0], "val"), "train or test"),
        (line("a.jpg", POINTS[0], mark=3), "0, 1 or 2"),
        (line("a.jpg", POINTS[0][:33]), "expected 106 numbers"),
        (line("a.jpg", POINTS[0], box="5,6,x,90"), "not a number"),
        (line("a.jpg", POINTS[0], box="5,6,-1,90"), "no area"),
        ("a.jpg", "train or test"),
        ("a" * 100_000, "longer than"),
    ],
)
def test_a_bad_line_is_skipped(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "lpfa.csv").write_text("\n".join([HEADER, line("1.jpg", POINTS[1]), text, line("1.jpg", POINTS[2])]))
    first, bad, again = read(tmp_path)
    assert isinstance(first, Face)
    assert isinstance(bad, Skipped)
    assert reason in bad.reason
    assert again.id == "1#4"


def test_another_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lpfa.csv").write_text("image,x,y\n")
    with pytest.raises(AnnotationError, match="line 1: expected the header"):
        read(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AnnotationError, match=r"Landmark\.mat"):
        read(tmp_path / "empty")


@pytest.mark.parametrize("save", [savemat, write_mat73])
def test_mutated_files_give_faces_or_our_errors(tmp_path: Path, save) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path, labels()[:2], labels()[2:4], save)
    assert survives(f"aflw-lpfa:{tmp_path}") == 4
    for name in ("Landmark.mat", "BoundingBox.mat"):
        good = (tmp_path / name).read_bytes()
        for data in mutants(good):
            (tmp_path / name).write_bytes(data)
            survives(f"aflw-lpfa:{tmp_path}")
        (tmp_path / name).write_bytes(good)


def test_mutated_tables_give_faces_or_our_errors(tmp_path: Path) -> None:
    good = "\n".join([HEADER, *(line(f"{n}.jpg", POINTS[n]) for n in range(3))]).encode()
    for data in mutants(good):
        (tmp_path / "lpfa.csv").write_bytes(data)
        survives(f"aflw-lpfa:{tmp_path}")
