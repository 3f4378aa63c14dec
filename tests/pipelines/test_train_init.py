"""``pifa train --init``: what is taken over from a checkpoint, of the same morphable model and of another."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from cli import main
from pifa_data.errors import CheckpointError, ConfigError
from pifa_data.morphable import MorphableModel
from pifa_model.beginning import begin_with
from pifa_model.checkpoint import Checkpoint, load_checkpoint, read_header, save_checkpoint, save_half
from pifa_model.config import Config, load_config
from pifa_model.network import Network
from pifa_model.shape import Landmarks
from pifa_model.translation import params_map
from pipelines.train import run_training


def settings(run: Path, *more: str) -> Config:
    """The configuration of ``small_run``, with changes."""
    config = load_config(
        "small",
        (
            *("network.hidden=8", "network.visualization.vertices=150", "training.batch_size=8"),
            *("training.val_fraction=0.25", "training.epochs=0.8", "training.round_steps=3", *more),
        ),
    )
    assert config.network.hidden == read_header(run / "best.safetensors").network.hidden
    return config


@pytest.fixture(scope="module")
def trained(small_run: Path) -> Checkpoint:
    return load_checkpoint(small_run / "best.safetensors", MorphableModel.load(small_run / "morphable.safetensors"))


def other_model(model: MorphableModel) -> MorphableModel:
    """The same faces as another maker would have them: other units and axes, modes of another order and sign."""
    turn = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]], np.float32).T * 0.1
    k = model.n_coefficients
    order = np.random.default_rng(0).permutation(k)
    sign = np.where(np.arange(k) % 2, -1, 1).astype(np.float32)[:, None, None]
    modes = (model.modes[order] * sign) @ turn
    identity = len(model.identity)
    return dataclasses.replace(
        model,
        name="other",
        mean=model.mean @ turn + np.float32([3, 2, 1]),
        identity=modes[:identity],
        expression=modes[identity:],
    )


def test_all_weights_are_taken_where_all_fit(trained: Checkpoint, small_run: Path) -> None:
    network = Network(trained.header.network, trained.model, trained.header.input_size, 68)
    begun = begin_with(network, trained.model, small_run / "best.safetensors", pytest.fail)
    assert not begun.left
    for name, tensor in load_file(small_run / "best.safetensors").items():
        assert torch.equal(network.state_dict()[name], tensor), name


def test_what_does_not_fit_stays(trained: Checkpoint, small_run: Path) -> None:
    config = trained.header.network.model_copy(update={"hidden": 5})
    network = Network(config, trained.model, trained.header.input_size, 68)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    begun = begin_with(network, trained.model, small_run / "best.safetensors", pytest.fail)
    assert {name.split(".")[2] for name in begun.left if name.startswith("blocks.")} == {"update"}
    for name in begun.left:
        assert torch.equal(network.state_dict()[name], before[name])


def test_a_wider_network_begins_as_the_narrower_one(trained: Checkpoint, small_run: Path) -> None:
    filters = tuple(
        tuple(count + 8 * (i % 3) for count in block) for i, block in enumerate(trained.header.network.filters)
    )
    config = trained.header.network.model_copy(update={"hidden": 13, "filters": filters})
    network = Network(config, trained.model, trained.header.input_size, 68).eval()
    assert not begin_with(network, trained.model, small_run / "best.safetensors", pytest.fail).left
    images = torch.randint(0, 256, (5, 3, 114, 114), generator=torch.manual_seed(1), dtype=torch.uint8)
    with torch.no_grad():
        wide, narrow = network(images).params, trained.network(images).params
    for a, b in zip(wide, narrow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)
    # All of it learns: a part that nothing listens to and that is told nothing would stay what it is.
    sum(p.square().mean() for p in network.train()(images).params).backward()
    for name, parameter in network.named_parameters():
        if name.endswith("features.0.0.weight"):
            assert (parameter.grad[: len(trained.network.state_dict()[name])].abs().amax((2, 3)) > 0).all(), name


def test_a_checkpoint_of_which_nothing_fits(trained: Checkpoint, small_run: Path) -> None:
    config = trained.header.network.model_copy(update={"hidden": 5, "filters": ((3,), (5,)), "kernels": (5, 5)})
    network = Network(config, trained.model, trained.header.input_size, 68)
    with pytest.raises(CheckpointError, match="none of its weights fits this network; its preset is 'small'"):
        begin_with(network, trained.model, small_run / "best.safetensors", pytest.fail)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        begin_with(network, trained.model, small_run / "none.safetensors", pytest.fail)


def test_the_same_face_in_another_model(trained: Checkpoint, tmp_path: Path) -> None:
    """Two models that can be told apart by nothing but how they write a face: it is carried over as it is."""
    model, other = trained.model, other_model(trained.model)
    linear, constant = params_map(other, model)
    network = trained.network
    params = network.initial + torch.randn(40, len(network.initial), generator=torch.manual_seed(0)) * network.step
    translated = (params.double() @ torch.from_numpy(linear).T + torch.from_numpy(constant)).float()
    fixed = torch.zeros(len(params), dtype=torch.bool)
    apart = Landmarks(model, "ibug68")(params, fixed) - Landmarks(other, "ibug68")(translated, fixed)
    size = float(np.ptp(model.mean[:, 0])) * float(network.initial[:3].norm())  # of a face, crop pixels
    assert apart.norm(dim=2).mean() < 0.01 * size


def test_a_network_for_another_model_sees_the_same(trained: Checkpoint, small_run: Path, tmp_path: Path) -> None:
    other = other_model(trained.model)
    file = tmp_path / "best.safetensors"
    save_checkpoint(file, trained.header, trained.network)
    network = Network(trained.header.network, other, trained.header.input_size, 68).eval()
    begun = begin_with(network, other, file, lambda fingerprint: trained.model)
    assert not begun.left
    images = torch.randint(0, 256, (6, 3, 114, 114), generator=torch.manual_seed(1), dtype=torch.uint8)
    fixed = torch.zeros(len(images), dtype=torch.bool)
    with torch.no_grad():
        one = Landmarks(trained.model, "ibug68")(trained.network(images).params[-1], fixed)
        two = Landmarks(other, "ibug68")(network(images).params[-1], fixed)
    start = Landmarks(trained.model, "ibug68")(trained.network.initial[None], fixed[:1])
    assert (one - two).norm(dim=2).mean() < 0.5
    assert (one - start).norm(dim=2).mean() > 2 * (one - two).norm(dim=2).mean()  # they do move


def test_a_run_that_begins_with_another(small_run: Path, small_store: Path, tmp_path: Path) -> None:
    config, weights = settings(small_run, "optimizer.learning_rate=1e-9"), small_run / "last.safetensors"
    run_training(small_store, tmp_path / "run", config, init=weights, device="cpu")
    ours, theirs = (load_file(folder / "last.safetensors") for folder in (tmp_path / "run", small_run))
    for name in ours:
        if name.endswith(("update.0.weight", "initial")):
            torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-6)
    document = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    header = read_header(tmp_path / "run" / "last.safetensors")
    assert header.training["init"] == document["init"]["sha256"]
    save_half(weights, tmp_path / "half.safetensors")
    for other in (tmp_path / "half.safetensors", None):
        with pytest.raises(ConfigError, match="begun with other weights"):
            run_training(small_store, tmp_path / "run", config, init=other, device="cpu", resume=True)


def test_people_trained_on_before_are_no_strangers(
    small_run: Path, small_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = settings(small_run, "training.split_seed=5", "training.epochs=0.1")
    before = read_header(small_run / "best.safetensors").training
    with caplog.at_level("INFO"):
        run_training(small_store, tmp_path / "run", config, init=small_run / "best.safetensors", device="cpu")
    header = read_header(tmp_path / "run" / "last.safetensors").training
    assert {*before["train_subjects"]} <= {*header["train_subjects"]}
    assert not {*header["train_subjects"]} & {*header["val_subjects"]}
    assert "people held out for validation" in caplog.text
    assert "begins with 98 of 98 tensors" in caplog.text
    assert any(
        record.levelname == "WARNING" and "error will read too low" in record.getMessage() for record in caplog.records
    )


def test_the_command(small_run: Path, small_store: Path, tmp_path: Path) -> None:
    arguments = ["train", str(small_store), "--out", str(tmp_path / "run"), "--preset", "small", "--device", "cpu"]
    done = CliRunner().invoke(main, [*arguments, "--init", "nowhere/at.safetensors"])
    assert done.exit_code == 1
    assert "nowhere/at.safetensors: no such checkpoint" in done.output
    assert not (tmp_path / "run").exists()
