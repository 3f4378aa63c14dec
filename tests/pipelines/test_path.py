"""The whole path through the command line, as a user types it: prep, train, eval, publish, get, align."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command_line import QUICK, good, pifa, write_boxes
from safetensors.numpy import load_file, save_file

from cli import main
from pifa_data.faces import Face
from pifa_data.readers import FORMATS, read_faces
from pifa_model.checkpoint import read_header

EVAL_KEYS = {
    *("faces", "normaliser", "nme", "nme_per_block", "nme_initial", "nme_interocular", "failure_rate_8", "auc_8"),
    *("mape", "nme_by_yaw", "visibility_accuracy", "ms_per_face"),
}


@pytest.fixture(scope="module")
def work(synthetic: Path, small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run, its evaluation, and a registry that it was published to."""
    folder = tmp_path_factory.mktemp("path")
    good(
        "train", small_store, "--out", folder / "run", "--batch-size", 8, "--val-fraction", 0.3, "--epochs", 0.5, *QUICK
    )
    source = f"keypoints-csv:{synthetic / 'faces'}"
    result = good("eval", folder / "run", source, "--boxes", "jittered", "--subset", "val", "--json")
    (folder / "eval.json").write_text(result.stdout)
    good(
        *(
            "zoo",
            "publish",
            folder / "run",
            "--name",
            "tiny68",
            "--version",
            "1.0.0",
            "--registry",
            folder / "registry",
        ),
        *("--metric", folder / "eval.json"),
    )
    faces = [face for face in read_faces(source, FORMATS) if isinstance(face, Face)]
    write_boxes(folder / "boxes.csv", faces)
    return folder


def test_prep_says_what_it_did(synthetic: Path, tmp_path: Path) -> None:
    arguments = (
        "prep",
        synthetic / "faces",
        "--morphable",
        synthetic / "model.safetensors",
        "--workers",
        1,
        "--limit",
        6,
    )
    result = good(*arguments, "--copies", 2, "--store", tmp_path / "S.zarr", "--json")
    values = json.loads(result.stdout)
    assert {"faces", "crops", "skipped", "seconds", "crops_per_second", "fit_nme_mean", "store_bytes", "digest"} <= set(
        values
    )
    assert (values["faces"], values["crops"], values["skipped"]) == (6, 12, 0)
    again = pifa(*arguments, "--store", tmp_path / "S.zarr")
    assert again.exit_code == 1
    assert "--overwrite" in again.output
    assert good("store", "verify", tmp_path / "S.zarr").output.endswith("as built\n")
    assert json.loads(good("store", "info", tmp_path / "S.zarr", "--json").stdout)["digest"] == values["digest"]
    good("store", "report", tmp_path / "S.zarr", "--out", tmp_path / "report.html")
    assert "12 crops of 6 faces" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_eval_gives_every_key(work: Path) -> None:
    values = json.loads((work / "eval.json").read_text())
    assert set(values) >= EVAL_KEYS
    assert len(values["nme_per_block"]) == 6
    assert values["nme"] == values["nme_per_block"][-1]
    assert set(values["nme_by_yaw"]) == {"0-30", "30-60", "60-90"}
    assert 0 < values["nme"] < 100
    assert values["mean_square_coefficient"] >= 0


def test_eval_measures_only_strangers_unless_told(work: Path, synthetic: Path, small_store: Path) -> None:
    source = f"keypoints-csv:{synthetic / 'faces'}"
    held_out = good("eval", work / "run", source, "--json")
    everyone = good("eval", work / "run", source, "--subset", "all", "--json")
    assert "did not train on" in held_out.stderr
    few, all_ = json.loads(held_out.stdout)["faces"], json.loads(everyone.stdout)["faces"]
    val, train = (
        json.loads(good("eval", work / "run", source, "--subset", subset, "--json").stdout)["faces"]
        for subset in ("val", "train")
    )
    assert few == val
    assert val + train == all_
    on_store = json.loads(good("eval", work / "run", small_store, "--subset", "val", "--json").stdout)
    assert (on_store["faces"], on_store["crops"]) == (val, 3 * val)  # three copies a face
    assert pifa("eval", work / "run", small_store, "--boxes", "tight").exit_code == 1


def test_the_first_copy_of_a_store_is_the_tight_box(work: Path, synthetic: Path, small_store: Path) -> None:
    """Crops made by prep and crops made by eval are the same pixels: the errors agree."""
    from pifa_data.store import Store
    from pifa_model.inference import Aligner

    store = Store(small_store)
    aligner = Aligner.load(work / "run" / "best.safetensors")
    face = next(read_faces(f"keypoints-csv:{synthetic / 'faces'}", FORMATS))
    index = store.text("id").index(face.id)
    row = np.flatnonzero((store.read("source") == index) & (store.read("copy") == 0))[0]
    from pifa_data.images import read_image

    [alignment] = aligner(read_image(face.image), [store.read("faces/box")[index]])
    stored = aligner.align_crops(store.read("images")[row : row + 1])
    from pifa_data.boxes import square_of

    square = square_of(store.read("boxes")[row].astype(np.float64), aligner.header.grow, 114)
    np.testing.assert_allclose(alignment.landmarks, square.to_image(stored.landmarks[-1, 0]), atol=0.02)


def test_published_fetched_and_aligned(work: Path, synthetic: Path, tmp_path: Path) -> None:
    registry = ("--registry", work / "registry")
    assert "tiny68@1.0.0" in good("zoo", "list", *registry).output
    assert json.loads(good("zoo", "list", *registry, "--json").stdout)["entries"][0]["name"] == "tiny68"
    good("zoo", "get", "tiny68@1", *registry, "--out", tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").read_bytes() == (work / "run" / "best.safetensors").read_bytes()
    good("zoo", "verify", *registry)
    assert "NME" in good("zoo", "show", "tiny68", *registry).output
    image = sorted((synthetic / "faces" / "images").iterdir())[0]
    common = (image, "--boxes", work / "boxes.csv", "--json")
    by_run = good("align", work / "run", *common, "--overlay", tmp_path / "overlay")
    by_name = good("align", "tiny68@1.0.0", *common, *registry, "--morphable", synthetic / "model.safetensors")
    assert by_run.stdout == by_name.stdout
    [face] = json.loads(by_run.stdout)["faces"]
    assert set(face) >= {"image", "box", "landmarks", "visibility", "pose", "score"}
    assert len(face["landmarks"]) == len(face["visibility"]) == 68
    assert set(face["pose"]) == {"yaw", "pitch", "roll"}
    picture = cv2.imread(str(tmp_path / "overlay" / f"{image.stem}.png"))
    original = cv2.imread(str(image))
    assert picture.shape == original.shape
    green = (picture == (0, 220, 0)).all(2)
    assert green.sum() > 20
    again = pifa("zoo", "publish", work / "run", "--name", "tiny68", "--version", "1.0.0", *registry)
    assert again.exit_code == 1
    assert "tiny68" in again.output


def test_a_version_that_is_no_release_is_published_without_an_oldest(work: Path, tmp_path: Path) -> None:
    """A run of a pifa between two releases, as 0.2.0.dev1."""
    header = read_header(work / "run" / "best.safetensors").model_dump(mode="json")
    text = json.dumps({**header, "pifa_version": "0.2.0.dev1"})
    shutil.copytree(work / "run", tmp_path / "run")
    weights = tmp_path / "run" / "best.safetensors"
    save_file(load_file(weights), weights, metadata={"pifa": text})
    arguments = ("--name", "dev", "--version", "1.0.0", "--registry", tmp_path / "registry")
    good("zoo", "publish", tmp_path / "run", *arguments)
    entry = json.loads(good("zoo", "show", "dev", "--registry", tmp_path / "registry", "--json").stdout)
    assert entry["min_pifa"] is None


def test_align_formats(work: Path, synthetic: Path) -> None:
    folder = synthetic / "faces" / "images"
    count = len(list(folder.iterdir()))
    common = ("align", work / "run", folder, "--boxes", work / "boxes.csv", "--format")
    lines = good(*common, "json").stdout.splitlines()
    assert len(lines) == count
    assert json.loads(lines[0])["score"] <= 1
    table = list(csv.DictReader(good(*common, "csv").stdout.splitlines()))
    assert len(table) == count
    assert float(table[0]["x0"]) == json.loads(lines[0])["box"][0]
    assert float(table[0]["p67_y"]) == json.loads(lines[0])["landmarks"][67][1]
    pts = good(*common, "pts").stdout
    assert pts.count("n_points: 68") == count


def test_align_goes_on_past_bad_images(work: Path, synthetic: Path, tmp_path: Path) -> None:
    image = sorted((synthetic / "faces" / "images").iterdir())[0]
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "cut.jpg").write_bytes(image.read_bytes()[:-200])
    (tmp_path / "one.png").write_bytes(cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes())
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,x0,y0,x1,y1\ntext.jpg,0,0,9,9\ncut.jpg,0,0,90,90\none.png,50,50,60,60\n")
    names = [tmp_path / name for name in ("text.jpg", "cut.jpg", "one.png", "unknown.png")]
    bad = pifa("align", work / "run", *names, "--boxes", boxes, "--json")
    assert bad.exit_code == 1
    reasons = {Path(f["image"]).name: f["reason"] for f in json.loads(bad.stdout)["failures"]}
    assert "not an image" in reasons["text.jpg"]
    assert "cut short" in reasons["cut.jpg"]
    assert "outside the image" in reasons["one.png"]
    assert "has no box" in reasons["unknown.png"]
    boxes.write_text(boxes.read_text() + f"{image.name},10,10,90,90\n")
    some = pifa("align", work / "run", *names, image, "--boxes", boxes, "--json")
    assert some.exit_code == 0
    assert len(json.loads(some.stdout)["faces"]) == 1


def test_an_overlay_never_replaces_a_photo(work: Path, synthetic: Path, tmp_path: Path) -> None:
    image = cv2.imread(str(sorted((synthetic / "faces" / "images").iterdir())[0]))
    for name in ("a.png", "sub/a.png", "a.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "photos" / name), image)
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image, x0, y0, x1, y1\na.png, 10, 10, 90, 90\na.jpg,10,10,90,90\nsub/a.png,20,20,90,90\n")
    before = (tmp_path / "photos" / "a.png").read_bytes()
    common = ("align", work / "run", tmp_path / "photos", "--boxes", boxes, "--json", "--overlay")
    faces = json.loads(good(*common, tmp_path / "out").stdout)["faces"]
    assert [Path(face["image"]).name for face in faces] == ["a.jpg", "a.png", "a.png"]
    assert [face["box"][0] for face in faces] == [10, 10, 20]
    drawn = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert drawn == ["a.png", "a_1.png", "sub/a.png"]
    refused = pifa(*common, tmp_path / "photos")
    assert refused.exit_code == 1
    assert "is one of the images" in refused.output
    assert (tmp_path / "photos" / "a.png").read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,b\n1,2\n",
        "image,x0,y0,x1,y1\na.jpg,1,2,x,4\n",
        "image,x0,y0,x1,y1\na.jpg,1,2\n",
        "image,x0,y0,x1,y1\na.jpg,5,5,5,9\n",
        "image,x0,y0,x1,y1\na.jpg,nan,5,6,9\n",
        "\x00\xff",
    ],
)
def test_bad_boxes_are_refused_by_name(work: Path, synthetic: Path, tmp_path: Path, text: str) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(text, encoding="latin-1")
    result = pifa("align", work / "run", synthetic / "faces" / "images", "--boxes", boxes)
    assert result.exit_code == 1
    assert str(boxes) in result.output
    assert isinstance(result.exception, SystemExit)


def test_wrong_names_get_one_line_and_the_cure(work: Path, small_store: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("prep", "nowhere", "--store", tmp_path / "s", "--morphable", "nobody"), "pifa morphable import"),
        (("eval", tmp_path / "none" / "run", small_store), "no such checkpoint"),
        (("train", tmp_path / "none.zarr", "--out", tmp_path / "r"), "not a store"),
        (("train", small_store, "--out", tmp_path / "r", "--preset", "huge"), "compact, paper"),
        (("zoo", "get", "no-such-name", "--registry", work / "registry"), "no-such-name"),
        (("morphable", "info", "none"), "none"),
    ):
        result = pifa(*arguments)
        assert result.exit_code == 1, arguments
        assert message in result.output
        assert result.output.count("\n") == 1, result.output
    assert pifa("align").exit_code == 2
    assert pifa("prep", "x", "--store", "s", "--morphable", "m", "--size", 115).exit_code == 2
    assert pifa("prep", "x", "--store", "s", "--morphable", "m", "--grow", "nan").exit_code == 2
    assert pifa("prep", "x", "--store", "s", "--morphable", "m", "--profile", "nan").exit_code == 2
    for setting in ("training.epochs=inf", "training.seed=-1", "optimizer.learning_rate=nan"):
        assert pifa("train", small_store, "--out", tmp_path / "r", "--set", setting).exit_code == 1


def test_verbose_and_quiet_stand_anywhere() -> None:
    for arguments in (("-v", "formats"), ("formats", "-q"), ("zoo", "-v", "list"), ("-q", "zoo", "list")):
        good(*arguments)
    assert isinstance(pifa("-v", "morphable", "info", "none").exception, ValueError)  # with its traceback
    assert isinstance(pifa("morphable", "info", "none").exception, SystemExit)


def test_every_command_has_help() -> None:
    def walk(command: Any, path: list[str]) -> None:
        text = good(*path, "--help").output
        assert "Usage" in text
        if not getattr(command, "commands", {}):
            assert "Example:" in text, path
            assert "--quiet" in text, path
        for name, child in getattr(command, "commands", {}).items():
            walk(child, [*path, name])

    walk(main, [])
