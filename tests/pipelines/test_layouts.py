"""Training and measuring on a store of layout ``faces`` as on one of ``crops``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pifa_data.build import PrepConfig
from pifa_data.store import Store
from pifa_model.config import load_config
from pifa_model.store_rows import StoreRows
from pipelines.evaluate import run_eval
from pipelines.prep import run_prep
from pipelines.train import run_training, split_subjects, validation_rows

SETTINGS = (
    "network.hidden=8",
    "network.visualization.vertices=150",
    "training.batch_size=16",
    "training.round_steps=3",
    "training.val_fraction=0.25",
    "training.precision=32",
    "training.epochs=0.5",
)


@pytest.fixture(scope="module")
def run(layouts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network trained on layout ``faces``, three people held out."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    return str(run_training(layouts["faces"], folder, load_config("compact", SETTINGS), device="cpu").run)


def test_a_network_trained_on_faces_measures_the_same_on_crops(layouts: dict[str, Path], run: str) -> None:
    found = {layout: run_eval(run, str(path), device="cpu").values for layout, path in layouts.items()}
    crops, faces = found["crops"], found["faces"]
    assert crops["crops"] == faces["crops"] == 6 * 3, "two people of three images, three crops each, no mirrored ones"
    for key in ("nme", "nme_initial", "mape"):
        assert faces[key] == pytest.approx(crops[key], rel=0.02), key
    assert crops["nme_by_yaw"].keys() == faces["nme_by_yaw"].keys()


def test_a_store_is_measured_on_faces_as_they_were_photographed(
    run: str, synthetic: Path, scheduler: str, tmp_path: Path
) -> None:
    """Mirrored rows and turned views are for training: with them and without, the measures are the same."""
    plain = PrepConfig(copies=2, boxes="detector", grow=1.6)
    found = {}
    for name, config in {"plain": plain, "all": replace(plain, mirror=True, profile=90)}.items():
        source, model = f"keypoints-csv:{synthetic / 'faces'}", str(synthetic / "model.safetensors")
        summary = run_prep([source], tmp_path / name, morphable=model, config=config, scheduler=scheduler, limit=6)
        assert summary.crops == (12 if name == "plain" else 96)
        found[name] = run_eval(run, str(tmp_path / name), subset="all", device="cpu")
        assert "boxes detector grown by 1.6 (trained on tight grown by 1.4)" in found[name].note
    # Rows stand in another order, in which the sums' last bits differ.
    for key in ("faces", "crops", "nme", "nme_per_block", "nme_interocular", "mape"):
        assert found["all"].values[key] == pytest.approx(found["plain"].values[key], rel=1e-4), key
    assert (found["all"].values["faces"], found["all"].values["crops"]) == (6, 12)
    bins = [{k for k, v in result.values["nme_by_yaw"].items() if v is not None} for result in found.values()]
    assert bins[0] == bins[1], "no view fills a bin that no face was photographed in"
    assert "6 of 6 faces" in found["all"].note
    assert "12 crops as photographed: no mirrored ones, no turned views" in found["all"].note
    assert "photographed" not in found["plain"].note


@pytest.mark.parametrize("layout", ["crops", "faces"])
def test_validation_takes_one_crop_of_each_face_as_it_was_photographed(layouts: dict[str, Path], layout: str) -> None:
    data = StoreRows(Store(layouts[layout]))
    split = split_subjects(data.subjects, 0.25, 0)
    rows = validation_rows(data, split.val)
    faces = np.flatnonzero(split.val)
    assert sorted(data.source[rows]) == faces.tolist()
    assert not data.mirrored[rows].any()
    assert (data.copy[rows] == 1).all()
    data.is_view[faces[2]] = True
    assert sorted(data.source[validation_rows(data, split.val)]) == np.delete(faces, 2).tolist()
