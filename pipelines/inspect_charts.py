"""The charts of ``pifa inspect --report``, a few a source."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.charts import Chart, Theme, draw_poses, draw_sizes, even, visibility_chart
from pipelines.inspect_fits import ANGLES, Fitted, comparable
from pipelines.inspect_survey import Survey

DOTS = 5000
"""Marks of one scatter; of more faces, an even choice."""


def draw_charts(survey: Survey, fitted: Fitted, points: list[dict[str, Any]]) -> list[Chart]:
    """Pose, own pose against the fit's, sizes, and the visibility of each scheme's ``points`` (of the summary)."""
    charts = []
    own = survey.columns["pose"]
    own = own[np.isfinite(own).all(1)].astype(np.float64)
    pose = fitted.pose[fitted.done]
    if len(pose) or len(own):
        text = "Histograms of yaw, pitch and roll, of the fit and, where there is one, of the data set's own pose."
        charts.append(Chart("Pose", text, (10, 2.7), lambda f, t: draw_poses(f, t, pose, own)))
    both = comparable(fitted)
    if both.sum() > 1:
        text = "Each face's angles in the data set against those of the fit; they should lie along the diagonal."
        charts.append(
            Chart(
                "The data set's own pose against the fit's",
                text,
                (10, 3.2),
                lambda f, t: _against(f, t, fitted.own[both], fitted.pose[both]),
            )
        )
    if survey.faces:
        text = "Histogram of face sizes, sizes of the images, and where the data set's boxes lie about the tight boxes."
        charts.append(Chart("Sizes and boxes", text, (10, 3.0), lambda f, t: _sizes(f, t, survey.columns)))
    return [*charts, *map(visibility_chart, points)]


def _against(figure: Figure, theme: Theme, own: np.ndarray, pose: np.ndarray) -> None:
    for column, (axes, name) in enumerate(zip(figure.subplots(1, 3), ANGLES, strict=True)):
        x, y = even(own[:, column], DOTS), even(pose[:, column], DOTS)
        reach = max(float(np.percentile(np.abs(np.r_[x, y]), 99.5)) * 1.1, 10.0)
        axes.plot([-reach, reach], [-reach, reach], color=theme.accent, lw=0.8)
        _dots(axes, theme, np.clip(x, -reach, reach), np.clip(y, -reach, reach))
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel=f"{name}, the data set's own, degrees")
        axes.set(ylabel="the fit's, degrees" if column == 0 else "", aspect="equal")


def _dots(axes: Axes, theme: Theme, x: np.ndarray, y: np.ndarray) -> None:
    # Drawn as pixels where there are many: as marks they would make a page of megabytes.
    axes.scatter(
        *(x, y),
        s=max(4.0, 14 - len(x) / 50),
        alpha=float(np.clip(60 / max(len(x), 1) ** 0.6, 0.12, 0.9)),
        color=theme.fill,
        lw=0,
        rasterized=len(x) > 300,
    )


def _sizes(figure: Figure, theme: Theme, columns: dict[str, np.ndarray]) -> None:
    image, box = (columns[name].astype(np.float64) for name in ("image", "box"))
    image, box = even(image[np.isfinite(image[:, 0])], DOTS), even(box[np.isfinite(box).all(1)], DOTS)
    panels = iter(np.atleast_1d(figure.subplots(1, 1 + (len(image) > 0) + (len(box) > 0))))
    draw_sizes(next(panels), theme, columns["size"])
    if len(image):
        axes: Axes = next(panels)
        _dots(axes, theme, image[:, 0], image[:, 1])
        end = float(image.max()) * 1.08
        axes.set(xlim=(0, end), ylim=(0, end), aspect="equal", xlabel="image width, pixels", ylabel="height")
    if len(box):
        axes = next(panels)
        _dots(axes, theme, box[:, 0], box[:, 1])
        x, y, width, height = np.median(box, axis=0)
        axes.plot(x, y, "+", color=theme.accent, ms=12, mew=1.6)
        reach = max(0.25, 1.15 * float(np.percentile(np.abs(box[:, :2]), 99)))
        axes.set(xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal")
        axes.set(xlabel="box centre from the tight box's,\nshare of its size: x", ylabel="y, down")
        axes.set_title(f"{width:.2f} × {height:.2f} of the tight box", fontsize=8, color=theme.accent)
