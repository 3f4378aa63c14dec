"""Variants of network, losses and training, each trained on the same crops and measured on the same people.

    python benchmarks/variants.py STORE --out DIR [--variants NAME,...] [--preset NAME] [--set KEY=VALUE]...
        [--budget CROPS] [--seeds 0,1] [--each-block] [--device auto]

Each variant is the preset with the settings of ``pipelines/variants.py`` and those of the command line over it,
trained on ``--budget`` crops, as ``pifa paper`` does for the paper's tables (``pipelines/experiments.py``; the two
share their results). What is done is not done again, and what was interrupted goes on. Then the tables are printed,
as Markdown, of the variants named and of all seeds given.

Measured: one jittered crop of each held-out face, NME (tight). Of several seeds a face's error is the mean. Intervals
are of 95 % by the bootstrap over people, of differences over the faces' own differences. Disturbed at test time: V
zeroed or taken from another person's face (in every block, with ``--each-block`` also in one at a time), and the
weights of one block's fully connected layers each multiplied by 1 + 0.05·N(0, 1) (the paper's section 4.3: "5%
noise"). Milliseconds and seconds are the clock's, of a machine that does other things too; multiply-adds (of
convolutions and matrix products) and seconds of the processor depend less on it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pifa_data.errors import PifaError
from pifa_model.bootstrap import Interval, bootstrap_mean
from pipelines.experiments import Plan, run_variant
from pipelines.variants import VARIANTS


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
    parser.add_argument("store")
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
    shared = ("store", "out", "preset", "budget", "each_block", "device")
    plan = Plan(settings=tuple(arguments.settings), **{name: getattr(arguments, name) for name in shared})
    done: dict[str, list[dict[str, Any]]] = {}
    failed = False
    for seed in [int(seed) for seed in arguments.seeds.split(",")]:
        for name in names:
            print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
            try:
                done.setdefault(name, []).append(run_variant(name, seed, plan))
            except PifaError as error:  # the others are worth having
                print(f"{name}, seed {seed}: {error}", file=sys.stderr)
                failed = True
    if done := {name: documents for name, documents in done.items() if documents}:
        print(tables({name: combine(documents) for name, documents in done.items()}))
    sys.exit(failed)


def combine(documents: list[dict[str, Any]]) -> Result:
    """The seeds of a variant as one."""
    first = documents[0]

    def mean_of(key: str) -> np.ndarray:
        return np.mean([np.array(document[key], float) for document in documents], axis=0)

    disturbed = {key: mean_of(key) for key in first if key.startswith(("zeroed", "shuffled", "noise"))}
    keys = ("steps", "seconds", "cpu_seconds", "weights", "multiply_adds", "ms_a_face", "prior")
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
                f"{numbers['ms_a_face']:.1f}",
                f"{numbers['seconds']:.0f} ({numbers['cpu_seconds']:.0f})",
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
        table([*columns, "million weights", "ms a face", "s of training (processor)", "steps"], last),
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
