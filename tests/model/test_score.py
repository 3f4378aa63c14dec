"""The score of an alignment, and stopping early."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_config_checkpoint import make_checkpoint

from pifa_data.errors import CheckpointError
from pifa_data.morphable import MorphableModel
from pifa_model.checkpoint import Checkpoint, load_checkpoint
from pifa_model.engine import DISTANCE, TorchEngine
from pifa_model.inference import Aligner
from pifa_model.network import Network

IMAGE = np.random.default_rng(0).integers(0, 255, (150, 150, 3), dtype=np.uint8)
BOX = [30, 30, 110, 110]


@pytest.fixture
def checkpoint(model: MorphableModel, tmp_path: Path) -> Checkpoint:
    make_checkpoint(tmp_path / "a.safetensors", model)
    return load_checkpoint(tmp_path / "a.safetensors", model)


def uncertain(checkpoint: Checkpoint, sigma: float) -> Aligner:
    """An aligner whose last block is sure that every coordinate is off by ``sigma`` crop pixels."""
    config = checkpoint.header.network.model_copy(update={"uncertainty": True})
    network = Network(config, checkpoint.model, points=68)
    network.load_state_dict(checkpoint.network.state_dict(), strict=False)
    for block in network.blocks:
        torch.nn.init.zeros_(block.spread.weight)
        torch.nn.init.constant_(block.spread.bias, float(np.log(sigma)))
    return Aligner(TorchEngine(replace(checkpoint, network=network)))


def test_distance_of_laplaces_points() -> None:
    points = np.random.default_rng(1).laplace(size=(2, 10**6))
    assert np.hypot(*points).mean() / np.sqrt(2) == pytest.approx(DISTANCE, abs=2e-3)


def test_the_score_is_what_the_network_expects_against_a_failure(checkpoint: Checkpoint) -> None:
    grow = checkpoint.header.grow
    for sigma in (0.5, 2.0, 60.0):
        [found] = uncertain(checkpoint, sigma)(IMAGE, [BOX])
        percent = 100 * DISTANCE * sigma * grow / 114
        assert found.score == pytest.approx(max(0.0, 1 - percent / 8), abs=1e-4)
    [other] = Aligner(TorchEngine(checkpoint))(IMAGE, [BOX])
    assert 0 < other.score <= 1
    np.testing.assert_allclose(found.landmarks, other.landmarks, atol=1e-3)


def test_stopping_after_a_block(checkpoint: Checkpoint) -> None:
    crops = np.zeros((2, 114, 114, 3), np.uint8)
    whole, part = (
        Aligner(TorchEngine(checkpoint)).align_crops(crops),
        Aligner(TorchEngine(checkpoint, blocks=2)).align_crops(crops),
    )
    assert part.params.shape[0] == 3
    np.testing.assert_array_equal(part.params, whole.params[:3])
    for blocks in (0, 7):
        with pytest.raises(CheckpointError, match=f"expected 1 to 6, as the checkpoint has, found {blocks}"):
            Aligner(TorchEngine(checkpoint, blocks=blocks))
