"""``pifa train --init``: what is taken over from a checkpoint, of the same morphable model and of another."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from cli import main
from pifa_data.errors import CheckpointError, ConfigError
from pifa_data.morphable import MorphableModel
from pifa_model.beginning import Beginning, begin_with
from pifa_model.checkpoint import Checkpoint, load_checkpoint, read_header, save_checkpoint, write_half
from pifa_model.config import Config, NetworkConfig, load_config
from pifa_model.network import Network
from pifa_model.shape import Landmarks
from pifa_model.translation import params_map
from pipelines.train import run_training


def settings(*more: str) -> Config:
    """The configuration of ``small_run``, with changes."""
    return load_config(
        "small",
        (
            *("network.hidden=8", "network.visualization.vertices=150", "training.batch_size=8"),
            *("training.val_fraction=0.25", "training.epochs=0.8", "training.round_steps=3", *more),
        ),
    )


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


def made(trained: Checkpoint, **changes: Any) -> tuple[Network, NetworkConfig]:
    """A network of the checkpoint's configuration with changes, in evaluation mode."""
    config = NetworkConfig.model_validate(trained.header.network.model_dump() | changes)
    torch.manual_seed(3)
    return Network(config, trained.model, trained.header.input_size, 68).eval(), config


def begun(made: tuple[Network, NetworkConfig], trained: Checkpoint, file: Path, **changes: Any) -> Beginning:
    network, config = made
    options = {"scheme": "ibug68", "grow": trained.header.grow} | changes
    return begin_with(network, config, trained.model, file, pytest.fail, **options)


def images(count: int = 5) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 114, 114), generator=torch.manual_seed(1), dtype=torch.uint8)


@pytest.fixture(scope="module")
def file(trained: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint, its last layers ten times as large: after a few steps they hardly move a face."""
    path = tmp_path_factory.mktemp("loud") / "best.safetensors"
    for block in trained.network.blocks:
        block.update[-1].weight.data *= 10
    save_checkpoint(path, trained.header, trained.network)
    return path


def test_all_weights_are_taken_where_all_fit(trained: Checkpoint, file: Path) -> None:
    new = made(trained)
    assert not begun(new, trained, file).left
    for name, tensor in load_file(file).items():
        assert torch.equal(new[0].state_dict()[name], tensor), name


def test_a_wider_network_begins_as_the_narrower_one(trained: Checkpoint, file: Path) -> None:
    filters = [[count + 8 * (i % 3) for count in block] for i, block in enumerate(trained.header.network.filters)]
    new = made(trained, hidden=13, filters=filters)
    assert not begun(new, trained, file).left
    with torch.no_grad():
        wide, narrow = new[0](images()).params, trained.network(images()).params
    assert (narrow[-1] - narrow[0]).abs().max() > 0.1
    for a, b in zip(wide, narrow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)
    # All of it learns: a part that nothing listens to and that is told nothing would stay what it is.
    sum(p.square().mean() for p in new[0].train()(images()).params).backward()
    for name, parameter in new[0].named_parameters():
        if name.endswith("features.0.0.weight"):
            old = len(trained.network.state_dict()[name])
            assert (parameter.grad[:old].abs().amax((2, 3)) > 0).all(), name


def test_other_numbers_of_anchors(trained: Checkpoint, file: Path) -> None:
    """The maps are read at other places, so what was learned of the old ones goes to those between which they lie."""
    new = made(trained, anchors=100)
    assert not begun(new, trained, file).left
    name = "blocks.2.update.0.weight"
    old, now = (
        weights.unflatten(1, (-1, anchors))  # (hidden, C, anchors)
        for weights, anchors in (
            (load_file(file)[name], trained.header.network.anchors),
            (new[0].state_dict()[name], 100),
        )
    )
    here, there = new[0].anchors.shape.mean.T, trained.network.anchors.shape.mean.T
    torch.testing.assert_close(now.sum(2), old.sum(2))  # of a map that is the same everywhere: the same
    for axis in range(3):  # of one that rises evenly: nearly
        expected, found = old @ there[:, axis], now @ here[:, axis]
        spread = old.norm(dim=2) * there[:, axis].std()  # what it would be off by if places had nothing to do with it
        assert (found - expected).abs().mean() < 0.2 * spread.mean(), axis
    begun(made(trained, anchors=2), trained, file)


@pytest.mark.parametrize(
    ("changes", "convolutions", "heads"),
    [
        ({"hidden": 5}, True, False),
        ({"head": "pool"}, True, False),
        ({"head": "pool", "anchors": 64}, True, False),
        ({"kernels": [3, 3, 3, 3, 3, 5]}, True, True),
        ({"trunk": "depthwise"}, False, False),
        ({"inputs": ["image", "features"]}, False, False),
    ],
)
def test_layers_are_taken_whole_or_not_at_all(
    trained: Checkpoint, file: Path, changes: dict[str, Any], convolutions: bool, heads: bool
) -> None:
    new = made(trained, **changes)
    before = {name: tensor.clone() for name, tensor in new[0].state_dict().items()}
    if not convolutions:
        with pytest.raises(CheckpointError, match="none of its weights fits this network; its preset is 'small'"):
            begun(new, trained, file)
        for name, tensor in new[0].state_dict().items():
            assert torch.equal(tensor, before[name])
        return
    left = begun(new, trained, file).left
    for index in range(6):
        for part in ("features", "update"):
            of = [name for name in before if name.startswith(f"blocks.{index}.{part}.")]
            there = [name in left for name in of]
            assert all(there) or not any(there), (index, part)
    changed = changes.get("kernels", [3] * 6)
    assert any(".features." in name for name in left) == (changed[-1] == 5)
    assert any("blocks.0.update." in name for name in left) != heads
    for name in left:
        assert torch.equal(new[0].state_dict()[name], before[name])


def test_checkpoints_of_other_crops_are_refused(trained: Checkpoint, file: Path) -> None:
    """P is in pixels of the crop."""
    with pytest.raises(CheckpointError, match=r"expected a checkpoint for crops of 1\.9 times the box, .* found 1\.4"):
        begun(made(trained), trained, file, grow=1.9)
    config = trained.header.network
    larger = Network(config, trained.model, 160, 68)
    with pytest.raises(CheckpointError, match=r"expected a checkpoint for crops of 160 pixels, .* found 114"):
        begun((larger, config), trained, file)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        begun(made(trained), trained, file.with_name("none.safetensors"))


def test_spread_is_taken_for_the_same_landmarks(trained: Checkpoint, tmp_path: Path) -> None:
    telling = made(trained, uncertainty=True)
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, trained.header.model_copy(update={"network": telling[1]}), telling[0])
    assert not begun(made(trained, uncertainty=True), trained, path).left
    left = begun(made(trained, uncertainty=True), trained, path, scheme="wflw98").left
    assert {name.split(".")[2] for name in left} == {"spread"}


def test_a_hostile_header_has_no_people(trained: Checkpoint, small_store: Path, tmp_path: Path) -> None:
    for number, people in enumerate((5, "abc", [["a"]], {"a": 1})):
        path = tmp_path / f"{number}.safetensors"
        header = trained.header.model_copy(update={"training": {"train_subjects": people}})
        save_checkpoint(path, header, trained.network)
        (tmp_path / "morphable.safetensors").write_bytes((small_store / "morphable.safetensors").read_bytes())
        with pytest.raises(CheckpointError, match=r"safetensors: header key training\.train_subjects: expected a list"):
            run_training(small_store, tmp_path / "run", settings(), init=path, device="cpu")
    assert not (tmp_path / "run").exists()


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


def test_a_network_for_another_model_sees_the_same(trained: Checkpoint, file: Path) -> None:
    other = other_model(trained.model)
    other = dataclasses.replace(other, identity=np.concatenate([other.identity, other.identity[:2] * 0.01]))
    network, config = Network(trained.header.network, other, 114, 68).eval(), trained.header.network
    done = begin_with(
        network, config, other, file, lambda fingerprint: trained.model, scheme="ibug68", grow=trained.header.grow
    )
    assert not done.left
    fixed = torch.zeros(5, dtype=torch.bool)
    with torch.no_grad():
        one = Landmarks(trained.model, "ibug68")(trained.network(images()).params[-1], fixed)
        two = Landmarks(other, "ibug68")(network(images()).params[-1], fixed)
    start = Landmarks(trained.model, "ibug68")(trained.network.initial[None], fixed[:1])
    assert (one - two).norm(dim=2).mean() < 0.5
    assert (one - start).norm(dim=2).mean() > 2 * (one - two).norm(dim=2).mean()  # they do move


def test_a_run_that_begins_with_another(small_run: Path, small_store: Path, tmp_path: Path) -> None:
    config, weights = settings("optimizer.learning_rate=1e-9"), small_run / "last.safetensors"
    run_training(small_store, tmp_path / "run", config, init=weights, device="cpu")
    ours, theirs = (load_file(folder / "last.safetensors") for folder in (tmp_path / "run", small_run))
    for name in ours:
        if name.endswith(("update.0.weight", "initial")):
            torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-6)
    document = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    header = read_header(tmp_path / "run" / "last.safetensors")
    assert header.training["init"] == document["init"]["sha256"]


def test_a_resumed_run_needs_its_beginning_no_more(small_run: Path, small_store: Path, tmp_path: Path) -> None:
    begin = tmp_path / "begin.safetensors"
    for name in ("morphable.safetensors", "last.safetensors"):
        begin.with_name(name.replace("last", "begin")).write_bytes((small_run / name).read_bytes())
    run, shorter = tmp_path / "run", "training.epochs=0.4"
    run_training(small_store, run, settings(shorter), init=begin, device="cpu")
    write_half(begin, tmp_path / "half.safetensors")
    with pytest.raises(ConfigError, match=r"begun with .*begin\.safetensors \(SHA-256 .*, not with .*half"):
        run_training(small_store, run, settings(shorter), init=tmp_path / "half.safetensors", device="cpu", resume=True)
    before = (run / "last.safetensors").read_bytes()
    run_training(small_store, run, settings(shorter), init=begin, device="cpu", resume=True)
    begin.unlink()
    for init in (begin, None):
        run_training(small_store, run, settings(shorter), init=init, device="cpu", resume=True)
    assert (run / "last.safetensors").read_bytes() == before


def test_people_trained_on_before_are_no_strangers(
    small_run: Path, small_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = settings("training.split_seed=5", "training.epochs=0.1")
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
