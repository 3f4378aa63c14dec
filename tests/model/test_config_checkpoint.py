"""Presets and checkpoints: what is refused, and that what is saved comes back."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_header import header_of
from safetensors.torch import load_file, save_file

from pifa_data.errors import CheckpointError, ConfigError
from pifa_data.morphable import MorphableModel
from pifa_model.checkpoint import load_checkpoint, read_header, save_checkpoint
from pifa_model.config import Config, load_config, preset_names
from pifa_model.network import Network


def tiny_config() -> Config:
    return load_config("compact", ("network.hidden=8", "network.visualization.vertices=200"))


def make_checkpoint(path: Path, model: MorphableModel) -> Network:
    config = tiny_config()
    torch.manual_seed(0)
    network = Network(config.network, model)
    header = header_of(config, model)
    save_checkpoint(path, header, network)
    return network


def test_presets_load() -> None:
    assert preset_names() == ["compact", "paper", "small"]
    paper = load_config("paper")
    assert paper.optimizer.learning_rate == 1e-6
    assert paper.optimizer.momentum == 0.99
    assert paper.losses.weights == (1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("training.epoch=3",), "training.epoch"),
        (("training.epochs=-1",), "greater than 0"),
        (("optimizer.name=lion",), "optimizer.name"),
        (("losses.blocks=['landmarks']",), "has 1 entries, the network 6 blocks"),
        (("nonsense",), "expected KEY=VALUE"),
        (("training.epochs.more=1",), "is not a section"),
        (("network.kernels=[3]",), "kernels 1"),
    ],
)
def test_wrong_settings_are_named(settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("compact", settings)


def test_a_preset_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[training]\nepochs = 7\n")
    assert load_config(str(file)).training.epochs == 7
    assert load_config(str(file)).preset == "mine"
    file.write_text("[training\n")
    with pytest.raises(ConfigError, match="not a TOML file"):
        load_config(str(file))
    with pytest.raises(ConfigError, match="compact, paper, small"):
        load_config("huge")


def test_a_checkpoint_comes_back_whole(tmp_path: Path, model: MorphableModel) -> None:
    file = tmp_path / "a.safetensors"
    network = make_checkpoint(file, model).eval()
    loaded = load_checkpoint(file, model)
    assert loaded.header == read_header(file)
    images = torch.randint(0, 255, (2, 3, 114, 114), dtype=torch.uint8)
    with torch.no_grad():
        for a, b in zip(network(images).params, loaded.network(images).params, strict=True):
            assert torch.equal(a, b)


def test_another_morphable_model_is_refused(tmp_path: Path, model: MorphableModel) -> None:
    file = tmp_path / "a.safetensors"
    make_checkpoint(file, model)
    other = replace(model, mean=model.mean * np.float32(1.01))
    with pytest.raises(CheckpointError, match=model.fingerprint[:12]):
        load_checkpoint(file, other)


def rewrite(file: Path, change: Any) -> None:
    tensors = load_file(file)
    header = read_header(file).model_dump(mode="json")
    change(tensors, header)
    save_file(tensors, file, metadata={"pifa": json.dumps(header)})


def drop(tensors: dict, header: dict) -> None:
    del tensors["blocks.2.update.0.weight"]


def add(tensors: dict, header: dict) -> None:
    tensors["extra"] = torch.zeros(1)


def rename(tensors: dict, header: dict) -> None:
    for name in [name for name in tensors if ".features." in name]:
        tensors[name.replace(".features.", ".features.x.")] = tensors.pop(name)


def reshape(tensors: dict, header: dict) -> None:
    tensors["blocks.0.update.0.bias"] = torch.zeros(3)


def fewer(tensors: dict, header: dict) -> None:
    tensors["initial"] = torch.zeros(8 + 7)


def poison(tensors: dict, header: dict) -> None:
    tensors["initial"][0] = float("nan")


def newer(tensors: dict, header: dict) -> None:
    header["format_version"] = 99


def huge(tensors: dict, header: dict) -> None:
    header["network"]["hidden"] = 10**9


def anchors(tensors: dict, header: dict) -> None:
    header["network"]["anchors"] = 10**9


def no_box(tensors: dict, header: dict) -> None:
    header["boxes"] = "round"


def strange(tensors: dict, header: dict) -> None:
    header["network"]["surprise"] = 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, "weights missing: \\['blocks.2.update.0.weight'\\]"),
        (add, "unexpected: \\['extra'\\]$"),
        (rename, "and 69 more; unexpected: .* and 69 more; a network of another version"),
        (reshape, "blocks.0.update.0.bias: expected shape"),
        (fewer, "expected P of 17 numbers, 8 and the 9 coefficients of .*, found \\(15,\\)"),
        (poison, "initial: holds numbers that are not finite"),
        (newer, "format version 99"),
        (strange, "surprise"),
        (huge, "expected shape"),
        (anchors, "network.anchors: expected at most"),
        (no_box, "boxes"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    tmp_path: Path, model: MorphableModel, change: Any, message: str
) -> None:
    file = tmp_path / "a.safetensors"
    make_checkpoint(file, model)
    rewrite(file, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(file, model)
    assert str(file) in str(caught.value)


def odd_version(tensors: dict, header: dict) -> None:
    header["format_version"] = "\x1b[2J\n" + "2" * 10**5


def odd_names(tensors: dict, header: dict) -> None:
    tensors["\x1b[2J\n" + "n" * 10**5] = torch.zeros(1)


def odd_key(tensors: dict, header: dict) -> None:
    header["network"]["\x1b[2J\n" + "k" * 10**5] = 1


def odd_model(tensors: dict, header: dict) -> None:
    header["morphable"] = {"name": "\x1b[2J\n" + "m" * 10**5, "fingerprint": "\x1b[2J\n" * 100}


@pytest.mark.parametrize("change", [odd_version, odd_names, odd_key, odd_model])
def test_a_checkpoints_words_are_shown_as_a_short_line(tmp_path: Path, model: MorphableModel, change: Any) -> None:
    file = tmp_path / "a.safetensors"
    make_checkpoint(file, model)
    rewrite(file, change)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(file, model)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 800 + len(str(file))


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, model: MorphableModel) -> None:
    file = tmp_path / "a.safetensors"
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read_header(file)
    file.write_bytes(pickle.dumps({"weights": 1}))
    with pytest.raises(CheckpointError, match="not a safetensors checkpoint"):
        read_header(file)
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(CheckpointError, match="no pifa-checkpoint header"):
        read_header(file)
    make_checkpoint(file, model)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="not a safetensors checkpoint"):
        load_checkpoint(file, model)
