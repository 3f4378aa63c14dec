"""Sources of different landmark schemes in one store, and a checkpoint measured in schemes that it never saw."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from command_line import QUICK, good, pifa

from pifa_data.faces import Face
from pifa_data.fitting import LandmarkFitter, landmarks_of
from pifa_data.morphable import load_builtin
from pifa_data.readers import FORMATS, read_faces
from pifa_data.schemes import get_scheme
from pifa_data.store import Store
from pipelines.evaluate import _as_papers_do


@pytest.fixture(scope="module")
def sources(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with synthetic faces labelled in ibug68 (``a``), and others of them in cofw29 (``b``), afw6 (``c``)."""
    folder = tmp_path_factory.mktemp("schemes")
    model = load_builtin()
    faces = [f for f in read_faces(f"keypoints-csv:{synthetic / 'faces'}", FORMATS) if isinstance(f, Face)]
    fitter = LandmarkFitter(model, "ibug68")
    for name, scheme, part in (("a", "ibug68", faces[:12]), ("b", "cofw29", faces[12:]), ("c", "afw6", faces[12:18])):
        images = folder / name / "images"
        images.mkdir(parents=True)
        with (folder / name / "keypoints.csv").open("w", newline="") as file:
            for face in part:
                shutil.copy(face.image, images)
                points = face.landmarks
                if scheme != face.scheme:
                    params = fitter.fit(points[None], face.visibility[None], face.kind).params
                    points = landmarks_of(model, scheme, params, face.kind)[0]
                csv.writer(file).writerow([face.id, *points.ravel().round(3)])
    return folder


def prep(sources: Path, store: Path, *names: str, scheme: str | None = None) -> Result:
    chosen = [f"keypoints-csv:{sources / name}" for name in names]
    more = () if scheme is None else ("--scheme", scheme)
    return pifa("prep", *chosen, "--store", store, "--copies", 2, "--size", 64, "--workers", 1, "--json", *more)


def test_several_schemes_need_a_word(sources: Path, tmp_path: Path) -> None:
    result = prep(sources, tmp_path / "S.zarr", "a", "b")
    assert result.exit_code == 1
    assert "--scheme ibug68" in result.output
    assert "--scheme union" in result.output
    assert not (tmp_path / "S.zarr").exists()
    unknown = prep(sources, tmp_path / "S.zarr", "a", scheme="ibug69")
    assert unknown.exit_code == 1
    assert "'ibug69' is not known" in unknown.output


def test_a_single_scheme_needs_none(sources: Path, tmp_path: Path) -> None:
    assert prep(sources, tmp_path / "S.zarr", "b").exit_code == 0
    store = Store(tmp_path / "S.zarr")
    assert store.attributes["scheme"] == "cofw29"
    assert store.read("landmarks").shape[1:] == (29, 2)


def test_the_order_of_the_sources_does_not_change_the_scheme(sources: Path, tmp_path: Path) -> None:
    for store, names in (("S", "ab"), ("T", "ba")):
        assert prep(sources, tmp_path / store, *names, scheme="union").exit_code == 0
        assert Store(tmp_path / store).attributes["scheme"] == "ibug68+cofw29"


def test_names_that_two_sources_give_are_told_apart(sources: Path, tmp_path: Path) -> None:
    result = prep(sources, tmp_path / "S.zarr", "b", "c", scheme="union")
    assert result.exit_code == 0, result.output
    store = Store(tmp_path / "S.zarr")
    names = store.text("id")
    assert len(names) == len(set(names)) == 18
    twice = [name for name in names if name.startswith("keypoints-csv:")]
    assert len(twice) == 6
    schemes = dict(zip(names, store.text("scheme"), strict=True))
    assert {schemes[name] for name in twice} == {"afw6"}
    # Whoever is labelled twice stays one person.
    people = dict(zip(names, store.text("subject"), strict=True))
    assert all(people[name] == people[name.partition(":")[2]] for name in twice)
    same = pifa("prep", f"keypoints-csv:{sources / 'b'}", sources / "b", "--store", tmp_path / "T.zarr")
    assert same.exit_code == 1
    assert "named twice" in same.output


def test_trained_on_the_union_and_measured_in_each_scheme(sources: Path, tmp_path: Path) -> None:
    store, run = tmp_path / "S.zarr", tmp_path / "run"
    values = json.loads(prep(sources, store, "a", "b", scheme="union").stdout)
    assert (values["faces"], values["skipped"]) == (24, 0)
    rows = Store(store)
    seen = rows.read("faces/visibility") > 0
    by_scheme = np.array(rows.text("scheme"))
    assert seen.shape[1] == len(get_scheme("ibug68+cofw29")) == 68 + 16
    assert (seen[by_scheme == "ibug68"].sum(1) == 68).all()
    assert (seen[by_scheme == "cofw29"].sum(1) == 29).all()
    good("train", store, "--out", run, "--batch-size", 8, "--val-fraction", 0.3, "--epochs", 0.5, *QUICK)
    found = {}
    for name, scheme in (("a", "ibug68"), ("b", "cofw29"), ("c", "afw6")):
        text = good("eval", run, f"keypoints-csv:{sources / name}", "--subset", "all", "--json").stdout
        found[name] = json.loads(text)
        assert found[name]["scheme"] == scheme
        assert found[name]["skipped"] == 0
        assert 0 < found[name]["nme"] < 100
    # Of one untrained network: the same faces from the same kind of box, at other points.
    assert found["b"]["mape"] < 3 * found["a"]["mape"]
    alone = json.loads(good("eval", run, store, "--json").stdout)
    assert alone["scheme"] == "ibug68+cofw29"
    # All labels are visible; that a face's scheme lacks the other's points is no label.
    assert alone["visibility_accuracy"] is None
    assert alone["landmarks"] == "2d"
    turned = json.loads(good("eval", run, f"keypoints-csv:{sources / 'a'},kind=3d", "--subset", "all", "--json").stdout)
    assert turned["landmarks"] == "3d"  # as the faces say, not as it was trained
    for option in (("--split", "x"), ("--limit", 1), ("--where", "size > 1"), ("--boxes", "tight")):
        refused = pifa("eval", run, store, *option)
        assert refused.exit_code == 1
        assert f"as they are: no {option[0]}" in refused.output
    note = pifa("eval", run, f"keypoints-csv:{sources / 'c'}", "--subset", "all").output
    assert "at the landmarks of afw6 (trained with ibug68+cofw29)" in note
    assert "papers measure" not in note  # a table of one's own is in no paper


def test_how_papers_measure_is_told_where_it_is_otherwise() -> None:
    assert _as_papers_do(FORMATS["300w"], "tight") == "; papers measure 300w by --normaliser interocular"
    assert _as_papers_do(FORMATS["300w"], "interocular") == ""
    assert _as_papers_do(FORMATS["afw"], "box") == "; papers measure afw by mape"
    assert _as_papers_do(FORMATS["yolo-pose"], "tight") == ""


def test_faces_with_few_labels_are_measured_by_their_own_box(sources: Path, tmp_path: Path) -> None:
    store, run = tmp_path / "S.zarr", tmp_path / "run"
    assert prep(sources, store, "a").exit_code == 0
    good("train", store, "--out", run, "--batch-size", 8, "--val-fraction", 0, "--epochs", 0.5, *QUICK)
    rows = list(csv.reader((sources / "c" / "keypoints.csv").read_text().splitlines()))
    few = tmp_path / "few"
    shutil.copytree(sources / "c", few)
    entries = []
    for number, row in enumerate(rows):
        points = [float(v) for v in row[1:]]
        keypoints = [v for x, y in zip(points[::2], points[1::2], strict=True) for v in (x, y, 2)]
        keypoints[3:9] = [0] * 6  # two of the six are not labelled: too few to fit
        x0, y0, x1, y1 = min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])
        box = [x0 - 20, y0 - 20, x1 - x0 + 40, y1 - y0 + 40]
        entries.append({"id": number, "image_id": number, "keypoints": keypoints, "bbox": box})
    images = [{"id": number, "file_name": row[0]} for number, row in enumerate(rows)]
    (few / "few.json").write_text(json.dumps({"images": images, "annotations": entries, "categories": []}))
    source = f"coco-json:{few / 'few.json'},images={few / 'images'}"
    tight = pifa("eval", run, source, "--subset", "all", "--boxes", "tight", "--json")
    assert tight.exit_code == 1
    assert "too few labels" in tight.output
    measured = json.loads(good("eval", run, source, "--subset", "all", "--boxes", "dataset", "--json").stdout)
    assert measured["faces"] == 6
    assert measured["mape"] > 0
    assert set(measured["nme_by_yaw"].values()) == {None}  # nobody knows their pose
    assert pifa("fit", source, "--out", tmp_path / "F.npz").exit_code == 1
