"""MERL-RAV's labels: signs, folders, missing images, hostile files."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers import FORMATS, parse_source, read_faces
from pifa_data.readers.merl_rav import decode

POINTS = np.random.default_rng(0).uniform(10, 90, (68, 2)).round(4)
# Self-occluded, externally occluded and seen, in the form of the owner's README.
SIGNED = POINTS.copy()
SIGNED[:3] = -1
SIGNED[3:6] *= -1


def pts(rows: np.ndarray = SIGNED) -> str:
    lines = "\n".join("-1 -1" if (row == -1).all() else f"{row[0]!r} {row[1]!r}" for row in rows.astype(object))
    return f"version: 1\nn_points:  68\n{{\n{lines}\n}}\n"


def put(root: Path, name: str, content: str | bytes | None = None) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = pts() if content is None else content
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def read(root: Path, split: str | None = None) -> list[Face | Skipped]:
    return list(read_faces(f"merl-rav:{root}", FORMATS, split=split))


def test_signs_are_visibility_and_pixels_are_taken_as_they_are(tmp_path: Path) -> None:
    put(tmp_path, "frontal/trainset/labels/image00002_1.pts")
    (face,) = read(tmp_path)
    assert isinstance(face, Face)
    assert (face.id, face.subject, face.split) == ("frontal/image00002_1", "image00002", "train")
    assert (face.scheme, face.kind, face.box) == ("ibug68", "2d", None)
    np.testing.assert_array_equal(face.visibility, [0] * 3 + [1] * 3 + [2] * 62)
    np.testing.assert_array_equal(face.landmarks[3:], POINTS[3:])
    np.testing.assert_array_equal(face.landmarks[:3], 0)
    assert not face.image.exists()  # labels alone are enough


def test_the_owners_example() -> None:
    """The rows shown in the owner's README ("Format of the Label Files")."""
    rows = np.full((68, 2), 9.0)
    rows[:8] = (
        [[-1, -1]] * 3
        + [[-1443.54, -474.32], [-1420.02, -535.08], [-1388.66, -603.68]]
        + [
            [1382.78, 680.12],
            [1372.98, 758.52],
        ]
    )
    (landmarks,), (visibility,), (odd,) = decode(rows[None])
    assert odd == -1
    np.testing.assert_array_equal(visibility[:8], [0, 0, 0, 1, 1, 1, 2, 2])
    np.testing.assert_array_equal(landmarks[3], [1443.54, 474.32])
    np.testing.assert_array_equal(landmarks[6], [1382.78, 680.12])


def test_folders_are_poses_and_splits(tmp_path: Path) -> None:
    for name in (
        "frontal/trainset/labels/b",
        "frontal/testset/labels/a",
        "left/trainset/labels/c_2",
        "right/testset/d",
    ):
        put(tmp_path, f"{name}.pts")
    put(tmp_path, "elsewhere/trainset/labels/e.pts")
    put(tmp_path, "left/labels/f.pts")
    faces = [face for face in read(tmp_path) if isinstance(face, Face)]
    assert [(face.id, face.split) for face in faces] == [
        *(("frontal/b", "train"), ("frontal/a", "test"), ("left/c_2", "train"), ("right/d", "test")),
    ]
    assert [face.id for face in read(tmp_path, split="test")] == ["frontal/a", "right/d"]
    assert [face.id for face in read(tmp_path / "left")] == ["left/c_2"]  # one pose, the same names
    assert parse_source(str(tmp_path), FORMATS).format.name == "merl-rav"


def test_images_beside_the_labels_are_found(tmp_path: Path) -> None:
    put(tmp_path, "frontal/trainset/image1.pts")
    put(tmp_path, "frontal/trainset/image2.pts")
    put(tmp_path, "frontal/trainset/image2.png", b"x")
    one, two = read(tmp_path)
    assert isinstance(one, Face)
    assert isinstance(two, Face)
    assert one.image == tmp_path / "frontal" / "trainset" / "image1.jpg"
    assert two.image == tmp_path / "frontal" / "trainset" / "image2.png"


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "image.pts")
    with pytest.raises(AnnotationError, match="frontal, lefthalf, left, righthalf, right"):
        read(tmp_path)
    assert parse_source(str(tmp_path), FORMATS).format.name == "300w"


def test_a_name_in_both_splits_is_read_once(tmp_path: Path) -> None:
    put(tmp_path, "frontal/trainset/labels/a.pts")
    put(tmp_path, "frontal/testset/labels/a.pts")
    put(tmp_path, "left/testset/labels/a.pts")
    face, again, other = read(tmp_path)
    assert isinstance(face, Face)
    assert isinstance(again, Skipped)
    assert "both trainset and testset" in again.reason
    assert other.id == "left/a"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (pts(SIGNED * [1, -1]), "one negative coordinate"),
        (pts(np.where(np.arange(68)[:, None] == 9, [-5.0, np.nan], SIGNED)), "one negative coordinate"),
        (pts(SIGNED[:67]), "expected 68 rows"),
        (pts().replace("}", "1 1\n}"), "found 69 rows"),
        (pts().replace("-1 -1", "-1", 1), "rows of 1 or 2 numbers"),
        (pts().replace("-1 -1", "- 1", 1), "not a .pts file"),
        (pts(np.full((68, 2), -1.0)), "found 0"),
        (pts(np.where(np.arange(68)[:, None] < 63, -1, SIGNED)), "at least 6 labelled points, found 5"),
        (pts(np.where(np.arange(68)[:, None] == 9, np.nan, SIGNED)), "finite"),
        (pts(np.where(np.arange(68)[:, None] == 9, -np.inf, SIGNED)), "finite"),
        (pts(np.where(np.arange(68)[:, None] == 9, 1e300, SIGNED)), "pixels out"),
        (pts(np.full((68, 2), 7.0)), "one point"),
        ("{", "found 0 rows"),
        ("no braces", "no {...} block"),
        ("{" * 100_000, "larger than"),
        (b"\xff\xfe{}", "not a .pts file"),
        (b"\0" * 100, "not a .pts file"),
    ],
)
def test_a_bad_file_is_skipped_with_its_reason_and_the_others_are_read(
    tmp_path: Path, text: str | bytes, reason: str
) -> None:
    for name in ("a", "c"):
        put(tmp_path, f"frontal/trainset/labels/{name}.pts")
    put(tmp_path, "frontal/trainset/labels/b.pts", text)
    before, bad, after = read(tmp_path)
    assert isinstance(before, Face)
    assert isinstance(after, Face)
    assert isinstance(bad, Skipped)
    assert bad.id == "frontal/b"
    assert reason in bad.reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    put(tmp_path, "frontal/trainset/labels/c.pts")
    folder = tmp_path / "frontal" / "trainset" / "labels"
    os.mkfifo(folder / "a.pts")
    (folder / "b.pts").mkdir()
    (folder / "d.pts").symlink_to(folder / "nowhere")
    found = read(tmp_path)
    assert [type(face) for face in found] == [Skipped, Skipped, Face, Skipped]
    assert all("not a regular file" in face.reason for face in found if isinstance(face, Skipped))


def test_a_name_without_end_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "keypoints.csv").write_text("x" * 2000 + "," + ",".join(map(str, POINTS.ravel())) + "\n")
    (face,) = read_faces(f"keypoints-csv:{tmp_path}", FORMATS)
    assert isinstance(face, Skipped)
    assert "longer than 1024" in face.reason
    assert len(face.id) < 100


@given(st.binary(max_size=400), st.integers(0, 2000), st.integers(0, 200))
def test_any_change_gives_faces_or_our_errors(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int, length: int
) -> None:
    root = tmp_path_factory.getbasetemp() / "merl-any"
    good = pts().encode()
    put(root, "frontal/trainset/labels/a.pts", good[:at] + junk + good[at + length :])
    (face,) = read(root)
    if isinstance(face, Face):
        assert np.isfinite(face.landmarks).all()
        assert set(np.unique(face.visibility)) <= {0, 1, 2}


def test_the_real_labels(shared_data: Path) -> None:
    root = shared_data / "aflw" / "merl_rav_labels"
    assert parse_source(str(root), FORMATS).format.name == "merl-rav"
    hidden = {}
    for pose, count in {"frontal": 500, "left": 2080, "lefthalf": 1180, "righthalf": 1221}.items():
        limit = 500 if pose == "frontal" else None
        found = list(read_faces(f"merl-rav:{root / pose}", FORMATS, limit=limit))
        faces = [face for face in found if isinstance(face, Face)]
        assert len(faces) == len({face.id for face in faces}) == len(found) == count
        hidden[pose] = np.mean([face.visibility == 0 for face in faces])
    # Self-occlusion is what the folders are about: next to none on frontal faces.
    assert hidden["frontal"] < 0.02 < min(hidden["lefthalf"], hidden["righthalf"])
    assert max(hidden["lefthalf"], hidden["righthalf"]) < 0.2 < hidden["left"]
