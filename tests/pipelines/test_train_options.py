"""What a run can do beside its main job: average, stop early, keep checkpoints, take and validate on other stores."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from command_line import pifa
from disks import resize, small_disk
from safetensors.torch import load_file

from pifa_data.build import PrepConfig
from pifa_data.errors import ConfigError
from pifa_data.store import Store
from pifa_model.checkpoint import read_header
from pifa_model.config import Config, load_config
from pipelines.prep import run_prep
from pipelines.train import run_training

SETTINGS = (
    "network.filters=[[4, 4], [4, 4]]",
    "network.kernels=[5, 3]",
    "losses.blocks=['landmarks', 'landmarks']",
    "losses.weights=[1, 2]",
    "network.hidden=8",
    "network.visualization.vertices=150",
    "training.batch_size=8",
    "training.round_steps=2",
    "training.val_fraction=0.25",
    "training.precision=32",
    "training.epochs=1",  # 6 steps, 3 rounds
)


def config(*more: str) -> Config:
    return load_config("small", SETTINGS + more)


def rounds(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def people(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three stores of other people each, and one of the first people again with other crops."""
    folder = tmp_path_factory.mktemp("people")
    source, model = f"keypoints-csv:{synthetic / 'faces'}", str(synthetic / "model.safetensors")
    names = sorted(
        {face.name.split("_", 1)[1].rsplit("_", 1)[0] for face in (synthetic / "faces" / "images").iterdir()}
    )
    parts = {"first": names[:4], "second": names[4:6], "others": names[6:], "again": names[:4]}
    for index, (name, chosen) in enumerate(parts.items()):
        where = " or ".join(f"subject == {person!r}" for person in chosen)
        run_prep(
            [source], folder / name, morphable=model, config=PrepConfig(copies=3, seed=index), workers=1, where=where
        )
    return {name: folder / name for name in parts}


def test_several_stores_and_one_to_validate_on(people: dict[str, Path], tmp_path: Path) -> None:
    stores = [people["first"], people["second"]]
    run_training(stores, tmp_path / "run", config(), val=people["others"], device="cpu")
    header = read_header(tmp_path / "run" / "last.safetensors")
    assert header.training["store_digests"] == [Store(store).attributes["digest"] for store in stores]
    assert header.training["train_subjects"] == sorted({s for store in stores for s in Store(store).text("subject")})
    assert header.training["val_subjects"] == sorted({*Store(people["others"]).text("subject")})
    assert header.training["faces"] == 18
    told = [float(value) for key, value in rounds(tmp_path / "run")[-1].items() if key.startswith("val_nme")]
    assert header.training["val_nme"] == pytest.approx(told, abs=1e-4)
    # 54 crops, all of which are trained on: 6 steps of 8.
    assert rounds(tmp_path / "run")[-1]["step"] == "6"
    resolved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert [store["path"] for store in resolved["stores"]] == [str(store) for store in stores]
    with pytest.raises(ConfigError, match="begun with other stores"):
        run_training(stores[:1], tmp_path / "run", config(), val=people["others"], device="cpu", resume=True)


def test_people_on_both_sides_are_refused(people: dict[str, Path], tmp_path: Path) -> None:
    result = pifa("train", people["first"], "--val", people["again"], "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "4 of its 4 people are also in" in result.output
    assert not (tmp_path / "run").exists()
    result = pifa(
        "train", people["first"], "--val", people["others"], "--val-fraction", "0.1", "--out", tmp_path / "run"
    )
    assert result.exit_code == 2
    assert "exclude each other" in result.output


def test_a_checkpoint_is_the_average_and_a_resumed_run_goes_on_with_it(small_store: Path, tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run_training(small_store, whole, config("training.ema=0.9"), device="cpu")
    saved = load_file(whole / "last.safetensors")
    state = torch.load(whole / "state" / "last.ckpt", weights_only=True)
    own = {name.removeprefix("network."): tensor for name, tensor in state["average"].items()}
    assert all(torch.equal(saved[name], own[name]) for name in saved)
    assert not torch.equal(saved["blocks.0.update.0.weight"], state["network"]["blocks.0.update.0.weight"])

    class Full(Exception):
        """Ends the run in its second round."""

    with pytest.MonkeyPatch.context() as patch:
        from pipelines.run_folder import RunLog

        add = RunLog.add

        def fails(log: RunLog, report: object, network: object) -> bool:
            if getattr(report, "step", 0) == 4:
                raise Full
            return add(log, report, network)  # type: ignore[arg-type]

        patch.setattr(RunLog, "add", fails)
        with pytest.raises(Full):
            run_training(small_store, stopped, config("training.ema=0.9"), device="cpu")
    run_training(small_store, stopped, config("training.ema=0.9"), device="cpu", resume=True)
    found = load_file(stopped / "last.safetensors")
    assert all(torch.equal(saved[name], found[name]) for name in saved)


def test_it_stops_where_nothing_gets_better_and_stays_stopped(small_store: Path, tmp_path: Path) -> None:
    # With no step worth the name every round is as good as the first.
    settings = ("training.epochs=5", "training.patience=2", "optimizer.learning_rate=1e-30", "training.ema=0.5")
    settings += ("optimizer.weight_decay=0", "training.mirror=0")
    run_training(small_store, tmp_path / "run", config(*settings), device="cpu")
    errors = [float(row["val_nme_block2"]) for row in rounds(tmp_path / "run")]
    best = min(range(len(errors)), key=errors.__getitem__)
    assert len(errors) == best + 3 < 15
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    summary = run_training(small_store, tmp_path / "run", config(*settings), device="cpu", resume=True)
    assert summary is not None
    assert summary.steps == 2 * len(errors)
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before


def test_checkpoints_are_kept_now_and_then(small_store: Path, tmp_path: Path) -> None:
    run_training(small_store, tmp_path / "run", config("training.keep_rounds=2"), device="cpu")
    [kept] = (tmp_path / "run" / "checkpoints").iterdir()
    assert kept.name == "step-0000004.safetensors"
    assert read_header(kept).training["step"] == 4


def test_curves_for_tensorboard_are_those_of_the_table(small_store: Path, tmp_path: Path) -> None:
    if find_spec("tensorboard") is None:
        pytest.skip("TensorBoard is not installed; `pip install 'pifa[tensorboard]'`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_training(small_store, tmp_path / "run", config(), device="cpu")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    found = {scalar.step: scalar.value for scalar in events.Scalars("val_nme/block2")}
    table = {int(row["step"]): float(row["val_nme_block2"]) for row in rounds(tmp_path / "run")}
    assert found == pytest.approx(table, abs=1e-4)
    assert {"loss/train", "learning_rate", "val_nme/block1"} <= set(events.Tags()["scalars"])


@pytest.fixture(name="small_disk")
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that takes a few checkpoints and no more."""
    with small_disk(tmp_path, "4m") as disk:
        yield disk


def test_no_space_left_is_one_line_and_nothing_finished_is_lost(
    small_store: Path, small_disk: Path, tmp_path: Path
) -> None:
    options = ["--preset", "small", "--device", "cpu", *(word for s in SETTINGS for word in ("--set", s))]
    options += ["--set", "training.keep_rounds=1"]
    assert pifa("train", small_store, "--out", tmp_path / "whole", *options).exit_code == 0
    run = small_disk / "run"
    taken = sum(path.stat().st_size for path in (tmp_path / "whole").rglob("*") if path.is_file())
    kept = (tmp_path / "whole" / "checkpoints" / "step-0000002.safetensors").stat().st_size
    # Room for all but the last checkpoint.
    resize(small_disk, (taken - kept) // 4096 * 4096)
    result = pifa("train", small_store, "--out", run, *options)
    assert result.exit_code == 1
    assert "can't be written" in result.output
    assert result.output.rstrip().count("\n") <= 1, "the line about people, and one about the disk"
    header = read_header(run / "last.safetensors")
    assert header.training["step"] >= 2
    resize(small_disk, "16m")
    result = pifa("train", small_store, "--out", run, *options, "--resume")
    assert result.exit_code == 0, result.output
    expected, found = load_file(tmp_path / "whole" / "last.safetensors"), load_file(run / "last.safetensors")
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
