"""The model that ships with the program, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import pifa
from originals import mapping_file, spread, write_surrey

from pifa_data.errors import MorphableError
from pifa_data.morphable import MorphableModel, load_builtin
from pifa_data.store import Store
from pipelines.fetch_models import run_get
from pipelines.models import keep_model
from pipelines.sources import find_model, find_model_by_fingerprint, model_folder


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIFA_HOME", str(tmp_path / "home"))


def test_it_is_listed_without_an_import() -> None:
    assert pifa("morphable", "list").stdout.startswith("builtin ")
    [info] = json.loads(pifa("morphable", "list", "--json").stdout)["models"]
    assert info == json.loads(pifa("morphable", "info", "builtin", "--json").stdout)
    assert info["fingerprint"] == load_builtin().fingerprint
    assert "MIT" in info["licence"]


def test_prep_and_fit_take_it_by_default(synthetic: Path, tmp_path: Path) -> None:
    source = f"keypoints-csv:{synthetic / 'faces'}"
    common = (source, "--limit", 3, "--workers", 1)
    done = pifa("fit", *common, "--out", tmp_path / "F.npz")
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "F.npz") as fits:
        assert str(fits["morphable"]) == load_builtin().fingerprint
    done = pifa("prep", *common, "--store", tmp_path / "S.zarr", "--copies", 1)
    assert done.exit_code == 0, done.output
    assert Store(tmp_path / "S.zarr").attributes["morphable"]["name"] == "builtin"
    for command in ("prep", "fit"):
        text = " ".join(pifa(command, "--help").output.split())
        assert "builtin" in text


def test_it_is_found_by_its_fingerprint() -> None:
    assert find_model_by_fingerprint(load_builtin().fingerprint) is load_builtin()


def test_no_other_model_takes_its_name(model: MorphableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = spread(model)
    paths = write_surrey(tmp_path, head)
    mapping = mapping_file(head, tmp_path / "own.toml")
    for name in ("builtin", "builtin.safetensors"):
        done = pifa("morphable", "import", "surrey", *paths, "--landmarks", mapping, "--out", tmp_path / name)
        assert done.exit_code == 1
        assert "ships with the program" in done.stderr
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / name).exists()
    assert pifa("morphable", "get", "builtin").exit_code == 2
    with pytest.raises(MorphableError, match="ships with the program"):
        run_get("builtin")
    with pytest.raises(MorphableError, match="ships with the program"):
        keep_model(load_builtin())
    # Nor does a file that happens to lie about.
    monkeypatch.chdir(tmp_path)
    model.save(tmp_path / "builtin")
    model_folder().mkdir(parents=True)
    model.save(model_folder() / "builtin.safetensors")
    assert find_model("builtin") is load_builtin()
    assert find_model("./builtin").fingerprint == model.fingerprint
