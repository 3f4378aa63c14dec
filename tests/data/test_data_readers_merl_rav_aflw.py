"""MERL-RAV's labels joined with AFLW's images, boxes and poses: where these are looked for, which box is whose."""

import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from aflw_database import make_database
from fuzzing import mutants, survives

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers import FORMATS, parse_source, read_faces
from pifa_data.readers.aflw_faces import match

HEADER = "image,face,x,y,w,h,yaw,pitch,roll\n"
SHAPE = np.random.default_rng(0).uniform(0, 1, (68, 2))
SHAPE[0], SHAPE[1] = 0, 1


def put(root: Path, name: str, box: tuple[float, float, float, float]) -> None:
    """Labels that fill a box x, y, w, h."""
    points = np.array(box[:2]) + SHAPE * box[2:]
    path = root / "merl_rav_labels" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "\n".join(f"{x:.3f} {y:.3f}" for x, y in points)
    path.write_text(f"version: 1\nn_points:  68\n{{\n{rows}\n}}\n")


def read(root: Path, options: str = "") -> dict[str, Face]:
    found = list(read_faces(f"merl-rav:{root / 'merl_rav_labels'}{options}", FORMATS))
    return {face.id: face for face in found if isinstance(face, Face)}


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    put(tmp_path, "frontal/trainset/labels/image00001.pts", (100, 100, 100, 100))
    put(tmp_path, "frontal/trainset/labels/image00002_1.pts", (100, 100, 100, 100))
    put(tmp_path, "left/testset/labels/image00002_2.pts", (300, 100, 100, 100))
    put(tmp_path, "left/testset/labels/image00003.pts", (100, 100, 100, 100))
    return tmp_path


TABLE = (
    HEADER
    + "2/image00002.jpg,9,290,90,120,120,-0.5,0.1,0.2\n"
    + "2/image00002.jpg,8,90,90,120,120,0.5,0,0\n"
    + "0/image00001.jpg,7,90,80,120,130,0,0,0.3\n"
    + "3/image00003.png,6,900,90,120,120,0,0,0\n"
)


def check(faces: dict[str, Face], images: Path) -> None:
    assert list(faces) == ["frontal/image00001", "frontal/image00002_1", "left/image00002_2", "left/image00003"]
    one, two, three, four = faces.values()
    assert [face.file for face in faces.values()] == [
        *(f"{images}/0/image00001.jpg", f"{images}/2/image00002.jpg"),
        *(f"{images}/2/image00002.jpg", f"{images}/3/image00003.png"),
    ]
    np.testing.assert_array_equal(one.box, [90, 80, 210, 210])
    np.testing.assert_array_equal(two.box, [90, 90, 210, 210])
    np.testing.assert_array_equal(three.box, [290, 90, 410, 210])
    assert (four.box, four.pose) == (None, None)  # its box is another's
    np.testing.assert_allclose(one.pose, [0, 0, -0.3])
    np.testing.assert_allclose(two.pose, [0.5, 0, 0])
    assert three.pose is not None
    assert three.pose[0] < -0.4
    assert [face.split for face in faces.values()] == ["train", "train", "test", "test"]
    assert [face.subsets for face in faces.values()] == [("frontal",)] * 2 + [("left",)] * 2


def test_a_table_beside_the_labels_is_found(labels: Path) -> None:
    (labels / "faces.csv").write_text(TABLE)
    check(read(labels), labels / "flickr")
    (labels / "aflw" / "flickr").mkdir(parents=True)
    check(read(labels), labels / "aflw" / "flickr")
    alone = read(labels, ",aflw=none")
    assert all(face.box is None and face.pose is None for face in alone.values())
    assert alone["left/image00003"].file.endswith("left/testset/image00003.jpg")


def test_names_with_backslashes_are_found(labels: Path) -> None:
    (labels / "faces.csv").write_text(TABLE.replace("/", "\\"))
    check(read(labels), labels / "flickr")


def test_the_owners_folder_around_the_labels_is_known(labels: Path) -> None:
    (labels / "faces.csv").write_text(TABLE)
    assert parse_source(str(labels), FORMATS).format.name == "merl-rav"
    check({face.id: face for face in read_faces(str(labels), FORMATS) if isinstance(face, Face)}, labels / "flickr")


def test_one_pose_alone_gives_the_same(labels: Path) -> None:
    (labels / "faces.csv").write_text(TABLE)
    (face,) = [
        face
        for face in read_faces(f"merl-rav:{labels / 'merl_rav_labels' / 'left'}", FORMATS)
        if face.id == "left/image00002_2"
    ]
    assert isinstance(face, Face)
    np.testing.assert_array_equal(face.box, [290, 90, 410, 210])


def test_a_table_elsewhere_with_other_columns(labels: Path) -> None:
    other = labels / "elsewhere" / "table.csv"
    other.parent.mkdir()
    rows = [line.split(",") for line in TABLE.splitlines()]
    other.write_text(
        "\r\n".join(",".join([*row[2:], "0.5", row[0]]) for row in rows).replace("0.5,image", "score,image")
    )
    check(read(labels, f",aflw={other}"), other.parent / "flickr")


@pytest.mark.parametrize("place", ["aflw/aflw.sqlite", "aflw/data/aflw.sqlite", "there/aflw.sqlite"])
def test_the_database_is_joined(labels: Path, place: str) -> None:
    file = labels / place
    make_database(file, 0)
    connection = sqlite3.connect(file)
    with connection:
        for line in TABLE.splitlines()[1:]:
            name, face, x, y, w, h, yaw, pitch, roll = line.split(",")
            connection.execute("INSERT INTO Faces VALUES (?, ?, 'flickr')", (face, name[2:]))
            connection.execute(
                "INSERT OR IGNORE INTO FaceImages VALUES (?, '', ?, ?, 0, 9, 9)", (name[-5], name[2:], name)
            )
            connection.execute("INSERT INTO FaceRect VALUES (?, ?, ?, ?, ?, 1)", (face, x, y, w, h))
            connection.execute("INSERT INTO FacePose VALUES (?, ?, ?, ?, 1)", (face, roll, pitch, yaw))
        connection.execute(
            "DELETE FROM FaceImages WHERE rowid NOT IN (SELECT min(rowid) FROM FaceImages GROUP BY file_id)"
        )
    connection.close()
    option = f",aflw={file}" if "there" in place else ""
    check(read(labels, option), file.parent / "flickr")


def test_images_alone_are_joined(labels: Path) -> None:
    for name in ("0/image00001.jpg", "2/image00002.jpg", "3/image00003.png", "0/notes.txt"):
        (labels / "aflw" / "flickr" / name).parent.mkdir(parents=True, exist_ok=True)
        (labels / "aflw" / "flickr" / name).touch()
    faces = read(labels)
    assert faces["left/image00003"].file == f"{labels}/aflw/flickr/3/image00003.png"
    assert all(face.box is None for face in faces.values())
    assert [face.image.exists() for face in faces.values()] == [True] * 4


def test_images_beside_the_labels_come_first(labels: Path) -> None:
    (labels / "faces.csv").write_text(TABLE)
    image = labels / "merl_rav_labels" / "frontal" / "trainset" / "image00001.jpg"
    image.touch()
    assert read(labels)["frontal/image00001"].image == image


def test_what_the_option_names_must_be_there(labels: Path) -> None:
    (labels / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(AnnotationError, match="expected AFLW's folder"):
            read(labels, f",aflw={labels / name}")
    (labels / "bad.csv").write_text("image,x\n")
    with pytest.raises(AnnotationError, match=r"bad\.csv: line 1: expected the columns image,x,y"):
        read(labels, f",aflw={labels / 'bad.csv'}")
    (labels / "bad.sqlite").write_text("no database")
    with pytest.raises(AnnotationError, match=r"bad\.sqlite"):
        read(labels, f",aflw={labels / 'bad.sqlite'}")


def test_a_table_that_nobody_asked_for_spoils_nothing(labels: Path) -> None:
    (labels / "faces.csv").write_text("name,age\n")
    first, *rest = read_faces(f"merl-rav:{labels / 'merl_rav_labels'}", FORMATS)
    assert isinstance(first, Skipped)
    assert "line 1: expected the columns" in first.reason
    assert "without it" in first.reason
    assert [isinstance(face, Face) and face.box is None for face in rest] == [True] * 4


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("../../x.jpg,7,90,80,120,130,0,0,0", "leads out"),
        (",7,90,80,120,130,0,0,0", "leads out"),
        ("0/a.jpg,7,90,80,120,130,0,0", "expected 9 columns, found 8"),
        ("0/a.jpg,7,90,x,120,130,0,0,0", "not a number: 'x'"),
        ("0/" + "a" * 70_000, "longer than"),
    ],
)
def test_a_bad_line_of_the_table_is_told(labels: Path, line: str, reason: str) -> None:
    (labels / "faces.csv").write_text(TABLE + line + "\n\n")
    first, *rest = read_faces(f"merl-rav:{labels / 'merl_rav_labels'}", FORMATS)
    assert isinstance(first, Skipped)
    assert first.id == "faces.csv:6"
    assert reason in first.reason
    assert len(rest) == 4


def test_numbers_that_are_none_give_no_box_and_no_pose(labels: Path) -> None:
    (labels / "faces.csv").write_text(TABLE.replace("7,90,80,120,130,0,0,0.3", "7,nan,80,120,130,inf,0,0.3"))
    face = read(labels)["frontal/image00001"]
    assert (face.box, face.pose) == (None, None)
    assert face.file.endswith("flickr/0/image00001.jpg")


A, B = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)


@pytest.mark.parametrize(
    ("tights", "boxes", "expected"),
    [
        ([A], [(7, A)], [7]),
        ([A, B], [(7, B), (8, A)], [8, 7]),
        ([A, B], [(7, B)], [None, 7]),
        ([A], [], [None]),
        ([], [(7, A)], []),
        ([A], [(7, B)], [None]),
        ([A], [(7, (0.0, 0.0, 10.0, 2.0))], [None]),  # overlaps too little
        ([A], [(7, A), (8, A)], [None]),  # which of the two?
        ([A], [(7, A), (8, (0.0, 0.0, 10.0, 9.0))], [None]),
        ([A], [(7, A), (8, (0.0, 0.0, 10.0, 5.0))], [7]),
        ([A, A], [(7, A)], [None, None]),  # one face labelled twice
        ([A, (0.0, 0.0, 10.0, 5.0)], [(7, A)], [7, None]),
        ([(1.0, 1.0, 1.0, 1.0)], [(7, A)], [None]),
        ([A], [(7, (9.0, 9.0, 1.0, 1.0))], [None]),
        ([A] * 300, [(7, A)], [None] * 300),
    ],
)
def test_a_face_and_a_box_that_are_each_others_best_belong_together(
    tights: list, boxes: list, expected: list[int | None]
) -> None:
    assert match(tights, boxes) == expected


def test_mutated_tables_give_faces_or_our_errors(labels: Path) -> None:
    root = labels / "merl_rav_labels"
    for data in mutants(TABLE.encode()):
        (labels / "faces.csv").write_bytes(data)
        survives(f"merl-rav:{root}", labels)


def test_mutated_labels_give_faces_or_our_errors(labels: Path) -> None:
    (labels / "faces.csv").write_text(TABLE)
    root = labels / "merl_rav_labels"
    file = root / "frontal" / "trainset" / "labels" / "image00002_1.pts"
    for data in mutants(file.read_bytes().replace(b"\n", b"\n-1 -1\n", 4)):
        file.write_bytes(data)
        survives(f"merl-rav:{root}", labels)


def test_the_real_labels_match_the_legend_and_aflw(shared_data: Path) -> None:
    """The owner's counts, and every point as the table of his README says; AFLW's boxes and poses of the same faces."""
    root = shared_data / "aflw" / "merl_rav_labels"
    counts = {"frontal": 8778, "left": 2080, "lefthalf": 1180, "right": 2190, "righthalf": 1221}
    found = [face for face in read_faces(f"merl-rav:{root}", FORMATS) if isinstance(face, Face)]
    assert {pose: sum(face.belongs_to(pose) for face in found) for pose in counts} == counts
    assert len(found) == FORMATS["merl-rav"].splits["train"].count
    visibility = np.stack([face.visibility for face in found])
    # Self-occluded, externally occluded, unoccluded.
    np.testing.assert_array_equal(np.bincount(visibility.ravel()), [132_874, 110_617, 807_041])
    # The same by the signs alone, read from the text.
    signs = {b"-1 -1": 0, b"-": 1, b"": 2}
    for face in found[::97]:
        pose, name = face.id.split("/")
        text = (root / pose / "trainset" / "labels" / f"{name}.pts").read_bytes()
        rows = re.findall(rb"^(-1 -1|-|)[\d. -]*$", text.partition(b"{\n")[2].partition(b"\n}")[0], re.MULTILINE)
        assert [signs[row] for row in rows] == face.visibility.tolist()

    boxed = [face for face in found if face.box is not None]
    assert len(boxed) == 13_436  # the table has no box that overlaps by 0.25 for 1,936, and 77 are unclear
    assert len({(face.subject, *face.box.tolist()) for face in boxed if face.box is not None}) == len(boxed)
    yaw = {pose: np.median([f.pose[0] for f in boxed if f.belongs_to(pose) and f.pose is not None]) for pose in counts}
    assert abs(yaw["frontal"]) < 0.1
    assert yaw["left"] < yaw["lefthalf"] - 0.3 < -0.6
    assert yaw["right"] > yaw["righthalf"] + 0.3 > 0.6
