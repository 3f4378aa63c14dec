"""Charts of HTML pages: SVG twice each, for a light and for a dark page; and as PNG for a card."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from pipelines.pages import data_address


@dataclass(frozen=True)
class Theme:
    """Colours of a chart."""

    ink: str
    faint: str
    fill: str
    accent: str
    second: str
    good: str
    warn: str
    series: tuple[str, ...]
    """Of things side by side; the page's ``.s0`` … ``.s7`` are the same."""


_LIGHT = Theme(
    *("#22262e", "#c9ced8"),
    **{"fill": "#3b76d6", "accent": "#c2410c", "second": "#6d4bc4", "good": "#3f9b63", "warn": "#e08a1e"},
    series=("#3b76d6", "#c2410c", "#2f8f57", "#6d4bc4", "#a16207", "#0e7490", "#be185d", "#64748b"),
)
_DARK = Theme(
    *("#dfe3ea", "#3d4450"),
    **{"fill": "#6fa3ff", "accent": "#ffa05c", "second": "#b79bff", "good": "#5fbf86", "warn": "#f2a63b"},
    series=("#6fa3ff", "#ffa05c", "#5fbf86", "#b79bff", "#e6c34a", "#4cc9de", "#ff7eb6", "#a3acba"),
)

Draw = Callable[[Figure, Theme], None]


@dataclass(frozen=True)
class Chart:
    """One chart: what it shows, for those who can't see it, its size in inches, and how it is drawn.

    It is drawn when it is asked for: of a report's charts, a card shows a few.
    """

    title: str
    text: str
    size: tuple[float, float]
    draw: Draw

    @cached_property
    def light(self) -> str:
        """A data address of the chart on a light page."""
        return data_address("image/svg+xml", _render(self, _LIGHT, "svg"))

    @cached_property
    def dark(self) -> str:
        """A data address of the chart on a dark page."""
        return data_address("image/svg+xml", _render(self, _DARK, "svg"))

    def png(self) -> bytes:
        """The chart on white, the same bytes for the same numbers by one version of Matplotlib."""
        return _render(self, _LIGHT, "png")


PERCENTILES = (50, 90, 95, 99)

DOTS = 100_000
"""Marks of one scatter; of more faces, an even choice: beyond, they cover each other and only cost time."""


def even(values: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of the values, at equal distances."""
    return values[:: max(1, -(-len(values) // most))]


def _render(chart: Chart, theme: Theme, form: Literal["svg", "png"]) -> bytes:
    settings: Any = {
        "font.size": 9,
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink,
        "axes.edgecolor": theme.faint,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "grid.color": theme.faint,
        "grid.linewidth": 0.5,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
        "xtick.labelcolor": theme.ink,
        "ytick.labelcolor": theme.ink,
        "legend.frameon": False,
        "svg.hashsalt": "pifa",  # the same bytes for the same numbers
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=chart.size, layout="constrained")
        chart.draw(figure, theme)
        if form == "svg":
            for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
                patch.set_alpha(0)
        file = io.BytesIO()
        # Neither a date nor a version of the library that drew it.
        absent = ("Date", "Creator", "Format", "Type") if form == "svg" else ("Software",)
        figure.savefig(file, format=form, dpi=160, metadata=dict.fromkeys(absent))
    return file.getvalue()


def pose_chart(fitted: np.ndarray, own: np.ndarray | None = None, title: str = "Pose of the fits") -> Chart:
    """Histograms of the fits' angles, ``(F, 3)`` degrees, and of the data set's own, ``(G, 3)``, where it has some."""
    yaw, pitch, roll = np.median(fitted, axis=0)
    text = f"Histograms of yaw (median {yaw:.0f}°), pitch (median {pitch:.0f}°) and roll (median {roll:.0f}°)."
    return Chart(title, text, (10, 2.7), lambda f, t: draw_poses(f, t, fitted, own))


def draw_poses(figure: Figure, theme: Theme, fitted: np.ndarray, own: np.ndarray | None = None) -> None:
    """Histograms of yaw, pitch and roll.

    Args:
        fitted: ``(F, 3)`` degrees.
        own: ``(G, 3)`` degrees, the data set's own, drawn as an outline; or None.
    """
    names: Mapping[str, int] = {"yaw": 120, "pitch": 60, "roll": 60}
    for column, (axes, name) in enumerate(zip(figure.subplots(1, 3), names, strict=True)):
        sets = [angles[:, column] for angles in (fitted, own) if angles is not None and len(angles)]
        # A few faces gone astray shall not squeeze the others: what lies beyond is counted at the ends.
        end = 180
        if all(np.percentile(np.abs(angles), 99.5) <= names[name] for angles in sets):
            end = names[name]
        settings: Any = {"bins": end // 3 * 2 if end < 180 else 72, "range": (-end, end)}
        if len(fitted):
            axes.hist(np.clip(fitted[:, column], -end, end), color=theme.fill, label="fit", **settings)
        if own is not None and len(own):
            clipped = np.clip(own[:, column], -end, end)
            axes.hist(clipped, histtype="step", color=theme.accent, lw=1.2, label="data set's own", **settings)
            if column == 0:
                axes.legend(fontsize=8)
        axes.axvline(0, color=theme.accent, lw=0.8)
        axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axes.set(xlabel=f"{name}, degrees", xlim=(-end, end), ylabel="faces" if name == "yaw" else "")


def error_chart(nme: np.ndarray) -> Chart:
    """Histogram and cumulative curve of ``(F,)`` fit errors, percent of the tight box."""
    ranks = ", ".join(f"{p} % of the faces below {np.percentile(nme, p):.2f} %" for p in PERCENTILES)
    text = f"Fit error in percent of the tight box: {ranks}."
    return Chart("Fit error", text, (10, 3.1), lambda f, t: _errors(f, t, nme))


def _errors(figure: Figure, theme: Theme, nme: np.ndarray) -> None:
    left, right = figure.subplots(1, 2)
    # A few fits gone astray would squeeze all others into one bar; they are counted at the end of the axis.
    end = max(1.5 * float(np.percentile(nme, 99)), 1e-3)
    left.hist(np.minimum(nme, end), bins=60, range=(0, end), color=theme.fill)
    beyond = int((nme > end).sum())
    tail = f" (last bar: {beyond} beyond)" if beyond else ""
    left.set(xlim=(0, end * 1.01), xlabel=f"error, % of the tight box{tail}", ylabel="faces")
    left.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    right.plot(np.sort(nme), 100 * np.arange(1, len(nme) + 1) / len(nme), color=theme.fill, lw=1.8)
    for number, rank in enumerate(PERCENTILES):
        value = float(np.percentile(nme, rank))
        right.plot([0, value, value], [rank, rank, 0], color=theme.accent, lw=0.7, ls=":")
        right.plot(value, rank, "o", color=theme.accent, ms=3.5)
        right.text(
            0.98,
            0.34 - 0.085 * number,
            f"{rank} % below {value:.2f} %",
            transform=right.transAxes,
            ha="right",
            color=theme.accent,
        )
    right.set(xlim=(0, end), ylim=(0, 101), xlabel="error, % of the tight box", ylabel="faces below, %")


def yaw_error_chart(yaw: np.ndarray, nme: np.ndarray) -> Chart:
    """Fit errors over yaw, percent of the tight box over degrees, both ``(F,)``."""
    text = "Each face's error over its yaw, with median and 90th percentile in bands of 10°."
    return Chart("Fit error over yaw", text, (6.2, 3.2), lambda f, t: draw_yaw_error(f, t, yaw, nme))


def draw_yaw_error(figure: Figure, theme: Theme, yaw: np.ndarray, nme: np.ndarray, of: str = "tight box") -> None:
    """Errors over yaw, percent over degrees, both ``(F,)``; ``of`` names what they are percent of."""
    axes: Axes = figure.subplots()
    end = max(1.5 * float(np.percentile(nme, 99)), 1e-3)
    x, y = even(yaw, DOTS), even(np.minimum(nme, end), DOTS)
    # Drawn as pixels: a hundred thousand marks would be a page of many megabytes.
    axes.scatter(
        x, y, s=max(3, 14 - len(x) / 50), alpha=min(0.6, 60 / len(x) ** 0.6), color=theme.fill, lw=0, rasterized=True
    )
    bands = np.floor(yaw / 10).astype(int)
    middles, medians, high = [], [], []
    for band in np.unique(bands):
        inside = nme[bands == band]
        if len(inside) >= 10:
            middles.append(10 * band + 5)
            medians.append(np.median(inside))
            high.append(np.percentile(inside, 90))
    if middles:
        axes.plot(middles, medians, color=theme.accent, lw=1.8, label="median of 10°")
        axes.plot(middles, high, color=theme.accent, lw=1.2, ls="--", label="90th percentile")
        axes.legend(loc="upper center", ncols=2, fontsize=8)
    reach = max(30.0, float(np.abs(yaw).max()) + 5)
    axes.set(xlim=(-reach, reach), ylim=(0, end), xlabel="yaw, degrees", ylabel=f"error, % of the {of}")


def draw_sizes(axes: Axes, theme: Theme, sizes: np.ndarray, box: str = "tight") -> None:
    """Histogram of ``(F,)`` sizes √(w·h) of boxes of one kind, pixels; NaN is left out."""
    size = sizes.astype(np.float64)
    size = np.maximum(size[np.isfinite(size)], 1e-2)
    low, high = np.percentile(size, [0.2, 99.8])
    edges = np.geomspace(low / 1.1, high * 1.1, 40).tolist()
    axes.hist(np.clip(size, edges[0], edges[-1]), bins=edges, color=theme.fill)
    axes.axvline(float(np.median(size)), color=theme.accent, lw=1, label=f"median {np.median(size):.0f}")
    axes.set(xscale="log", xlabel=f"√(w·h) of the {box} box, pixels", ylabel="faces")
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    _plain_ticks(axes, edges[0], edges[-1])
    axes.legend(fontsize=8)


def _plain_ticks(axes: Axes, low: float, high: float) -> None:
    """Ticks of a logarithmic axis at round numbers, written out."""
    marks = (1, 2, 5) if high > 6 * low else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    ticks = [m * 10.0**e for e in range(-3, 7) for m in marks if low <= m * 10.0**e <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def visibility_chart(table: dict[str, Any]) -> Chart:
    """How often each point is labelled; ``table`` as ``points_table`` makes it."""
    text = f"Share of the faces in which each point of {table['scheme']} is visible, occluded or not labelled."
    return Chart(f"Points of {table['scheme']}", text, (10, 2.5), lambda f, t: _bars(f, t, table["points"]))


def _bars(figure: Figure, theme: Theme, points: list[dict[str, Any]]) -> None:
    axes: Axes = figure.subplots()
    at = np.arange(len(points))
    base = np.zeros(len(points))
    colours = {"visible": theme.good, "occluded": theme.warn, "not_labelled": theme.faint}
    for key, colour in colours.items():
        share = np.array([100 * point[key] for point in points])
        axes.bar(at, share, bottom=base, color=colour, width=0.86, label=key.replace("_", " "))
        base += share
    step = 1 if len(points) <= 40 else 2 if len(points) <= 70 else 4
    axes.set(xlim=(-0.7, len(points) - 0.3), ylim=(0, 100), ylabel="faces, %", xlabel="point")
    axes.set_xticks(at[::step])
    axes.tick_params(axis="x", labelsize=7)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=8, borderaxespad=0.1)
