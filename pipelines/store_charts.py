"""The charts of ``pifa store report``."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pipelines.charts import (
    Chart,
    Theme,
    draw_sizes,
    error_chart,
    pose_chart,
    visibility_chart,
    yaw_error_chart,
)
from pipelines.store_crops import CropSample
from pipelines.store_table import FaceTable


def draw_charts(
    table: FaceTable, sample: CropSample, points: dict[str, Any], config: dict[str, Any]
) -> dict[str, Chart]:
    """Errors, pose, error over yaw, sizes; visibility of the points and jitter where they differ.

    Args:
        points: as ``points_table`` makes it.
    """
    faces = table.photographed
    size, nme, pose = table.size[faces], table.nme[faces], table.pose[faces]
    middle = f"median {np.median(size):.0f} pixels"
    boxes = {"dataset": "data set's"}.get(config["boxes"], str(config["boxes"]))
    charts = {
        "errors": error_chart(nme),
        "pose": pose_chart(pose, table.own),
        "yaw": yaw_error_chart(pose[:, 0], nme),
        "sizes": Chart(
            "Size in the source images",
            f"Histogram of the faces' sizes in their images, {middle}.",
            (3.8, 3.2),
            lambda f, t: draw_sizes(f.subplots(), t, size, boxes),
        ),
    }
    if not faces.all():
        charts["views"] = pose_chart(table.pose, title="Pose of faces and turned views")
    if points["all"]["visible"] < 1:
        charts["points"] = visibility_chart(points)
    if len(sample.shift):
        text = (
            "Histograms of how far the centres of jittered boxes lie from the unjittered, and how they are stretched."
        )
        charts["jitter"] = Chart("Jitter of the boxes", text, (10, 2.7), lambda f, t: _jitter(f, t, sample))
    return charts


def _jitter(figure: Figure, theme: Theme, sample: CropSample) -> None:
    left, right = figure.subplots(1, 2)
    for axes, values, names, title, middle in (
        (left, sample.shift, ("x", "y"), "centre, shares of the box's size √(w·h)", 0.0),
        (right, sample.scale, ("width", "height"), "side of the jittered box over the unjittered", 1.0),
    ):
        reach = max(float(np.percentile(np.abs(values - middle), 99.9)) * 1.1, 1e-3)
        for column, (name, colour) in enumerate(zip(names, (theme.fill, theme.accent), strict=True)):
            of = values[:, column]
            label = f"{name}: {of.mean():z.3f} ± {of.std():.3f}"
            axes.hist(
                np.clip(of, middle - reach, middle + reach),
                bins=41,
                range=(middle - reach, middle + reach),
                histtype="step",
                color=colour,
                lw=1.4,
                label=label,
            )
        axes.set(xlabel=title, xlim=(middle - reach, middle + reach), ylabel="crops" if middle == 0 else "")
        axes.legend(fontsize=8)
