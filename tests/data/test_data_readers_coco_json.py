"""mmpose's COCO files: what its converters mean by v, origin and box; parts of files; hostile files of any size."""

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import fuzz

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers import FORMATS, coco_json, parse_source, read_faces
from pifa_data.readers.coco_files import Images
from pifa_data.schemes import SCHEMES, get_scheme

RNG = np.random.default_rng(0)
POINTS = {count: RNG.uniform(20, 400, (count, 2)).round(4) for count in (17, 19, 29, 68, 98, 106)}
CATEGORY = {"supercategory": "person", "id": 1, "name": "face", "keypoints": [], "skeleton": []}


def flat(points: np.ndarray, v: Any = 1) -> list[Any]:
    flags = [v] * len(points) if np.isscalar(v) else list(v)
    return [value for (x, y), flag in zip(points.tolist(), flags, strict=True) for value in (x, y, flag)]


def annotation(id_: int = 7, image_id: int = 3, count: int = 68, v: Any = 1, **more: Any) -> dict[str, Any]:
    """As mmpose's files for 300W, AFLW and WFLW have them, without center and scale."""
    found: dict[str, Any] = {"image_id": image_id, "id": id_, "keypoints": flat(POINTS[count], v)}
    found |= {"num_keypoints": count, "bbox": [10.5, 20.25, 100, 50.5], "iscrowd": 0, "area": 5050.0, "category_id": 1}
    found |= more
    return {key: value for key, value in found.items() if value is not None}


def image(id_: int = 3, name: str = "a.jpg", **more: Any) -> dict[str, Any]:
    return {"id": id_, "file_name": name, "height": 480, "width": 640} | more


def document(annotations: list[Any], images: list[Any] | None = None) -> dict[str, Any]:
    return {"categories": [CATEGORY], "images": images or [image()], "annotations": annotations}


def put(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, bytes | str) else json.dumps(content)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(path: Path, split: str | None = None, options: str = "") -> list[Face | Skipped]:
    return list(read_faces(f"coco-json:{path}{options}", FORMATS, split=split))


def face_of(path: Path, annotation: dict[str, Any], name: str = "own.json", options: str = "") -> Face:
    (face,) = read(put(path / name, document([annotation])), options=options)
    assert isinstance(face, Face), face
    return face


@pytest.mark.parametrize(
    ("count", "scheme"), [(68, "ibug68"), (19, "aflw19"), (29, "cofw29"), (98, "wflw98"), (106, "lapa106")]
)
def test_the_number_of_points_is_the_scheme(tmp_path: Path, count: int, scheme: str) -> None:
    face = face_of(tmp_path, annotation(count=count, v=2))
    assert (face.id, face.scheme, face.kind, face.subject) == ("a.jpg#7", scheme, "2d", "a")
    assert (face.split, face.subsets, face.image_size, face.pose) == ("", (), (640, 480), None)
    np.testing.assert_array_equal(face.landmarks, POINTS[count])
    np.testing.assert_array_equal(face.visibility, 2)
    assert face.image == tmp_path / "a.jpg"
    assert parse_source(str(tmp_path), FORMATS).format.name == "coco-json"
    assert parse_source(str(tmp_path / "own.json"), FORMATS).format.name == "coco-json"


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("face_landmarks_300w_train.json", 1),  # HRNet's numbers, which are the .pts files'
        ("test_300vw.json", 1),  # the converter copies the .pts files
        ("face_landmarks_300wlp_train.json", 1),  # the converter copies pts_2d, which reader 300w-lp subtracts 1 from
        ("face_landmarks_wflw_test.json", 0),
        ("my_300w_lp_val.json", 1),
        ("own.json", 0),
    ],
)
def test_what_a_file_calls_the_first_pixel(tmp_path: Path, name: str, origin: int) -> None:
    face = face_of(tmp_path, annotation(), name)
    np.testing.assert_allclose(face.landmarks, POINTS[68] - origin)
    np.testing.assert_allclose(face.box, [10.5 - origin, 20.25 - origin, 110.5 - origin, 70.75 - origin])
    for given in (0, 1):
        face = face_of(tmp_path, annotation(), name, f",origin={given}")
        np.testing.assert_allclose(face.landmarks, POINTS[68] - given)


def test_cofws_box_counts_from_1_and_its_points_do_not(tmp_path: Path) -> None:
    """mmpose's parse_cofw_dataset.py subtracts 1 from the points alone."""
    face = face_of(tmp_path, annotation(count=29, v=[2.0] * 28 + [1.0], bbox=[38.0, 102.0, 105.0, 180.0]))
    np.testing.assert_array_equal(face.landmarks, POINTS[29])
    np.testing.assert_array_equal(face.box, [37, 101, 142, 281])
    np.testing.assert_array_equal(face.visibility, [2] * 28 + [1])


@pytest.mark.parametrize(
    ("count", "v", "visibility"),
    [
        (68, 1, [2] * 68),  # labelled is all that 300W's, AFLW's and WFLW's say
        (98, 1.0, [2] * 98),
        (106, 2.0, [2] * 106),
        (68, [0, 0] + [1] * 66, [0, 0] + [2] * 66),
        (68, [0, 1] + [2] * 66, [0, 1] + [2] * 66),  # COCO's own
        (29, [1] * 29, [1] * 29),  # COFW's 1 is occluded
        (29, [0.0, 1.0] + [2.0] * 27, [0, 1] + [2] * 27),
    ],
)
def test_v(tmp_path: Path, count: int, v: Any, visibility: list[int]) -> None:
    face = face_of(tmp_path, annotation(count=count, v=v))
    np.testing.assert_array_equal(face.visibility, visibility)
    labelled = face.visibility > 0
    np.testing.assert_array_equal(face.landmarks[labelled], POINTS[count][labelled])
    np.testing.assert_array_equal(face.landmarks[~labelled], 0)


@pytest.mark.parametrize(
    ("more", "box"),
    [
        ({"bbox": None}, None),
        ({"bbox": [0, 0, 0, 0]}, None),
        ({"bbox": None, "center": [100, 80.5], "scale": 0.5}, [50, 30.5, 150, 130.5]),
        ({"bbox": None, "center": [100.0, 80.0], "scale": [1.0, 0.5]}, [0, 30, 200, 130]),
        # AFLW's image04476.jpg: the square is the database's own box, bbox is not.
        ({"center": [166.0, 185.0], "scale": 0.64, "box_size": 128.0}, [102, 121, 230, 249]),
    ],
)
def test_the_box(tmp_path: Path, more: dict[str, Any], box: list[float] | None) -> None:
    face = face_of(tmp_path, annotation(count=19, **more))
    assert face.box is None if box is None else np.allclose(face.box, box)


def test_faces_of_coco_wholebody(tmp_path: Path) -> None:
    """Its data_format.md: face_kpts, face_box, face_valid; v may be float, "in such cases, v>0 means … reliable"."""
    body = {"keypoints": flat(POINTS[17], 2), "segmentation": {"counts": "a}b", "size": [1, 2]}, "iscrowd": 1}
    face = {"face_kpts": flat(POINTS[68], [0, 0.2, 1, 2, 1.7] + [1] * 63), "face_box": [5, 6, 7, 8]}
    record = {"image_id": 3, "id": 2, **body, **face, "face_valid": True, "bbox": [0, 0, 300, 300]}
    bare = record | {"id": 4, "face_valid": False, "face_kpts": [0] * 204}
    found = read(put(tmp_path / "coco_wholebody_val_v1.0.json", document([bare, record])))
    (one,) = found  # a person whose face is not labelled is none
    assert isinstance(one, Face)
    assert (one.id, one.split, one.scheme) == ("a.jpg#2", "val", "ibug68")
    np.testing.assert_array_equal(one.visibility, [0] + [2] * 67)
    np.testing.assert_array_equal(one.box, [5, 6, 12, 14])
    record["face_kpts"] = flat(POINTS[68], [0, 1] + [2] * 66)  # else "similar format as keypoints in COCO"
    (one,) = read(put(tmp_path / "coco_wholebody_val_v1.0.json", document([record])))
    assert isinstance(one, Face)
    np.testing.assert_array_equal(one.visibility, [0, 1] + [2] * 66)


@pytest.mark.parametrize(
    ("name", "image_name", "split", "subsets", "subject"),
    [
        ("face_landmarks_300w_train.json", "helen/trainset/100032540_1.jpg", "train", ("helen",), "100032540"),
        ("face_landmarks_300w_valid.json", "ibug/image_003_1.jpg", "full", ("challenging", "ibug"), "image_003"),
        ("face_landmarks_300w_valid_common.json", "flat.jpg", "full", ("common",), "flat"),
        ("face_landmarks_300w_valid_challenge.json", "flat.jpg", "full", ("challenging",), "flat"),
        ("face_landmarks_300w_test.json", "Test/01_Indoor/indoor_001.png", "test", ("indoor",), "indoor_001"),
        ("face_landmarks_wflw_test_blur.json", "0--Parade/b.jpg", "test", ("blur",), "b"),
        ("face_landmarks_aflw_test_frontal.json", "0/image1.jpg", "test", ("frontal",), "image1"),
        ("lapa_val.json", "val/images/1_2.jpg", "val", (), "1_2"),
        ("my_300w_lp_val.json", "HELEN_1_1_0.jpg", "val", (), "HELEN_1_1_0"),
        ("person_keypoints_train2017.json", "1.jpg", "train", (), "1"),
        ("train_and_test.json", "1.jpg", "", (), "1"),
        ("test_300vw.json", "001/imgs/000017.png", "test", (), "001"),
    ],
)
def test_a_files_name_says_the_part(
    tmp_path: Path, name: str, image_name: str, split: str, subsets: tuple[str, ...], subject: str
) -> None:
    count = {"wflw": 98, "aflw": 19, "lapa": 106}.get(name.split("_")[-2 if "lapa" not in name else 0], 68)
    (face,) = read(put(tmp_path / name, document([annotation(count=count)], [image(name=image_name)])))
    assert isinstance(face, Face)
    assert (face.split, face.subsets, face.subject) == (split, subsets, subject)


def test_a_part_is_read_with_its_whole(tmp_path: Path) -> None:
    """300W's valid and WFLW's test stand in the folder with their parts: each face once, with its parts' names."""
    images = [image(i, f"{i}.jpg") for i in range(5)]
    points = [POINTS[98] + i for i in range(5)]
    rows = [annotation(i, i, keypoints=flat(points[i])) for i in range(5)]
    put(tmp_path / "annotations/face_landmarks_wflw_test.json", document(rows, images))
    # Other ids, as the converter counts each file's own.
    blur = [r | {"id": 10 + r["id"], "image_id": 10 + r["image_id"]} for r in rows[1:3]]
    put(
        tmp_path / "annotations/face_landmarks_wflw_test_blur.json",
        document(blur, [i | {"id": 10 + i["id"]} for i in images]),
    )
    extra = [*rows[2:3], annotation(77, 4, keypoints=flat(POINTS[98] + 50))]
    put(tmp_path / "annotations/face_landmarks_wflw_test_makeup.json", document(extra, images))
    put(tmp_path / "annotations/face_landmarks_wflw_test_occlusion.json", '{"images": [')
    found = read(tmp_path)
    assert [(face.id, face.subsets) for face in found if isinstance(face, Face)] == [
        *(("0.jpg#0", ()), ("1.jpg#1", ("blur",)), ("2.jpg#2", ("blur", "makeup"))),
        *(("3.jpg#3", ()), ("4.jpg#4", ()), ("4.jpg#77", ("makeup",))),
    ]
    assert [f.id for f in found if isinstance(f, Skipped)] == ["face_landmarks_wflw_test_occlusion.json"]
    assert [face.id for face in read(tmp_path, "makeup") if isinstance(face, Face)] == ["2.jpg#2", "4.jpg#77"]
    with pytest.raises(AnnotationError, match="no split 'other'"):
        read(tmp_path, "other")


def test_lapas_trainval_is_left_out_beside_its_parts(tmp_path: Path) -> None:
    for name in ("train", "val", "trainval"):
        images = [image(1, f"{name.removesuffix('val') or 'val'}/images/1.jpg")]
        put(tmp_path / f"annotations/lapa_{name}.json", document([annotation(1, 1, 106, v=2.0)], images))
    assert [face.split for face in read(tmp_path) if isinstance(face, Face)] == ["train", "val"]
    (tmp_path / "annotations/lapa_val.json").unlink()
    assert len(read(tmp_path)) == 2  # the second annotation of that image and id is skipped


@pytest.mark.parametrize(
    ("json_at", "image_at", "name"),
    [
        ("300w/annotations/a.json", "300w/images/helen/testset/1.jpg", "helen/testset/1.jpg"),
        ("LaPa/annotations/a.json", "LaPa/train/images/1.jpg", "train/images/1.jpg"),
        ("coco/annotations/a.json", "coco/val2017/1.jpg", "1.jpg"),
        ("set/a.json", "set/1.jpg", "1.jpg"),
        ("set/a.json", "set/images/1.jpg", "1.jpg"),
        ("set/annotations/a.json", "set/annotations/1.jpg", "1.jpg"),
    ],
)
def test_where_the_images_lie(tmp_path: Path, json_at: str, image_at: str, name: str) -> None:
    put(tmp_path / image_at, b"x")
    path = put(tmp_path / json_at, document([annotation()], [image(9, "missing.jpg"), image(name=name)]))
    (face,) = read(path)
    assert isinstance(face, Face)
    assert face.image == tmp_path / image_at
    (face,) = read(path, options=f",images={tmp_path}")
    assert isinstance(face, Face)
    assert face.image == tmp_path / name


def test_images_behind_the_annotations_are_found_all_the_same(tmp_path: Path) -> None:
    whole = document([annotation(i, i, 19) for i in range(4)], [image(i, f"{i}.jpg") for i in (3, 1, 0)])
    turned = {key: whole[key] for key in ("annotations", "categories", "images")}
    found = read(put(tmp_path / "a.json", turned))
    assert [face.id for face in found if isinstance(face, Face)] == ["0.jpg#0", "1.jpg#1", "3.jpg#3"]
    (lost,) = [face for face in found if isinstance(face, Skipped)]
    assert lost.reason == "a.json annotation 3: image_id: expected the id of one of the images, found 2"


def test_several_faces_of_an_image_have_their_annotations_names(tmp_path: Path) -> None:
    rows = [annotation(5, 3, 19), annotation(6, 3, 19), annotation(5, 3, 19), annotation(5, 4, 19)]
    found = read(put(tmp_path / "a.json", document(rows, [image(), image(4, "b.jpg")])))
    assert [face.id for face in found] == ["a.jpg#5", "a.jpg#6", "a.jpg#5", "b.jpg#5"]
    assert isinstance(found[2], Skipped)
    assert "another annotation of this id came before" in found[2].reason


def test_options(tmp_path: Path) -> None:
    assert face_of(tmp_path, annotation(), options=",kind=3d").kind == "3d"
    assert face_of(tmp_path, annotation(count=19), options=",scheme=aflw19").scheme == "aflw19"
    (wrong,) = read(tmp_path / "own.json", options=",scheme=ibug68")
    assert isinstance(wrong, Skipped)
    assert "keypoints: expected 204 (ibug68) numbers" in wrong.reason
    for options, reason in (
        (",kind=4d", "kind='4d'"),
        (",scheme=x", "scheme='x'"),
        (",origin=2", "origin='2'"),
        (",images=/nowhere/at/all", "no such folder"),
    ):
        with pytest.raises(AnnotationError, match=reason):
            read(tmp_path / "own.json", options=options)


KEYPOINTS = json.dumps(annotation()["keypoints"])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (annotation(image_id=99), "image_id: expected the id of one of the images, found 99"),
        (annotation(image_id=None), "image_id: expected the id of one of the images, found None"),
        (annotation(image_id="3"), "image_id: expected the id"),
        (annotation(image_id=10**30), "image_id: expected the id"),
        (annotation(id_=None), "id: expected a whole number, found None"),
        (annotation(id_=1.5), "id: expected a whole number, found 1.5"),
        (annotation(id_=True), "id: expected a whole number, found True"),
        (annotation(id_=10**30), "id: expected a whole number"),
        (annotation(keypoints=None), "keypoints: expected a list of numbers, found None"),
        (annotation(keypoints={"a": 1}), "keypoints: expected a list of numbers"),
        (annotation(keypoints=[1, 2]), "or 318 (lapa106) numbers, x, y and v of each point; found 2"),
        (annotation(count=17), "found 51"),
        (annotation(keypoints=[*flat(POINTS[68])[:-1], "2"]), "v: expected 0, 1 or 2, found '2'"),
        (annotation(keypoints=["1", *flat(POINTS[68])[1:]]), "keypoints: expected numbers, found '1'"),
        (annotation(keypoints=[[1], *flat(POINTS[68])[1:]]), "keypoints: expected numbers, found [1]"),
        (annotation(keypoints=[None, *flat(POINTS[68])[1:]]), "keypoints: expected numbers, found None"),
        (annotation(keypoints=[True, *flat(POINTS[68])[1:]]), "keypoints: expected numbers, found true or false"),
        (annotation(keypoints=[10**400, *flat(POINTS[68])[1:]]), "keypoints: expected numbers"),
        (annotation(v=[3] + [2] * 67), "v: expected 0, 1 or 2, found 3"),
        (annotation(v=[-1] + [2] * 67), "found -1"),
        (annotation(v=[0.5] + [2] * 67), "found 0.5"),
        (annotation(v=[None] + [2] * 67), "v: expected 0, 1 or 2, found None"),
        (annotation(v=0), "expected at least 6 labelled points, found 0"),
        (annotation(bbox=[1, 2, -3, 4]), "bbox: expected a width and height above 0, found -3 and 4"),
        (annotation(bbox=[1, 2, 3]), "bbox: expected numbers"),
        (annotation(bbox="1234"), "bbox: expected numbers"),
        (annotation(bbox=[1, 2, 3, 10**400]), "bbox: expected numbers"),
        (annotation(bbox=[1, 2, 3e9, 4]), "the face box has no area, or lies far away"),
        (annotation(center=[1, "2"], scale=1), "center and scale: expected numbers"),
        (annotation(center=[1, 2], scale=-1), "center and scale: expected a width and height above 0"),
        (annotation(center=[1, 2], scale="1"), "center and scale: expected"),
        (json.dumps(annotation()).replace("20.25", "NaN"), "the face box has no area, or lies far away"),
        (
            json.dumps(annotation()).replace("50.5]", "NaN]"),
            "bbox: expected a width and height above 0, found 100 and nan",
        ),
        (json.dumps(annotation()).replace(KEYPOINTS, "[NaN" + KEYPOINTS[KEYPOINTS.index(",") :]), "not finite"),
        (json.dumps(annotation()).replace(KEYPOINTS, "[1e999" + KEYPOINTS[KEYPOINTS.index(",") :]), "not finite"),
        (json.dumps(annotation())[:-1] + ', "id": 8}', "the key 'id' stands there twice"),
        (json.dumps(annotation())[:-1] + ', "x": {"y": 1, "y": 2}}', "the key 'y' stands there twice"),
        (json.dumps(annotation()).replace(",", ",,", 1), "not valid JSON"),
        (json.dumps(annotation())[:-1] + ', "x": ' + "[" * 400 + "]" * 400 + "}", "not valid JSON (recursion"),
        (json.dumps(annotation())[:-1] + ', "x": "\\ud800"}', "not valid JSON"),
        ("[1]", "expected an object {…}"),
        ("null", "expected an object {…}"),
        ('"{}"', "expected an object {…}"),
    ],
)
def test_a_bad_annotation_is_skipped_and_the_others_are_read(tmp_path: Path, bad: Any, reason: str) -> None:
    text = json.dumps(document([annotation(1), "BAD", annotation(2)]))
    text = text.replace('"BAD"', bad if isinstance(bad, str) else json.dumps(bad))
    before, wrong, after = read(put(tmp_path / "a.json", text))
    assert isinstance(before, Face)
    assert isinstance(after, Face)
    assert isinstance(wrong, Skipped)
    assert reason in wrong.reason
    if "labelled points" not in reason and "finite" not in reason and "far away" not in reason:
        assert wrong.reason.startswith("a.json annotation 2: ")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (image(id_=None), "id: expected a whole number, found None"),  # type: ignore[arg-type]
        (image(id_=2**63), "id: expected a whole number"),
        (image(name=""), "file_name: expected a text of 1 to 1024 characters, found ''"),
        (image(name="a" * 2000), "file_name: expected a text"),
        (image(name=None), "file_name: expected a text"),  # type: ignore[arg-type]
        (image(width=-640), "width and height: expected whole numbers above 0, found -640 and 480"),
        (image(width=0), "width and height"),
        (image(width="640"), "width and height"),
        (image(height=None), "width and height"),
        (image(height=2**31), "expected at most 2147483647"),
        (7, "expected an object {…}"),
        (image(4), "two images have this id; the first is taken"),
    ],
)
def test_a_bad_image_is_skipped_and_its_face_with_it(tmp_path: Path, bad: Any, reason: str) -> None:
    found = read(put(tmp_path / "a.json", document([annotation(1), annotation(2, 4)], [bad, image(4, "b.jpg")])))
    assert any(isinstance(face, Skipped) and reason in face.reason for face in found), found
    assert [face.id for face in found if isinstance(face, Face)] in (["b.jpg#2"], ["a.jpg#2"])


def test_an_image_without_a_size_or_out_of_the_folder(tmp_path: Path) -> None:
    names = ["/etc/passwd", "../up.jpg", "a/../../b.jpg", "C:\\x.jpg", "..\\x.jpg", "a\0.jpg", "fine.jpg"]
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    *outside, fine = read(put(tmp_path / "a.json", document([annotation(i, i) for i in range(len(names))], images)))
    assert all(isinstance(face, Skipped) and "leads out" in face.reason for face in outside)
    assert isinstance(fine, Face)
    assert fine.image_size is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"images": []}, "expected an array annotations"),
        ({"annotations": [annotation()]}, "expected an array images"),
        ({"annotations": {"a": 1}, "images": []}, "expected \\["),
        ({"images": {"a": 1}, "annotations": []}, "expected \\["),
        (b'{"images": [', "the file ends in the middle"),
        (b"[]", "expected a .json file that begins with"),
        (b"", "expected a .json file that begins with"),
        ("{}", "expected a .json file that begins with"),
        (json.dumps(document([])).encode("utf-16"), "expected a .json file that begins with"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: Any, reason: str) -> None:
    path = put(tmp_path / "a.json", content)
    with pytest.raises(AnnotationError, match=reason):
        read(path)
    assert all(face.reason for face in read_or_refused(tmp_path) if isinstance(face, Skipped))


def read_or_refused(path: Path) -> list[Face | Skipped]:
    try:
        return read(path)
    except AnnotationError:
        return []


def test_a_cut_file_gives_what_is_whole(tmp_path: Path) -> None:
    text = json.dumps(document([annotation(1), annotation(2), annotation(3)]))
    one, two, end = read(put(tmp_path / "a.json", text[: text.rindex("image_id") + 40]))
    assert (one.id, two.id) == ("a.jpg#1", "a.jpg#2")
    assert isinstance(end, Skipped)
    assert "the file ends in the middle; nothing behind it is read" in end.reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    (tmp_path / "b.json").mkdir()
    put(tmp_path / "c.json", document([annotation()]))
    assert [type(face) for face in read(tmp_path)] == [Face]
    with pytest.raises(AnnotationError, match=r"expected a \.json file"):
        read(tmp_path / "a.json")


def test_other_json_is_not_taken_for_ours(tmp_path: Path) -> None:
    for name, text in (("a", '{"shapes": []}'), ("b", '[{"images": []}]'), ("c", '{"version": "1", "images": []}')):
        put(tmp_path / f"{name}.json", text)
        assert not coco_json.FORMAT.matches(tmp_path / f"{name}.json")
    assert not coco_json.FORMAT.matches(tmp_path)
    assert not coco_json.FORMAT.matches(tmp_path / "nowhere")
    assert not coco_json.FORMAT.matches(Path("a\0b"))


def test_memory_is_that_of_the_images_names(tmp_path: Path) -> None:
    count = 20_000
    with (tmp_path / "a.json").open("w") as file:
        file.write('{"images": [' + ", ".join(json.dumps(image(i, f"{i:08}.jpg")) for i in range(count)))
        file.write('], "annotations": [')
        row = json.dumps(annotation(0, 0, 19))
        rows = (row.replace('"image_id": 0, "id": 0', f'"image_id": {i}, "id": {i}') for i in range(count))
        file.write(", ".join(rows) + "]}")
    size = (tmp_path / "a.json").stat().st_size
    for _ in coco_json.read(tmp_path / "a.json"):
        break  # so that what is made once is made
    tracemalloc.start()
    try:
        assert sum(isinstance(face, Face) for face in coco_json.read(tmp_path / "a.json")) == count
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4e6 + 100 * count < size


def test_images_by_id() -> None:
    images = Images()
    rng = np.random.default_rng(1)
    ids = rng.permutation(np.arange(-500, 1500, 7)).tolist()
    for id_ in [*ids, ids[5], ids[5], ids[9]]:
        images.add(image(id_, f"ä{id_}.jpg", width=id_ + 1000))
    assert images.complete() == sorted([ids[5], ids[9]])
    for id_ in [*ids, *sorted(ids), ids[5], ids[5]]:
        assert images.find(id_) == (f"ä{id_}.jpg", (id_ + 1000, 480))
    assert [images.find(id_) for id_ in (-501, 1, 9999)] == [None] * 3


@pytest.mark.parametrize("count", [19, 29, 68])
def test_mutated_files_give_faces_or_our_errors(tmp_path: Path, count: int) -> None:
    rows = [annotation(i, i, count, v=[0, 1] + [2] * (count - 2), center=[50, 60.5], scale=0.5) for i in range(2)]
    rows[0] |= {"face_kpts": flat(POINTS[68]), "face_valid": 1, "face_box": [1, 2, 3, 4]} if count == 68 else {}
    good = document(rows, [image(i, f"in/{i}.jpg") for i in range(2)])
    path = put(tmp_path / "300w_test.json", good)
    fuzz(path, f"coco-json:{path}", tmp_path)


# The first labels of mmpose's own test files (tests/data), as they stand in them.
ORIGINALS = {
    "300w": ("indoor_029.png#197", "ibug68", [267.0, 397.882], [250, 264, 727, 741], (960, 845)),
    "aflw": ("image22568.jpg#3", "aflw19", [337.28341384863, 205.78904991948], [268, 140, 630, 502], (853, 1280)),
    "cofw": ("001766.jpg#1766", "cofw29", [46.5625345494748, 120.07575548185], [37, 101, 142, 281], (235, 322)),
    "wflw": (
        *("36_Football_americanfootball_ball_36_415.jpg#2", "wflw98"),
        *([440.696106, 132.732559], [440, 122, 525, 207], (1024, 661)),
    ),
}


@pytest.mark.parametrize("name", ORIGINALS)
def test_mmposes_own_files(shared_data: Path, name: str) -> None:
    folder = shared_data / "samples" / "coco_json" / name
    assert parse_source(str(folder), FORMATS).format.name == "coco-json"
    faces = [face for face in read(folder) if isinstance(face, Face)]
    assert len(faces) == {"wflw": 4}.get(name, 2)
    id_, scheme, first, box, size = ORIGINALS[name]
    face = faces[0]
    assert (face.id, face.scheme, face.split, face.image_size) == (id_, scheme, "test", size)
    np.testing.assert_allclose(face.landmarks[0], first, rtol=1e-12)
    np.testing.assert_allclose(face.box, box)
    assert all(face.image.is_file() for face in faces)
    for face in faces:
        tight = np.concatenate([face.landmarks.min(0), face.landmarks.max(0)])
        overlap = np.minimum(tight[2:], face.box[2:]) - np.maximum(tight[:2], face.box[:2])  # type: ignore[index]
        assert np.prod(overlap) > 0.9 * np.prod(tight[2:] - tight[:2])
    hidden = sum((face.visibility == 1).sum() for face in faces)
    assert hidden == (15 if name == "cofw" else 0)


def test_the_square_of_aflw_is_the_databases_box(shared_data: Path) -> None:
    boxes = {}
    for line in (shared_data / "aflw" / "faces.csv").read_text().splitlines()[1:]:
        image_name, _, x, y, w, h, *_ = line.split(",")
        boxes.setdefault(image_name.partition("/")[2], []).append(
            [float(x), float(y), float(x) + float(w), float(y) + float(h)]
        )
    for face in read(shared_data / "samples" / "coco_json" / "aflw"):
        assert isinstance(face, Face)
        assert face.box is not None
        assert face.box.tolist() in boxes[face.image.name]


def test_300ws_square_is_hrnets_of_the_same_numbers(shared_data: Path) -> None:
    """HRNet's rule for center and scale, on the file's own numbers: so they are HRNet's numbers, which count from 1."""
    document = json.loads((shared_data / "samples/coco_json/300w/test_300w.json").read_text())
    for row in document["annotations"]:
        points = np.array(row["keypoints"]).reshape(-1, 3)[:, :2]
        low, high = np.floor(points.min(0)), np.ceil(points.max(0))
        np.testing.assert_array_equal(row["center"], (low + high) / 2)
        assert row["scale"] == (high - low).max() / 200


def test_schemes_are_told_by_counts_that_one_scheme_has() -> None:
    assert set(coco_json._COUNTS.values()) == set(SCHEMES)
    assert all(count == 3 * len(get_scheme(name)) for count, name in coco_json._COUNTS.items())
