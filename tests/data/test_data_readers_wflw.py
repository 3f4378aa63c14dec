"""WFLW's lists: words of a line, subsets of the test faces, several faces an image, hostile files."""

import json
from pathlib import Path

import numpy as np
import pytest
from fuzzing import fuzz

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers import FORMATS, parse_source, read_faces
from pifa_data.readers.wflw import SUBSETS

POINTS = np.random.default_rng(0).uniform(10, 900, (98, 2)).round(6)
BOX = (100, 50, 300, 260)
EASY, NAME = "0 0 0 0 0 0", "0--Parade/0_Parade_marchingband_1_116.jpg"
RECT, TEST = "list_98pt_rect_attr", "list_98pt_test"


def line(attributes: str = EASY, name: str = NAME, points: np.ndarray = POINTS) -> str:
    """One line in the form of the README beside the owner's lists."""
    return f"{plain('', points)}{' '.join(map(str, BOX))} {attributes} {name}"


def plain(name: str = NAME, points: np.ndarray = POINTS) -> str:
    return " ".join(f"{value:f}" for value in points.ravel()) + f" {name}"


def put(root: Path, name: str, *lines: str) -> Path:
    """Write a list where the owner's archive has it."""
    folder = f"{RECT}_train_test" if RECT in name else TEST
    path = root / "WFLW_annotations" / folder / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{text}\n" for text in lines))
    return path


def read(source: Path | str, split: str | None = None) -> list[Face | Skipped]:
    return list(read_faces(f"wflw:{source}", FORMATS, split=split))


def faces(source: Path | str, split: str | None = None) -> list[Face]:
    found = read(source, split)
    assert all(isinstance(face, Face) for face in found), found
    return [face for face in found if isinstance(face, Face)]


def test_a_line_is_points_box_attributes_and_name(tmp_path: Path) -> None:
    put(tmp_path, f"{RECT}_test", line("1 0 0 1 0 1"))
    (face,) = faces(tmp_path)
    assert (face.id, face.split, face.subject) == (f"test/{NAME}", "test", "0_Parade_marchingband_1_116")
    assert face.file == f"{tmp_path}/WFLW_images/{NAME}"
    assert (face.scheme, face.kind, face.pose, face.image_size) == ("wflw98", "2d", None, None)
    assert face.subsets == ("largepose", "makeup", "blur")
    np.testing.assert_array_equal(face.landmarks, POINTS)
    np.testing.assert_array_equal(face.visibility, np.full(98, 2))
    assert face.box is not None
    np.testing.assert_array_equal(face.box, BOX)


def test_subsets_are_of_test_faces_alone(tmp_path: Path) -> None:
    """The owner's order of attributes: pose, expression, illumination, make-up, occlusion, blur."""
    lines = [line(" ".join("1" if i == j else "0" for i in range(6)), f"{j}.jpg") for j in range(6)]
    put(tmp_path, f"{RECT}_train", *lines)
    put(tmp_path, f"{RECT}_test", *lines, line(name="easy.jpg"))
    assert [face.split for face in faces(tmp_path)] == ["train"] * 6 + ["test"] * 7
    assert len(faces(tmp_path, "test")) == 7
    assert [face.id for face in faces(tmp_path, "train")] == [f"train/{i}.jpg" for i in range(6)]
    for number, subset in enumerate(SUBSETS):
        assert [face.id for face in faces(tmp_path, subset)] == [f"test/{number}.jpg"]
    assert list(FORMATS["wflw"].splits) == ["train", "test", *SUBSETS]


def test_faces_of_one_photo_share_a_subject_and_have_names_of_their_own(tmp_path: Path) -> None:
    put(tmp_path, f"{RECT}_train", line(), line(name="b.jpg"), line())
    put(tmp_path, f"{RECT}_test", line())
    found = faces(tmp_path)
    assert [face.id for face in found] == [f"train/{NAME}", "train/b.jpg", f"train/{NAME}#3", f"test/{NAME}"]
    assert len({face.subject for face in found}) == 2
    # Names stay the same, whichever part is given.
    assert faces(tmp_path / "WFLW_annotations" / f"{RECT}_train_test" / f"{RECT}_test.txt")[0].id == f"test/{NAME}"


def test_the_folder_the_annotations_or_one_list_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    list_ = put(tmp_path, f"{RECT}_test", line())
    (tmp_path / "WFLW_images").mkdir()
    for path in (tmp_path, tmp_path / "WFLW_annotations", list_.parent, list_):
        assert parse_source(str(path), FORMATS).format.name == "wflw"
        assert faces(path)[0].file == f"{tmp_path}/WFLW_images/{NAME}"
    monkeypatch.chdir(list_.parent)
    assert faces(list_.name)[0].file == f"{tmp_path}/WFLW_images/{NAME}"
    assert faces(f"{tmp_path},images=/elsewhere")[0].file == f"/elsewhere/{NAME}"


def test_lists_without_attributes(tmp_path: Path) -> None:
    put(tmp_path, TEST, plain("a.jpg"), plain("b.jpg"), plain("a.jpg", POINTS + 1))
    blur = put(tmp_path, f"{TEST}_blur", plain("a.jpg", POINTS + 1))
    put(tmp_path, f"{TEST}_makeup", plain("b.jpg"), plain("a.jpg", POINTS + 1))
    found = faces(tmp_path)
    assert [(face.id, face.subsets) for face in found] == [
        ("test/a.jpg", ()),
        ("test/b.jpg", ("makeup",)),
        ("test/a.jpg#3", ("makeup", "blur")),
    ]
    assert all(face.box is None for face in found)
    assert [face.subsets for face in faces(blur)] == [("makeup", "blur")]
    # With the other lists there, each face comes once, with its box.
    put(tmp_path, f"{RECT}_test", line(name="a.jpg"), line(name="b.jpg"))
    assert [(face.id, face.box is None) for face in faces(tmp_path)] == [("test/a.jpg", False), ("test/b.jpg", False)]


@pytest.mark.parametrize(
    "text",
    [line().replace(" ", "  "), line().replace(" ", "\t"), line() + " \r", line(name="a b.jpg"), f"\ufeff{line()}"],
)
def test_blanks_of_all_kinds(tmp_path: Path, text: str) -> None:
    put(tmp_path, f"{RECT}_test", text, "", "  ")
    (face,) = faces(tmp_path)
    assert Path(face.file).name in (Path(NAME).name, "a b.jpg")
    np.testing.assert_array_equal(face.landmarks, POINTS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (line(name="").strip(), "found 205"),
        (plain().partition(" ")[2], "found 195"),
        (line("0 0 0 0 0 0 0"), "found 207"),
        ("a.jpg", "found 0"),
        (line("0 0 0 0 0 2"), "expected six attributes of 0 or 1"),
        (line().replace("100 50", "100 fifty"), "not a number: 'fifty'"),
        (line().replace("100 50 300", "100 50 90"), "the face box has no area"),
        (line().replace("100 50 300", "100 50 nan"), "the face box has no area"),
        (line(points=np.where(POINTS[7, 1] == POINTS, np.nan, POINTS)), "finite"),
        (line(points=POINTS * 1e6), "pixels out"),
        (line(points=POINTS * 0), "one point"),
        (line(name="../../secret.jpg"), "leads out"),
        (line(name="/etc/passwd"), "leads out"),
        (line(name="..\\secret.jpg"), "leads out"),
        ("1 " * 40_000, "longer than 65536 bytes"),
        ("\0" * 300, "found 0"),
    ],
)
def test_a_bad_line_is_skipped_with_its_reason_and_the_others_are_read(tmp_path: Path, text: str, reason: str) -> None:
    file = put(tmp_path, f"{RECT}_test", line(name="a.jpg"), text, line(name="c.jpg"))
    before, bad, after = read(tmp_path)
    assert isinstance(before, Face)
    assert isinstance(after, Face)
    assert isinstance(bad, Skipped)
    assert reason in bad.reason
    assert f"{file} line 2" in bad.reason or bad.id == f"test/{NAME}"


def test_what_is_no_wflw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="name the folder that has WFLW_annotations"):
        read(tmp_path)
    (tmp_path / f"{RECT}_test.txt").mkdir()
    with pytest.raises(AnnotationError, match="expected a text file"):
        read(tmp_path)


def test_mutated_files_give_faces_or_our_errors(tmp_path: Path) -> None:
    fuzz(put(tmp_path, f"{RECT}_test", line(), line("1 1 1 1 1 1", "b.jpg"), line()), f"wflw:{tmp_path}")


def test_mmposes_sample_of_the_same_faces(tmp_path: Path, shared_data: Path) -> None:
    """Values that mmpose took from the originals, in the owner's layout, come back as mmpose has them."""
    sample = json.loads((shared_data / "samples/coco_json/wflw/test_wflw.json").read_text())
    names = {image["id"]: image["file_name"] for image in sample["images"]}
    rows = [np.reshape(face["keypoints"], (98, 3))[:, :2] for face in sample["annotations"]]
    put(tmp_path, TEST, *(plain(names[a["image_id"]], row) for a, row in zip(sample["annotations"], rows, strict=True)))
    found = faces(f"{tmp_path},images={shared_data / 'samples/coco_json/wflw'}")
    assert len({face.id for face in found}) == len(found) == 4
    assert len({face.subject for face in found}) == 2
    for face, row in zip(found, rows, strict=True):
        assert face.image.is_file()
        np.testing.assert_allclose(face.landmarks, row, atol=1e-6)
