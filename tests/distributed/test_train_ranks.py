"""Training by two processes on this machine (gloo): started by the program, by torchrun, stopped, gone on with."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pifa_data.errors import ConfigError
from pifa_model.ranks import Ranks, find_ranks

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = [
    *("--preset", "small", "--device", "cpu", "--batch-size", "8", "--val-fraction", "0.25", "--epochs", "1.2"),
    *("--set", "network.hidden=8", "--set", "network.visualization.vertices=150", "--set", "training.round_steps=2"),
    *("--set", "training.precision=32", "--set", "training.ema=0.5"),
]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
PATIENCE = 240


def environment() -> dict[str, str]:
    """Without what a launcher around these tests may have left."""
    gone = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "NODE_RANK")
    return {name: value for name, value in os.environ.items() if name not in gone} | {"OMP_NUM_THREADS": "1"}


def start(launcher: list[str], store: Path, run: Path, *more: str) -> subprocess.Popen[str]:
    command = [*launcher, str(ROOT / "cli.py"), "train", str(store), "--out", str(run), *OPTIONS, *more]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Status and output; a process that hangs fails the test and is ended with those it started."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, out, err


@pytest.fixture(scope="module")
def whole(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by torchrun that nobody stopped."""
    run = tmp_path_factory.mktemp("ranks") / "run"
    status, out, err = finish(start(TORCHRUN, small_store, run))
    assert status == 0, err
    assert out.count("best validation NME") == 1, "the first process alone speaks"
    return run


def test_two_processes_validate_on_every_face_once_and_learn(whole: Path, small_store: Path) -> None:
    rows = list(csv.DictReader((whole / "metrics.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == [2, 4, 6, 7]
    assert all(float(row["train_loss"]) > 0 for row in rows)
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    # The error of the saved network on all held-out faces is the one that the ranks found in parts.
    from pifa_data.store import Store
    from pifa_model.checkpoint import load_checkpoint
    from pifa_model.shape import Landmarks
    from pifa_model.store_rows import StoreRows
    from pifa_model.validation import HeldOut
    from pipelines.train import split_subjects, validation_rows

    data = StoreRows(Store(small_store))
    split = split_subjects(data.subjects, 0.25, 0)
    network = load_checkpoint(whole / "last.safetensors", data.store.model).network
    held_out = HeldOut(data, validation_rows(data, split.val))
    errors = held_out.errors(network, Landmarks(data.store.model, data.store.attributes["scheme"]))
    assert errors.mean(1).tolist() == pytest.approx(
        [float(rows[-1][f"val_nme_block{i}"]) for i in range(1, 7)], abs=2e-3
    )


def test_stopped_and_resumed_by_another_launcher_equals_never_stopped(
    whole: Path, small_store: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start([sys.executable], small_store, run, "--devices", "2")
    deadline = time.monotonic() + PATIENCE
    while not (run / "state" / "last.ckpt").is_file() and process.poll() is None:
        assert time.monotonic() < deadline, "no round was finished"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    status, _, err = finish(start([sys.executable], small_store, run, "--devices", "2", "--resume"))
    assert status == 0, err
    expected, found = load_file(whole / "last.safetensors"), load_file(run / "last.safetensors")
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name


def test_a_loss_that_is_no_number_stops_all(small_store: Path, tmp_path: Path) -> None:
    wild = ["optimizer.learning_rate=1e18", "optimizer.name=sgd", "optimizer.warmup_steps=0", "training.clip=1e30"]
    options = [word for setting in wild for word in ("--set", setting)]
    status, _, err = finish(start([sys.executable], small_store, tmp_path / "run", "--devices", "2", *options))
    assert status == 1
    lines = [line for line in err.splitlines() if line.startswith("pifa: ")]
    assert lines
    assert all("the loss is " in line and "S.zarr: rows " in line for line in lines)
    # The rows of the whole batch, each rank's half of it among them.
    assert len(lines[0].split("rows ", 1)[1].split(";", 1)[0].split(",")) == 8


def test_a_batch_without_equal_parts_is_refused_before_anything_is_written(small_store: Path, tmp_path: Path) -> None:
    status, _, err = finish(start([sys.executable], small_store, tmp_path / "run", "--devices", "3"))
    assert status == 1
    assert "training.batch_size: 8 rows" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("environ", "devices", "expected"),
    [
        ({}, None, Ranks(1, 1, True)),
        ({}, 4, Ranks(4, 1, True)),
        ({"LOCAL_RANK": "3"}, 4, Ranks(4, 1, False)),
        (
            {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "RANK": "4", "LOCAL_RANK": "0"},
            None,
            Ranks(4, 2, False, "torchrun"),
        ),
        ({"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_PROCID": "0"}, 4, Ranks(4, 2, True, "SLURM")),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, 2, Ranks(2, 1, True)),
    ],
)
def test_who_started_the_processes(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], devices: int | None, expected: Ranks
) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM", "TORCHELASTIC")) or "RANK" in name]:
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert find_ranks(devices) == expected


def test_another_number_of_devices_than_the_launcher_started_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="torchrun started 2 processes here; leave --devices out"):
        find_ranks(3)
