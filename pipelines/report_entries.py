"""What a report is about: runs, measured here, and evaluations that ``pifa eval --json`` wrote."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from pifa_data.errors import PifaError
from pifa_data.store import Store
from pifa_data.urls import is_url
from pifa_model.bootstrap import Interval, bootstrap_mean
from pipelines.eval_measure import DRAWS
from pipelines.evaluate import Evaluation, evaluate
from pipelines.report_documents import EvalDocument
from zoo.documents import parse
from zoo.errors import ZooError

LARGEST = 2**22
"""Bytes of an evaluation or a configuration that is read; they have some kilobytes, more where faces were skipped."""

DEEPEST = 20
"""Nesting of a configuration that is read; a run's has five."""

BIGGEST = 1e12
"""Numbers of a learning curve that are drawn."""

ROUNDS = 100_000
"""Rounds of a learning curve that are read."""


class ReportError(PifaError):
    """What was given is no run and no evaluation."""


@dataclass(frozen=True)
class Entry:
    """One column of a report.

    Attributes:
        name: shown, unique in the report.
        kind: ``run``, ``eval`` (measured now) or ``file`` (its JSON).
        numbers: the evaluation's; None where none could be made.
        evaluation: what was measured now, for pictures and paired differences.
        config: the network's whole configuration.
        rounds: rows of the learning curve.
        notes: what is missing, and why.
    """

    name: str
    kind: str
    numbers: EvalDocument | None = None
    evaluation: Evaluation | None = None
    config: dict[str, Any] | None = None
    rounds: list[dict[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def data(self) -> tuple[str, str, str] | None:
        """What two entries must share for their numbers to be compared: the faces, the boxes, the normaliser."""
        of = self.numbers
        return (of.faces_digest, of.boxes, of.normaliser) if of is not None and of.faces_digest else None

    @property
    def preset(self) -> str:
        """The preset's name, or nothing."""
        return str((self.config or {}).get("preset", ""))

    @property
    def sees_map(self) -> bool:
        """Whether the network's blocks are given V; true where nobody says otherwise."""
        network = (self.config or {}).get("network")
        inputs = network.get("inputs") if isinstance(network, dict) else None
        return not isinstance(inputs, list) or "map" in inputs


def of_evaluation(evaluation: Evaluation, kind: str = "eval") -> Entry:
    """An entry of what was measured now."""
    numbers = EvalDocument.model_validate(evaluation.values)
    assert numbers.network is not None  # for the type checker: `evaluate` always says
    return Entry(numbers.network.name, kind, numbers, evaluation, numbers.network.config)


def read_entries(paths: Sequence[Path]) -> list[Entry]:
    """The entries of a report, in the order given, each with a name of its own.

    Raises:
        ReportError: a path that is no run folder and no evaluation.
        ZooError: a JSON file that is damaged or no evaluation.
    """
    entries: list[Entry] = []
    for path in paths:
        entry = _read_run(path) if path.is_dir() else _read_file(path)
        taken = {other.name for other in entries}
        again = count(2)
        name = entry.name
        while name in taken:
            name = f"{entry.name} ({next(again)})"
        entries.append(replace(entry, name=name))
    return entries


def _read_file(path: Path) -> Entry:
    if path.suffix == ".safetensors":
        raise ReportError(
            f"{path}: expected a run folder or the JSON of `pifa eval --json`, found a checkpoint; "
            f"pifa eval {path.name} STORE|SOURCE --report HTML measures it and writes a page"
        )
    data = _bytes(path)
    numbers = parse(EvalDocument, data, f"{path}: not an evaluation that `pifa eval --json` wrote", ZooError)
    notes = ["Only its numbers are here: pictures and intervals of differences need the run or the checkpoint."]
    if not numbers.curve or numbers.network is None:
        notes.append("An older version of pifa wrote it, with fewer numbers than today's.")
    network = numbers.network
    return Entry(path.stem, "file", numbers, None, network.config if network else None, [], notes)


def _read_run(run: Path) -> Entry:
    cure = "give a folder that `pifa train` made, or the JSON of `pifa eval --json`"
    if not (run / "config.json").is_file():
        raise ReportError(f"{run}: expected a run folder, found one without config.json; {cure}")
    try:
        document = json.loads(_bytes(run / "config.json"))
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{run / 'config.json'}: expected a run's configuration, found no JSON ({error})") from error
    if _depth(document) > DEEPEST:
        raise ReportError(
            f"{run / 'config.json'}: nested deeper than {DEEPEST}, which no run's configuration is; {cure}"
        )
    if not isinstance(document, dict) or not {"config", "split"} <= document.keys():
        raise ReportError(f"{run / 'config.json'}: expected a run's configuration, found another document; {cure}")
    notes: list[str] = []
    rounds = read_rounds(run / "metrics.csv", notes)
    config = document["config"] if isinstance(document["config"], dict) else {}
    entry = Entry(run.resolve().name, "run", None, None, config, rounds, notes)
    try:
        evaluation = _measure_run(run, document)
        measured = of_evaluation(evaluation, "run")
    except (PifaError, ZooError, OSError, ValueError) as error:  # of a network gone astray, numbers that nothing takes
        notes.append(f"Not measured, so it has no numbers and no pictures here: {error}")
        return entry
    return replace(entry, numbers=measured.numbers, evaluation=evaluation)


def _measure_run(run: Path, document: dict[str, Any]) -> Evaluation:
    """Measure a run's best checkpoint on one crop of each face that it held out, as its training did."""
    stores, split = _stores(document), document["split"]
    if not stores or not isinstance(split, dict):
        raise ReportError(f"{run / 'config.json'}: does not say which store it was trained on")
    if not split.get("val"):
        raise ReportError("nobody was held out in its training; `pifa eval` measures it on other faces")
    for path, digest in stores:
        if is_url(path):  # a folder from somebody else must not make this machine call an address
            raise ReportError(
                f"{path}: is not opened for a report; `pifa eval {run} {path} --report HTML` measures on it"
            )
        if Store(path).attributes["digest"] != digest:
            raise ReportError(f"{path}: is another store than the one it was trained with")
    return evaluate(str(run), [path for path, _ in stores], subset="val", one_crop=True)


def _stores(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Path and digest of the stores that a run validated on: those of validation, or those it was trained on."""
    found = document.get("val_stores") or document.get("stores") or [document.get("store")]
    return [
        (store["path"], str(store.get("digest")))
        for store in (found if isinstance(found, list) else [])
        if isinstance(store, dict) and isinstance(store.get("path"), str)
    ]


def read_rounds(path: Path, notes: list[str]) -> list[dict[str, float]]:
    """The rows of ``metrics.csv``, numbers alone."""
    rows: list[dict[str, float]] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                rows.append({key: _number(value) for key, value in row.items() if key is not None})
                if len(rows) == ROUNDS:
                    break
    except (OSError, ValueError, csv.Error) as error:
        notes.append(f"No learning curve: {error}")
        return []
    if not rows or not {"step", "train_loss"} <= rows[0].keys():
        notes.append(f"No learning curve: {path.name} has no finished round.")
        return []
    return rows


def _number(text: Any) -> float:
    """A number that can be drawn; NaN for all else."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return float("nan")
    return value if abs(value) <= BIGGEST else float("nan")


def _depth(document: Any) -> int:
    """How deep lists and objects are nested, counted to a little more than is allowed."""
    level, depth = [document], 0
    while level and depth <= DEEPEST:
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list))]
        level, depth = [item for values in inner for item in values], depth + bool(inner)
    return depth


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise ReportError(f"{path}: no such run folder or evaluation") from error
    if len(data) > LARGEST:
        raise ReportError(f"{path}: expected at most {LARGEST} bytes, found more; is it an evaluation?")
    return data


def difference(entry: Entry, first: Entry) -> Interval | float | None:
    """How much more error an entry has than another on the same faces; None where the faces are others.

    An interval over people of the paired differences where both were measured now, else the plain difference.
    """
    if entry.data is None or entry.data != first.data or entry.numbers is None or first.numbers is None:
        return None
    a, b = entry.evaluation, first.evaluation
    if a is None or b is None:
        return entry.numbers.nme - first.numbers.nme
    if len({*a.collected.subjects}) < 2:  # no interval over people of one
        return entry.numbers.nme - first.numbers.nme
    apart = a.measurement.errors[-1] - b.measurement.errors[-1]
    if not np.isfinite(apart).any():
        return None
    return bootstrap_mean(apart, np.array(a.collected.subjects), draws=DRAWS)
