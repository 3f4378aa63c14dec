"""A cascade: one block a stage, the others untouched, and going on where it was left."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from pifa_data.errors import ConfigError
from pifa_model.checkpoint import read_header
from pifa_model.config import Config, load_config
from pifa_model.stages import learning_rate_factor, stages_of
from pipelines import run_folder, train
from pipelines.train import run_training

SETTINGS = (
    "network.filters=[[4, 4], [4, 4], [4, 4]]",
    "network.kernels=[5, 3, 3]",
    "losses.blocks=['landmarks', 'parameters', 'landmarks']",
    "losses.weights=[1, 2, 3]",
    "network.hidden=8",
    "network.visualization.vertices=150",
    "training.cascade=true",
    "training.batch_size=8",
    "training.round_steps=2",
    "training.val_fraction=0.25",
    "training.precision=32",
    "training.epochs=1.333",  # 8 steps: stages of 3, 2 and 3
)
STAGES = [(1, 2), (1, 3), (2, 5), (3, 7), (3, 8)]
"""Stage and last step of each round."""


def config(*more: str) -> Config:
    return load_config("compact", SETTINGS + more)


def rows_of(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))


class StoppedError(Exception):
    """What ends a run."""


class Watched(run_folder.RunLog):
    """Keeps the network's state after each round, and may end a run before a round is kept."""

    states: ClassVar[list[dict[str, Tensor]]] = []
    ends_at = 0

    def add(self, report: Any, network: Any) -> None:
        if report.step == Watched.ends_at:
            raise StoppedError
        super().add(report, network)
        Watched.states.append({name: tensor.clone() for name, tensor in network.state_dict().items()})


@pytest.fixture(scope="module")
def whole(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Tensor]]]:
    """A run that nobody stopped, and the state after each of its rounds."""
    run = tmp_path_factory.mktemp("cascade") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "RunLog", Watched)
        patch.setattr(Watched, "states", [])
        run_training(small_store, run, config(), device="cpu")
        return run, Watched.states


def test_a_stage_changes_its_own_block_only(whole: tuple[Path, list[dict[str, Tensor]]]) -> None:
    _, states = whole
    assert len(states) == len(STAGES)
    for (before, after), (stage, _) in zip(pairwise(states), STAGES[1:], strict=True):
        changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
        assert changed, "a round without an effect"
        assert {name.split(".")[1] for name in changed} == {str(stage - 1)}
        # Batch norm took statistics in the block that was trained; in the frozen ones it did not.
        assert any(name.endswith("running_mean") for name in changed)


def test_the_table_says_the_stage(whole: tuple[Path, list[dict[str, Tensor]]]) -> None:
    rows = rows_of(whole[0])
    assert [(int(row["stage"]), int(row["step"])) for row in rows] == STAGES
    for row in rows:
        filled = [key for key, value in row.items() if key.startswith("val_nme_block") and value]
        assert len(filled) == int(row["stage"]), "later blocks are not run"
    best = min(rows[-2:], key=lambda row: float(row["val_nme_block3"]))
    assert read_header(whole[0] / "best.safetensors").training["step"] == int(best["step"])


@pytest.mark.parametrize("ends_at", [3, 5, 8])
def test_a_killed_cascade_goes_on_as_if_it_had_not_been(
    whole: tuple[Path, list[dict[str, Tensor]]], small_store: Path, tmp_path: Path, ends_at: int
) -> None:
    """Resumed in the middle of a stage (steps 2 and 7) and between two (step 3)."""
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "RunLog", Watched)
        patch.setattr(Watched, "states", [])
        patch.setattr(Watched, "ends_at", ends_at)
        with pytest.raises(StoppedError):
            run_training(small_store, run, config(), device="cpu")
        kept = Watched.states
        patch.setattr(Watched, "ends_at", 0)
        run_training(small_store, run, config(), device="cpu", resume=True)
        assert len(kept) == len(STAGES), "each round once"
    for name, tensor in whole[1][-1].items():
        assert torch.equal(kept[-1][name], tensor), name
    for found, expected in zip(rows_of(run), rows_of(whole[0]), strict=True):
        times = {"seconds": "", "cpu_seconds": ""}
        assert found | times == expected | times


def test_stages_share_the_steps_and_each_runs_through_the_schedule() -> None:
    stages = stages_of(config(), 8)
    assert [(s.number, s.block, s.blocks, s.first, s.stop) for s in stages] == [
        (1, 0, 1, 0, 3),
        (2, 1, 2, 3, 5),
        (3, 2, 3, 5, 8),
    ]
    [only] = stages_of(config("training.cascade=false"), 8)
    assert (only.block, only.blocks, only.first, only.stop) == (None, None, 0, 8)
    with pytest.raises(ConfigError, match="3 blocks need as many steps, found 2"):
        stages_of(config(), 2)
    # 33 epochs of 10 steps in three stages: the rates that rise at epoch 20 do at step 67 of a stage.
    factor = learning_rate_factor(load_config("paper"), 330, 10, speed=3)
    assert [factor(step) for step in (0, 66, 67, 96, 97)] == pytest.approx([1, 1, 5, 5, 0.1])
    warm = learning_rate_factor(config("optimizer.warmup_steps=30"), 300, 10, speed=3)
    assert warm(0) < 0.1
    assert warm(9) > 0.9, "warm after 10 steps of a stage of 100"
    assert warm(99) < 0.02
