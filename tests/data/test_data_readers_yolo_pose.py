"""Ultralytics' pose labels: shares of the image, visibility, folders, data.yaml, hostile files."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from fuzzing import fuzz

from pifa_data.drawing import write_png
from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers import FORMATS, parse_source, read_faces
from pifa_data.schemes import get_scheme

WIDTH, HEIGHT = 320, 200
POINTS = np.random.default_rng(0).uniform(0.1, 0.9, (98, 2)).round(6)
BOX = (0.5, 0.45, 0.4, 0.3)
SEEN = np.array([2, 1, 0] + [2] * 95)
YAML = "path: faces\ntrain: images/train\n\nkpt_shape: [68, 3]  # number of points, x y visible\nnames: {0: face}\n"


def line(count: int = 68, size: int = 3, points: np.ndarray = POINTS) -> str:
    """One face in the form that Ultralytics' pages give."""
    rows = np.column_stack([points, SEEN])[:count, :size]
    return " ".join(f"{value:.12g}" for value in (0, *BOX, *rows.ravel()))


def put(root: Path, name: str, text: str | bytes | None = None, image: str | None = ".png") -> Path:
    """A label file ``labels/NAME.txt`` and its image."""
    path = root / "labels" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((line() + "\n").encode() if text is None else text.encode() if isinstance(text, str) else text)
    if image is not None:
        picture = root / "images" / f"{name}{image}"
        picture.parent.mkdir(parents=True, exist_ok=True)
        write_png(picture, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    return path


def read(source: Path | str, split: str | None = None) -> list[Face | Skipped]:
    return list(read_faces(f"yolo-pose:{source}", FORMATS, split=split))


def faces(source: Path | str, split: str | None = None) -> list[Face]:
    found = read(source, split)
    assert all(isinstance(face, Face) for face in found), found
    return [face for face in found if isinstance(face, Face)]


def test_a_line(tmp_path: Path) -> None:
    put(tmp_path, "train/0001")
    (tmp_path / "data.yaml").write_text(YAML)
    (face,) = faces(tmp_path)
    assert (face.id, face.split, face.subject) == ("train/0001", "train", "0001")
    assert face.image == tmp_path / "images" / "train" / "0001.png"
    assert (face.scheme, face.kind, face.image_size) == ("ibug68", "2d", (WIDTH, HEIGHT))
    np.testing.assert_allclose(face.landmarks, POINTS[:68] * [WIDTH, HEIGHT])
    np.testing.assert_array_equal(face.visibility, SEEN[:68])
    assert face.box is not None
    np.testing.assert_allclose(face.box, [96, 60, 224, 120])
    (moved,) = faces(f"{tmp_path},origin=0.5,kind=3d")
    np.testing.assert_allclose(moved.landmarks, face.landmarks - 0.5)
    assert moved.box is not None
    np.testing.assert_allclose(moved.box, face.box - 0.5)
    assert moved.kind == "3d"


def test_without_visibility_negative_points_are_not_labelled(tmp_path: Path) -> None:
    points = POINTS.copy()
    points[:4] = [[-1, 0.5], [0.5, -1], [0, 0], [0, 0.5]]
    put(tmp_path, "a", line(68, 2, points))
    (face,) = faces(tmp_path)
    np.testing.assert_array_equal(face.visibility, [0, 0, 0] + [2] * 65)


def test_the_image_is_upright_as_it_is_read(tmp_path: Path) -> None:
    put(tmp_path, "a", image=None)
    (tmp_path / "images").mkdir()
    _, data = cv2.imencode(".jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    marker = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "images" / "a.JPG").write_bytes(data.tobytes()[:2] + marker + data.tobytes()[2:])
    (face,) = faces(tmp_path)
    assert face.image_size == (HEIGHT, WIDTH)
    np.testing.assert_allclose(face.landmarks, POINTS[:68] * [HEIGHT, WIDTH])


def test_both_ways_to_lay_out_folders(tmp_path: Path) -> None:
    for name in ("train2017/b", "train2017/a", "val/c", "other/d"):
        put(tmp_path / "one", name)
    for name in ("train", "valid", "test"):
        put(tmp_path / "two" / name, "a")
    assert [(face.id, face.split) for face in faces(tmp_path / "one")] == [
        *(("other/d", ""), ("train2017/a", "train"), ("train2017/b", "train"), ("val/c", "val"))
    ]
    assert [(face.id, face.split) for face in faces(tmp_path / "two")] == [
        *(("test/a", "test"), ("train/a", "train"), ("valid/a", "val"))
    ]
    assert [face.id for face in faces(tmp_path / "one", "val")] == ["val/c"]
    for part in ("labels", "labels/val"):
        assert faces(tmp_path / "one" / part)[-1].id == "val/c"
        assert faces(tmp_path / "one" / part)[-1].image == tmp_path / "one" / "images" / "val" / "c.png"


def test_names_above_the_data_set_are_not_its_own(tmp_path: Path) -> None:
    root = tmp_path / "labels" / "mine" / "train"
    put(root, "a")
    (root / "notes.txt").write_text("no labels")
    (root / "labels" / "classes.txt").write_text("face\n")
    (face,) = faces(root)
    assert (face.id, face.split) == ("a", "")


def test_several_faces_of_one_photo(tmp_path: Path) -> None:
    put(tmp_path, "a", f"{line()}\n\n{line()}\r\n{line()}")
    put(tmp_path, "a#3")
    put(tmp_path, "b", "")
    found = faces(tmp_path)
    assert [face.id for face in found[::3]] == ["a#3", "a#4"]
    assert len({face.id for face in found}) == 4
    assert [face.subject for face in found] == ["a#3", "a", "a", "a"]


@pytest.mark.parametrize(
    "text",
    [
        "kpt_shape: [98, 2]",
        "names: [face]\nkpt_shape : [ 98,2 ] # x, y\n",
        "kpt_shape:\n  - 98\n  - 2  # x, y\nnames:\n- face",
        "kpt_shape:\r\n- 98\r\n- 2\r\n",
    ],
)
def test_kpt_shape(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.yaml").write_bytes(text.encode())
    put(tmp_path, "a", line(98, 2))
    for path in (tmp_path, tmp_path / "data.yaml"):
        assert parse_source(str(path), FORMATS).format.name == "yolo-pose"
        assert faces(path)[0].scheme == "wflw98"
    (face,) = faces(tmp_path / "labels")
    assert face.scheme == "wflw98"


def test_the_number_of_numbers_tells_the_layout_where_it_can(tmp_path: Path) -> None:
    put(tmp_path, "a", "0 0 0\n" + line(29, 3))
    bad, face = read(tmp_path)
    assert isinstance(bad, Skipped)
    assert "no scheme's points" in bad.reason
    assert isinstance(face, Face)
    assert face.scheme == "cofw29"
    put(tmp_path, "a", line(51, 2))  # 34 points of 3 numbers have as many
    (bad,) = read(tmp_path)
    assert isinstance(bad, Skipped)
    assert "ibug51 in 2s or pifa34 in 3s" in bad.reason
    assert faces(f"{tmp_path},scheme=ibug51")[0].scheme == "ibug51"


@pytest.mark.parametrize(
    ("text", "option", "reason"),
    [
        ("kpt_shape: [17, 3]", "", r"expected 68 \(ibug68\), .*found 17"),
        ("kpt_shape: [98, 2]", ",scheme=ibug68", r"expected 68 \(ibug68\) points, found 98"),
        ("kpt_shape: [68, 3]\nflip_idx: [" + ", ".join(map(str, reversed(range(68)))) + "]", "", "flip_idx"),
        (" " * 5_000_000, "", "expected at most"),
        ("", ",origin=1", "expected 0 or 0.5"),
        ("", ",scheme=x", "not known"),
    ],
)
def test_what_contradicts_the_scheme_is_refused(tmp_path: Path, text: str, option: str, reason: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    put(tmp_path, "a")
    with pytest.raises(AnnotationError, match=reason):
        read(f"{tmp_path}{option}")


def test_the_right_flip_idx_passes_and_a_wrong_one_can_be_overruled(tmp_path: Path) -> None:
    put(tmp_path, "a")
    mirror = get_scheme("ibug68").mirror.tolist()
    (tmp_path / "data.yaml").write_text(f"kpt_shape: [68, 3]\nflip_idx: {mirror}\n")
    assert len(faces(tmp_path)) == 1
    (tmp_path / "data.yaml").write_text(f"kpt_shape: [68, 3]\nflip_idx: {mirror[::-1]}\n")
    assert len(faces(f"{tmp_path},scheme=ibug68")) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (line(67), "expected 209 numbers (class, box, 68 points of 3), found 206"),
        (line() + " 1", "found 210"),
        (line(68, 2), "found 141"),
        (line().replace(" 2 ", " 0.93 ", 1), "expected visibility 0, 1 or 2, found 0.93"),
        (line().replace(" 2 ", " nan ", 1), "expected visibility 0, 1 or 2, found nan"),
        (line().replace(" 2 ", " two ", 1), "not a number: 'two'"),
        (line(points=POINTS * 300), "are they pixels?"),
        (line(points=np.where(POINTS[0, 0] == POINTS, np.inf, POINTS)), "are they pixels?"),
        (line(points=np.where(POINTS[0, 0] == POINTS, np.nan, POINTS)), "finite"),
        (line(points=POINTS * 0 + 0.5), "one point"),
        (line().replace("0.45", "nan", 1), "the face box has no area"),
        (line().replace("0.4 0.3", "0.4 0", 1), "the face box has no area"),
        (b"\xff\xfe\0", "not a number"),
        ("1 " * 3_000_000, "expected at most"),
    ],
)
def test_a_bad_line_is_skipped_with_its_reason_and_the_others_are_read(
    tmp_path: Path, text: str | bytes, reason: str
) -> None:
    (tmp_path / "data.yaml").write_text(YAML)
    put(tmp_path, "a")
    file = put(tmp_path, "b", text)
    put(tmp_path, "c")
    before, bad, after = read(tmp_path)
    assert isinstance(before, Face)
    assert isinstance(after, Face)
    assert isinstance(bad, Skipped)
    assert bad.id.startswith("b")
    assert reason in bad.reason
    assert str(file) in bad.reason or any(word in bad.reason for word in ("finite", "one point", "no area"))


def test_without_its_image_a_face_is_skipped(tmp_path: Path) -> None:
    put(tmp_path, "a", image=None)
    put(tmp_path, "b", image=".gif")
    put(tmp_path, "c")
    (tmp_path / "images" / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = read(tmp_path)
    assert all(isinstance(face, Skipped) for face in found)
    reasons = [face.reason for face in found if isinstance(face, Skipped)]
    assert f"no image a.* in {tmp_path}/images, whose size is needed" in reasons[0]
    assert "no image b.*" in reasons[1]
    assert "c.png" in reasons[2]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    put(tmp_path, "a")
    os.mkfifo(tmp_path / "labels" / "b.txt")
    (tmp_path / "labels" / "c.txt").mkdir()
    put(tmp_path, "d", image=None)
    os.mkfifo(tmp_path / "images" / "d.jpg")
    face, bad, worse = read(tmp_path)
    assert isinstance(face, Face)
    assert isinstance(bad, Skipped)
    assert isinstance(worse, Skipped)
    assert "b.txt: can't be read (not a regular file)" in bad.reason
    assert "not a regular file" in worse.reason


def test_what_is_no_such_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(line())
    with pytest.raises(AnnotationError, match="found no label file"):
        read(tmp_path)
    with pytest.raises(AnnotationError, match="no known format"):
        parse_source(str(tmp_path), FORMATS)


def test_mutated_files_give_faces_or_our_errors(tmp_path: Path) -> None:
    fuzz(put(tmp_path, "a", f"{line()}\n{line()}\n"), f"yolo-pose:{tmp_path}")
    yaml = tmp_path / "data.yaml"
    yaml.write_text(YAML + f"flip_idx: {get_scheme('ibug68').mirror.tolist()}\n")
    fuzz(yaml, f"yolo-pose:{tmp_path}")


def test_a_real_photo_in_this_form_gives_its_points_again(tmp_path: Path, shared_data: Path) -> None:
    sample = shared_data / "samples" / "300w_pts"
    (tmp_path / "labels").mkdir()
    (tmp_path / "images").symlink_to(sample)
    originals = {face.id: face for face in read_faces(f"300w:{sample}", FORMATS) if isinstance(face, Face)}
    for name, face in originals.items():
        height, width = cv2.imread(str(face.image)).shape[:2]
        shares = face.landmarks / [width, height]
        (tmp_path / "labels" / f"{name}.txt").write_text(
            " ".join(map(str, (0, 0.5, 0.5, 1, 1, *np.column_stack([shares, np.full(68, 2)]).ravel())))
        )
    found = faces(tmp_path)
    assert {face.id for face in found} == set(originals)
    for face in found:
        np.testing.assert_allclose(face.landmarks, originals[face.id].landmarks)
