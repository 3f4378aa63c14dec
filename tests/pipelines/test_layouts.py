"""Training and measuring on a store of layout ``faces`` as on one of ``crops``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pifa_data.store import Store
from pifa_model.config import load_config
from pifa_model.store_rows import StoreRows
from pipelines.evaluate import run_eval
from pipelines.train import _validation_rows, run_training, split_subjects

SETTINGS = (
    "network.hidden=8",
    "network.visualization.vertices=150",
    "training.batch_size=16",
    "training.round_steps=3",
    "training.val_fraction=0.25",
    "training.precision=32",
    "training.epochs=0.5",
)


def test_a_network_trained_on_faces_measures_the_same_on_crops(layouts: dict[str, Path], tmp_path: Path) -> None:
    trained = run_training(layouts["faces"], tmp_path / "run", load_config("compact", SETTINGS), device="cpu")
    found = {layout: run_eval(str(trained.run), str(path), device="cpu").values for layout, path in layouts.items()}
    crops, faces = found["crops"], found["faces"]
    assert crops["crops"] == faces["crops"] == 6 * 6, "two people of three images, six crops each"
    for key in ("nme", "nme_initial", "mape"):
        assert faces[key] == pytest.approx(crops[key], rel=0.02), key
    assert crops["nme_by_yaw"].keys() == faces["nme_by_yaw"].keys()


@pytest.mark.parametrize("layout", ["crops", "faces"])
def test_validation_takes_one_crop_of_each_face_as_it_was_photographed(layouts: dict[str, Path], layout: str) -> None:
    data = StoreRows(Store(layouts[layout]))
    split = split_subjects(data.subjects, 0.25, 0)
    rows = _validation_rows(data, split)
    faces = np.flatnonzero(split.val)
    assert sorted(data.source[rows]) == faces.tolist()
    assert not data.mirrored[rows].any()
    assert (data.copy[rows] == 1).all()
    data.is_view[faces[2]] = True
    assert sorted(data.source[_validation_rows(data, split)]) == np.delete(faces, 2).tolist()
