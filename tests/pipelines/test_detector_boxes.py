"""Boxes as a face detector's: what prep takes with them, and what eval draws for a checkpoint trained on them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_header import header_of
from command_line import good, pifa

from pifa_data.boxes import DETECTOR_GROW, box_size, detector_box, tight_box
from pifa_data.build import PrepConfig
from pifa_data.errors import AnnotationError
from pifa_data.faces import Face
from pifa_data.fitting import Fitters
from pifa_data.morphable import MorphableModel
from pifa_data.readers import FORMATS, read_faces
from pifa_model.checkpoint import save_checkpoint
from pifa_model.config import load_config
from pifa_model.network import Network
from pipelines.eval_collect import input_box


@pytest.fixture
def checkpoint(model: MorphableModel, tmp_path: Path) -> Path:
    """Of a small network without training, whose header says that it was trained on a detector's boxes."""
    config = load_config("compact", ("network.hidden=8", "network.visualization.vertices=150"))
    torch.manual_seed(0)
    header = header_of(config, model, boxes="detector", grow=DETECTOR_GROW)
    save_checkpoint(tmp_path / "last.safetensors", header, Network(config.network, model))
    model.save(tmp_path / "morphable.safetensors")
    return tmp_path


def test_eval_follows_a_checkpoint_of_detector_boxes(checkpoint: Path, synthetic: Path) -> None:
    command = ("eval", checkpoint, f"keypoints-csv:{synthetic / 'faces'}", "--limit", 6, "--json")
    result = good(*command)
    assert "as a face detector's" in result.stderr
    measured = json.loads(result.stdout)
    assert measured["boxes"] == "detector"
    again = json.loads(good(*command, "--boxes", "detector").stdout)
    assert again["nme_per_block"] == measured["nme_per_block"]
    tight = good(*command, "--boxes", "tight")
    assert "detector" not in tight.stderr
    assert json.loads(tight.stdout)["nme"] != measured["nme"]


@pytest.mark.parametrize(
    ("options", "grow", "jitter"),
    [
        ((), 1.4, (0.05, 0.05)),
        (("--boxes", "dataset"), 1.4, (0.05, 0.05)),
        (("--boxes", "detector"), 1.6, (0.03, 0.1)),
        (("--boxes", "detector", "--grow", 2, "--jitter", "0.01,0.02"), 2.0, (0.01, 0.02)),
    ],
)
def test_prep_takes_what_suits_the_boxes(
    options: tuple, grow: float, jitter: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[PrepConfig] = []

    def run_prep(*_: object, config: PrepConfig, **__: object) -> None:
        taken.append(config)
        raise AnnotationError("enough")

    monkeypatch.setattr("pipelines.prep.run_prep", run_prep)
    assert pifa("prep", tmp_path, "--store", tmp_path / "S.zarr", *options).exit_code == 1
    assert (taken[0].grow, (taken[0].jitter_shift, taken[0].jitter_scale)) == (grow, jitter)


def test_drawn_boxes_lie_about_the_detectors(synthetic: Path, model: MorphableModel) -> None:
    faces = [face for face in read_faces(str(synthetic / "faces"), FORMATS) if isinstance(face, Face)][:8]
    fitters = Fitters(model)
    fits = fitters(faces[0].scheme).fit(
        np.stack([face.landmarks for face in faces]), np.stack([face.visibility for face in faces]), "2d"
    )
    away = []
    for face, params in zip(faces, fits.params, strict=True):
        box = input_box(face, "detector", params, face.scheme, fitters)
        np.testing.assert_array_equal(box, input_box(face, "detector", params, face.scheme, fitters))
        tight = tight_box(face.landmarks, face.visibility)
        # Without a fit the data set's own pose tells the yaw.
        posed = replace(face, pose=np.zeros(3))
        unturned = input_box(posed, "detector", None, face.scheme, fitters)
        size = box_size(tight)
        away.append((unturned[:2] + unturned[2:] - detector_box(tight, np.array(0.0)).reshape(2, 2).sum(0)) / 2 / size)
        with pytest.raises(AnnotationError, match="which way the face looks"):
            input_box(replace(face, pose=None), "detector", None, face.scheme, fitters)
    assert 0.01 < np.std(away) < 0.08  # DETECTOR_SHIFT is 0.03 of the detector's box
