"""The charts of ``pifa fit --report``."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.charts import Chart, Theme, error_chart, pose_chart, yaw_error_chart
from pipelines.fits import FitTable


def draw_charts(table: FitTable) -> list[Chart]:
    """Errors, pose, error over yaw, plausibility."""
    poses = np.stack([table.yaw, table.pitch, table.roll], axis=1)
    known = table.plausibility[np.isfinite(table.plausibility)]
    middle = f"median {np.median(known):.2f}" if len(known) else "not known"
    return [
        error_chart(table.nme),
        pose_chart(poses),
        yaw_error_chart(table.yaw, table.nme),
        Chart(
            "Plausibility",
            f"Histogram of squared coefficients over degrees of freedom; 1 is as the prior says; {middle}.",
            (3.8, 3.2),
            lambda f, t: _plausibility(f, t, known),
        ),
    ]


def _plausibility(figure: Figure, theme: Theme, known: np.ndarray) -> None:
    axes: Axes = figure.subplots()
    end = max(2.0, 1.2 * float(np.percentile(known, 99))) if len(known) else 2.0
    axes.hist(np.minimum(known, end), bins=50, range=(0, end), color=theme.second)
    axes.axvline(1, color=theme.accent, lw=1, label="as the prior says")
    beyond = int((known > end).sum())
    tail = f" (last bar: {beyond} beyond)" if beyond else ""
    axes.set(xlim=(0, end * 1.01), xlabel=f"plausibility{tail}", ylabel="faces")
    axes.legend(fontsize=8)
