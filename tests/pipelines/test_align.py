"""``pifa align`` on images: outputs in every format, stopped and gone on, files beside them, bad input."""

from __future__ import annotations

import csv
import json
import sqlite3
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command_line import good, pifa

from pifa_data.detection import Detection
from pifa_data.errors import PifaError
from pifa_data.faces import Face
from pifa_data.readers import FORMATS, read_faces
from pifa_data.readers.aflw import project_poses
from pifa_model import Aligner
from pipelines.align import AlignOptions, run_align
from pipelines.align import images as images_module
from pipelines.align import run as run_module
from pipelines.align.database import aflw_angles
from pipelines.align.journal import Journal


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
    for again in ("faces.jsonl", "faces.csv", "pts"):
        refused = pifa(*common, "--out", tmp_path / again, "--format", "csv" if "csv" in again else "json")
        assert refused.exit_code == 1
        assert "--overwrite" in refused.output


def test_a_database_is_read_as_aflws(small_run: Path, photos: Path, tmp_path: Path, synthetic: Path) -> None:
    (photos / "bad.jpg").write_text("no image")
    common = ("align", small_run, photos, "--boxes", tmp_path / "boxes.csv")
    good(*common, "--out", tmp_path / "aflw.sqlite", "--format", "sqlite")
    lines = [json.loads(line) for line in good(*common).stdout.splitlines()]
    faces = [line for line in lines if "box" in line]
    with sqlite3.connect(tmp_path / "aflw.sqlite") as database:
        rows = database.execute("SELECT face_id, feature_id, x, y, visible FROM AllCoords ORDER BY 1, 2").fetchall()
        seen = database.execute("SELECT COUNT(*) FROM FeatureCoords").fetchone()[0]
        [failure] = database.execute("SELECT filepath, reason FROM Failures").fetchall()
    database.close()
    points = np.array([row[2:4] for row in rows]).reshape(len(faces), -1, 2)
    np.testing.assert_allclose(points, [face["landmarks"] for face in faces])
    assert seen == sum(row[4] for row in rows)
    assert failure[0].endswith("bad.jpg")
    assert "has no box" in failure[1]
    assert pifa(*common, "--format", "sqlite").exit_code == 1  # a database is a file


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
    detector = FakeDetector([[20, 20, 90, 90], [30, 25, 100, 95]])
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
