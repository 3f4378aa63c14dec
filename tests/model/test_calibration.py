"""The calibrated score: its numbers, the fit, the header that keeps it, and the command that makes it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_header import header_of
from click.testing import CliRunner
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from pifa_data.boxes import box_size, tight_box
from pifa_data.errors import AnnotationError, CheckpointError, StoreError
from pifa_data.faces import Face
from pifa_data.morphable import MorphableModel
from pifa_data.readers import FORMATS, read_faces
from pifa_model.calibration import FEATURES, SPREAD, Calibration, features_of, fit, scores
from pifa_model.checkpoint import read_header, save_calibrated, save_checkpoint
from pifa_model.config import load_config
from pifa_model.inference import Aligner
from pifa_model.network import Network
from pifa_model.reliability import reliability
from pifa_model.results import CropResult
from pifa_model.shape import Landmarks
from pipelines import calibrate
from pipelines.commands.calibrate import COMMANDS

PEOPLE = np.array([f"person {i % 12}" for i in range(600)])


def example(**changes: object) -> Calibration:
    values = {"threshold": 5.0, "blocks": 2, "features": FEATURES, "bias": 1.0, "crops": 600, "people": 12}
    return Calibration(**{**values, "weights": (-1.0,) * len(FEATURES), **changes})  # type: ignore[arg-type]


def result_of(moved: tuple[float, float] = (20.0, 5.0), coefficients: float = 1.0, scale: float = 1.0) -> CropResult:
    """One crop whose ten points are moved to the right by each of two blocks, and grown by both together."""
    start = np.random.default_rng(0).uniform(30, 80, (10, 2)).astype(np.float32)
    stages = [start, start + np.array([moved[0], 0]), scale * start + np.array([sum(moved), 0])]
    p = np.concatenate([[40.0, 0, 0, 57, 0, -40, 0, 57], np.full(4, coefficients)])
    return CropResult(
        params=np.stack([p, p, p])[:, None].astype(np.float32),
        landmarks=np.stack(stages)[:, None].astype(np.float32),
        visibility=np.ones((1, 10), bool),
        expected=np.array([np.nan]),
    )


def test_features_say_what_the_blocks_did() -> None:
    [row] = features_of(result_of(), to_percent=2.0)
    of = dict(zip(FEATURES, row, strict=True))
    assert of["moved"] == pytest.approx(np.log(10.05), abs=1e-5)
    assert of["moved_before"] == pytest.approx(np.log(40.05), abs=1e-5)
    assert of["moved_in_all"] == pytest.approx(np.log(50.05), abs=1e-5)
    assert of["shape"] == pytest.approx(0, abs=2e-3)
    assert of["size"] == pytest.approx(0, abs=1e-9)
    assert of["offset"] == pytest.approx(50, abs=1e-4)
    assert [of[name] for name in ("yaw", "pitch", "roll")] == pytest.approx([0, 0, 0], abs=1e-6)
    [grown] = features_of(result_of(scale=1.5), 2.0)
    assert grown[FEATURES.index("size")] == pytest.approx(np.log(1.5) ** 2, abs=1e-4)
    uncertain = replace(result_of(), expected=np.array([3.0]))
    assert features_of(uncertain, 2.0)[0, -1] == pytest.approx(np.log(6.05))
    one_block = replace(result_of(), params=result_of().params[:2], landmarks=result_of().landmarks[:2])
    assert np.isfinite(features_of(one_block, 2.0)).all()
    point = replace(result_of(), landmarks=np.zeros_like(result_of().landmarks))
    assert np.isfinite(features_of(point, 2.0)).all()


def test_the_fit_finds_the_probability() -> None:
    rng = np.random.default_rng(1)
    people = np.repeat(PEOPLE, 10)
    features = rng.normal(size=(6000, len(FEATURES))) * 3 + 2
    chance = 1 / (1 + np.exp(-(1.5 * features[:, 0] - features[:, 3] - 1)))
    found = fit(features, rng.random(6000) < chance, people, 2)
    assert found.weights[0] == pytest.approx(1.5, abs=0.15)
    assert found.weights[3] == pytest.approx(-1.0, abs=0.15)
    assert np.abs([found.weights[i] for i in (1, 2, 4, 5, 6, 7, 8)]).max() < 0.1
    assert found.bias == pytest.approx(-1.0, abs=0.5)
    assert (found.crops, found.people, found.blocks) == (6000, 12, 2)
    assert found.ece is not None
    assert found.ece < 0.03
    assert found.auc is not None
    assert found.auc > 0.9
    for same in (np.zeros(6000, bool), np.ones(6000, bool)):
        with pytest.raises(ValueError, match="aligned and crops that are not"):
            fit(features, same, people, 2)
    # Told apart without an error: the weights stay finite.
    assert np.isfinite(fit(features, features[:, 0] > 2, people, 2).weights).all()


def test_measures_of_a_score() -> None:
    told = reliability(np.array([0.0, 0.2, 0.8, 1.0]), np.array([False, False, True, True]))
    assert told.brier == pytest.approx(0.02)
    assert told.ece == pytest.approx(0.1)
    assert told.auc == 1.0
    assert told.bins == [(0.0, 0.0, 1), (0.2, 0.0, 1), (0.8, 1.0, 1), (1.0, 1.0, 1)]
    rng = np.random.default_rng(0)
    score = rng.random(2000).round(2)
    success = rng.random(2000) < score
    pairs = score[success][:, None] - score[~success][None]
    found = reliability(score, success)
    assert found.auc == pytest.approx(float(((pairs > 0) + 0.5 * (pairs == 0)).mean()))
    assert found.ece < 0.05 < reliability(score**3, success).ece
    assert reliability(score, np.ones(2000, bool)).auc is None
    for wrong in (score - 1, score * np.nan, score[:-1], np.zeros(0)):
        with pytest.raises(ValueError, match="expected"):
            reliability(wrong, success)


def test_the_score_is_used_where_it_suits() -> None:
    result, calibration = result_of(), example()
    [score] = scores(calibration, result, 2.0)
    assert score == pytest.approx(1 / (1 + np.exp(-(1 - features_of(result, 2.0).sum()))))
    [still] = scores(calibration, result_of(moved=(0.2, 0.0)), 2.0)
    assert 0 <= score < still <= 1
    rule = 1 / (1 + 10)
    assert scores(None, result, 2.0) == pytest.approx([rule])
    # Stopped after fewer blocks, and of a network that tells its uncertainty, it is another network.
    assert scores(example(blocks=3), result, 2.0) == pytest.approx([rule])
    assert scores(calibration, replace(result, expected=np.array([1.0])), 2.0) == pytest.approx([0.75])
    assert example(weights=(1e300,) * len(FEATURES)).score(result, 2.0) == pytest.approx([1.0])


@pytest.mark.parametrize(
    "changes",
    [
        {"features": ("moved",), "weights": (1.0,)},
        {"features": (*FEATURES, SPREAD)},
        {"weights": (1.0,)},
        {"weights": (float("nan"),) * len(FEATURES)},
        {"bias": float("inf")},
        {"threshold": 0.0},
        {"blocks": 0},
        {"surplus": 1},
    ],
)
def test_a_calibration_is_checked(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        example(**changes)


@pytest.fixture
def checkpoint(model: MorphableModel, tmp_path: Path) -> Path:
    """Of a network without training that leaves the mean face in the middle of the crop, as large as in a tight box."""
    config = load_config("small", ("network.hidden=8", "network.visualization.vertices=150"))
    torch.manual_seed(0)
    network = Network(config.network, model)
    unit = torch.tensor([[1.0, 0, 0, 0, 0, -1, 0, 0, *[0] * model.n_coefficients]])
    points = Landmarks(model, "ibug68")(unit, torch.tensor([False]))[0].numpy()
    low, high = points.min(0), points.max(0)
    k = 114 / 1.4 / float(np.sqrt((high - low).prod()))
    x, y = 56.5 - k * (low + high) / 2
    network.initial[:8] = torch.tensor([k, 0, 0, x, 0, -k, 0, y])
    (tmp_path / "run").mkdir()
    file = tmp_path / "run" / "best.safetensors"
    save_checkpoint(file, header_of(config, model, preset="small"), network)
    model.save(file.with_name("morphable.safetensors"))
    return file


def test_the_header_keeps_it(checkpoint: Path, tmp_path: Path) -> None:
    assert read_header(checkpoint).calibration is None
    out = tmp_path / "new" / "best.safetensors"
    calibration = example(blocks=len(read_header(checkpoint).network.filters))
    save_calibrated(checkpoint, out, calibration)
    assert read_header(out).calibration == calibration
    assert {p.name for p in out.parent.iterdir()} == {"best.safetensors", "morphable.safetensors"}
    crops = np.random.default_rng(0).integers(0, 255, (2, 114, 114, 3), dtype=np.uint8)
    before, after = Aligner.load(checkpoint), Aligner.load(out.parent)
    result = before.align_crops(crops)
    np.testing.assert_array_equal(result.params, after.align_crops(crops).params)
    expected = calibration.score(result, 100 * 1.4 / 114)
    np.testing.assert_array_equal(after.scores(result), expected)
    assert not np.allclose(before.scores(result), expected)
    (out.parent / "morphable.safetensors").write_bytes(b"another")
    with pytest.raises(CheckpointError, match="is of another checkpoint"):
        save_calibrated(checkpoint, out, calibration)


def test_a_copy_beside_another_morphable_model_is_refused_before_anything_is_aligned(
    checkpoint: Path, model: MorphableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As with the built-in model: none lies beside the checkpoint.
    own = checkpoint.with_name("morphable.safetensors").rename(tmp_path / "own.safetensors")
    other = replace(model, mean=model.mean * 1.01)
    (tmp_path / "out").mkdir()
    other.save(tmp_path / "out" / "morphable.safetensors")
    monkeypatch.setattr(calibrate, "load_faces", lambda *_, **__: pytest.fail("faces were read"))
    for name, expected in ((checkpoint, "is of another checkpoint"), (tmp_path / "a.onnx", "calibrate, then export")):
        with pytest.raises(CheckpointError, match=expected):
            calibrate.run_calibrate(
                str(name), "csv:faces", tmp_path / "out" / "a.safetensors", morphable=str(own), device="cpu"
            )
    (tmp_path / "out" / "morphable.safetensors").unlink()
    own.rename(tmp_path / "out" / "morphable.safetensors")
    save_calibrated(checkpoint, tmp_path / "out" / "a.safetensors", example())
    Aligner.load(tmp_path / "out" / "a.safetensors")


def test_a_header_with_a_wrong_calibration(checkpoint: Path, tmp_path: Path) -> None:
    document = read_header(checkpoint).model_dump(mode="json")
    document["calibration"] = {**example().model_dump(mode="json"), "weights": [1.0]}
    path = tmp_path / "wrong.safetensors"
    save_file(load_file(checkpoint), path, metadata={"pifa": json.dumps(document)})
    with pytest.raises(CheckpointError, match=r"header key calibration: .*expected 9 weights, found 1"):
        read_header(path)


def test_places_without_a_face_lie_beside_it(synthetic: Path) -> None:
    faces = [face for face in read_faces(str(synthetic / "faces"), FORMATS) if isinstance(face, Face)][:20]
    found = 0
    for face in faces:
        boxes, kind = calibrate._boxes(face, face.landmarks, face.visibility, (160, 160))
        tight = tight_box(face.landmarks, face.visibility)
        size = box_size(tight)
        away = [np.abs(box[:2] + box[2:] - tight[:2] - tight[2:]).max() / 2 / size for box in boxes]
        assert max(away[:3]) < 0.3
        if np.isnan(kind[-1]):
            found += 1
            shared = (np.minimum(boxes[-1][2:], tight[2:]) - np.maximum(boxes[-1][:2], tight[:2])).clip(0).prod()
            assert shared < 0.1 * box_size(boxes[-1]) ** 2
    assert found > 5
    assert calibrate._boxes(faces[0], faces[0].landmarks, np.zeros(68, np.uint8), (160, 160))[0] == []


def test_the_command_writes_a_calibrated_copy(
    checkpoint: Path, synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = f"keypoints-csv:{synthetic / 'faces'}", tmp_path / "out" / "best.safetensors"
    [command] = COMMANDS
    with pytest.raises(AnnotationError, match="expected 40 faces of two people or more to fit a score on, found 4 of "):
        calibrate.run_calibrate(str(checkpoint), source, out, limit=4, device="cpu")
    monkeypatch.setattr(calibrate, "FEWEST", 4)
    # In good boxes the mean face is 10 to 25 % off.
    with pytest.raises(AnnotationError, match="have an error below 5 %"):
        calibrate.run_calibrate(str(checkpoint), source, out, limit=4, device="cpu")
    assert not out.exists()
    monkeypatch.setattr(calibrate, "ALIGNED", 30.0)
    arguments = [str(checkpoint), source, "--out", str(out), "--limit", "8", "--device", "cpu", "--json"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["crops"] > 80
    assert read_header(out).calibration == Calibration.model_validate_json(result.stdout)
    with pytest.raises(CheckpointError, match="exists; give another name or --overwrite"):
        calibrate.run_calibrate(str(checkpoint), source, out)
    with pytest.raises(CheckpointError, match=r"ends in \.safetensors"):
        calibrate.run_calibrate(str(checkpoint), source, tmp_path / "a.onnx")
    with pytest.raises(StoreError, match="no background to learn from"):
        calibrate.run_calibrate(str(checkpoint), "s3://bucket/store.zarr", tmp_path / "b.safetensors")
