"""The tables of ``pifa report``: every number with its data set and normaliser, settings that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pifa_model.bootstrap import Interval
from pipelines.report_charts import CURVES, NORMALISERS
from pipelines.report_documents import EvalDocument
from pipelines.report_entries import Entry, difference

SETTINGS = 80
"""Settings that differ, at most, of two foreign files."""


@dataclass(frozen=True)
class Row:
    """One entry's line: how its difference to the first entry of the same faces reads, and whether its NME is best.

    Attributes:
        apart, spread: ``+0.12`` and ``[+0.03, +0.21]``, or empty.
        sure: the interval of the difference leaves out 0.
        best: the smallest NME of several entries on the same faces.
    """

    entry: Entry
    apart: str
    spread: str
    sure: bool
    best: bool


def rows_of(entries: Sequence[Entry]) -> list[Row]:
    """Entries with their differences, each to the first one measured on the same faces: across data there are none."""
    firsts: dict[tuple[str, str, str], Entry] = {}
    same: dict[tuple[str, str, str], list[float]] = {}
    for entry in entries:
        if entry.data is not None and entry.numbers is not None:
            firsts.setdefault(entry.data, entry)
            same.setdefault(entry.data, []).append(entry.numbers.nme)
    rows = []
    for entry in entries:
        found = None
        best = False
        if entry.data is not None and entry.numbers is not None:
            first = firsts[entry.data]
            found = None if first is entry else difference(entry, first)
            values = same[entry.data]
            best = len(values) > 1 and entry.numbers.nme == min(values)
        rows.append(Row(entry, *_difference(found), isinstance(found, Interval) and found.excludes_zero, best))
    return rows


def _difference(found: Interval | float | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    if isinstance(found, Interval):
        return _signed(found.mean), f"[{_signed(found.low)}, {_signed(found.high)}]"
    return _signed(found), ""


def _signed(number: float) -> str:
    return f"{number:+z.2f}".replace("-", "−")


def data_of(numbers: EvalDocument) -> str:
    """What was measured on, in a few words."""
    crops = f"{numbers.faces:,} faces"
    if numbers.crops not in (None, numbers.faces):
        crops = f"{numbers.crops:,} crops of {crops}"
    boxes = "" if numbers.boxes in ("", "store") else f", {numbers.boxes} boxes"
    whose = {"": "", "held-out": " not trained on", "val": " held out", "all": "", "train": " trained on"}
    return f"{crops}{whose.get(numbers.subset, ' of ' + numbers.subset)}{boxes}"


def normaliser_of(numbers: EvalDocument) -> str:
    """What errors are percent of, in words."""
    return NORMALISERS.get(numbers.normaliser) or CURVES.get(numbers.normaliser) or numbers.normaliser


def settings_that_differ(entries: Sequence[Entry]) -> list[tuple[str, list[str]]]:
    """Keys of the configurations whose values are not the same in all entries that have one, and the values.

    An entry without a configuration has "–", a configuration without the key "not there".
    """
    flat = [None if entry.config is None else dict(_flat(entry.config)) for entry in entries]
    having = [settings for settings in flat if settings is not None]
    keys = sorted({key for settings in having for key in settings})
    differing = [key for key in keys if len({settings.get(key, "not there") for settings in having}) > 1]
    return [
        (key, ["–" if settings is None else settings.get(key, "not there") for settings in flat])
        for key in differing[:SETTINGS]
    ]


def settings_of(entry: Entry) -> list[tuple[str, str]]:
    """The whole configuration of one entry."""
    return sorted(_flat(entry.config))[: 4 * SETTINGS] if entry.config is not None else []


def _flat(document: dict[str, Any], name: str = "") -> list[tuple[str, str]]:
    found = []
    for key, value in document.items():
        at = f"{name}.{key}" if name else str(key)
        found += _flat(value, at) if isinstance(value, dict) and value else [(at, _shown(value))]
    return found


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
