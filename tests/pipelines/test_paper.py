"""``pifa paper``: what is disturbed, that nothing is done twice, and that the tables say what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import good, pifa
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pifa_data.errors import PifaError
from pifa_data.morphable import MorphableModel
from pifa_data.store import Store
from pifa_model.config import NetworkConfig, load_config
from pifa_model.network import Network
from pifa_model.store_rows import StoreRows
from pipelines import experiments, paper, probes, variants
from pipelines.experiments import Plan
from pipelines.paper import as_markdown, run_paper
from pipelines.paper_tables import TABLES
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
def test_maps_are_changed_in_the_block_that_is_named(network: Network) -> None:
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


def test_noise_is_of_each_weight_s_size_and_taken_back(network: Network) -> None:
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
def test_multiply_adds_are_those_that_are_counted(model: MorphableModel, preset: str) -> None:
    config = load_config(preset).network
    network = Network(config, model).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(IMAGES[:1])
    wanted = counter.get_flop_counts()["Global"][torch.ops.aten.convolution] / 2
    assert variants.multiply_adds(config.filters, config) == wanted
    wide = load_config(preset, variants.widened(2)(config)).network
    assert len(wide.filters) == 2
    assert variants.multiply_adds(wide.filters, wide) == pytest.approx(wanted, rel=0.1)


@torch.no_grad()
def test_weights_are_averaged_input_by_input(network: Network) -> None:
    first, second = (next(m for m in b.features.modules() if isinstance(m, nn.Conv2d)) for b in network.blocks[:2])
    first.weight[:, :3], first.weight[:, 3:] = -1.0, 2.0  # image, map
    second.weight[:, :3], second.weight[:, 3:7], second.weight[:, 7:] = 3.0, -4.0, 5.0  # image, features, map
    found = probes.filter_means(network)
    assert found[0] == {"image": 1, "image_channels": 3, "map": 2, "map_channels": 1}
    assert found[1] == {
        **{"image": 3, "image_channels": 3, "features": 4, "features_channels": 4, "map": 5, "map_channels": 1}
    }


@pytest.fixture(scope="module")
def plan(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Runs of five steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "BATCH", 2)
        patch.setattr(probes, "REPEATS", 1)
        plan = Plan(str(small_store), tmp_path_factory.mktemp("paper") / "out", "compact", SMALL, 40, False, "cpu")
        run_paper("table6", plan, seeds=2)
        return plan


def documents(plan: Plan, variant: str) -> list[dict[str, Any]]:
    return [json.loads((plan.out / f"{variant}-{seed}.json").read_text()) for seed in (0, 1)]


def test_a_table_says_what_its_runs_measured(plan: Plan, small_store: Path) -> None:
    result = run_paper("table6", plan, seeds=2)
    values = result["ours"]["values"]
    data = StoreRows(Store(small_store))
    held = split_of(data, load_config("compact", (*SMALL, "training.split_seed=0"))).val
    for row, variant in TABLES["table6"].variants.items():
        runs = documents(plan, variant)
        assert [run["steps"] for run in runs] == [5, 5]
        assert held[data.source[runs[1]["rows"]]].all(), "the same people, whatever the seed"
        assert values[row]["mean"] == pytest.approx(np.mean([run["errors"][-1] for run in runs]))
        assert values[row]["seeds"] == pytest.approx([np.mean(run["errors"][-1]) for run in runs])
    base, other = (np.mean([run["errors"][-1] for run in documents(plan, name)]) for name in ("base", "FV"))
    assert values["F, V"]["difference"]["mean"] == pytest.approx(other - base)
    assert not values["F, V"]["difference"]["significant"], "two seeds are not enough"
    text = as_markdown(result)
    assert "| F, V | 4.48 | " in text
    assert "AFLW" in text
    assert "S.zarr" not in text, "the data set is named, and not where it is"
    assert "faces, " in text
    assert "(5 steps)" not in text


def test_what_is_done_is_not_done_again(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    before = run_paper("table6", plan, seeds=2)
    monkeypatch.setattr(experiments, "run_training", trained)
    assert run_paper("table6", plan, seeds=2) == before
    for name in ("table2", "table3", "table4", "table5", "figure7", "noise"):  # the base's runs are enough
        as_markdown(run_paper(name, plan, seeds=2))
    other = Plan(plan.store, plan.out, plan.preset, plan.settings, 48, False, "cpu")
    with pytest.raises(PifaError, match=r"base-0.json: was made with another budget: \[40\], asked is \[48\]"):
        run_paper("table6", other)


def test_the_tables_of_one_network(plan: Plan) -> None:
    runs = documents(plan, "base")
    blocks = run_paper("table3", plan, seeds=2)
    expected = np.mean([run["errors"] for run in runs], axis=(0, 2))
    assert [value["mean"] for value in blocks["ours"]["values"]["blocks"]] == pytest.approx(expected)
    assert blocks["paper"]["values"]["blocks"] == [9.26, 6.77, 5.51, 4.98, 4.60, 4.45]
    gains = [value["mean"] for value in blocks["ours"]["values"]["gains"]]
    assert gains == pytest.approx(np.diff(expected))
    noise = run_paper("noise", plan, seeds=2)["ours"]["values"]
    assert [value["mean"] for value in noise["blocks"]] == pytest.approx(
        np.mean([r["noise"] for r in runs], axis=(0, 2))
    )
    failures = run_paper("table5", plan, seeds=2)["ours"]["values"]
    for points, key in ((68, "interocular"), (51, "interocular_51")):
        expected = 100 * np.mean([np.array(run[key]) > 8 for run in runs])
        assert failures[f"Failure rate above 8 %, {points} points"]["mean"] == pytest.approx(expected)
    figure = run_paper("figure7", plan, seeds=2)["ours"]["values"]
    assert figure["I, V: map"] == pytest.approx(
        np.mean([[b["map"] for b in run["filters"]] for run in documents(plan, "IV")], axis=0)
    )
    assert figure["I, F, V: features"][0] is None, "the first block has none"
    json.dumps(figure, allow_nan=False)
    # As PyTorch initialises them: E|w| of the second block, 3 + 4 + 1 channels of 3x3, drawn anew.
    drawn = torch.empty(400, 8, 3, 3)
    nn.init.kaiming_normal_(drawn, nonlinearity="relu")
    assert figure["I, F, V: each before training"][1] == pytest.approx(float(drawn.abs().mean()), rel=0.02)
    assert "| block 2 − block 1 |  | " in as_markdown(blocks)
    assert "| block 6 | 4.45 |  |" in as_markdown(blocks), "ours has three"


def test_errors_are_those_of_the_definitions(plan: Plan, synthetic: Path) -> None:
    """Against `pifa eval`, which goes by another way."""
    [run, _] = documents(plan, "base")
    from pipelines.evaluate import run_eval

    source = f"keypoints-csv:{synthetic / 'faces'}"
    result = run_paper("table4", plan, tests=(source,))
    weights = plan.out / "runs" / "base-0" / "last.safetensors"
    values = run_eval(str(weights), source, morphable=None, device="cpu").values
    [(column, numbers)] = result["tests"].items()
    assert column == "faces, pixels"
    assert numbers["Proposed method"] == pytest.approx(values["mape"])
    # The store's crops are those of the validation.
    crops = run_eval(str(weights), plan.store, device="cpu").values
    assert crops["nme"] == pytest.approx(np.mean(run["errors"][-1]), rel=0.2)
    assert crops["nme_interocular"] == pytest.approx(np.mean(run["interocular"]), rel=0.2)
    assert crops["mape"] == pytest.approx(np.mean(run["pixels"]), rel=0.2)


def made_up(last: list[float], curve: list[float], seconds: list[float]) -> dict[str, Any]:
    return {
        "errors": [last],
        "people": [0, 0, 1, 1],
        "rows": [1, 2, 3, 4],
        "curve": {"nme": curve, "cpu_seconds": seconds, "seconds": seconds},
        "seconds": seconds[-1],
        "cpu_seconds": seconds[-1],
        "steps": len(curve),
        "made": {"device": "cpu"},
    }


def test_time_is_counted_to_the_cascade_s_last_error() -> None:
    runs = {
        "whole": [made_up([3, 3, 3, 3], [9, 6, 3], [10, 20, 30])],
        "half": [made_up([4, 4, 4, 4], [8, 4], [8, 16])],
        "cascade": [made_up([5, 5, 5, 5], [9, 7, 6, 5], [10, 20, 30, 40])],
    }
    # The half run is at 4, below the cascade's 5, after 16 of its 40 seconds; the whole one only after 30.
    assert paper._time(runs)[paper.SHARE] == [0.4]
    runs["half"], runs["whole"] = [made_up([9] * 4, [9], [1])], [made_up([9] * 4, [9], [1])]
    assert paper._time(runs)[paper.SHARE] == [None]


@pytest.mark.parametrize(
    ("seeds", "sure"),
    [([1.0, 1.1, 0.9], True), ([1.0, 1.1], False), ([1.0, 3.0, -0.1], False), ([0.0, 0.0, 0.0], False)],
)
def test_a_difference_needs_three_seeds_of_one_sign(seeds: list[float], sure: bool) -> None:
    base = [made_up([3.0, 3.1, 3.0, 2.9], [3], [1]) for _ in seeds]
    other = [made_up([3.0 + d, 3.1 + d, 3.0 + d, 2.9 + d], [3], [1]) for d in seeds]
    found = paper.compared({"base": base, "other": other}, "errors", -1)
    assert found["other"]["difference"]["significant"] is sure
    assert found["other"]["difference"]["seeds"] == pytest.approx(seeds)


def test_the_command(plan: Plan, tmp_path: Path) -> None:
    options = ["--store", plan.store, "--out", plan.out, "--preset", "compact", "--budget", 40, "--seeds", 2]
    options += ["--device", "cpu", *(word for setting in SMALL for word in ("--set", setting))]
    result = json.loads(good("paper", "table2", *options, "--json").stdout)
    assert result["paper"]["values"]["LPFA"] == 4.72
    assert "| LPFA | 4.72 |" in good("paper", "table2", *options).stdout
    refused = pifa("paper", "table9", *options)
    assert refused.exit_code == 1
    assert "expected one of table2, " in refused.output
    refused = pifa("paper", "noise", *options, "--test", "keypoints-csv:x")
    assert refused.exit_code == 1
    assert "no --test" in refused.output
    refused = pifa("paper", "table8", *options)
    assert refused.exit_code == 1
    assert "six blocks of two convolutions" in refused.output
    (plan.out / "base-0.json").rename(tmp_path / "kept.json")
    try:
        (plan.out / "base-0.json").write_text("{")
        assert "move it away" in pifa("paper", "table2", *options).output
    finally:
        (tmp_path / "kept.json").rename(plan.out / "base-0.json")


def test_the_benchmark_prints_the_same_runs(plan: Plan) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "variants.py"), plan.store, "--out", str(plan.out)]
    command += ["--preset", "compact", "--budget", "40", "--variants", "base,FV", "--seeds", "0,1", "--device", "cpu"]
    command += [word for setting in SMALL for word in ("--set", setting)]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    base, other = (np.mean([run["errors"][-1] for run in documents(plan, name)]) for name in ("base", "FV"))
    assert f"| base | {base:.2f} [" in done.stdout
    assert f"{other - base:+.2f} [" in done.stdout
