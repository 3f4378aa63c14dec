"""``pifa paper``: a table of the paper, its numbers beside those of trainings on one's own store.

Columns are never compared across data sets: the paper's and ours have other faces, other landmarks and mostly another
normaliser, which each column names. Intervals are of 95 % by the bootstrap over people; of several seeds a face's error
is the mean. A difference between two of our rows is bold only if its interval excludes zero and each of three seeds or
more has its sign.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from pifa_data.errors import PifaError
from pifa_data.readers import FORMATS, parse_source
from pifa_data.store import Store
from pifa_model.bootstrap import bootstrap_mean
from pifa_model.config import load_config
from pifa_model.metrics import THRESHOLD
from pipelines.evaluate import run_eval
from pipelines.experiments import Plan, run_variant
from pipelines.fits import write_whole
from pipelines.paper_tables import TABLES, PaperTable

log = logging.getLogger("pifa.paper")

Runs = dict[str, list[dict[str, Any]]]
"""A table's rows → the results of each seed."""

MEASURES = {
    "nme": "nme",
    "methods": "nme",
    "blocks": "nme_per_block",
    "pixels": "mape",
    "interocular": "nme_interocular",
}
"""What `pifa eval` calls the number of a table that test sources are measured for."""


def run_paper(name: str, plan: Plan, *, seeds: int = 1, tests: tuple[str, ...] = ()) -> dict[str, Any]:
    """Train what a table needs and is not there yet, and put the paper's numbers beside ours.

    Args:
        name: of ``TABLES``.
        plan: store, folder of results, preset and budget.
        seeds: trainings of each variant, seeds 0, 1, …
        tests: sources that each run is also measured on, as the paper measures that data set.

    Raises:
        PifaError: no such table, or a run can't be made; those that are done stay.
    """
    if name not in TABLES:
        raise PifaError(f"{name}: expected one of {', '.join(TABLES)}")
    table = TABLES[name]
    if tests and table.measure not in MEASURES:
        raise PifaError(f"{name} is about training, not about a data set: no --test")
    if (
        name == "table8"
        and [len(block) for block in load_config(plan.preset, plan.settings).network.filters] != [2] * 6
    ):
        raise PifaError(f"--preset {plan.preset}: {name} regroups six blocks of two convolutions, it has others")
    plan.out.mkdir(parents=True, exist_ok=True)
    runs: Runs = {}
    elsewhere: dict[str, dict[str, list[float]]] = {}
    named: dict[str, str] = {}
    for seed in range(seeds):
        for row, variant in table.variants.items():
            log.info("%s, seed %d", variant, seed)
            runs.setdefault(row, []).append(run_variant(variant, seed, plan))
            for one, split in [(test, split) for test in tests for split in splits_of(test, table)]:
                values = test_of(plan, f"{variant}-{seed}", one, split)
                unit = "pixels" if table.measure == "pixels" else values["normaliser"]
                column = " ".join([values["source"], *([split] if split else [])]) + f", {unit}"
                if named.setdefault(column, one) != one:
                    raise PifaError(f"--test {one} and {named[column]}: have one name, {column}; measure one at a time")
                elsewhere.setdefault(column, {}).setdefault(row, []).append(values[MEASURES[table.measure]])
    _, people = first_row(runs)
    return {
        "table": name,
        "title": table.title,
        "where": table.where,
        "claim": table.claim,
        "paper": {"data": table.data, "values": table.published},
        "ours": {
            "data": f"{store_name(plan.store)}, {len(people)} faces of {len(np.unique(people))} people held out, "
            f"{MEASURED[table.measure]}",
            "preset": plan.preset,
            "settings": list(plan.settings),
            "budget": plan.budget,
            "seeds": list(range(seeds)),
            "values": SHOWN[table.measure](runs),
            "made": sorted(
                {f"{run['made']['date']}, {run['made']['processor']}" for some in runs.values() for run in some}
            ),
        },
        "tests": {
            column: {row: none_for_nan(mean(values)) for row, values in rows.items()}
            for column, rows in elsewhere.items()
        },
    }


MEASURED = {
    "nme": "NME % of the tight box",
    "methods": "NME % of the tight box",
    "blocks": "NME % of the tight box",
    "noise": "NME % of the tight box",
    "pixels": "mean error of visible landmarks in pixels of the photo",
    "interocular": "NME % of the distance of the outer eye corners",
    "filters": "mean absolute weight of the first convolution of each block",
    "time": "NME % of the tight box, processor seconds of training",
}


def store_name(store: str) -> str:
    """The data sets of a store, without their folders."""
    sources = Store(store).attributes["sources"]
    return ", ".join(Path(source.split(":", 1)[-1].split(",")[0]).name for source in sources)


def splits_of(source: str, table: PaperTable) -> tuple[str | None, ...]:
    """The splits of a test source that the paper measures; None for all of it."""
    return table.test_splits.get(parse_source(source, FORMATS).format.name, (None,))


def test_of(plan: Plan, run: str, source: str, split: str | None) -> dict[str, Any]:
    """What `pifa eval` says of a run on a test source, measured once."""
    parsed = parse_source(source, FORMATS)
    where = "-".join([parsed.format.name, *([split] if split else []), hashlib.sha256(source.encode()).hexdigest()[:8]])
    file = plan.out / f"{run}.{where}.json"
    weights = plan.out / "runs" / run / "last.safetensors"
    if not weights.exists():
        raise PifaError(f"{weights}: is gone, so that {source} can't be measured; remove {run}.json to train it again")
    if file.exists():
        document = json.loads(file.read_text(encoding="utf-8"))
        if document.get("checkpoint_sha256") == hashlib.sha256(weights.read_bytes()).hexdigest():
            return dict(document)
    normaliser = parsed.format.normaliser if parsed.format.normaliser in ("tight", "box", "interocular") else "tight"
    values = run_eval(str(weights), source, split=split, normaliser=normaliser, device=plan.device).values
    write_whole(file, lambda opened: opened.write(json.dumps(values).encode()))
    return values


def faces(runs: list[dict[str, Any]], key: str, index: int | None = None) -> np.ndarray:
    """A number a face, the mean over the seeds: ``(N,)``."""
    values = [np.array(run[key] if index is None else run[key][index], np.float64) for run in runs]
    return np.mean(values, axis=0)


def interval(values: np.ndarray, people: np.ndarray) -> dict[str, float]:
    found = bootstrap_mean(values, people)
    return {"mean": found.mean, "low": found.low, "high": found.high}


def mean(values: list[Any]) -> Any:
    return np.mean(np.array(values, np.float64), axis=0).tolist()


def first_row(runs: Runs) -> tuple[list[dict[str, Any]], np.ndarray]:
    """The runs that others are compared with, and whose face each is that all were measured on."""
    base = next(iter(runs.values()))
    return base, np.array(base[0]["people"])


def compared(runs: Runs, key: str, index: int | None) -> dict[str, Any]:
    """Each row's number with its interval and seeds, and its difference to the first row on the same faces."""
    found: dict[str, Any] = {}
    base, people = first_row(runs)
    for row, some in runs.items():
        if some[0]["rows"] != base[0]["rows"]:
            raise PifaError(f"{row}: was measured on other faces; use the same settings for all")
        each = [float(np.nanmean(faces([run], key, index))) for run in some]
        found[row] = interval(faces(some, key, index), people) | {"seeds": each}
        if some is not base:
            steps = [a - float(np.nanmean(faces([run], key, index))) for a, run in zip(each, base, strict=True)]
            difference = interval(faces(some, key, index) - faces(base, key, index), people)
            sure = difference["low"] > 0 or difference["high"] < 0
            found[row]["difference"] = difference | {
                "seeds": steps,
                "significant": bool(sure and len(steps) > 2 and len({step > 0 for step in steps}) == 1),
            }
    return found


def _nme(runs: Runs) -> dict[str, Any]:
    return compared(runs, "errors", -1)


def _methods(runs: Runs) -> dict[str, Any]:
    base, people = first_row(runs)
    return _nme(runs) | {"Mean face, where the box is": interval(faces(base, "initial"), people)}


def _blocks(runs: Runs) -> dict[str, Any]:
    base, people = first_row(runs)
    count = len(base[0]["errors"])
    found: dict[str, Any] = {"Initial": interval(faces(base, "initial"), people)}
    found["blocks"] = [interval(faces(base, "errors", index), people) for index in range(count)]
    gains = [faces(base, "errors", index) - faces(base, "errors", index - 1) for index in range(1, count)]
    found["gains"] = [interval(values, people) for values in gains]
    return found


def _pixels(runs: Runs) -> dict[str, Any]:
    return compared(runs, "pixels", None)


def _interocular(runs: Runs) -> dict[str, Any]:
    found = compared(runs, "interocular", None)
    base, people = first_row(runs)
    for points, key in ((68, "interocular"), (51, "interocular_51")):
        if key in base[0]:
            errors = [faces([run], key) for run in base]
            failed = [np.where(np.isfinite(values), 100.0 * (values > THRESHOLD), np.nan) for values in errors]
            found[f"Failure rate above 8 %, {points} points"] = interval(np.mean(failed, axis=0), people)
    return found


def _filters(runs: Runs) -> dict[str, Any]:
    """Mean absolute weights of each block; beside them those that training began with, which differ by block alone."""
    found: dict[str, Any] = {}
    for row, some in runs.items():
        for name in ("image", "map", "features"):
            values = [[block.get(name, float("nan")) for block in run["filters"]] for run in some]
            if np.isfinite(values).any():
                found[f"{row}: {name}"] = none_for_nan(mean(values))
        # Their number times their size, as the paper weighs "the total impact".
        nothing = float("nan")
        sums = [
            [block.get("features", nothing) * block.get("features_channels", nothing) for block in run["filters"]]
            for run in some
        ]
        if np.isfinite(sums).any():
            found[f"{row}: features × channels"] = none_for_nan(mean(sums))
        found[f"{row}: each before training"] = untrained(some[0])
    return found


def untrained(run: dict[str, Any]) -> list[float]:
    """Mean size of a weight of each block's first convolution as it is initialised: normal, of variance 2 / fan-in."""
    kernels = load_config(run["asked"]["preset"], tuple(run["asked"]["settings"])).network.kernels
    channels = [sum(value for name, value in block.items() if name.endswith("_channels")) for block in run["filters"]]
    return [
        math.sqrt(2 / (count * kernel**2)) * math.sqrt(2 / math.pi)
        for count, kernel in zip(channels, kernels, strict=True)
    ]


def none_for_nan(values: Any) -> Any:
    """A number or a list of them, with None for NaN, which JSON does not have."""
    if isinstance(values, list):
        return [none_for_nan(value) for value in values]
    return values if np.isfinite(values) else None


def _noise(runs: Runs) -> dict[str, Any]:
    base, people = first_row(runs)
    clean = faces(base, "errors", -1)
    noisy = [faces(base, "noise", index) for index in range(len(base[0]["noise"]))]
    return {
        "without": interval(clean, people),
        "blocks": [interval(values, people) for values in noisy],
        "harm": [interval(values - clean, people) for values in noisy],
    }


SHARE = "Time to the cascade's last error ÷ the cascade's time, each seed"


def _time(runs: Runs) -> dict[str, Any]:
    """Each row's error and time; and when the runs end to end were first as good as the cascade is at its end."""
    found = compared(runs, "errors", -1)
    # A processor's seconds are those of the work however busy the machine was; a GPU's are only told by the clock.
    cuda = any(run["made"]["device"] == "cuda" for some in runs.values() for run in some)
    clock = "seconds" if cuda else "cpu_seconds"
    for row, some in runs.items():
        found[row] |= {"seconds": mean([run[clock] for run in some]), "steps": mean([run["steps"] for run in some])}
    *ours, cascade = runs
    shares = []
    for seed, last in enumerate(runs[cascade]):
        target = last["curve"]["nme"][-1]
        reached = [
            seconds
            for row in ours
            for seconds, error in zip(runs[row][seed]["curve"][clock], runs[row][seed]["curve"]["nme"], strict=True)
            if error <= target
        ]
        shares.append(min(reached) / last["curve"][clock][-1] if reached else None)
    found[SHARE] = shares
    return found


SHOWN: dict[str, Callable[[Runs], dict[str, Any]]] = {
    "nme": _nme,
    "methods": _methods,
    "blocks": _blocks,
    "pixels": _pixels,
    "interocular": _interocular,
    "filters": _filters,
    "noise": _noise,
    "time": _time,
}


def as_markdown(result: dict[str, Any]) -> str:
    """The table for people."""
    paper, ours = result["paper"], result["ours"]
    published, values = paper["values"], ours["values"]
    columns = ["", f"paper: {paper['data']}", f"ours: {ours['data']}", "− first row", *result["tests"]]
    rows = []
    for label, of_paper, value in lines_of(published, values):
        tests = [shown(test.get(label)) for test in result["tests"].values()]
        difference = value.get("difference") if isinstance(value, dict) else None
        rows.append([label, shown(of_paper), shown(value), signed(difference), *tests])
    used = [i for i in range(len(columns)) if i < 3 or any(row[i] for row in rows)]
    lines = [columns, ["---"] * len(columns), *rows]
    body = "\n".join("| " + " | ".join(line[i] for i in used) + " |" for line in lines)
    seeds = len(ours["seeds"])
    how = f"preset {ours['preset']}, {ours['budget']:,} crops a run, {seeds} seed{'s' if seeds > 1 else ''}"
    return (
        f"**{result['where']}: {result['title']}.** {result['claim']}\n\n{body}\n\n({how}; {'; '.join(ours['made'])})"
    )


BY_BLOCK = {"blocks": "block {0}", "gains": "block {1} − block {0}", "harm": "block {0} − without noise"}
"""Names of the rows that a list of one number a block is shown as."""


def lines_of(published: dict[str, Any], values: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Name, the paper's number and ours of each row; ours first, then what only the paper has."""
    for label in [*values, *(name for name in published if name not in values)]:
        if label not in BY_BLOCK:
            yield label, published.get(label), values.get(label)
            continue
        pairs = zip_longest(published.get(label, ()), values.get(label, ()))
        for index, (of_paper, value) in enumerate(pairs, 1):
            yield BY_BLOCK[label].format(index, index + 1), of_paper, value


def shown(value: Any) -> str:
    """A number of either column."""
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(shown(one) or "–" for one in value)
    if isinstance(value, (int, float)):
        return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
    text = f"{value['mean']:z.2f} [{value['low']:z.2f}, {value['high']:z.2f}]"
    if len(value.get("seeds", ())) > 1:
        text += f" (seeds {', '.join(f'{one:.2f}' for one in value['seeds'])})"
    if "seconds" in value:
        text += f", {value['seconds']:.0f} s, {value['steps']:.0f} steps"
    return text


def signed(difference: dict[str, Any] | None) -> str:
    if difference is None:
        return ""
    text = f"{difference['mean']:+z.2f} [{difference['low']:+z.2f}, {difference['high']:+z.2f}]"
    return f"**{text}**" if difference["significant"] else text
