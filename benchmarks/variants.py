"""Variants of network, losses and training, each trained on the same crops and measured on the same people.

    python benchmarks/variants.py STORE --out DIR [--variants NAME,...] [--preset NAME] [--set KEY=VALUE]...
        [--budget CROPS] [--seeds 0,1] [--each-block] [--device auto]

Each variant is the preset with the settings of ``VARIANTS`` and those of the command line over it, trained on
``--budget`` crops. DIR gets a run folder and, when it is done, a JSON file of each variant and seed; what is done is
not done again, and what was interrupted goes on. Then the tables are printed, as Markdown, of the variants named and
of all seeds given. The last checkpoint is measured, not the best one, which was chosen by the people measured on.

Measured: one jittered crop of each held-out face, NME (tight). The people held out are the same for every variant and
seed. Of several seeds a face's error is the mean. Intervals are of 95 % by the bootstrap over people, of differences
over the faces' own differences. Disturbed at test time: V zeroed or taken from another person's face (in every block,
with ``--each-block`` also in one at a time), and the weights of one block's fully connected layers each multiplied by
1 + 0.05·N(0, 1) (the paper's section 4.3: "5% noise"). The clock's times are of a machine that does other things too:
those of a forward pass stand beside the base's of the same moment, seconds of training don't; multiply-adds (of
convolutions and matrix products) do not depend on it.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from probes import cost, probe

from pifa_data.errors import PifaError
from pifa_data.schemes import get_scheme
from pifa_data.store import Store
from pifa_model.bootstrap import Interval, bootstrap_mean
from pifa_model.checkpoint import load_checkpoint
from pifa_model.config import Config, NetworkConfig, load_config
from pifa_model.network import Network
from pifa_model.shape import Landmarks
from pifa_model.store_rows import StoreRows
from pifa_model.validation import HeldOut
from pipelines.checkpoints import pick_device
from pipelines.train import run_training, split_of, validation_rows

Settings = tuple[str, ...]


def blocks(filters: list[tuple[int, ...]], config: NetworkConfig) -> Settings:
    """Blocks of these convolutions, the preset's kernel in the first and 3x3 after it, loss weights 1, 2, …"""
    count = len(filters)
    return (
        f"network.filters={[list(block) for block in filters]}",
        f"network.kernels={[config.kernels[0]] + [3] * (count - 1)}",
        f"losses.blocks={['landmarks'] * count}",
        f"losses.weights={list(range(1, count + 1))}",
    )


def regrouped(count: int) -> Callable[[NetworkConfig], Settings]:
    """The preset's convolutions in so many blocks (table 8)."""

    def settings(config: NetworkConfig) -> Settings:
        all_filters = [filters for block in config.filters for filters in block]
        length = len(all_filters) // count
        return blocks([tuple(all_filters[i * length : (i + 1) * length]) for i in range(count)], config)

    return settings


def widened(count: int) -> Callable[[NetworkConfig], Settings]:
    """The preset's first blocks, so much wider that they have as many multiply-adds as all of its blocks."""

    def settings(config: NetworkConfig) -> Settings:
        wanted = multiply_adds(config.filters, config)
        tries = [
            [tuple(4 * round(filters * share / 400) for filters in block) for block in config.filters[:count]]
            for share in range(100, 400)
        ]
        return blocks(min(tries, key=lambda filters: abs(multiply_adds(filters, config) - wanted)), config)

    return settings


def multiply_adds(filters: Sequence[Sequence[int]], config: NetworkConfig) -> int:
    """Of the convolutions of a 114 pixel crop with these filters and otherwise ``config``, if they are plain."""
    side, channels, total = 114 * 2 // config.stride, 4 * (config.stride // 2) ** 2, 0
    for index, block in enumerate(filters):
        kernel = config.kernels[min(index, 1)]
        for position, count in enumerate(block):
            total += channels * count * kernel**2 * side**2
            channels = count
            side = 114 // config.stride if index == position == 0 else side
        channels += 4
    return total


VARIANTS: dict[str, Settings | Callable[[NetworkConfig], Settings]] = {
    "base": (),
    # Inputs of the later blocks (table 6), and no visualization layer (section 4.3).
    "FV": ("network.inputs=['features', 'map']",),
    "IV": ("network.inputs=['image', 'map']",),
    "IF": ("network.inputs=['image', 'features']",),
    # Masks (table 7).
    "mask-parts": ("network.visualization.mask=parts",),
    "mask-none": ("network.visualization.mask=none",),
    # Blocks x convolutions (table 8): the same convolutions in fewer blocks.
    "4x3": regrouped(4),
    "3x4": regrouped(3),
    "2x6": regrouped(2),
    # As many multiply-adds in fewer and wider blocks.
    "3x2-wide": widened(3),
    "2x2-wide": widened(2),
    # What the fully connected layers see, with V and without.
    "pool": ("network.head=pool",),
    "pool-IF": ("network.head=pool", "network.inputs=['image', 'features']"),
    "anchors-32": ("network.anchors=32",),
    "anchors-128": ("network.anchors=128",),
    # Trunks.
    "depthwise": ("network.trunk=depthwise",),
    "residual": ("network.trunk=residual",),
    # What the paper compares with (section 4.4).
    "cascade": ("training.cascade=true",),
    "cascade-4x": ("training.cascade=true",),
    "cascade-6x": ("training.cascade=true",),
    # Losses.
    "losses-paper": (
        "losses.blocks=['parameters', 'parameters', 'parameters', 'landmarks', 'landmarks', 'landmarks']",
    ),
    "parameters": (f"losses.blocks={['parameters'] * 6}",),
    "smooth-l1": ("losses.landmark=smooth_l1",),
    "wing": ("losses.landmark=wing",),
    "prior-0.1": ("losses.prior=0.1",),
    "prior-1": ("losses.prior=1.0",),
    "spread": ("network.uncertainty=true",),
    "rotation": ("network.camera=rotation",),
}

TIMES = {"cascade-4x": 4, "cascade-6x": 6}
"""Multiples of the budget. A step of a cascade's stages is about a quarter of one end to end (``network.py``: 0.22 of
`compact`, 0.29 for `small`), so that 4 times the steps take as long; 6 times are the whole budget for each of six
blocks, as the cascades that the paper compares its training time with had."""


@dataclass(frozen=True)
class Result:
    """A variant over its seeds: each face's mean errors, percent of the tight box.

    Attributes:
        people, rows: ``(N,)`` whose face each is, and its crop in the store.
        errors: ``(blocks, N)``.
        disturbed: by name ``(N,)`` or ``(blocks, N)``.
        seeds: NME of the last block with each seed.
        numbers: means over the seeds.
    """

    people: np.ndarray
    rows: np.ndarray
    errors: np.ndarray
    disturbed: dict[str, np.ndarray]
    seeds: list[float]
    numbers: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--variants", default="base", help=f"'all' or of {', '.join(VARIANTS)}")
    parser.add_argument("--preset", default="compact")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--budget", type=int, default=20_000)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--each-block", action="store_true")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    arguments = parser.parse_args()

    names = list(VARIANTS) if arguments.variants == "all" else arguments.variants.split(",")
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        parser.error(f"--variants {','.join(unknown)}: expected 'all' or of {', '.join(VARIANTS)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    done: dict[str, list[dict[str, Any]]] = {}
    failed = False
    for seed in [int(seed) for seed in arguments.seeds.split(",")]:
        for name in names:
            try:
                document = run(name, seed, arguments)
                done.setdefault(name, []).append(document)
            except PifaError as error:  # the others are worth having
                print(f"{name}, seed {seed}: {error}", file=sys.stderr)
                failed = True
    if done:
        print(tables({name: combine(documents) for name, documents in done.items()}))
    sys.exit(failed)


def run(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and measure a variant, unless that is done; what is known of it.

    Raises:
        PifaError: it was done with other settings, or training failed.
    """
    folder = arguments.out / f"{name}-{seed}"
    file = folder.with_suffix(".json")
    data = StoreRows(Store(arguments.store))
    settings = (*settings_of(name, arguments), *arguments.settings)
    asked = {
        "preset": arguments.preset,
        "settings": list(settings),
        "budget": TIMES.get(name, 1) * arguments.budget,
        "seed": seed,
        "each_block": arguments.each_block,
        "store": data.store.attributes["digest"],
    }
    if file.exists():
        document = json.loads(file.read_text())
        if document["asked"] != asked:
            raise PifaError(
                f"{file}: was made with {document['asked']}, asked is {asked}; give another --out or move it"
            )
        return document
    print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
    settings = (*settings, f"training.seed={seed}", "training.split_seed=0")
    config = within_budget(arguments.preset, settings, asked["budget"], data)
    run_training(arguments.store, folder, config, device=arguments.device, resume=True)
    document = {"asked": asked, **measure(folder, data, config, arguments)}
    temporary = file.with_suffix(".partial")
    temporary.write_text(json.dumps(document))
    temporary.replace(file)
    shutil.rmtree(folder / "state")  # only for going on
    return document


def settings_of(name: str, arguments: argparse.Namespace) -> Settings:
    """A variant's settings; those of some follow from the preset's filters."""
    variant = VARIANTS[name]
    return variant(load_config(arguments.preset).network) if callable(variant) else variant


def within_budget(preset: str, settings: Settings, budget: int, data: StoreRows) -> Config:
    """The configuration whose steps see ``budget`` crops."""
    config = load_config(preset, settings)
    crops, batch = len(data.rows_of(split_of(data, config).train)), config.training.batch_size
    epochs = max(1, budget // batch) / max(1, crops // batch)
    return load_config(preset, (*settings, f"training.epochs={epochs}"))


def measure(folder: Path, data: StoreRows, config: Config, arguments: argparse.Namespace) -> dict[str, Any]:
    """What a trained run does on the people held out."""
    device, model = pick_device(arguments.device), data.store.model
    checkpoint = load_checkpoint(folder / "last.safetensors", model, device)
    rows = validation_rows(data, split_of(data, config))
    # Mixed, so that a face's neighbour in a batch is another person's.
    rows = np.random.default_rng(0).permutation(rows)
    _, people = np.unique(np.array(data.subjects)[data.source[rows]], return_inverse=True)
    landmarks = Landmarks(model, data.store.attributes["scheme"]).to(device)
    found = probe(checkpoint.network, landmarks, HeldOut(data, rows), each_block=arguments.each_block)
    torch.manual_seed(0)
    undone = load_config(arguments.preset, tuple(arguments.settings)).network
    base = Network(undone, model, data.size, len(get_scheme(checkpoint.header.scheme))).to(device).eval()
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as curve:
        rounds = list(csv.DictReader(curve))
    return {
        **found,
        "people": people.tolist(),
        "rows": rows.tolist(),
        "steps": int(rounds[-1]["step"]),
        "seconds": sum(float(row["seconds"]) for row in rounds),
        **cost(checkpoint.network, base),
    }


def combine(documents: list[dict[str, Any]]) -> Result:
    """The seeds of a variant as one."""
    first = documents[0]

    def mean_of(key: str) -> np.ndarray:
        return np.mean([np.array(document[key], float) for document in documents], axis=0)

    disturbed = {key: mean_of(key) for key in first if key.startswith(("zeroed", "shuffled", "noise"))}
    keys = ("steps", "seconds", "weights", "multiply_adds", "ms_a_face", "over_base", "prior")
    seeds = [float(np.nanmean(document["errors"][-1])) for document in documents]
    numbers = {key: float(mean_of(key)) for key in keys}
    return Result(np.array(first["people"]), np.array(first["rows"]), mean_of("errors"), disturbed, seeds, numbers)


def tables(results: dict[str, Result]) -> str:
    """Everything that was asked for, as Markdown."""
    base = results.get("base")
    most = max(len(result.errors) for result in results.values())
    by_block, added, last, disturbed = [], [], [], []
    for name, result in results.items():
        errors, people, numbers = result.errors, result.people, result.numbers

        def difference(values: np.ndarray, of: np.ndarray, people: np.ndarray = people) -> str:
            return signed(bootstrap_mean(values - of, people))

        means = [f"{value:.2f}" for value in np.nanmean(errors, axis=1)]
        by_block.append([name, *means, *[""] * (most - len(means))])
        steps = [difference(after, before) for before, after in pairwise(errors)]
        added.append([name, *steps, *[""] * (most - len(means))])
        against = "" if base is None or result is base else difference(errors[-1], same_faces(base, result))
        last.append(
            [
                name,
                plain(bootstrap_mean(errors[-1], people)),
                ", ".join(f"{value:.2f}" for value in result.seeds),
                against,
                difference(errors[-1], errors[1]) if len(errors) > 2 else "",
                f"{numbers['multiply_adds'] / 1e6:.0f}",
                f"{numbers['weights'] / 1e6:.2f}",
                f"{numbers['ms_a_face']:.1f} ({numbers['over_base']:.2f}x)",
                f"{numbers['seconds']:.0f}",
                f"{numbers['steps']:.0f}",
            ]
        )
        of_v = [
            difference(result.disturbed[k], errors[-1]) if k in result.disturbed else "" for k in ("zeroed", "shuffled")
        ]
        each = [of_blocks(result.disturbed.get(k)) for k in ("zeroed_block", "shuffled_block", "noise")]
        disturbed.append([name, f"{np.nanmean(errors[-1]):.2f}", *of_v, *each, f"{numbers['prior']:.2f}"])
    faces = next(iter(results.values()))
    columns = ["variant", "NME [95 %]", "each seed", "− base", "last − block 2", "million multiply-adds"]
    parts = [
        f"{len(faces.people)} crops of {len(np.unique(faces.people))} people held out.",
        table(["NME after block", *[str(i + 1) for i in range(most)]], by_block),
        table(["block − the one before", *[str(i + 2) for i in range(most - 1)]], added),
        table([*columns, "million weights", "ms a face (of base)", "s of training", "steps"], last),
        table(
            [
                "at test time",
                "NME",
                "V zeroed",
                "V of another face",
                "one V zeroed",
                "one V of another",
                "noise",
                "mean p²",
            ],
            disturbed,
        ),
    ]
    return "\n\n".join(parts)


def same_faces(base: Result, result: Result) -> np.ndarray:
    """Last errors of the base, on the faces of the other."""
    if not np.array_equal(base.rows, result.rows):
        raise SystemExit(
            "the variants were measured on other faces than the base; use the same --set training.* for all"
        )
    return base.errors[-1]


def of_blocks(errors: np.ndarray | None) -> str:
    return "" if errors is None else ", ".join(f"{value:.2f}" for value in np.nanmean(errors, axis=1))


def plain(interval: Interval) -> str:
    return f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def signed(interval: Interval) -> str:
    """Bold where the interval is on one side of zero."""
    text = f"{interval.mean:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"
    return f"**{text}**" if interval.excludes_zero else text


def table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
