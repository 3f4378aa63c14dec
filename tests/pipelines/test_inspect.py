"""``pifa inspect``: counts, measures, problems of every kind, the page and the sheet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command_line import pifa
from html_page import HOSTILE, whole_page
from synthetic import make_samples

from pifa_data.camera import pose_angles
from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.morphable import MorphableModel
from pifa_data.readers import FORMATS, Format, Split, read_faces
from pifa_data.schemes import get_scheme
from pipelines import inspect_problems, inspect_survey
from pipelines.inspect import run_inspect
from pipelines.inspect_fits import agreement, turn
from pipelines.inspect_problems import KINDS, Problems
from pipelines.inspect_survey import EvenSample, general
from pipelines.inspect_text import as_text


def listed(summary: dict[str, Any], kind: str) -> dict[str, str]:
    """Face to text of the problems of one kind, of all sources."""
    found: dict[str, str] = {}
    for source in summary["sources"]:
        for problem in source["problems"]:
            if problem["kind"] == kind:
                assert problem["count"] == len(problem["listed"])
                found |= {item["face"]: item["text"] for item in problem["listed"]}
    return found


@pytest.fixture(scope="module")
def faces(synthetic: Path) -> list[Face]:
    """The 24 synthetic faces, with their true pose, a box 1.2 times the tight one, and their image's size."""
    samples = make_samples(MorphableModel.load(synthetic / "model.safetensors"), 24)
    made = []
    read = read_faces(f"keypoints-csv:{synthetic / 'faces'}", FORMATS)
    for face, sample in zip((f for f in read if isinstance(f, Face)), samples, strict=True):
        low, high = face.landmarks.min(0), face.landmarks.max(0)
        middle, half = (low + high) / 2, (high - low) / 2 * 1.2
        middle[1] += 0.1 * np.sqrt(np.prod(high - low))
        height, width = sample.image.shape[:2]
        made.append(
            replace(
                face,
                box=np.r_[middle - half, middle + half],
                pose=pose_angles(sample.camera),
                image_size=(width, height),
                split="train" if len(made) < 16 else "test",
                subsets=("few",) if len(made) % 8 == 0 else (),
            )
        )
    return made


Serve = Callable[..., str]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Serve:
    """Makes a source of faces given as they are, by a format of its own."""

    def make(faces: list[Face | Skipped], name: str = "made", **described: Any) -> str:
        def read(path: Path) -> Iterator[Face | Skipped]:
            for face in faces:
                if isinstance(face, Exception):
                    raise face
                yield face

        form = Format(name, "made by the test", read, lambda path: False, ("ibug68",), "layout", **described)
        monkeypatch.setitem(FORMATS, name, form)
        return f"{name}:{tmp_path}"

    return make


@pytest.fixture
def look(synthetic: Path) -> Callable[..., dict[str, Any]]:
    """``run_inspect`` with the synthetic model."""

    def run(*sources: str, **options: Any) -> dict[str, Any]:
        return run_inspect(list(sources), morphable=str(synthetic / "model.safetensors"), **options)

    return run


def test_counts_and_measures(faces: list[Face], serve: Serve, look: Callable[..., dict[str, Any]]) -> None:
    splits = {"train": Split("to learn", 16), "test": Split("to measure", 8), "few": Split("", 3), "none": Split("", 5)}
    summary = look(serve(faces, splits=splits))
    (source,) = summary["sources"]
    assert {
        key: summary[key] for key in ("faces", "images", "images_missing", "subjects", "skipped", "unfittable")
    } == {
        "faces": 24,
        "images": 24,
        "images_missing": 0,
        "subjects": 8,
        "skipped": 0,
        "unfittable": 0,
    }
    assert source["schemes"] == {"ibug68": 24}
    assert source["kinds"] == {"2d": 24}
    counts = {split["name"]: (split["faces"], split["published"]) for split in source["splits"]}
    assert counts == {"train": (16, 16), "test": (8, 8), "few": (3, 3), "none": (0, 5)}
    assert summary["problems"] == {}
    everything = source["points"][0]
    assert everything["scheme"] == "ibug68"
    assert everything["all"] == {"name": "all", "visible": 1, "occluded": 0, "not_labelled": 0, "outside": 0}
    assert [point["name"] for point in everything["points"]] == list(get_scheme("ibug68").points)
    sizes = [float(np.sqrt(np.prod(np.ptp(face.landmarks, axis=0)))) for face in faces]
    assert source["size"]["median"] == pytest.approx(np.median(sizes), abs=0.01)
    assert sum(source["size"]["histogram"]["counts"]) == 24
    widths = [face.image_size[0] for face in faces if face.image_size]
    assert (source["image"]["width"]["min"], source["image"]["width"]["max"]) == (min(widths), max(widths))
    assert source["box"] == {"faces": 24, "scale": 1.2, "width": 1.2, "height": 1.2, "x": 0.0, "y": 0.1}
    truth = np.degrees([face.pose for face in faces])
    assert source["pose"]["own"]["yaw"]["median"] == pytest.approx(np.median(truth[:, 0]), abs=0.01)
    for angle in ("yaw", "pitch", "roll"):
        assert source["pose_agreement"][angle]["median_absolute_difference"] < 3
        assert source["pose_agreement"][angle]["correlation"] > 0.9
        assert sum(source["pose"]["fit"][angle]["histogram"]["counts"]) == 24
    assert source["fit"]["faces"] == 24
    assert source["fit"]["nme_median"] < 1
    text = as_text(summary)
    for part in (
        "24 of 8 subjects in 24 images",
        "train 16 of 16",
        "1.20 times the tight box",
        "none found",
        "fit − own",
    ):
        assert part in text


def test_visibility_and_points_out_of_the_image(
    faces: list[Face], serve: Serve, look: Callable[..., dict[str, Any]]
) -> None:
    hidden = faces[0].visibility.copy()
    hidden[:17], hidden[17:22] = 0, 1
    unlabelled = faces[0].landmarks.copy()
    unlabelled[:17] = np.nan  # whatever stands there
    out = faces[1].landmarks + np.array([1000.0, 0.0])
    assert faces[1].image_size is not None
    some = [
        replace(faces[0], visibility=hidden, landmarks=unlabelled),
        replace(faces[1], landmarks=out, box=None, pose=None),
        *faces[2:4],
    ]
    (source,) = (summary := look(serve(some)))["sources"]
    groups = {group["name"]: group for group in source["points"][0]["groups"]}
    assert groups["jaw"] == {"name": "jaw", "visible": 0.75, "occluded": 0, "not_labelled": 0.25, "outside": 0.25}
    assert groups["right_brow"]["occluded"] == 0.25
    (text,) = listed(summary, "outside").values()
    width, height = faces[1].image_size
    assert f"68 of 68 points outside the image of {width}x{height} pixels" in text
    assert "refuses that" in text
    # A click on the image's edge is none.
    edge = replace(faces[2], landmarks=faces[2].landmarks - (faces[2].landmarks[:, 0].min() + 1, 0))
    assert listed(look(serve([edge])), "outside") == {}


def test_splits_are_compared_with_what_is_published(
    faces: list[Face], serve: Serve, look: Callable[..., dict[str, Any]]
) -> None:
    source = serve(faces, splits={"train": Split("", 17), "test": Split("", 8), "none": Split("", 5)})
    assert [p["listed"][0]["text"] for p in look(source)["sources"][0]["problems"]] == [
        "train: 16 of the published 17 faces"
    ]
    assert list(look(source, split="train")["problems"]) == ["split"]
    assert look(source, split="test")["problems"] == {}
    # A part says nothing of the whole.
    assert look(source, limit=5)["problems"] == {}
    assert look(source, where="size > 0")["problems"] == {}
    assert look(source, where='split == "test"', split="test")["faces"] == 8


def test_a_split_alone_says_nothing_of_the_others(
    faces: list[Face], serve: Serve, look: Callable[..., dict[str, Any]]
) -> None:
    """As 300W's 135 challenging faces, which are 135 of the 689 of its full test set too."""
    given = [replace(face, subsets=("full",)) for face in faces]
    source = serve(given, splits={"test": Split("", 8), "full": Split("", 24)})
    assert look(source)["problems"] == {}
    part = look(source, split="test")
    assert part["problems"] == {}
    rows = {row["name"]: (row["faces"], row["published"], row["whole"]) for row in part["sources"][0]["splits"]}
    assert rows == {"test": (8, 8, True), "full": (8, 24, False)}


def test_every_kind_of_problem_is_named(
    faces: list[Face], serve: Serve, look: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    mirror = get_scheme("ibug68").mirror
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    slipped = faces[6].landmarks.copy()
    slipped[30] += 60
    rng = np.random.default_rng(0)
    assert faces[5].box is not None
    bad: dict[str, Face] = {
        "missing": replace(faces[0], file=str(tmp_path / "none.jpg")),
        "unreadable": replace(faces[1], file=str(tmp_path / "broken.jpg")),
        "image_size": replace(faces[2], image_size=(50, 40)),
        "swapped": replace(faces[3], landmarks=faces[3].landmarks[mirror]),
        "duplicate": replace(faces[4], file=faces[4].file),
        "box": replace(faces[5], box=faces[5].box + 1000),
        "slip": replace(faces[6], landmarks=slipped),
        "misfit": replace(faces[7], landmarks=rng.uniform(10, 120, (68, 2)), box=None, pose=None),
        "tiny": replace(faces[8], landmarks=faces[8].landmarks / 100, box=None),
        "pose": replace(faces[9], pose=np.radians([80.0, 0, 0])),
        "unfittable": replace(faces[10], visibility=np.r_[np.full(3, 2), np.zeros(65)].astype(np.uint8)),
    }
    given = [replace(face, id=f"the {kind} one") for kind, face in bad.items()]
    summary = look(serve([*faces[4:5], *given, *faces[11:], Skipped("gone", "x/y.pts: line 12: expected 68 rows")]))
    for kind in bad:
        assert list(listed(summary, kind)) == [f"the {kind} one"], kind
    assert listed(summary, "skipped") == {"gone": "x/y.pts: line 12: expected 68 rows"}
    assert listed(summary, "duplicate") == {"the duplicate one": f"has exactly the labels of {faces[4].id}"}
    assert "expected 50x40 pixels" in listed(summary, "image_size")["the image_size one"]
    assert "30 (nose_3)" in listed(summary, "slip")["the slip one"]
    assert "with left and right exchanged" in listed(summary, "swapped")["the swapped one"]
    assert "expected at least 6" in listed(summary, "unfittable")["the unfittable one"]
    assert summary["problems"] == dict.fromkeys([*bad, "skipped"], 1)
    assert summary["sources"][0]["skipped_reasons"] == [{"reason": "line N: expected N rows", "count": 1}]
    assert [problem["kind"] for problem in summary["sources"][0]["problems"]] == [
        k for k in KINDS if k in {*bad, "skipped"}
    ]
    text = as_text(summary)
    for kind in bad:
        assert f"{KINDS[kind]}: 1" in text
        assert f"the {kind} one" in text


def test_a_pose_of_the_wrong_sign_is_told(faces: list[Face], serve: Serve, look: Callable[..., dict[str, Any]]) -> None:
    turned = [replace(face, pose=face.pose * (-1, 1, 1)) for face in faces if face.pose is not None]
    summary = look(source := serve(turned))
    assert list(listed(summary, "sign")) == [source]
    assert listed(summary, "sign")[source].startswith("yaw: correlation -")
    assert listed(summary, "pose") == {}  # told once, not for each face
    assert summary["sources"][0]["pose_agreement"]["yaw"]["correlation"] < -0.9


def test_angles_are_compared_around_the_circle() -> None:
    own, fitted = np.array([[179.0, 0, 0]] * 2), np.array([[-179.0, 1, -3]] * 2)
    assert agreement(own, fitted)["yaw"] == {
        "median_absolute_difference": 2.0,
        "median_difference": 2.0,
        "correlation": None,
    }
    assert agreement(own, fitted)["roll"]["median_difference"] == -3
    np.testing.assert_array_equal(turn(np.array([190.0, -190, 360, 0])), [-170, 170, 0, 0])


def test_labels_alone_are_one_line(faces: list[Face], serve: Serve, look: Callable[..., dict[str, Any]]) -> None:
    alone = [replace(face, file=f"/nowhere/{i}.jpg") for i, face in enumerate(faces)]
    summary = look(source := serve(alone))
    assert summary["images_missing"] == summary["images"] == 24
    assert list(listed(summary, "missing")) == [source]
    assert "labels alone" in listed(summary, "missing")[source]
    # Sizes come from the annotation then.
    assert summary["sources"][0]["image"]["faces"] == 24


def test_several_faces_of_one_image_count_it_once(
    faces: list[Face], serve: Serve, look: Callable[..., dict[str, Any]]
) -> None:
    one = [replace(face, file=faces[0].file, image_size=None) for face in faces[:5]]
    gone = [replace(face, file="/nowhere/a.jpg") for face in faces[5:7]]
    summary = look(serve([*one, *gone]))
    assert (summary["images"], summary["images_missing"]) == (2, 1)
    assert list(listed(summary, "missing")) == [faces[5].id]


def test_sources_of_different_schemes(faces: list[Face], serve: Serve, look: Callable[..., dict[str, Any]]) -> None:
    inner = [
        replace(
            face, id=f"inner {face.id}", scheme="ibug51", landmarks=face.landmarks[17:], visibility=face.visibility[17:]
        )
        for face in faces[:6]
    ]
    mixed = [*faces[6:12], *(replace(face, id=f"mixed {face.id}") for face in inner[:2])]
    summary = look(serve(faces), serve(inner, "inner"), serve(mixed, "mixed"))
    assert [source["schemes"] for source in summary["sources"]] == [
        {"ibug68": 24},
        {"ibug51": 6},
        {"ibug68": 6, "ibug51": 2},
    ]
    assert summary["faces"] == 38
    assert [len(points["points"]) for points in summary["sources"][2]["points"]] == [68, 51]
    assert [source["fit"]["faces"] for source in summary["sources"]] == [24, 6, 8]
    # The same face in two sources is found across them.
    assert set(listed(summary, "duplicate").values()) >= {f"has exactly the labels of {faces[6].id}"}


def test_a_model_without_the_scheme_still_tells_the_rest(
    faces: list[Face], serve: Serve, model: MorphableModel, tmp_path: Path
) -> None:
    replace(model, landmarks={}, contours={}).save(tmp_path / "bare.safetensors")
    summary = run_inspect([serve(faces)], morphable=str(tmp_path / "bare.safetensors"), report=tmp_path / "a.html")
    (source,) = summary["sources"]
    assert source["fit"]["faces"] == 0
    assert "ibug68" in source["fit"]["notes"][0]
    assert source["pose"]["fit"] is None
    assert source["pose"]["own"]["faces"] == 24
    assert "no face was fitted" in as_text(summary)
    assert "Not fitted" in (tmp_path / "a.html").read_text()


def test_what_can_not_be_read(
    faces: list[Face], serve: Serve, look: Callable[..., dict[str, Any]], synthetic: Path, tmp_path: Path
) -> None:
    # Nothing at all: an error of one line.
    result = pifa("inspect", tmp_path / "none")
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    result = pifa("inspect", serve([Skipped("a", "no points"), Skipped("b", "no points")]))
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "no face can be read (2 skipped; the first: a: no points)" in result.output
    with pytest.raises(AnnotationError, match="damaged"):
        look(serve([AnnotationError("the file is damaged")]))  # type: ignore[list-item]
    with pytest.raises(AnnotationError, match=r"no face .* chosen by --split 'x' and --where 'size > 1' \(0 skipped\)"):
        look(serve(faces), split="x", where="size > 1")
    with pytest.raises(AnnotationError, match="named twice"):
        look(source := serve(faces), source)
    # Something: what there is, and where reading stopped.
    halfway = [*faces, AnnotationError("page 7 is damaged")]
    summary = look(source := serve(halfway))  # type: ignore[arg-type]
    assert listed(summary, "stopped") == {source: "page 7 is damaged"}
    assert 0 < summary["faces"] <= 24
    result = pifa("inspect", source, "--where", "yaw >", "--morphable", synthetic / "model.safetensors")
    assert result.exit_code == 1
    assert "--where" in result.output


def test_reasons_are_told_without_what_differs() -> None:
    one = general("data/a 1.pts: line 3: expected 68 rows, found 7 ('x1 y1')")
    assert one == general("other/b.pts: line 14: expected 68 rows, found -2 ('9')")
    assert one == "line N: expected N rows, found N ('…')"


def test_an_even_sample_is_even_and_bounded(faces: list[Face]) -> None:
    block = np.tile(faces[0].landmarks, (8, 1, 1))
    for count in (0, 1, 10, 11, 20, 21, 100, 1000):
        sample = EvenSample(10)
        for row in range(count):
            sample.add(row + 5, replace(faces[0], id=str(row), landmarks=block[row % 8]))
        assert len(sample.faces) <= 10
        assert sample.rows == list(range(5, count + 5, sample.step))
        assert [face.id for face in sample.faces] == [str(row) for row in range(0, count, sample.step)]
        assert all(face.landmarks.base is None for face in sample.faces)  # no block is held by a face of it
    assert sample.step == 128


def test_many_faces_are_sampled_and_said_so(
    faces: list[Face], serve: Serve, look: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_survey.EvenSample.__init__, "__defaults__", (10,))
    monkeypatch.setattr(inspect_survey, "BLOCK", 7)
    summary = look(serve(faces))
    (source,) = summary["sources"]
    assert (source["faces"], source["fit"]["faces"], source["fit"]["every"]) == (24, 6, 4)
    assert source["pose_agreement"]["yaw"]["correlation"] > 0.9  # own and fitted of the same faces
    assert source["pose"]["own"]["faces"] == 24
    assert "6 faces, one of 4" in as_text(summary)


def test_problems_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect_problems, "KEPT", 25)
    problems = Problems()
    for i in range(100):
        problems.add("tiny", str(i), "small")
    (told,) = problems.as_json()
    assert (told["count"], len(told["listed"])) == (100, 25)
    summary = {"sources": [_bare_source(problems)]}
    text = as_text(summary)
    assert text.count(": small") == 20
    assert "and 80 more" in text


def _bare_source(problems: Problems) -> dict[str, Any]:
    nothing = dict.fromkeys(("size", "box", "pose_agreement"))
    numbers = dict.fromkeys(("faces", "skipped", "unfittable", "images", "images_missing", "subjects"), 0)
    return {
        **(nothing | numbers),
        **{"source": "a", "format": "b", "skipped_reasons": [], "splits": [], "points": [], "schemes": {}, "kinds": {}},
        **{"image": {"faces": 0}, "pose": {"own": None, "fit": None}, "problems": problems.as_json()},
    }


@pytest.fixture(scope="module")
def hostile(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic faces with images, one of a hostile name, a missing image, and two rows that can't be read."""
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copytree(synthetic / "faces", folder / "faces")
    table = folder / "faces" / "keypoints.csv"
    lines = table.read_text().splitlines()
    cells = lines[1].split(",")[1:]
    lines.append(",".join(['"' + HOSTILE.replace('"', '""') + '"', *cells]))
    lines.append(f"short.jpg,{','.join(cells[:9])}")
    lines.append(f"<b>word</b>.jpg,x,{','.join(cells[1:])}")
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "faces"


def test_the_command_writes_page_sheet_and_json(hostile: Path, synthetic: Path, tmp_path: Path) -> None:
    page, sheet = tmp_path / "a.html", tmp_path / "a.png"
    arguments = ("inspect", hostile, "--morphable", synthetic / "model.safetensors", "--report", page, "--sheet", sheet)
    result = pifa(*arguments, "--json")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert (values["faces"], values["skipped"]) == (25, 2)
    assert values["problems"] == {"skipped": 2, "duplicate": 1, "missing": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "a.png"]

    text = page.read_text(encoding="utf-8")
    read = whole_page(text)
    for part in (
        *(
            "25 faces",
            "Splits and subsets",
            "training",
            "Measures",
            "yaw of the fit",
            "Problems",
            "Images that are missing",
        ),
        *("Faces that can't be read", "short.jpg", "Distributions", "Parts of the face", "left eye", "Worst fits"),
        *("At equal distances", "Turned most to the image's left", "Smallest", "The same labels under two names"),
    ):
        assert part in read.text, part
    assert read.tags.count("picture") == 3  # pose, sizes, points
    assert text.count("<image ") > 40

    picture = cv2.imread(str(sheet))
    assert picture is not None
    assert picture.shape == (4 * 302, 6 * 302, 3)
    green = (picture == (0, 220, 0)).all(2).sum()
    assert green > 24 * 68


def test_few_faces_are_drawn_large_with_their_numbers(hostile: Path, synthetic: Path, tmp_path: Path) -> None:
    arguments = ("inspect", hostile, "--morphable", synthetic / "model.safetensors", "--limit", 3)
    result = pifa(*arguments, "--report", tmp_path / "a.html", "--sheet", tmp_path / "a.png")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"{hostile}  (keypoints-csv)\n")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert text.count('class="tile numbered"') == 3
    assert cv2.imread(str(tmp_path / "a.png")).shape == (2 * 902, 2 * 902, 3)


def test_faces_without_images_are_drawn_on_a_ground(
    faces: list[Face], serve: Serve, look: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    occluded = faces[0].visibility.copy()
    occluded[:30] = 1
    alone = [replace(face, file="/nowhere/a.jpg", visibility=occluded) for face in faces]
    look(serve(alone), report=tmp_path / "a.html", sheet=tmp_path / "a.png")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<image " not in text
    assert text.count('<rect x="') > 24
    assert text.count('class="covered"') >= 24 * 30
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert (picture == (0, 0, 230)).all(2).sum() > 24 * 30  # red
    assert (picture == (68, 58, 52)).all(2).mean() > 0.5  # the ground


def test_only_files_of_the_same_kind_are_replaced(hostile: Path, synthetic: Path, tmp_path: Path) -> None:
    page, sheet = tmp_path / "a.html", tmp_path / "a.png"
    common = ("inspect", hostile, "--morphable", synthetic / "model.safetensors", "--limit", 2)
    page.write_text("<!DOCTYPE html>\n")
    for arguments, message in (
        (("--report", page), "--overwrite"),
        (("--report", hostile / "keypoints.csv", "--overwrite"), "is not an HTML page"),
        (("--sheet", hostile / "keypoints.csv", "--overwrite"), "is not a PNG picture"),
        (("--sheet", sheet, "--report", sheet), "the same file"),
        (("--sheet", tmp_path / "none" / "a.png"), "does not exist"),
    ):
        result = pifa(*common, *arguments)
        assert result.exit_code == 1, arguments
        assert message in result.output
        assert result.output.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]
    result = pifa(*common, "--report", page, "--sheet", sheet, "--overwrite")
    assert result.exit_code == 0, result.output
    assert "Distributions" in page.read_text(encoding="utf-8")
    assert "--overwrite" in pifa(*common, "--sheet", sheet).output


def test_absurd_numbers_do_not_stop_it(
    faces: list[Face], serve: Serve, look: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    far = faces[0].landmarks.copy()
    far[3] = (9e5, -9e5)
    small = np.zeros((68, 2))
    absurd = [
        replace(faces[0], id="far", landmarks=far),
        replace(faces[1], id="pose", pose=np.array([1e300, np.nan, 0])),
        replace(faces[2], id="box", box=np.array([-9e5, -9e5, 9e5, 9e5])),
        replace(faces[3], id="zero", landmarks=small, box=None),
        replace(faces[4], id="line", landmarks=np.tile([[5.0, 7.0]], (68, 1)) * np.arange(68)[:, None], box=None),
        replace(faces[5], id="\x1b[31m red", file="a\0b"),
        *faces[6:],
    ]
    summary = look(serve(absurd), report=tmp_path / "a.html", sheet=tmp_path / "a.png")
    assert summary["faces"] == 24
    assert set(listed(summary, "unfittable")) == {"zero", "line", "far"}
    json.dumps(summary, allow_nan=False)
    assert "\x1b" not in as_text(summary)


@pytest.mark.parametrize(
    ("place", "faces", "problems"),
    [("samples/300w_pts", 3, set()), ("aflw/merl_rav_labels/left", 100, {"missing"}), ("ytf68", 100, set())],
)
def test_real_data(shared_data: Path, place: str, faces: int, problems: set[str]) -> None:
    form = "merl-rav:" if "merl" in place else ""
    summary = run_inspect([f"{form}{shared_data / place}"], morphable="builtin", limit=100)
    assert summary["faces"] == faces
    assert set(summary["problems"]) - {"slip", "outside"} == problems
    assert summary["sources"][0]["fit"]["nme_p95"] < 2


def test_real_poses_and_protocols(shared_data: Path) -> None:
    """AFLW2000's own pose agrees with the fit, and 300W's protocols have their counts."""
    sources = [
        f"aflw2000:{shared_data / 'samples' / 'aflw2000'}",
        f"hrnet-csv:{shared_data / '300w'}",
    ]
    aflw2000, w300 = run_inspect(sources, morphable="builtin")["sources"]
    for angle in ("yaw", "pitch", "roll"):
        assert aflw2000["pose_agreement"][angle]["median_absolute_difference"] < 5
        assert aflw2000["pose_agreement"][angle]["correlation"] > 0.95
    counts = {split["name"]: (split["faces"], split["published"]) for split in w300["splits"]}
    assert counts["common"] == (554, 554)
    assert counts["challenging"] == (135, 135)
    assert counts["full"] == (689, 689)


def test_labels_in_another_order_are_found(shared_data: Path) -> None:
    """Three faces of MERL-RAV have the numbers of nose and eyes exchanged; the owner's files are so."""
    source = f"merl-rav:{shared_data / 'aflw' / 'merl_rav_labels' / 'frontal'}"
    names = ("frontal/image00054", "frontal/image60802_2", "frontal/image68839")
    summary = run_inspect([source], morphable="builtin", where=f"id in {(*names, 'frontal/image00002')}")
    assert summary["faces"] == 4
    assert set(listed(summary, "misfit")) == set(names)
    assert set(listed(summary, "slip")) == set(names)
