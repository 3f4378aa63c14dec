"""AFLW's database: what its tables become, and databases laid out to harm."""

import itertools
import shutil
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from aflw_database import SCHEMA, make_database
from fuzzing import mutants, survives

from pifa_data.camera import pose_angles, rotation
from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers import FORMATS, parse_source, read_faces
from pifa_data.readers.aflw import project_poses


def read(path: Path, options: str = "") -> list[Face | Skipped]:
    return list(read_faces(f"aflw:{path}{options}", FORMATS, fittable=False))


def faces_of(path: Path) -> list[Face]:
    return [face for face in read(path) if isinstance(face, Face)]


@pytest.mark.parametrize("place", ["aflw.sqlite", "data/aflw.sqlite"])
def test_tables_become_faces(tmp_path: Path, place: str) -> None:
    points = make_database(tmp_path / place, 5)
    faces = faces_of(tmp_path)
    assert [face.id for face in faces] == ["39341", "39342", "39343", "39344", "39345"]
    assert [face.subject for face in faces] == ["image00000"] * 2 + ["image00001"] * 2 + ["image00002"]
    root = (tmp_path / place).parent / "flickr"
    assert [face.file for face in faces[1:3]] == [f"{root}/0/image00000.jpg", f"{root}/2/image00001.jpg"]
    for face, expected in zip(faces, points, strict=True):
        seen = ~np.isnan(expected[:, 0])
        np.testing.assert_array_equal(face.visibility, np.where(seen, 2, 0))
        np.testing.assert_array_equal(face.landmarks[seen], expected[seen])
        np.testing.assert_array_equal(face.box, [10, 20, 90, 110])
        assert (face.scheme, face.kind, face.image_size) == ("aflw21", "2d", (640, 480))
        assert face.belongs_to("full")
    assert [face.id for face in faces_of(tmp_path / place)] == [face.id for face in faces]
    assert parse_source(str(tmp_path), FORMATS).format.name == "aflw"
    assert parse_source(str(tmp_path / place), FORMATS).format.name == "aflw"


def test_images_are_where_one_says(tmp_path: Path) -> None:
    make_database(tmp_path / "aflw.sqlite")
    (face, *_) = read(tmp_path, ",images=/pictures")
    assert isinstance(face, Face)
    assert face.file == "/pictures/0/image00000.jpg"
    (tmp_path / "data" / "flickr").mkdir(parents=True)
    assert faces_of(tmp_path)[0].file == str(tmp_path / "data" / "flickr" / "0" / "image00000.jpg")


def test_many_faces_are_the_same_in_blocks(tmp_path: Path) -> None:
    """More faces than a block, more points than a chunk: the merge misses none."""
    points = make_database(tmp_path / "aflw.sqlite", 1300)
    faces = faces_of(tmp_path)
    assert len(faces) == 1300
    visibility = np.stack([face.visibility for face in faces])
    np.testing.assert_array_equal(visibility > 0, ~np.isnan(points[..., 0]))
    np.testing.assert_array_equal(np.stack([face.landmarks for face in faces])[visibility > 0], points[visibility > 0])


def test_points_go_by_the_names_of_their_types(tmp_path: Path) -> None:
    points = make_database(
        tmp_path / "aflw.sqlite",
        3,
        "UPDATE FeatureCoordTypes SET feature_id = 31 WHERE feature_id = 21;"
        "UPDATE FeatureCoords SET feature_id = 31 WHERE feature_id = 21;"
        "INSERT INTO FeatureCoords VALUES (39341, 22, 1, 1, 0);"  # LeftTemple: none of the 21
        "INSERT INTO FeatureCoords VALUES (39341, 99, 1, 1, 0);",
    )
    for face, expected in zip(faces_of(tmp_path), points, strict=True):
        np.testing.assert_array_equal(face.visibility > 0, ~np.isnan(expected[:, 0]))


def test_poses_are_the_projects() -> None:
    """The same rotation, read by AFLW's order and by ours."""
    rng = np.random.default_rng(0)
    angles = rng.uniform(-1, 1, (200, 3)) * [1.4, 1.2, 1.5]
    zero = np.zeros(len(angles))
    yaw, pitch, roll = angles.T
    turned = rotation(yaw, zero, zero) @ rotation(zero, pitch, zero) @ rotation(zero, zero, -roll)
    cameras = np.concatenate([turned[:, :2] * [[1.0], [-1.0]], np.zeros((200, 2, 1))], axis=2)
    np.testing.assert_allclose(project_poses(angles), pose_angles(cameras), atol=1e-12)
    # One angle alone: roll has the other sign.
    np.testing.assert_allclose(project_poses(np.diag([0.3, 0.2, 0.1])), np.diag([0.3, 0.2, -0.1]), atol=1e-15)


def test_what_is_missing_is_left_out(tmp_path: Path) -> None:
    make_database(
        tmp_path / "aflw.sqlite",
        4,
        "DELETE FROM FaceRect WHERE face_id = 39341; DELETE FROM FacePose WHERE face_id = 39341;"
        "UPDATE FacePose SET yaw = 1000 WHERE face_id = 39342; UPDATE FaceImages SET width = NULL;"
        "DELETE FROM FeatureCoords WHERE face_id = 39343;",
    )
    first, second, third, fourth = read(tmp_path)
    assert isinstance(first, Face)
    assert isinstance(second, Face)
    assert isinstance(fourth, Face)
    assert (first.box, first.pose, first.image_size) == (None, None, None)
    assert second.pose is None  # no angle
    assert second.box is not None
    assert fourth.pose is not None
    assert third == Skipped("39343", "no labelled point")


@pytest.mark.parametrize(
    ("script", "id_", "reason"),
    [
        ("UPDATE FaceImages SET filepath = '../../x.jpg' WHERE image_id = 0", "39341", "leads out"),
        ("UPDATE FaceImages SET filepath = '/etc/passwd' WHERE image_id = 0", "39341", "leads out"),
        ("UPDATE FaceImages SET filepath = NULL WHERE image_id = 0", "39341", "filepath, found None"),
        ("UPDATE FaceImages SET filepath = x'ff' WHERE image_id = 0", "39341", "not UTF-8"),
        ("DELETE FROM FaceImages WHERE image_id = 0", "39341", "image00000.jpg"),
        ("UPDATE FaceRect SET x = 'left' WHERE face_id = 39341", "39341", "expected 4 numbers"),
        ("UPDATE FaceRect SET w = NULL WHERE face_id = 39341", "39341", "no area"),
        ("UPDATE FaceRect SET w = -5 WHERE face_id = 39341", "39341", "no area"),
        ("UPDATE FaceRect SET w = 9e999 WHERE face_id = 39341", "39341", "no area"),
        ("UPDATE FeatureCoords SET x = 'a' WHERE face_id = 39341", "39341", "finite"),
        ("UPDATE FeatureCoords SET y = x'00ff' WHERE face_id = 39341", "39341", "finite"),
        ("UPDATE FeatureCoords SET y = NULL WHERE face_id = 39341", "39341", "finite"),
        ("UPDATE FeatureCoords SET y = 9e999 WHERE face_id = 39341", "39341", "finite"),
        ("UPDATE FeatureCoords SET y = 1e300 WHERE face_id = 39341", "39341", "pixels out"),
    ],
)
def test_a_bad_face_is_skipped_and_the_others_are_read(tmp_path: Path, script: str, id_: str, reason: str) -> None:
    make_database(tmp_path / "aflw.sqlite", 5, script)
    found = read(tmp_path)
    assert [face.id for face in found] == ["39341", "39342", "39343", "39344", "39345"]
    bad = [face for face in found if isinstance(face, Skipped)]
    assert id_ in [face.id for face in bad]
    assert reason in bad[0].reason
    assert all(isinstance(face, Face) for face in found[2:])


def test_strays_are_told(tmp_path: Path) -> None:
    """Points of no face, faces that have no number, numbers beyond all bounds."""
    schema = SCHEMA.replace("face_id INTEGER PRIMARY KEY, file_id", "face_id, file_id")
    make_database(
        tmp_path / "aflw.sqlite",
        2,
        "INSERT INTO FeatureCoords VALUES (7, 1, 5, 5, 0), (39999, 1, 5, 5, 0), ('x', 1, 5, 5, 0), (NULL, 2, 5, 5, 0);"
        "INSERT INTO Faces VALUES ('x', 'image00000.jpg', 'flickr'), (NULL, 'image00000.jpg', 'flickr'),"
        "(9223372036854775807, 'image00000.jpg', 'flickr');",
        schema=schema,
    )
    found = read(tmp_path)
    assert [face.id for face in found if isinstance(face, Face)] == ["39341", "39342"]
    reasons = [face.reason for face in found if isinstance(face, Skipped)]
    assert len(reasons) == 4
    assert sum("whole numbers as face_id" in reason for reason in reasons) == 3
    assert "2 points of faces that are not in table Faces" in reasons[-1]


def test_two_boxes_of_one_face_give_one_face(tmp_path: Path) -> None:
    schema = SCHEMA.replace("TABLE FaceRect (face_id INTEGER PRIMARY KEY", "TABLE FaceRect (face_id INTEGER")
    make_database(tmp_path / "aflw.sqlite", 2, "INSERT INTO FaceRect VALUES (39341, 11, 20, 80, 90, 2)", schema=schema)
    faces = faces_of(tmp_path)
    assert [face.id for face in faces] == ["39341", "39342"]
    np.testing.assert_array_equal(faces[0].box, [10, 20, 90, 110])


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS face_id"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("DROP TABLE Faces", "a table Faces, found none"),
        (f"DROP TABLE Faces; CREATE VIEW Faces AS {ENDLESS}, 'a' AS file_id FROM n", "found a view"),
        (f"DROP TABLE FeatureCoords; CREATE VIEW FeatureCoords AS {ENDLESS}, 1 feature_id, 1 x, 1 y FROM n", "a view"),
        ("ALTER TABLE FaceRect RENAME COLUMN w TO width", "FaceRect has no column w"),
        (
            "DROP TABLE FaceRect; CREATE TABLE FaceRect (face_id INTEGER, x, y, w, h AS (length(hex(zeroblob(9999)))))",
            "computed columns",
        ),
        ("DROP TABLE FacePose; CREATE VIRTUAL TABLE FacePose USING fts5(face_id, roll, pitch, yaw)", "virtual"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path: Path, script: str, reason: str) -> None:
    try:
        make_database(tmp_path / "aflw.sqlite", 3, script)
    except sqlite3.OperationalError as error:
        pytest.skip(f"this SQLite can't: {error}")
    with pytest.raises(AnnotationError, match=reason) as caught:
        read(tmp_path)
    assert "aflw.sqlite" in str(caught.value)


def test_a_trigger_and_other_tables_do_not_matter(tmp_path: Path) -> None:
    make_database(
        tmp_path / "aflw.sqlite",
        3,
        "CREATE TRIGGER t BEFORE INSERT ON Faces BEGIN DELETE FROM Faces; END;"
        f"CREATE VIEW v AS {ENDLESS} FROM n; CREATE TABLE faces2 (x); CREATE TEMP TABLE faces3 (x);",
    )
    assert len(faces_of(tmp_path)) == 3


@pytest.mark.parametrize(
    "data", [b"", b"SQLite format 3\0", b"SQLite format 3\0" + bytes(5000), b"\0" * 9000, b"text\n"]
)
def test_what_is_no_database_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "aflw.sqlite").write_bytes(data)
    with pytest.raises(AnnotationError, match=r"aflw\.sqlite"):
        read(tmp_path)


def test_nothing_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="AFLW's database"):
        read(tmp_path)


def test_a_database_being_written_is_left_alone(tmp_path: Path) -> None:
    """A journal that waits beside the file is neither played back nor made, and nothing is written."""
    make_database(tmp_path / "aflw.sqlite", 3, "PRAGMA journal_mode = WAL;")
    before = (tmp_path / "aflw.sqlite").read_bytes()
    (tmp_path / "aflw.sqlite-wal").write_bytes(b"\x37\x7f\x06\x82" + bytes(200))
    assert len(faces_of(tmp_path)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["aflw.sqlite", "aflw.sqlite-wal"]
    assert (tmp_path / "aflw.sqlite").read_bytes() == before


def test_a_name_with_all_signs_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "a?mode=rw #%20 é"
    make_database(folder / "aflw.sqlite", 2)
    assert len(faces_of(folder)) == 2
    assert [path.name for path in folder.iterdir()] == ["aflw.sqlite"]


@pytest.mark.parametrize("column", ["FeatureCoords SET x", "FaceRect SET w", "FaceImages SET filepath"])
def test_values_of_absurd_size_are_refused(tmp_path: Path, column: str) -> None:
    make_database(tmp_path / "aflw.sqlite", 400, f"UPDATE {column} = zeroblob(60000)")
    with pytest.raises(AnnotationError, match="too big"):
        read(tmp_path)


def inner_page(size: int, child: int) -> bytes:
    """A table's inner page with as many children as SQLite allows, all of them the page ``child``."""
    count = (size - 8) // 6
    cell = size - 5  # one cell, which all pointers name: child and key
    header = (
        bytes([5, 0, 0]) + count.to_bytes(2, "big") + cell.to_bytes(2, "big") + bytes([0]) + child.to_bytes(4, "big")
    )
    page = header + cell.to_bytes(2, "big") * count
    return page + bytes(cell - len(page)) + child.to_bytes(4, "big") + bytes([1])


@pytest.mark.parametrize("table", ["FeatureCoords", "Faces"])
def test_pages_that_are_met_again_and_again_are_no_hang(tmp_path: Path, table: str) -> None:
    """Three inner pages of 681 children, all the same: three hundred million times a page of rows in 60 pages."""
    file = tmp_path / "aflw.sqlite"
    make_database(file, 400, schema=SCHEMA.replace(",\n    PRIMARY KEY (face_id, feature_id)", ""))
    with sqlite3.connect(file) as connection:
        roots = dict(connection.execute("SELECT name, rootpage FROM sqlite_master"))
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    data = bytearray(file.read_bytes())
    start = (roots["FeatureCoords"] - 1) * size
    assert data[start] == 5  # an inner page
    cells = [int.from_bytes(data[start + at : start + at + 2], "big") for at in (12, 14, 16)]
    pages = [roots[table], *(int.from_bytes(data[start + cell : start + cell + 4], "big") for cell in cells)]
    for page, child in itertools.pairwise(pages):
        data[(page - 1) * size : page * size] = inner_page(size, child)
    file.write_bytes(data)
    began = time.process_time()
    with pytest.raises(AnnotationError, match="more work than its size explains"):
        read(tmp_path)
    assert time.process_time() - began < 30


def test_mutated_databases_give_faces_or_our_errors(tmp_path: Path) -> None:
    good = tmp_path / "good.sqlite"
    make_database(good, 30)
    # Small pages: a few kilobytes hold all kinds of them.
    with sqlite3.connect(good) as connection:
        connection.execute("PRAGMA page_size = 512")
        connection.execute("VACUUM")
    connection.close()
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(good, folder / "aflw.sqlite")
    assert survives(f"aflw:{folder}") == 30
    for data in mutants(good.read_bytes()):
        (folder / "aflw.sqlite").write_bytes(data)
        survives(f"aflw:{folder}")
