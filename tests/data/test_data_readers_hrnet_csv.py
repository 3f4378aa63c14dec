"""HRNet's tables: columns by their names, origin, boxes, 300W's parts, each face once, hostile files."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fuzzing import fuzz

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers import FORMATS, parse_source, read_faces

POINTS = np.random.default_rng(0).uniform(10, 900, (98, 2)).round(6)


def header(count: int = 68, before: str = "scale,center_w,center_h", first: int = 0) -> str:
    return f"image_name,{before}," + ",".join(f"original_{first + i}_{axis}" for i in range(count) for axis in "xy")


def row(name: str, count: int = 68, before: str = "1.5,300.0,200.5", points: np.ndarray = POINTS) -> str:
    return f"{name},{before}," + ",".join(map(str, points[:count].ravel().tolist()))


def put(root: Path, name: str, *lines: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"{name}.csv"
    path.write_text("".join(f"{line}\r\n" for line in lines))
    return path


def read(source: Path | str, split: str | None = None) -> list[Face | Skipped]:
    return list(read_faces(f"hrnet-csv:{source}", FORMATS, split=split))


def faces(source: Path | str, split: str | None = None) -> list[Face]:
    found = read(source, split)
    assert all(isinstance(face, Face) for face in found), found
    return [face for face in found if isinstance(face, Face)]


def test_a_row_of_300w(tmp_path: Path) -> None:
    path = put(tmp_path, "face_landmarks_300w_valid", header(), row("helen/testset/296814969_3.jpg"))
    for source in (path, tmp_path):
        assert parse_source(str(source), FORMATS).format.name == "hrnet-csv"
    (face,) = faces(path)
    assert face.id == "helen/testset/296814969_3.jpg"
    assert face.file == f"{tmp_path}/images/{face.id}"
    assert (face.scheme, face.kind, face.subject) == ("ibug68", "2d", "296814969")
    assert (face.split, face.subsets) == ("full", ("common", "helen"))
    np.testing.assert_array_equal(face.landmarks, POINTS[:68] - 1)  # iBUG counts pixels from 1
    np.testing.assert_array_equal(face.visibility, np.full(68, 2))
    assert face.box is not None
    np.testing.assert_array_equal(face.box, [149, 49.5, 449, 349.5])  # a side of 200 · scale, from 1 too
    (moved,) = faces(f"{path},origin=0,images=/elsewhere,kind=3d")
    np.testing.assert_array_equal(moved.landmarks, POINTS[:68])
    assert (moved.file, moved.kind) == (f"/elsewhere/{face.id}", "3d")


def test_aflws_columns(tmp_path: Path) -> None:
    """``lib/datasets/aflw.py`` of HRNet's code: scale, box_size, center_w, center_h, then 19 points."""
    before, values = "scale,box_size,center_w,center_h", "1.81,362.0,449.0,321.0"
    path = put(tmp_path, "face_landmarks_aflw_test", header(19, before, 1), row("0/image00002.jpg", 19, values))
    (face,) = faces(path)
    assert (face.id, face.split, face.scheme) == ("test/0/image00002.jpg", "test", "aflw19")
    np.testing.assert_array_equal(face.landmarks, POINTS[:19])
    assert face.box is not None
    np.testing.assert_allclose(face.box, [268, 140, 630, 502])


def test_columns_are_found_by_their_names(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        "mine_train",
        header(98, "center_h,x0,scale,center_w") + ",score",
        row('"a, b.jpg"', 98, "200.5,7,1.5,300.0") + ",0.9",
    )
    (face,) = faces(path)
    assert (face.id, face.scheme, face.split) == ("train/a, b.jpg", "wflw98", "train")
    np.testing.assert_array_equal(face.landmarks, POINTS)
    assert face.box is not None
    np.testing.assert_array_equal(face.box, [150, 50.5, 450, 350.5])


@pytest.mark.parametrize(
    ("name", "split", "subsets", "subject"),
    [
        ("helen/trainset/2331806521_1.jpg", "train", ("helen",), "2331806521"),
        ("lfpw/trainset/image_0001.png", "train", ("lfpw",), "image_train_0001"),
        ("afw/134212_1.jpg", "train", ("afw",), "134212"),
        ("lfpw/testset/image_0001.png", "full", ("common", "lfpw"), "image_test_0001"),
        ("ibug/image_003_1.jpg", "full", ("challenging", "ibug"), "image_003"),
        ("Test/01_Indoor/indoor_001.png", "test", ("indoor",), "indoor_001"),
        ("Test/outdoor_300.png", "test", ("outdoor",), "outdoor_300"),
        ("mine/1.jpg", "", (), "1"),
    ],
)
def test_a_path_tells_300ws_part(tmp_path: Path, name: str, split: str, subsets: tuple[str, ...], subject: str) -> None:
    (face,) = faces(put(tmp_path, "all", header(), row(name)))
    assert (face.split, face.subsets, face.subject) == (split, subsets, subject)


def test_each_face_of_a_folder_comes_once(tmp_path: Path) -> None:
    rows = [row(f"{i}.jpg", 98, points=POINTS + i) for i in range(4)]
    put(tmp_path, "face_landmarks_wflw_test", header(98), *rows)
    put(tmp_path, "face_landmarks_wflw_test_blur", header(98), rows[1], rows[2])
    put(tmp_path, "face_landmarks_wflw_test_makeup", header(98), rows[2], row("new.jpg", 98))
    put(tmp_path, "face_landmarks_wflw_train", header(98), rows[0])
    # The same faces with a column more, as others publish them.
    put(
        tmp_path,
        "face_landmarks_wflw_test_with_box",
        header(98, "scale,center_w,center_h,x"),
        *(row(f"{i}.jpg", 98, "1.5,300.0,200.5,7", POINTS + i) for i in range(4)),
    )
    put(tmp_path, "other", "a,b,c", "1,2,3")
    assert [(face.id, face.subsets) for face in faces(tmp_path)] == [
        ("test/0.jpg", ()),
        ("test/1.jpg", ("blur",)),
        ("test/2.jpg", ("blur", "makeup")),
        ("test/3.jpg", ()),
        ("test/new.jpg", ("makeup",)),
        ("train/0.jpg", ()),
    ]
    assert [face.id for face in faces(tmp_path, "blur")] == ["test/1.jpg", "test/2.jpg"]
    one = faces(tmp_path / "face_landmarks_wflw_test_blur.csv")
    assert [(face.id, face.subsets) for face in one] == [("test/1.jpg", ("blur",)), ("test/2.jpg", ("blur",))]


def test_several_faces_of_one_photo(tmp_path: Path) -> None:
    found = faces(put(tmp_path, "a_test", header(98), *(row("a.jpg", 98, points=POINTS + i) for i in range(3))))
    assert [face.id for face in found] == ["test/a.jpg", "test/a.jpg#3", "test/a.jpg#4"]
    assert len({face.subject for face in found}) == 1


def test_points_at_zero_or_less_are_not_labelled(tmp_path: Path) -> None:
    points = POINTS.copy()
    points[:4] = [[0, 0], [-1, -1], [-3, 20], [20, 0]]
    (face,) = faces(put(tmp_path, "a", header(98), row("a.jpg", 98, points=points)))
    np.testing.assert_array_equal(face.visibility[:5], [0, 0, 2, 2, 2])
    np.testing.assert_array_equal(face.landmarks, points)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (row("b.jpg", 67), "expected 140 columns, as the header has, found 138"),
        (row("b.jpg", 69), "found 142"),
        ("b.jpg", "found 1"),
        (row("b.jpg").replace("300.0", "left"), "not a number: 'left'"),
        (row("b.jpg").replace("300.0", ""), "not a number: ''"),
        (row("b.jpg", before="nan,300.0,200.5"), "the face box has no area"),
        (row("b.jpg", before="-1.5,300.0,200.5"), "the face box has no area"),
        (row("b.jpg", before="1e300,300.0,200.5"), "the face box has no area"),
        (row("b.jpg").replace(str(POINTS[3, 0]), "inf"), "finite"),
        (row("../b.jpg"), "leads out"),
        (row("/b.jpg"), "leads out"),
        (row(""), "leads out"),
        ("b" * 70_000, "longer than 65536 bytes"),
    ],
)
def test_a_bad_row_is_skipped_with_its_reason_and_the_others_are_read(tmp_path: Path, text: str, reason: str) -> None:
    before, bad, after = read(put(tmp_path, "a", header(), row("a.jpg"), text, "", row("c.jpg")))
    assert isinstance(before, Face)
    assert isinstance(after, Face)
    assert isinstance(bad, Skipped)
    assert reason in bad.reason
    assert "a.csv line 3" in bad.reason or bad.id == "b.jpg"


@pytest.mark.parametrize(
    "first",
    [
        "",
        "a.jpg,1,2,3",
        "image_name,scale,center_w,center_h",
        header().replace("scale", "size"),
        header().replace("original_3_x", "original_3_y"),
        header().replace("original_3_x", "other"),
        header() + ",original_68_x",
    ],
)
def test_another_header_is_refused(tmp_path: Path, first: str) -> None:
    path = put(tmp_path, "a", first, row("a.jpg"))
    with pytest.raises(AnnotationError, match="begins with image_name"):
        read(path)
    with pytest.raises(AnnotationError, match="begins with image_name"):
        read(tmp_path)
    with pytest.raises(AnnotationError, match="no known format"):
        parse_source(str(path), FORMATS)


def test_a_number_of_points_that_no_scheme_has(tmp_path: Path) -> None:
    path = put(tmp_path, "a", header(20), row("a.jpg", 20))
    with pytest.raises(AnnotationError, match="found 20 points"):
        read(path)
    put(tmp_path, "b", header(98), row("b.jpg", 98))
    bad, face = read(tmp_path)  # the other table is read
    assert isinstance(bad, Skipped)
    assert isinstance(face, Face)
    for option, reason in (("scheme=ibug68", "expected 68 points"), ("scheme=x", "not known"), ("origin=2", "0 or 1")):
        with pytest.raises(AnnotationError, match=reason):
            read(f"{path},{option}")


def test_mutated_files_give_faces_or_our_errors(tmp_path: Path) -> None:
    rows = [row("helen/testset/a.jpg"), row("b.jpg"), row("b.jpg")]
    table = put(tmp_path, "face_landmarks_300w_valid", header(), *rows)
    put(tmp_path, "face_landmarks_300w_valid_common", header(), rows[0])
    fuzz(table, f"hrnet-csv:{tmp_path}")


def test_the_real_300w(shared_data: Path) -> None:
    root = shared_data / "300w"
    assert parse_source(str(root), FORMATS).format.name == "hrnet-csv"
    found = faces(root)
    assert len({face.id for face in found}) == len(found) == 689
    assert Counter(face.subsets[0] for face in found) == {"common": 554, "challenging": 135}
    for split, count in (("common", 554), ("challenging", 135), ("full", 689), ("train", 0)):
        assert len(faces(root, split)) == count
    assert len(faces(root / "300w_valid_challenge.csv")) == 135
    # OpenCV's manual (face module, loadTrainingData) quotes the .pts of this photo, which count from 1.
    quoted = [[336.820955, 240.864510], [334.238298, 260.922709]]
    (face,) = (face for face in found if face.id == "ibug/image_003_1.jpg")
    np.testing.assert_allclose(face.landmarks[:2] + 1, quoted, rtol=1e-12)
    # The box is the square around the labels, rounded outwards.
    for face in found[::50]:
        assert face.box is not None
        low, high = np.floor(face.landmarks.min(0)), np.ceil(face.landmarks.max(0))
        np.testing.assert_allclose((face.box[:2] + face.box[2:]) / 2, (low + high) / 2)
        np.testing.assert_allclose(face.box[2:] - face.box[:2], (high - low).max())


@pytest.mark.parametrize(("name", "origin"), [("300w", 1), ("aflw", 0), ("wflw", 0)])
def test_what_mmpose_took_from_these_tables(tmp_path: Path, shared_data: Path, name: str, origin: int) -> None:
    """mmpose's files hold HRNet's numbers, center and scale; written as a table again they give points on the faces."""
    sample = json.loads((shared_data / f"samples/coco_json/{name}/test_{name}.json").read_text())
    names = {image["id"]: image["file_name"] for image in sample["images"]}
    rows = [np.reshape(face["keypoints"], (-1, 3))[:, :2] for face in sample["annotations"]]
    lines = [
        row(names[face["image_id"]], 98, ",".join(map(str, (face["scale"], *face["center"]))), points)
        for face, points in zip(sample["annotations"], rows, strict=True)
    ]
    put(tmp_path, f"face_landmarks_{name}_test", header(len(rows[0])), *lines)
    found = faces(f"{tmp_path},images={shared_data / 'samples/coco_json' / name}")
    assert len(found) == len(rows)
    for face, points in zip(found, rows, strict=True):
        assert face.image.is_file()
        assert face.split == "test"
        np.testing.assert_array_equal(face.landmarks, points - origin)
        assert face.box is not None
        inside = (face.landmarks >= face.box[:2] - 1) & (face.landmarks <= face.box[2:] + 1)
        assert inside.mean() > 0.95
