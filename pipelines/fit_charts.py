"""The charts of ``pifa fit --report``."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.charts import Chart, Theme, draw_poses, make_chart
from pipelines.fits import FitTable

PERCENTILES = (50, 90, 95, 99)


def draw_charts(table: FitTable) -> list[Chart]:
    """Errors, pose, error over yaw, plausibility."""
    nme = table.nme
    poses = np.stack([table.yaw, table.pitch, table.roll], axis=1)
    ranks = ", ".join(f"{p} % of the faces below {np.percentile(nme, p):.2f} %" for p in PERCENTILES)
    known = table.plausibility[np.isfinite(table.plausibility)]
    middle = f"median {np.median(known):.2f}" if len(known) else "not known"
    return [
        make_chart(
            "Fit error", f"Fit error in percent of the tight box: {ranks}.", (10, 3.1), lambda f, t: _errors(f, t, nme)
        ),
        make_chart(
            "Pose of the fits",
            f"Histograms of yaw (median {np.median(table.yaw):.0f}°), pitch (median {np.median(table.pitch):.0f}°) and "
            f"roll (median {np.median(table.roll):.0f}°).",
            (10, 2.7),
            lambda f, t: draw_poses(f, t, poses),
        ),
        make_chart(
            "Fit error over yaw",
            "Each face's error over its yaw, with median and 90th percentile in bands of 10°.",
            (6.2, 3.2),
            lambda f, t: _yaw_error(f, t, table.yaw, nme),
        ),
        make_chart(
            "Plausibility",
            f"Histogram of squared coefficients over degrees of freedom; 1 is as the prior says; {middle}.",
            (3.8, 3.2),
            lambda f, t: _plausibility(f, t, known),
        ),
    ]


def _errors(figure: Figure, theme: Theme, nme: np.ndarray) -> None:
    left, right = figure.subplots(1, 2)
    # A few fits gone astray would squeeze all others into one bar; they are counted at the end of the axis.
    end = max(1.5 * float(np.percentile(nme, 99)), 1e-3)
    left.hist(np.minimum(nme, end), bins=60, range=(0, end), color=theme.fill)
    beyond = int((nme > end).sum())
    tail = f" (last bar: {beyond} beyond)" if beyond else ""
    left.set(xlim=(0, end * 1.01), xlabel=f"error, % of the tight box{tail}", ylabel="faces")
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


def _yaw_error(figure: Figure, theme: Theme, yaw: np.ndarray, nme: np.ndarray) -> None:
    axes: Axes = figure.subplots()
    end = max(1.5 * float(np.percentile(nme, 99)), 1e-3)
    # Drawn as pixels: a hundred thousand marks would be a page of many megabytes.
    axes.scatter(
        yaw, np.minimum(nme, end), s=3, alpha=min(0.6, 60 / len(nme) ** 0.6), color=theme.fill, lw=0, rasterized=True
    )
    bands = np.floor(yaw / 10).astype(int)
    middles, medians, high = [], [], []
    for band in np.unique(bands):
        inside = nme[bands == band]
        if len(inside) >= 10:
            middles.append(10 * band + 5)
            medians.append(np.median(inside))
            high.append(np.percentile(inside, 90))
    axes.plot(middles, medians, color=theme.accent, lw=1.8, label="median of 10°")
    axes.plot(middles, high, color=theme.accent, lw=1.2, ls="--", label="90th percentile")
    reach = max(30.0, float(np.abs(yaw).max()) + 5)
    axes.set(xlim=(-reach, reach), ylim=(0, end), xlabel="yaw, degrees", ylabel="error, % of the tight box")
    axes.legend(loc="upper center", ncols=2, fontsize=8)


def _plausibility(figure: Figure, theme: Theme, known: np.ndarray) -> None:
    axes: Axes = figure.subplots()
    end = max(2.0, 1.2 * float(np.percentile(known, 99))) if len(known) else 2.0
    axes.hist(np.minimum(known, end), bins=50, range=(0, end), color=theme.second)
    axes.axvline(1, color=theme.accent, lw=1, label="as the prior says")
    beyond = int((known > end).sum())
    tail = f" (last bar: {beyond} beyond)" if beyond else ""
    axes.set(xlim=(0, end * 1.01), xlabel=f"plausibility{tail}", ylabel="faces")
    axes.legend(fontsize=8)
