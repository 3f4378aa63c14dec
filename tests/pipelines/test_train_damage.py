"""Training on damaged stores: refused in one line, or stopped in one, and gone on with once the store is mended."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import pifa
from safetensors.torch import load_file

from pifa_data.build import PrepConfig
from pifa_data.errors import StoreError
from pifa_data.store import Store
from pifa_model import batches
from pifa_model.batches import TrainingStream
from pifa_model.config import load_config
from pifa_model.store_rows import StoreRows
from pipelines.prep import run_prep
from pipelines.train import run_training

SETTINGS = {
    "network.hidden": 8,
    "network.visualization.vertices": 150,
    "training.batch_size": 8,
    "training.round_steps": 1,
    "training.val_fraction": 0,
    "training.precision": 32,
    "training.epochs": 1,
}
OPTIONS = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module", params=["crops", "faces"])
def three_shards(request: pytest.FixtureRequest, synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 24 faces, 2 crops each, in three shards."""
    store = tmp_path_factory.mktemp("damage") / "S.zarr"
    config = PrepConfig(copies=2, size=114, layout=request.param, shard_faces=8)
    source, model = f"keypoints-csv:{synthetic / 'faces'}", str(synthetic / "model.safetensors")
    run_prep([source], store, morphable=model, config=config, workers=1)
    return store


@pytest.fixture
def store(three_shards: Path, tmp_path: Path) -> Path:
    return shutil.copytree(three_shards, tmp_path / "S.zarr")


def part(store: Path, array: str, shard: int) -> Path:
    """The file that holds a shard of an array."""
    (file,) = (store / array / "c" / str(shard)).rglob("0") if array == "images" else [store / array / "c" / str(shard)]
    return file


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def shard_read_last(store: Path) -> int:
    """Number of the shard that training with ``SETTINGS`` reads last, a shard a group."""
    data = StoreRows(Store(store))
    rows = data.rows_of(np.ones(data.store.layout.faces, bool))
    order, _ = TrainingStream(data, rows, 8, seed=0, mirror=0.5).order(0)
    return int(data.source[order[-1]]) // 8


def one_line(output: str, *words: str) -> None:
    """The last line is the whole error."""
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if line.startswith("Error: ")]
    for word in words:
        assert word in line, line


@pytest.mark.parametrize("array", ["boxes", "faces/params", "images"])
def test_a_truncated_shard_is_refused(store: Path, tmp_path: Path, array: str) -> None:
    file = part(store, array, 1)
    file.write_bytes(file.read_bytes()[:-7])
    result = pifa("train", store, "--out", tmp_path / "run", *OPTIONS)
    assert result.exit_code == 1
    one_line(result.output, str(store), "shard 1", array, "pifa store repair")
    assert not (tmp_path / "run").exists()


def test_a_flipped_bit_in_what_is_read_first_is_refused(store: Path, tmp_path: Path) -> None:
    flip_a_bit(part(store, "boxes", 2))
    result = pifa("train", store, "--out", tmp_path / "run", *OPTIONS)
    assert result.exit_code == 1
    one_line(result.output, str(store), "boxes", "pifa store verify", "pifa store repair")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("damage", ["flipped bit", "missing file"])
def test_damage_met_while_training_stops_it_and_the_mended_store_is_gone_on_with(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    rows_a_shard = 8 if Store(store).layout.kind == "faces" else 16
    monkeypatch.setattr(batches, "CHUNK", rows_a_shard)
    monkeypatch.setattr(batches, "GROUP", 1)
    run, whole = tmp_path / "run", tmp_path / "whole"
    config = load_config("compact", tuple(f"{key}={value}" for key, value in SETTINGS.items()))
    run_training(store, whole, config, device="cpu")
    file = part(store, "images", shard_read_last(store))
    good = file.read_bytes()
    if damage == "flipped bit":
        flip_a_bit(file)
        result = pifa("train", store, "--out", run, *OPTIONS)
        assert result.exit_code == 1
        one_line(result.output, str(store), "images", f"shard {file.parents[2].name}", "pifa store repair")
    else:  # after the store was opened: until then it is refused
        opened = StoreRows(Store(store))
        file.unlink()
        with pytest.raises(StoreError, match=r"shard \d, images"):
            opened.read_images(opened.rows_of(np.ones(24, bool)))
        return
    steps = (run / "metrics.csv").read_text().splitlines()[1:]
    assert 0 < len(steps) < 6, "some rounds were done, not all"
    file.write_bytes(good)
    run_training(store, run, config, device="cpu", resume=True)
    expected, found = load_file(whole / "last.safetensors"), load_file(run / "last.safetensors")
    assert all((expected[name] == found[name]).all() for name in expected)
