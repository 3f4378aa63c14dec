"""Training runs: split by person, files of a run, resume that equals never having stopped, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pifa_data.errors import ConfigError, PifaError, StoreError
from pifa_data.store import Store
from pifa_model.checkpoint import read_header
from pifa_model.config import Config, load_config
from pifa_model.store_rows import StoreRows
from pipelines.checkpoints import computes_bf16
from pipelines.train import run_training, split_subjects

SETTINGS = (
    "network.hidden=8",
    "network.visualization.vertices=150",
    "training.batch_size=8",
    "training.round_steps=2",
    "training.val_fraction=0.25",
    "training.precision=32",
    "training.epochs=1.2",  # past the end of an epoch, and with a last round of one step
)


def config(*more: str) -> Config:
    return load_config("compact", SETTINGS + more)


@pytest.fixture(scope="module")
def run(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("train") / "run"
    run_training(small_store, out, config(), device="cpu")
    return out


def test_a_run_holds_what_its_readers_need(run: Path, small_store: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names == {
        *("best.safetensors", "last.safetensors", "config.json", "metrics.csv", "curves.png"),
        *("morphable.safetensors", "state"),
        *(["tensorboard"] if find_spec("tensorboard") else []),
    }
    header = read_header(run / "last.safetensors")
    assert header.grow == Store(small_store).attributes["config"]["grow"]
    assert header.boxes == "tight"
    assert header.landmark_kind == "2d"
    assert header.morphable.fingerprint == Store(small_store).model.fingerprint
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    steps = [int(row["step"]) for row in rows]
    assert steps == sorted(steps)
    assert steps[-1] == header.training["step"]
    assert all(float(row["val_nme_block6"]) > 0 for row in rows)
    text = json.dumps(header.model_dump(mode="json"))
    assert str(small_store.parent) not in text, "a checkpoint must not tell where somebody's data lies"


def test_people_are_on_one_side_only(run: Path, small_store: Path) -> None:
    header = read_header(run / "best.safetensors")
    train, val = set(header.training["train_subjects"]), set(header.training["val_subjects"])
    assert train
    assert val
    assert not train & val
    data = StoreRows(Store(small_store))
    assert train | val == set(data.subjects)
    split = split_subjects(data.subjects, 0.25, 0)
    rows = data.rows_of(split.train)
    assert {data.subjects[face] for face in data.source[rows]} == train


def test_initial_parameters_come_from_the_training_rows_alone(run: Path, small_store: Path) -> None:
    data = StoreRows(Store(small_store))
    split = split_subjects(data.subjects, 0.25, 0)
    weights = load_file(run / "last.safetensors")
    np.testing.assert_allclose(
        weights["initial"], data.labels(data.rows_of(split.train)).params.mean(0), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.89])
def test_split_is_repeatable_and_leaves_someone_to_train_on(fraction: float) -> None:
    subjects = [f"person {i // 3}" for i in range(30)]
    split = split_subjects(subjects, fraction, 5)
    again = split_subjects(subjects, fraction, 5)
    assert split.val_subjects == again.val_subjects
    assert (split.train ^ split.val).all()
    assert split.train.any()
    assert bool(split.val_subjects) == (fraction > 0)


def test_resumed_equals_never_stopped(run: Path, small_store: Path, tmp_path: Path) -> None:
    """A run killed in the middle of a round and resumed ends with the very same weights."""
    out = tmp_path / "run"
    command = "import sys; from tests.pipelines.test_train import *; torch.set_num_threads(1); "
    command += "run_training(Path(sys.argv[1]), Path(sys.argv[2]), config(), device='cpu')"
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", command, str(small_store), str(out)], cwd=root, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while not (out / "state" / "last.ckpt").is_file() and process.poll() is None:
            assert time.monotonic() < deadline, "no round was finished"
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    run_training(small_store, out, config(), device="cpu", resume=True)
    expected, found = load_file(run / "last.safetensors"), load_file(out / "last.safetensors")
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name

    def curve(folder: Path) -> list[tuple[str, str]]:
        rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
        return [(row["step"], row["train_loss"]) for row in rows]

    assert curve(out) == curve(run)


def test_resuming_a_finished_run_changes_nothing(run: Path, small_store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    before = (copy / "last.safetensors").read_bytes()
    run_training(small_store, copy, config(), device="cpu", resume=True)
    assert (copy / "last.safetensors").read_bytes() == before


def test_what_is_there_is_not_overwritten(run: Path, small_store: Path, tmp_path: Path) -> None:
    with pytest.raises(PifaError, match="--resume to go on"):
        run_training(small_store, run, config(), device="cpu")
    with pytest.raises(ConfigError, match=r"another config \(config.training.seed\)"):
        run_training(small_store, run, config("training.seed=9"), device="cpu", resume=True)
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter1.tex").write_text("years of work")
    (foreign / "config.json").write_text("{}")  # other programs have one too
    with pytest.raises(PifaError, match="not a run folder"):
        run_training(small_store, foreign, config(), device="cpu", overwrite=True)
    assert (foreign / "chapter1.tex").read_text() == "years of work"


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(small_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    wild = config(
        "optimizer.learning_rate=1e18", "optimizer.warmup_steps=0", "optimizer.name=sgd", "training.clip=1e30"
    )
    # What is reported before the loss fails stays; what matters is that the error names step and rows.
    with pytest.raises(PifaError, match=r"the loss is (nan|inf) at step \d+, \S+S\.zarr: rows \d+, "):
        run_training(small_store, out, wild, device="cpu")


@pytest.mark.parametrize("fraction", [0, 0.25])
def test_weights_spoilt_by_a_round_s_last_step_replace_no_checkpoint(
    small_store: Path, tmp_path: Path, fraction: float
) -> None:
    """The loss of a step is of the weights before it."""
    options = ("training.round_steps=1", f"training.val_fraction={fraction}", "optimizer.name=sgd")
    options += ("optimizer.warmup_steps=0", "training.clip=1e30")
    good = config(*options, "training.epochs=0.17")
    run_training(small_store, tmp_path / "good", good, device="cpu")
    wild = config(*options, "optimizer.schedule=steps", "optimizer.learning_rate=1e-9", "optimizer.steps=[[0.1, 1e38]]")
    with pytest.raises(PifaError, match=r"weights are no numbers any more after step 2"):
        run_training(small_store, tmp_path / "run", wild, device="cpu")
    for name in ("best", "last"):
        kept = load_file(tmp_path / "run" / f"{name}.safetensors")
        assert all(bool(torch.isfinite(tensor).all()) for tensor in kept.values()), name
        assert read_header(tmp_path / "run" / f"{name}.safetensors").training["step"] == 1
    state = torch.load(tmp_path / "run" / "state" / "last.ckpt", weights_only=True)
    assert state["step"] == 1


def test_sigterm_is_told(small_store: Path, tmp_path: Path) -> None:
    """Lightning makes an exit without an error of it."""
    root = Path(__file__).resolve().parents[2]
    long = [*SETTINGS[:-1], "training.epochs=500"]
    options = [word for setting in long for word in ("--set", setting)]
    command = [sys.executable, str(root / "cli.py"), "train", str(small_store), "--out", str(tmp_path / "run")]
    process = subprocess.Popen([*command, *options, "--device", "cpu"], cwd=root, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "state" / "last.ckpt").is_file() and process.poll() is None:
        assert time.monotonic() < deadline, "no round was finished"
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "stopped by SIGTERM" in told


def test_a_run_without_its_state_is_not_begun_anew_in_silence(run: Path, small_store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "state" / "last.ckpt").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(PifaError, match=r"last.ckpt: can't be read"):
        run_training(small_store, copy, config(), device="cpu", resume=True)
    shutil.rmtree(copy / "state")
    with pytest.raises(PifaError, match="no state to go on with"):
        run_training(small_store, copy, config(), device="cpu", resume=True)
    assert (copy / "best.safetensors").read_bytes() == (run / "best.safetensors").read_bytes()


def test_an_unfinished_store_is_refused(small_store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "S.zarr"
    shutil.copytree(small_store, copy)
    file = copy / "zarr.json"
    document = json.loads(file.read_text())
    document["attributes"]["complete"] = False
    file.write_text(json.dumps(document))
    with pytest.raises(StoreError, match="--resume"):
        run_training(copy, tmp_path / "run", config(), device="cpu")


def test_overwrite_keeps_the_old_run_until_the_settings_are_known_to_be_good(
    run: Path, small_store: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    with pytest.raises(ConfigError, match="batch_size"):
        run_training(small_store, copy, config("training.batch_size=99999"), device="cpu", overwrite=True)
    assert (copy / "best.safetensors").read_bytes() == (run / "best.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="float16"):
        run_training(small_store, tmp_path / "new", config("training.precision=16"), device="cpu")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "32")])
def test_the_precision_follows_the_processor_and_is_kept(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: bool, expected: str
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: native)
    assert computes_bf16("cpu") is native
    run_training(small_store, tmp_path / "run", config("training.precision=auto"), device="cpu")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["training"]["precision"] == expected


def test_one_person_alone_cant_be_held_out() -> None:
    assert split_subjects(["a", "a"], 0.5, 0).val_subjects == []


def test_cuda_is_refused_where_there_is_none(small_store: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(ConfigError, match="no CUDA device"):
        run_training(small_store, tmp_path / "run", config(), device="cuda")
