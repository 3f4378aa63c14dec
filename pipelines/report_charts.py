"""The charts of ``pifa report``: every entry a line or a bar of its own colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from pipelines.charts import Chart, Theme, draw_yaw_error
from pipelines.evaluate import Evaluation
from pipelines.report_documents import EvalDocument
from pipelines.report_entries import Entry

COLOURS = 8
"""Colours of a theme; further entries have the same again, dashed and dotted."""

CURVES = {"interocular": "interocular distance", "interocular_51": "interocular distance, 51 points"}
NORMALISERS = {"tight": "tight box", "box": "data set's box", "interocular": "interocular distance"}
CHART, HALF = (10.0, 3.3), (5.4, 3.2)
"""Inches of a chart over the page's width and of one of two side by side."""


@dataclass(frozen=True)
class Line:
    """One entry in a chart: its place among all, which is its colour, and what it is called."""

    number: int
    label: str
    entry: Entry

    @property
    def numbers(self) -> EvalDocument:
        assert self.entry.numbers is not None  # for the type checker: entries without are in no chart of numbers
        return self.entry.numbers


def draw_charts(entries: Sequence[Entry]) -> dict[str, list[Chart]]:
    """All charts by what they show; what no entry has numbers for has no chart."""
    kinds = ("curves", "blocks", "yaw", "groups", "scatter", "score", "training")
    charts: dict[str, list[Chart]] = {kind: [] for kind in kinds}
    # Where the data are not the same throughout, every line says what it was measured on.
    mixed = len({(e.numbers.source, e.numbers.faces_digest) for e in entries if e.numbers is not None}) > 1
    lines = [Line(i, _label(entry, mixed), entry) for i, entry in enumerate(entries)]
    measured = [line for line in lines if line.entry.numbers is not None]
    for name in dict.fromkeys(name for line in measured for name, values in line.numbers.curve.items() if values):
        having = [line for line in measured if line.numbers.curve.get(name)]
        title = f"Cumulative error, % of the {CURVES.get(name) or NORMALISERS.get(name, name)}"
        charts["curves"].append(_chart(title, "Share of the faces below each error.", HALF, _curves, having, name))
    # Percents of one thing and of another do not belong on one axis.
    for normaliser in dict.fromkeys(line.numbers.normaliser for line in measured):
        same = [line for line in measured if line.numbers.normaliser == normaliser]
        unit = f"% of the {NORMALISERS.get(normaliser, normaliser)}"
        if any(line.numbers.nme_per_block for line in same):
            title = f"Error after each block, {unit}"
            charts["blocks"].append(_chart(title, "One line each.", CHART, _blocks, same))
        for key, title, field in (("yaw", "Error by yaw", "nme_by_yaw"), ("groups", "Error by part", "nme_by_group")):
            if any(value is not None for line in same for value in getattr(line.numbers, field).values()):
                charts[key].append(_chart(f"{title}, {unit}", "One bar each.", HALF, _bars, same, field))
    if len(entries) == 1 and entries[0].evaluation is not None:
        charts["scatter"] = _scatter(entries[0].evaluation)
    if told := [line for line in measured if line.numbers.score_curve]:
        text = "Share of the crops that are aligned over the score that they got: on the diagonal the score is true."
        charts["score"].append(_chart("How true the score is", text, CHART, _reliability, told))
    logs = [line for line in lines if line.entry.rounds]
    if logs:
        text = "Training loss and validation error."
        charts["training"].append(_chart("Learning curves", text, CHART, _training, logs))
    return charts


def _chart(
    title: str, text: str, size: tuple[float, float], draw: Callable[..., None], lines: Sequence[Line], *more: Any
) -> Chart:
    if len(lines) > 8:
        size = (size[0], size[1] + 0.16 * (len(lines) - 8))  # room for the legend
    names = ", ".join(line.entry.name for line in lines)
    return Chart(title, f"{text} {names}.", size, lambda f, t: draw(f, t, lines, *more))


def _style(theme: Theme, i: int) -> dict[str, Any]:
    return {"color": theme.series[i % COLOURS], "ls": ("-", "--", ":")[i // COLOURS % 3]}


def _label(entry: Entry, mixed: bool) -> str:
    """A name as Matplotlib's font can draw it, and as text: a leading _ would hide it, and $ would be mathematics."""
    name = f" {_cut(entry.name)}"
    if mixed and entry.numbers is not None and entry.numbers.source:
        name += f" on {_cut(entry.numbers.source)}"
    return _plain(name)


def _cut(text: str, longest: int = 32) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _plain(text: str) -> str:
    drawn = "".join(c if c.isprintable() and (ord(c) < 0x530 or c == "…") else "?" for c in text)
    return drawn.replace("$", r"\$")


def _curves(figure: Figure, theme: Theme, lines: Sequence[Line], name: str) -> None:
    axes: Axes = figure.subplots()
    ends = []
    for line in lines:
        errors = np.sort(np.array(line.numbers.curve[name]))
        axes.plot(errors, np.linspace(0, 100, len(errors)), lw=1.8, label=line.label, **_style(theme, line.number))
        ends.append(errors[int(0.97 * (len(errors) - 1))])
    end = max(*ends, 8.5) if name.startswith("interocular") else max(ends)
    if name.startswith("interocular"):
        axes.axvline(8, color=theme.ink, lw=0.8, ls=":")
        axes.text(8, 2, " failure", color=theme.ink, fontsize=8)
    axes.set(xlim=(0, max(end, 1e-3) * 1.05), ylim=(0, 101), xlabel="error, %", ylabel="faces below, %")
    if len(lines) > 1:
        axes.legend(fontsize=8, loc="lower right")


def _blocks(figure: Figure, theme: Theme, lines: Sequence[Line]) -> None:
    axes: Axes = figure.subplots()
    for line in lines:
        of = line.numbers
        values = np.array([np.nan if v is None else v for v in (of.nme_initial, *of.nme_per_block)])
        axes.plot(range(len(values)), values, "o", ms=3.5, color=theme.series[line.number % COLOURS])
        axes.plot(range(len(values)), values, lw=1.6, label=line.label, **_style(theme, line.number))
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set(xlabel="block (0: P⁰, before the first)", ylabel="NME, %")
    _to_log(axes)
    if len(lines) > 1:
        _legend_beside(axes)


def _legend_beside(axes: Axes) -> None:
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)


def _to_log(axes: Axes) -> None:
    """A logarithmic axis with its ticks written out; of nothing above 0 there is none."""
    if not any((np.asarray(line.get_ydata(), float) > 0).any() for line in axes.lines):
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_minor_locator(LogLocator(subs=()))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _bars(figure: Figure, theme: Theme, lines: Sequence[Line], field: str) -> None:
    axes: Axes = figure.subplots()
    names = list(dict.fromkeys(name for line in lines for name in getattr(line.numbers, field)))
    width = 0.8 / len(lines)
    for place, line in enumerate(lines):
        found = [getattr(line.numbers, field).get(name) for name in names]
        at = np.arange(len(names)) - 0.4 + (place + 0.5) * width
        values = [value or 0.0 for value in found]
        bars = axes.bar(at, values, 0.92 * width, color=theme.series[line.number % COLOURS], label=line.label)
        labels = ["none" if value is None else f"{value:.2f}" for value in found]
        crowded = len(lines) * len(names) > 10
        axes.bar_label(bars, labels, fontsize=7 if crowded else 8, rotation=90 * crowded, color=theme.ink, padding=2)
    yaw = field == "nme_by_yaw"
    axes.set_xticks(range(len(names)), [f"{name}°" if yaw else _plain(_cut(name)) for name in names])
    axes.set(ylabel="NME, %", xlabel="|yaw|" if yaw else "")
    axes.margins(y=0.2)
    axes.grid(visible=False, axis="x")
    if len(lines) > 1:
        axes.legend(fontsize=8)


def _scatter(found: Evaluation) -> list[Chart]:
    yaw, errors = np.degrees(found.measurement.truth.yaw), found.measurement.errors[-1]
    known = np.isfinite(yaw) & np.isfinite(errors)
    if not known.any():
        return []
    of = NORMALISERS[found.values["normaliser"]]
    text = "Each crop's error over its yaw, with median and 90th percentile in bands of 10°."
    draw = lambda f, t: draw_yaw_error(f, t, yaw[known], errors[known], of)  # noqa: E731 (the charts take a function)
    return [Chart("Error over yaw", text, CHART, draw)]


def _reliability(figure: Figure, theme: Theme, lines: Sequence[Line]) -> None:
    curve, counts = figure.subplots(1, 2)
    curve.plot([0, 100], [0, 100], color=theme.faint, lw=1, ls="--")
    for line in lines:
        bins = line.numbers.score_curve or []
        at, style = [100 * one.score for one in bins], _style(theme, line.number)
        label = line.label
        if line.numbers.score_ece is not None:
            label += f", ECE {line.numbers.score_ece:.3f}"
        curve.plot(at, [100 * one.aligned for one in bins], marker="o", ms=3.5, lw=1.6, label=label, **style)
        counts.plot(at, [one.crops for one in bins], marker="o", ms=3.5, lw=1.6, **style)
    limits = sorted({line.numbers.score_threshold for line in lines if line.numbers.score_threshold is not None})
    of = " or ".join(f"{limit:g}" for limit in limits)
    curve.set(xlim=(0, 101), ylim=(0, 101), xlabel="score, %", ylabel=f"crops with an error below {of} %, %")
    curve.legend(fontsize=8, loc="lower right")
    counts.set(xlim=(0, 101), xlabel="score, %", ylabel="crops")
    counts.set_ylim(bottom=0)


def _training(figure: Figure, theme: Theme, lines: Sequence[Line]) -> None:
    loss, error = figure.subplots(1, 2)
    for line in lines:
        rounds = line.entry.rounds
        steps = np.array([row["step"] for row in rounds])
        loss.plot(steps, [row["train_loss"] for row in rounds], label=line.label, **_style(theme, line.number))
        blocks = [key for key in rounds[0] if key.startswith("val_nme_block")]
        shown = blocks if len(lines) == 1 else blocks[-1:]
        for at, key in enumerate(shown):
            label = f"block {key.removeprefix('val_nme_block')}" if len(lines) == 1 else line.label
            values = [row.get(key, np.nan) for row in rounds]
            style = _style(theme, at if len(lines) == 1 else line.number)
            error.plot(steps, values, marker="o" if len(steps) == 1 else None, lw=1.5, label=label, **style)
    for axes in (loss, error):
        _to_log(axes)
        axes.set(xlabel="step")
    loss.set(ylabel="training loss")
    last = "" if len(lines) == 1 else ", last block"
    error.set(ylabel=f"validation NME{last}, %")
    if error.lines:
        _legend_beside(error)
