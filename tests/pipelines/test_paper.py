"""The experiments' runner: what it disturbs, that it does nothing twice, and that its tables say what was measured."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pifa_data.morphable import MorphableModel
from pifa_data.store import Store
from pifa_model.config import NetworkConfig, load_config
from pifa_model.network import Network
from pifa_model.store_rows import StoreRows
from pipelines.train import split_of

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "network.filters=[[4, 4], [4, 4], [4, 4]]",
    "network.kernels=[5, 3, 3]",
    f"losses.blocks={['landmarks'] * 3}",
    "losses.weights=[1, 2, 3]",
    "network.hidden=8",
    "network.visualization.vertices=150",
    "training.batch_size=8",
    "training.val_fraction=0.25",
    "training.precision=32",
)


@pytest.fixture(scope="module")
def variants() -> ModuleType:
    """``benchmarks/variants.py``, whose folder is the first place it imports from when it is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        return importlib.import_module("variants")


@pytest.fixture
def probes(variants: ModuleType) -> ModuleType:
    return sys.modules["probes"]


@pytest.fixture
def network(model: MorphableModel) -> Network:
    """Three blocks that move the face, and each face elsewhere."""
    torch.manual_seed(0)
    config = NetworkConfig(filters=((4, 4),) * 3, kernels=(5, 3, 3), head="pool", hidden=8)
    network = Network(config, model).eval()
    network.initial[:8] = torch.tensor([4.0, 0, 0, 57, 0, -4.0, 0, 57])
    for block in network.blocks:
        torch.nn.init.normal_(block.update[-1].weight, std=0.1)
    return network


IMAGES = torch.randint(0, 255, (4, 3, 114, 114), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_maps_are_changed_in_the_block_that_is_named(probes: ModuleType, network: Network) -> None:
    plain = network(IMAGES, maps=True)
    with probes.maps_changed(network, probes.shuffled, 1):
        for _ in range(2):  # counted anew in each pass
            found = network(IMAGES, maps=True)
    assert torch.equal(found.maps[0], plain.maps[0])
    assert torch.equal(found.params[0], plain.params[0])
    assert torch.equal(found.maps[1], plain.maps[1].roll(1, 0))
    assert not torch.equal(found.maps[1], plain.maps[1])
    assert not torch.equal(found.params[1], plain.params[1])
    with probes.maps_changed(network, torch.zeros_like, 0):
        found = network(IMAGES, maps=True)
    assert [bool(v.any()) for v in found.maps] == [False, True, True]
    with probes.maps_changed(network, torch.zeros_like):
        found = network(IMAGES, maps=True)
    assert not any(v.any() for v in found.maps)
    again = network(IMAGES, maps=True)
    assert torch.equal(again.params[-1], plain.params[-1]), "nothing is left behind"


def test_noise_is_of_each_weight_s_size_and_taken_back(probes: ModuleType, network: Network) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with probes.weights_changed(network.blocks[1]):
        changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
        weight = network.blocks[1].update[0].weight.detach() / before["blocks.1.update.0.weight"]
    # Biases begin at 0 and have no size.
    assert changed == {"blocks.1.update.0.weight", "blocks.1.update.3.weight"}
    assert float(weight.mean()) == pytest.approx(1, abs=0.01)
    assert float(weight.std()) == pytest.approx(0.05, rel=0.1)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("preset", ["compact", "small"])
def test_multiply_adds_are_those_that_are_counted(variants: ModuleType, model: MorphableModel, preset: str) -> None:
    config = load_config(preset).network
    network = Network(config, model).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(IMAGES[:1])
    wanted = counter.get_flop_counts()["Global"][torch.ops.aten.convolution] / 2
    assert variants.multiply_adds(config.filters, config) == wanted
    wide = load_config(preset, variants.widened(2)(config)).network
    assert len(wide.filters) == 2
    assert variants.multiply_adds(wide.filters, wide) == pytest.approx(wanted, rel=0.1)


def run(
    variants: ModuleType, monkeypatch: pytest.MonkeyPatch, store: Path, out: Path, *more: str, status: int = 0
) -> None:
    options = [word for setting in SMALL for word in ("--set", setting)]
    arguments = [str(store), "--out", str(out), "--budget", "40", "--device", "cpu", *options, *more]
    monkeypatch.setattr(sys, "argv", ["variants.py", *arguments])
    monkeypatch.setattr(sys.modules["probes"], "BATCH", 2)
    monkeypatch.setattr(sys.modules["probes"], "REPEATS", 1)
    with pytest.raises(SystemExit) as ended:
        variants.main()
    assert ended.value.code == status


def test_runs_once_and_tells_what_was_measured(
    variants: ModuleType,
    small_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = ("--variants", "base,prior-1", "--seeds", "0,1")
    run(variants, monkeypatch, small_store, tmp_path, *names)
    first = capsys.readouterr().out
    documents = {
        f"{name}-{seed}": json.loads((tmp_path / f"{name}-{seed}.json").read_text())
        for name in ("base", "prior-1")
        for seed in (0, 1)
    }
    data = StoreRows(Store(small_store))
    for document in documents.values():
        assert document["steps"] == 5
        assert document["rows"] == documents["base-0"]["rows"], "the same people, whatever the seed"
    base, other = (np.mean([documents[f"{n}-{s}"]["errors"][-1] for s in (0, 1)]) for n in ("base", "prior-1"))
    assert f"| base | {base:.2f} [" in first
    assert f"| prior-1 | {other:.2f} [" in first
    assert f"{other - base:+.2f} [" in first
    config = variants.load_config("compact", (*SMALL, "training.seed=1", "training.split_seed=0"))
    held = split_of(data, config).val
    assert held[data.source[documents["base-1"]["rows"]]].all()

    def trained(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(variants, "run_training", trained)
    run(variants, monkeypatch, small_store, tmp_path, *names)
    assert capsys.readouterr().out == first
    run(variants, monkeypatch, small_store, tmp_path, "--variants", "base", "--set", "losses.prior=1.0", status=1)
    found = capsys.readouterr()
    assert "base, seed 0:" in found.err
    assert "was made with" in found.err
