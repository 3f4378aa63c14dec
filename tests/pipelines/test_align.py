"""``pifa align`` on images: outputs in every format, stopped and gone on, files beside them, bad input."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command_line import good, pifa

import zoo
from pifa_data.detection import Detection
from pifa_data.errors import MorphableError, PifaError
from pifa_data.faces import Face
from pifa_data.morphable import import_ict_npz
from pifa_data.readers import FORMATS, read_faces
from pifa_data.readers.aflw import project_poses
from pifa_model import Aligner
from pifa_model.checkpoint import read_header
from pipelines.align import AlignOptions, run_align
from pipelines.align import images as images_module
from pipelines.align import run as run_module
from pipelines.align.database import aflw_angles
from pipelines.align.journal import Journal
from pipelines.checkpoints import load_aligner
from pipelines.sources import ICT

BUNDLED = Path(zoo.__file__).parent / "registry" / "pifa68-small" / "1.0.0" / "weights.safetensors"
"""A checkpoint of the built-in model, which knows the places of every scheme."""


@pytest.fixture
def photos(synthetic: Path, tmp_path: Path) -> Path:
    """A folder of six photos in two folders, and the boxes of all."""
    folder = tmp_path / "photos"
    rows = ["image,x0,y0,x1,y1"]
    for number, face in enumerate(list(read_faces(f"keypoints-csv:{synthetic / 'faces'}", FORMATS))[:6]):
        assert isinstance(face, Face)
        name = f"{'deep/er/' if number % 2 else ''}{number}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(Path(face.file).read_bytes())
        rows.append(f"{name},{','.join(map(str, (*face.landmarks.min(0), *face.landmarks.max(0))))}")
    (tmp_path / "boxes.csv").write_text("\n".join(rows) + "\n")
    return folder


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_folder_becomes_a_file_of_any_format(small_run: Path, photos: Path, tmp_path: Path) -> None:
    common = ("align", small_run, photos, "--boxes", tmp_path / "boxes.csv", "--batch-size", 4)
    told = good(*common, "--out", tmp_path / "faces.jsonl").output
    assert "6 faces, 0 without" in told
    lines = lines_of(tmp_path / "faces.jsonl")
    assert [Path(line["image"]).relative_to(photos).as_posix() for line in lines] == [
        *("0.png", "2.png", "4.png", "deep/er/1.png", "deep/er/3.png", "deep/er/5.png"),
    ]
    assert lines == [json.loads(line) for line in good(*common).stdout.splitlines()]
    good(*common, "--out", tmp_path / "faces.csv", "--format", "csv")
    with (tmp_path / "faces.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["m4"]) for row in rows] == [line["camera"][3] for line in lines]
    assert [float(row["p67_y"]) for row in rows] == [line["landmarks"][67][1] for line in lines]
    good(*common, "--out", tmp_path / "pts", "--format", "pts")
    read = list(read_faces(f"300w:{tmp_path / 'pts'}", FORMATS))
    assert len(list((tmp_path / "pts").rglob("*.pts"))) == 6
    assert read  # the project's own reader takes them (their images are elsewhere)
    assert not list(tmp_path.rglob("*.partial*"))
    for again, form in (("faces.jsonl", "json"), ("faces.csv", "csv"), ("pts", "pts")):
        refused = pifa(*common, "--out", tmp_path / again, "--format", form)
        assert refused.exit_code == 1
        assert "--overwrite" in refused.output


def test_a_database_is_read_as_aflws(photos: Path, tmp_path: Path) -> None:
    (photos / "bad.jpg").write_text("no image")
    common = ("align", BUNDLED, photos, "--boxes", tmp_path / "boxes.csv")
    good(*common, "--out", tmp_path / "aflw.sqlite", "--format", "sqlite")
    lines = [json.loads(line) for line in good(*common, "--scheme", "aflw21").stdout.splitlines()]
    expected = {Path(line["image"]).relative_to(photos).as_posix(): line for line in lines if "box" in line}
    read = list(read_faces(f"aflw:{tmp_path / 'aflw.sqlite'},images={photos}", FORMATS))
    assert len(read) == len(expected) == 6
    for face in read:
        assert isinstance(face, Face), face
        line = expected[Path(face.file).relative_to(photos).as_posix()]
        seen = np.array(line["visibility"]) > 0
        np.testing.assert_array_equal(face.visibility > 0, seen)
        np.testing.assert_allclose(face.landmarks[seen], np.array(line["landmarks"])[seen])
        assert face.pose is not None
        np.testing.assert_allclose(np.degrees(face.pose), list(line["pose"].values()), atol=0.01)
    with closing(sqlite3.connect(tmp_path / "aflw.sqlite")) as database:
        assert database.execute("SELECT COUNT(*) FROM AllCoords").fetchone()[0] == 6 * 21
        [failure] = database.execute("SELECT filepath, reason FROM Failures").fetchall()
    assert failure[0] == "bad.jpg"
    assert "has no box" in failure[1]
    assert pifa(*common, "--format", "sqlite").exit_code == 1  # a database is a file
    other = pifa(*common, "--format", "sqlite", "--scheme", "ibug68", "--out", tmp_path / "b")
    assert "21 landmarks" in other.output


def test_angles_are_aflws_and_back() -> None:
    rng = np.random.default_rng(0)
    for yaw, pitch, roll in rng.uniform(-1, 1, (50, 3)) * (1.5, 0.9, 0.9):
        back = project_poses(np.array(aflw_angles(yaw, pitch, roll)))
        np.testing.assert_allclose(back, (yaw, pitch, roll), atol=1e-9)


def test_a_run_that_was_stopped_goes_on(
    small_run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = AlignOptions(boxes=str(tmp_path / "boxes.csv"), batch_size=1)
    run_align(str(small_run), [photos], options, out=tmp_path / "whole.jsonl")
    out, calls = tmp_path / "out.jsonl", []
    real = Aligner.align_cut

    def stopping(self: Aligner, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(Aligner, "align_cut", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_align(str(small_run), [photos], options, out=out)
    journal = tmp_path / "out.jsonl.partial.jsonl"
    assert not out.exists()
    assert [line["done"] for line in lines_of(journal) if "done" in line] == [
        str(photos / "0.png"),
        str(photos / "2.png"),
    ]
    with journal.open("ab") as file:
        file.write(b'{"image": "torn')
    with pytest.raises(PifaError, match="go on with --resume"):
        run_align(str(small_run), [photos], options, out=out)
    with pytest.raises(PifaError, match=r"other settings \(landmarks\)"):
        run_align(str(small_run), [photos], AlignOptions(boxes=options.boxes, landmarks="3d"), out=out, resume=True)
    summary = run_align(str(small_run), [photos], options, out=out, resume=True)
    assert summary.faces == 6
    assert len(calls) == 3 + 4
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not journal.exists()


@pytest.mark.parametrize("text", ["", "no journal\n", '{"image": 1}\n', "[]\n"])
def test_what_is_no_journal_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.partial.jsonl").write_text(text)
    with pytest.raises(PifaError, match="not a journal"):
        Journal(tmp_path / "a", {}, resume=True, overwrite=False)


def test_files_beside_the_records(small_run: Path, photos: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    with boxes.open("a") as file:  # a second face in the first photo
        file.write(boxes.read_text().splitlines()[1] + "\n")
    folders = {name: tmp_path / name for name in ("overlay", "mesh", "maps")}
    given = [part for name, folder in folders.items() for part in (f"--{name}", folder)]
    common = ("align", small_run, photos, "--boxes", boxes, "--json", *given)
    faces = json.loads(good(*common, "--mesh-format", "ply").stdout)["faces"]
    assert len(faces) == 7
    made = {path.relative_to(tmp_path).as_posix() for name in folders for path in folders[name].rglob("*.*")}
    assert {"overlay/0.png", "mesh/0.ply", "mesh/0.1.ply", "overlay/deep/er/1.png", "mesh/deep/er/1.ply"} <= made
    assert {"maps/0.depth.png", "maps/0.normals.png", "maps/0.blocks.png", "maps/0.1.blocks.png"} <= made
    shape = cv2.imread(str(photos / "0.png")).shape
    depth = cv2.imread(str(tmp_path / "maps/0.depth.png"), cv2.IMREAD_UNCHANGED)
    assert (depth.dtype, depth.shape) == (np.uint16, shape[:2])
    strip = cv2.imread(str(tmp_path / "maps/0.blocks.png"))
    assert strip.shape == (114, 114 * 7, 3)
    assert strip[:, 114:228].max() > 200
    assert (strip[:, -114:] > 0).any()
    good(*common, "--mesh-format", "npz")
    with np.load(tmp_path / "mesh/0.npz", allow_pickle=False) as dense:
        vertices = dense["vertices"]
    # Dense vertices lie where the landmarks do.
    marks = np.array(faces[0]["landmarks"])
    near = np.linalg.norm(vertices[None, :, :2] - marks[:, None], axis=2).min(1)
    assert near.max() < 0.05


class FakeDetector:
    """Finds what it is told, whatever the image."""

    name = "fake"

    def __init__(self, boxes: list[list[float]]) -> None:
        self.boxes = [np.array(box, float) for box in boxes]

    def __call__(self, image: np.ndarray) -> list[Detection]:
        return [Detection(box, box + np.array([1, 2, 1, 2]), 0.9) for box in self.boxes]


def test_detected_faces_are_aligned_twice_and_doubtful_ones_left_out(
    small_run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = FakeDetector([[5, 5, 60, 60], [85, 85, 140, 140]])
    monkeypatch.setattr(run_module, "open_detector", lambda name: detector)
    both = json.loads(good("align", small_run, photos / "0.png", "--json").stdout)["faces"]
    aligner = Aligner.load(small_run, small_run / "morphable.safetensors")
    image = cv2.imread(str(photos / "0.png"))[..., ::-1].copy()
    expected = aligner.find([image], detector)[0]
    for face, known in zip(both, expected, strict=True):
        np.testing.assert_allclose(face["landmarks"], known.landmarks, atol=0.01)
    low, high = sorted(face["score"] for face in both)
    some = good("align", small_run, photos / "0.png", "--min-score", (low + high) / 2, "--json")
    assert len(json.loads(some.stdout)["faces"]) == 1
    none = pifa("align", small_run, photos / "0.png", "--min-score", 1, "--json")
    assert none.exit_code == 1
    assert "no face found" in json.loads(none.stdout)["failures"][0]["reason"]
    detector.boxes = []
    nothing = pifa("align", small_run, photos / "0.png")
    assert nothing.exit_code == 1
    assert json.loads(nothing.stdout)["reason"].startswith(str(photos / "0.png"))


def test_boxes_of_a_data_set(small_run: Path, synthetic: Path) -> None:
    source = f"keypoints-csv:{synthetic / 'faces'}"
    images = synthetic / "faces" / "images"
    faces = json.loads(good("align", small_run, images, "--boxes", source, "--json").stdout)["faces"]
    labelled = {face.file: face for face in read_faces(source, FORMATS) if isinstance(face, Face)}
    assert len(faces) == len(labelled)
    for face in faces[:5]:
        landmarks = labelled[face["image"]].landmarks
        np.testing.assert_allclose(face["box"], [*landmarks.min(0), *landmarks.max(0)], atol=0.01)


def test_large_photos_are_made_smaller_and_told_in_their_own_pixels(
    small_run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = cv2.imread(str(photos / "0.png"))
    large = tmp_path / "large.jpg"
    cv2.imwrite(str(large), cv2.resize(image, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC), [1, 98])
    box = [float(v) for v in (tmp_path / "boxes.csv").read_text().splitlines()[1].split(",")[1:]]
    (tmp_path / "both.csv").write_text(
        f"image,x0,y0,x1,y1\n0.png,{','.join(map(str, box))}\nlarge.jpg,{','.join(str(8 * v + 3.5) for v in box)}\n"
    )
    factors = []
    real = images_module.read_photo

    def spying(*arguments: Any) -> Any:
        photo = real(*arguments)
        factors.append(photo.factor)
        return photo

    monkeypatch.setattr(images_module, "read_photo", spying)
    done = good("align", small_run, photos / "0.png", large, "--boxes", tmp_path / "both.csv", "--json")
    small, big = json.loads(done.stdout)["faces"]
    assert sorted(factors) == [1, 2]
    np.testing.assert_allclose((np.array(big["landmarks"]) - 3.5) / 8, small["landmarks"], atol=0.6)
    np.testing.assert_allclose(
        np.array(big["camera"]).reshape(2, 4)[:, :3],
        8 * np.array(small["camera"]).reshape(2, 4)[:, :3],
        rtol=0.05,
        atol=0.05,
    )
    assert big["size"] == [image.shape[1] * 8, image.shape[0] * 8]


def test_the_command_line_refuses_what_contradicts(small_run: Path, photos: Path, tmp_path: Path) -> None:
    for options in (
        ("--boxes", "b.csv", "--detector", "haar"),
        ("--resume",),
        ("--out", tmp_path / "o", "--json"),
    ):
        assert pifa("align", small_run, photos, *options).exit_code == 2
    (tmp_path / "empty").mkdir()
    nothing = pifa("align", small_run, tmp_path / "empty")
    assert nothing.exit_code == 1
    assert "no images or videos found" in nothing.output
    over = pifa("align", small_run, photos, "--boxes", tmp_path / "boxes.csv", "--mesh", photos, "--mesh-format", "obj")
    assert over.exit_code == 0  # meshes replace no photo: their names end differently


def test_a_second_face_replaces_no_other_image_s(small_run: Path, photos: Path, tmp_path: Path) -> None:
    for name in ("0_1.png", "0.1.png"):
        (photos / name).write_bytes((photos / "0.png").read_bytes())
    row = (tmp_path / "boxes.csv").read_text().splitlines()[1].partition(",")[2]
    names = ["0.png", "0.png", "0_1.png", "0.1.png"]
    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1\n" + "".join(f"{name},{row}\n" for name in names))
    common = ("align", small_run, *(photos / name for name in names[1:]), "--boxes", tmp_path / "boxes.csv")
    good(*common, "--out", tmp_path / "pts", "--format", "pts", "--mesh", tmp_path / "mesh", "--mesh-format", "ply")
    assert {p.name for p in (tmp_path / "pts").iterdir()} == {"0.pts", "0_1.pts", "0_2.pts", "0.1.pts"}
    assert {p.name for p in (tmp_path / "mesh").iterdir()} == {"0.ply", "0_1.ply", "0.1.ply", "0.2.ply"}


def test_an_output_that_was_being_replaced_goes_on(
    small_run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = AlignOptions(boxes=str(tmp_path / "boxes.csv"), batch_size=1)
    out = tmp_path / "out.jsonl"
    run_align(str(small_run), [photos], options, out=out)
    before = out.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "write_output", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_align(str(small_run), [photos], options, out=out, overwrite=True)
    with (tmp_path / "boxes.csv").open("a") as file:
        file.write("x.png,1,2,3,4\n")
    with pytest.raises(PifaError, match="boxes_sha256"):
        run_align(str(small_run), [photos], options, out=out, resume=True)
    (tmp_path / "boxes.csv").write_text((tmp_path / "boxes.csv").read_text().removesuffix("x.png,1,2,3,4\n"))
    summary = run_align(str(small_run), [photos], options, out=out, resume=True)
    assert (summary.faces, summary.failures) == (6, 0)
    assert out.read_bytes() == before


def test_an_output_of_the_wrong_kind_is_told_before_any_work(small_run: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    for out, form, word in (("folder", "json", "a folder"), ("file", "pts", "a file")):
        told = pifa("align", small_run, photos, "--out", tmp_path / out, "--format", form, "--overwrite")
        assert told.exit_code == 1
        assert word in told.output


def test_pictures_of_an_earlier_run_are_no_photos(small_run: Path, photos: Path, tmp_path: Path) -> None:
    common = ("align", small_run, photos, "--boxes", tmp_path / "boxes.csv", "--overlay", photos / "drawn", "--json")
    for _ in range(2):
        found = json.loads(good(*common).stdout)
        assert (len(found["faces"]), found["failures"]) == (6, [])


def test_pictures_are_of_the_photo_s_own_size(small_run: Path, photos: Path, tmp_path: Path) -> None:
    image = cv2.resize(cv2.imread(str(photos / "0.png")), None, fx=8, fy=8)
    cv2.imwrite(str(tmp_path / "large.png"), image)
    (tmp_path / "b.csv").write_text("image,x0,y0,x1,y1\nlarge.png,200,200,900,900\n")
    good("align", small_run, tmp_path / "large.png", "--boxes", tmp_path / "b.csv", "--overlay", tmp_path / "o")
    assert cv2.imread(str(tmp_path / "o" / "large.png")).shape == image.shape


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
@pytest.mark.parametrize("form", ["csv", "sqlite", "pts", "json"])
def test_a_name_that_is_no_unicode(photos: Path, tmp_path: Path, form: str) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    Path(os.fsdecode(os.fsencode(odd) + b"/caf\xe9.png")).write_bytes((photos / "0.png").read_bytes())
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,x0,y0,x1,y1\nother.png,1,2,3,4\n")
    done = pifa("align", BUNDLED, odd, "--boxes", boxes, "--out", tmp_path / "out", "--format", form)
    assert done.exit_code == 1
    assert "0 faces, 1 without" in done.output, done.output
    assert (tmp_path / "out").exists()


def test_two_detections_of_one_face_become_one(monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path) -> None:
    x0, y0, x1, y1 = (float(v) for v in (tmp_path / "boxes.csv").read_text().splitlines()[1].split(",")[1:])
    boxes = [[x0, y0, x1, y1], [x0 + 4, y0 - 2, x1 + 3, y1 + 1]]
    detector = FakeDetector(boxes)
    aligner = Aligner.load(BUNDLED)
    image = cv2.imread(str(photos / "0.png"))[..., ::-1].copy()
    assert len(aligner.batch([image], [np.array(boxes)])[0]) == 2
    assert len(aligner.find([image], detector, min_score=0.0)[0]) == 1
    monkeypatch.setattr(run_module, "open_detector", lambda name: detector)
    assert len(json.loads(good("align", BUNDLED, photos / "0.png", "--min-score", 0, "--json").stdout)["faces"]) == 1
    for wrong in (image[..., 0], image.astype(np.float32), image[:0]):
        with pytest.raises(PifaError):
            aligner.find([wrong], detector)
    with pytest.raises(PifaError, match="boxes of each of 2 images, found those of 1"):
        aligner.batch([image, image], [boxes])


def test_a_checkpoint_of_the_ict_model_tells_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIFA_HOME", str(tmp_path))
    with pytest.raises(MorphableError, match="`pifa morphable get ict` downloads"):
        load_aligner("pifa68-compact-ict", device="cpu")


def test_the_ict_model_is_the_one_that_checkpoints_need(shared_data: Path) -> None:
    model = import_ict_npz([shared_data / "morphable" / "ict_face.npz"])
    assert model.fingerprint == ICT
    assert (
        read_header(BUNDLED.parents[2] / "pifa68-compact-ict" / "1.0.0" / "weights.safetensors").morphable.fingerprint
        == ICT
    )
