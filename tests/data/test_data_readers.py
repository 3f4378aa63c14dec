"""Readers: good files, bad rows, and sources named by format."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped, check_faces
from pifa_data.readers import FORMATS, parse_source, read_faces
from pifa_data.readers.w300 import read_pts
from pifa_data.schemes import SCHEMES, Scheme

POINTS = np.random.default_rng(0).uniform(10, 90, (68, 2)).round(2)
CELLS = ",".join(f"{v}" for v in POINTS.ravel())
HEADER = "," + ",".join(map(str, range(136)))
GOOD = f"training_Ann_Bo_01.jpg,{CELLS}"


def read(folder: Path, *lines: str, encoding: str = "utf-8", end: str = "\n") -> list[Face | Skipped]:
    (folder / "keypoints.csv").write_bytes((end.join(lines) + end).encode(encoding))
    return list(read_faces(f"keypoints-csv:{folder}", FORMATS))


def pts(rows: np.ndarray = POINTS) -> str:
    return "version: 1\nn_points: 68\n{\n" + "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in rows) + "\n}\n"


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_keypoints_csv(tmp_path: Path, header: bool, end: str, encoding: str) -> None:
    face, other = read(
        tmp_path, *([HEADER] if header else []), GOOD, f"sub/Zoé_2.png,{CELLS}", encoding=encoding, end=end
    )
    assert isinstance(face, Face)
    assert isinstance(other, Face)
    assert face.id == "training_Ann_Bo_01.jpg"
    assert face.image == tmp_path / "images" / face.id
    np.testing.assert_array_equal(face.landmarks, POINTS)
    np.testing.assert_array_equal(face.visibility, np.full(68, 2))
    assert (face.scheme, face.kind, face.box) == ("ibug68", "2d", None)
    assert (face.subject, face.split) == ("Ann_Bo", "training")
    assert (other.subject, other.split, other.image) == ("Zoé", "", tmp_path / "images" / "sub" / "Zoé_2.png")


@pytest.mark.parametrize(
    ("name", "subject", "split"),
    [
        ("test_Ann_Bo_12.jpg", "Ann_Bo", "test"),
        ("val_Ann_3.jpg", "Ann", "val"),
        ("Ann.jpg", "Ann", ""),
        ("tested_Ann_1.jpg", "tested_Ann", ""),
        ("Ann_Bo_12_7.jpg", "Ann_Bo_12", ""),
        ("training_7.jpg", "7", "training"),
    ],
)
def test_the_person_and_split_of_a_name(tmp_path: Path, name: str, subject: str, split: str) -> None:
    (face,) = read(tmp_path, f"{name},{CELLS}")
    assert isinstance(face, Face)
    assert (face.subject, face.split) == (subject, split)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"a.jpg,{CELLS},1", "columns, found 138"),
        ("a.jpg," + CELLS.rsplit(",", 2)[0], "columns, found 135"),
        ("a.jpg", "columns, found 1"),
        ("a.jpg," + ",".join(CELLS.split(",")[:38]), "expected 137 (ibug68) columns, found 39"),  # cut to AFLW's 19
        ("a.jpg," + CELLS.replace(f"{POINTS[3, 0]}", "nan", 1), "finite"),
        ("a.jpg," + CELLS.replace(f"{POINTS[3, 0]}", "inf", 1), "finite"),
        ("a.jpg," + CELLS.replace(f"{POINTS[3, 0]}", "1e300", 1), "pixels out"),
        ("a.jpg," + CELLS.replace(f"{POINTS[3, 0]}", "left", 1), "not a number"),
        ("a.jpg," + CELLS.replace(f"{POINTS[3, 0]}", "", 1), "not a number"),
        ("a.jpg," + ",".join(["5"] * 136), "zero area"),
        ("a.jpg," + ",".join(["5", "7"] * 34 + ["9", "7"] * 34), "zero area"),
        ("a.jpg," + ",".join(str(i // 2) for i in range(136)), "zero area"),
        (f"../../etc/passwd,{CELLS}", "leads out"),
        (f"sub/../../a.jpg,{CELLS}", "leads out"),
        (f"/etc/passwd,{CELLS}", "leads out"),
    ],
)
def test_a_bad_row_is_skipped_with_its_reason_and_the_others_are_read(tmp_path: Path, line: str, reason: str) -> None:
    before, bad, after = read(tmp_path, HEADER, GOOD, line, GOOD.replace("01", "02"))
    assert isinstance(before, Face)
    assert isinstance(after, Face)
    assert isinstance(bad, Skipped)
    assert bad.id == line.split(",")[0]
    assert reason in bad.reason


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES.keys())
def test_the_scheme_follows_from_the_first_row(tmp_path: Path, scheme: Scheme) -> None:
    points = np.random.default_rng(0).uniform(10, 90, (len(scheme), 2))
    cells = ",".join(str(v) for v in points.ravel())
    header = "," + ",".join(str(i) for i in range(points.size))
    for rows in ([f"a.jpg,{cells}"], [header, "bad.jpg,1,2", f"a.jpg,{cells}"], ["bad.jpg,1,2", f"a.jpg,{cells}"]):
        *bad, face = read(tmp_path, *rows)
        assert isinstance(face, Face)
        assert face.scheme == scheme.name
        assert all(isinstance(skipped, Skipped) for skipped in bad)


def test_several_faces_of_one_image_have_names_of_their_own(tmp_path: Path) -> None:
    faces = read(tmp_path, GOOD, GOOD, GOOD)
    assert len({face.id for face in faces}) == 3
    assert len({face.image for face in faces if isinstance(face, Face)}) == 1


def test_an_empty_file_has_no_faces_and_blank_lines_are_nothing(tmp_path: Path) -> None:
    assert read(tmp_path) == []
    assert len(read(tmp_path, "", GOOD, "", "")) == 1


def test_a_name_that_is_not_utf8_spoils_its_own_face_only(tmp_path: Path) -> None:
    good, bad = read(tmp_path, GOOD, "Zoé.jpg," + CELLS, encoding="latin-1")
    assert isinstance(good, Face)
    assert bad.id == "Zo\N{REPLACEMENT CHARACTER}.jpg"  # an image that is not there, so it is skipped when cropped
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "\udcff.pts").write_text(pts())
    (tmp_path / "a" / "\udcff.jpg").touch()
    (skipped,) = read_faces(f"300w:{tmp_path / 'a'}", FORMATS)
    assert isinstance(skipped, Skipped)
    assert "not UTF-8" in skipped.reason
    skipped.id.encode()


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"expected a folder with keypoints\.csv"):
        list(FORMATS["keypoints-csv"].read(tmp_path / "none"))


def test_pts_counts_from_1(tmp_path: Path) -> None:
    path = tmp_path / "a.pts"
    path.write_text(pts())
    np.testing.assert_allclose(read_pts(path), POINTS, atol=1e-9)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "n_points: 68",
        "{",
        pts(POINTS[:67]),
        pts().replace("}", "1 1\n}"),
        pts().replace("{\n", "{\n1 2 3\n"),
        pts().replace("{\n", "{\nx y\n"),
        pts().replace("n_points", "n_pöints"),
        " " * 70_000,
        "{" + "1 " * 136 + "}",
    ],
)
def test_a_bad_pts_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.pts"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AnnotationError, match=r"a\.pts"):
        read_pts(path)


def test_300w_folders(tmp_path: Path) -> None:
    for stem, suffix in (("helen/trainset/b", ".jpg"), ("helen/testset/a", ".PNG"), ("c", ".png"), ("c.d", ".jpg")):
        (tmp_path / stem).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{stem}.pts").write_text(pts())
        (tmp_path / f"{stem}{suffix}").touch()
    (tmp_path / "alone.pts").write_text(pts())
    (tmp_path / "bad.pts").write_text("{}")
    (tmp_path / "bad.jpg").touch()
    (tmp_path / "nan.pts").write_text(pts(np.where(POINTS[0, 0] == POINTS, np.nan, POINTS)))
    (tmp_path / "nan.jpg").touch()
    found = list(read_faces(f"300w:{tmp_path}", FORMATS))
    faces = {f.id: f for f in found if isinstance(f, Face)}
    assert {k: (f.image.relative_to(tmp_path).as_posix(), f.split) for k, f in faces.items()} == {
        "alone": ("alone.jpg", ""),  # labels alone can be fitted
        "c": ("c.png", ""),
        "c.d": ("c.d.jpg", ""),
        "helen/trainset/b": ("helen/trainset/b.jpg", "train"),
        "helen/testset/a": ("helen/testset/a.PNG", "full"),
    }
    assert {s.id for s in found if isinstance(s, Skipped)} == {"bad", "nan"}
    # Whoever it is stays the same whichever folder is given: "people it did not train on" must not depend on that.
    below = {f.subject for f in read_faces(f"300w:{tmp_path / 'helen'}", FORMATS) if isinstance(f, Face)}
    assert below == {f.subject for f in faces.values() if f.id.startswith("helen")}
    only = list(read_faces(f"300w:{tmp_path}", FORMATS, split="common"))
    assert [f.id for f in only if isinstance(f, Face)] == ["helen/testset/a"]
    assert [f.id for f in found] == [f.id for f in read_faces(f"300w:{tmp_path}", FORMATS)]


def test_sources_by_format_and_by_look(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no such file"):
        parse_source(f"300w:{tmp_path / 'none'}", FORMATS)
    with pytest.raises(AnnotationError, match=r"no FORMAT:PATH.*keypoints-csv"):
        parse_source("nonsense:here", FORMATS)
    with pytest.raises(AnnotationError, match="no known format"):
        parse_source(str(tmp_path), FORMATS)
    (tmp_path / "keypoints.csv").write_text(GOOD + "\n")
    assert parse_source(str(tmp_path), FORMATS).format.name == "keypoints-csv"
    assert parse_source(f"keypoints-csv:{tmp_path / 'keypoints.csv'}", FORMATS).path.name == "keypoints.csv"
    (tmp_path / "a.pts").write_text(pts())
    with pytest.raises(AnnotationError, match="keypoints-csv and 300w"):
        parse_source(str(tmp_path), FORMATS)


def test_limit_reads_no_further(tmp_path: Path) -> None:
    (tmp_path / "keypoints.csv").write_bytes(f"{GOOD}\n".encode() * 40 + b"\xff\n")  # far behind
    assert len(list(read_faces(f"keypoints-csv:{tmp_path}", FORMATS, limit=2))) == 2


def test_checks_count_labelled_points_only(tmp_path: Path) -> None:
    (face,) = read(tmp_path, GOOD)
    assert isinstance(face, Face)
    visibility = np.zeros(68, np.uint8)
    visibility[:6] = 1
    holes = np.where(visibility[:, None] > 0, POINTS, np.nan)
    assert check_faces([replace(face, landmarks=holes, visibility=visibility)]) == [None]
    visibility[0] = 0
    (reason,) = check_faces([replace(face, visibility=visibility)])
    assert "at least 6 labelled points, found 5" in str(reason)
    for box in ([1, 2, 1, 4], [1, 2, 3, np.nan], [5, 2, 3, 4]):
        (reason,) = check_faces([replace(face, box=np.array(box, dtype=float))])
        assert "no area" in str(reason)


def test_the_real_faces(shared_data: Path) -> None:
    faces = [f for f in read_faces(f"keypoints-csv:{shared_data / 'ytf68'}", FORMATS) if isinstance(f, Face)]
    assert len(faces) == len({f.id for f in faces}) == 3302
    assert len({f.subject for f in faces}) == 270
    assert {f.split for f in faces} == {"training", "test"}
    assert all(f.image.is_file() for f in faces[::100])


def test_the_real_samples(shared_data: Path) -> None:
    faces = list(read_faces(str(shared_data / "samples/300w_pts"), FORMATS))
    assert [type(f) for f in faces] == [Face] * 3
    rows = [re.findall(r"[\d.]+ [\d.]+", f.image.with_suffix(".pts").read_text())[-68:] for f in faces]
    np.testing.assert_allclose(faces[0].landmarks[0] + 1, [float(v) for v in rows[0][0].split()])
