"""Training on damaged stores: refused in one line, or stopped in one, and gone on with once the store is mended."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import pifa

from pifa_data.errors import StoreError
from pifa_data.store import Store, shard_key
from pifa_model import batches
from pifa_model.batches import TrainingStream
from pifa_model.store_rows import StoreRows

SETTINGS = {
    "network.hidden": 8,
    "network.visualization.vertices": 150,
    "training.batch_size": 8,
    "training.round_steps": 1,
    "training.val_fraction": 0,
    "training.precision": 32,
    "training.epochs": 3 / 18,  # three batches, one of each shard
}
OPTIONS = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(params=["crops", "faces"])
def store(request: pytest.FixtureRequest, layouts: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a store of 24 faces in three shards, to be damaged."""
    return shutil.copytree(layouts[request.param], tmp_path / "S.zarr")


def part(store: Path, array: str, shard: int) -> Path:
    """The file that holds a shard of an array."""
    return store / shard_key(array, Store(store).layout.columns()[array], shard)


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def shard_read_last(store: Path) -> int:
    """Number of the shard that training with ``SETTINGS`` reads last, where a group is a shard of 8 faces."""
    data = StoreRows(Store(store))
    rows = data.rows_of(np.ones(data.store.layout.faces, bool))
    order, _ = TrainingStream(data, rows, 8, seed=0, mirror=0.5).order(0)
    return int(data.source[order[23]]) // 8


def one_line(output: str, *words: str) -> None:
    """What is printed is one line that says all this."""
    assert output.startswith("pifa: ")
    assert len(output.splitlines()) == 1
    for word in words:
        assert word in output


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


def test_a_file_that_goes_missing_later_is_not_taken_for_black_crops(store: Path) -> None:
    opened = StoreRows(Store(store))
    part(store, "images", 2).unlink()
    with pytest.raises(StoreError, match=r"shard 2, images: .*missing"):
        opened.read_images(opened.rows_of(np.ones(24, bool)))


def test_damage_met_while_training_stops_it_and_the_mended_store_is_gone_on_with(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if Store(store).layout.kind == "crops":
        pytest.skip("both layouts are read by the same lines; a training takes seconds")
    monkeypatch.setattr(batches, "CHUNK", 8)  # a shard
    monkeypatch.setattr(batches, "GROUP", 1)
    run = tmp_path / "run"
    shard = shard_read_last(store)
    file = part(store, "images", shard)
    good = file.read_bytes()
    flip_a_bit(file)
    result = pifa("train", store, "--out", run, "--device", "cpu", *OPTIONS)
    assert result.exit_code == 1
    one_line(result.output, str(store), f"images, shard {shard}", "pifa store verify", "pifa store repair")
    steps = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    assert [row["step"] for row in steps] == ["1", "2"], "what was read before is used"
    file.write_bytes(good)
    assert pifa("train", store, "--out", run, "--device", "cpu", "--resume", *OPTIONS).exit_code == 0
    more = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    assert more[:2] == steps
    assert [row["step"] for row in more] == ["1", "2", "3"]
    flip_a_bit(file)
    result = pifa("eval", run, store, "--subset", "all", "--device", "cpu")
    assert result.exit_code == 1
    one_line(result.output, str(store), f"images, shard {shard}", "pifa store repair")
