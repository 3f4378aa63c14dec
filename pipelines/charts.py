"""Charts of HTML pages: SVG twice each, for a light and for a dark page."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.pages import data_address


@dataclass(frozen=True)
class Chart:
    """One chart: what it shows, for those who can't see it, and its two data addresses."""

    title: str
    text: str
    light: str
    dark: str


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


_LIGHT = Theme("#22262e", "#c9ced8", fill="#3b76d6", accent="#c2410c", second="#6d4bc4", good="#3f9b63", warn="#e08a1e")
_DARK = Theme("#dfe3ea", "#3d4450", fill="#6fa3ff", accent="#ffa05c", second="#b79bff", good="#5fbf86", warn="#f2a63b")

Draw = Callable[[Figure, Theme], None]


def make_chart(title: str, text: str, size: tuple[float, float], draw: Draw) -> Chart:
    """Draw a chart of ``size`` inches for both pages."""
    return Chart(title, text, _render(size, draw, _LIGHT), _render(size, draw, _DARK))


def _render(size: tuple[float, float], draw: Draw, theme: Theme) -> str:
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
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_alpha(0)
        draw(figure, theme)
        for axes in figure.axes:
            axes.patch.set_alpha(0)
        file = io.BytesIO()
        figure.savefig(file, format="svg", dpi=160, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return data_address("image/svg+xml", file.getvalue())


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
