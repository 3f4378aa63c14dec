"""The charts of a site: where their marks lie; ``templates/site_macros.html.j2`` draws them as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from zoo.entry import Metric
from zoo.pages.texts import number
from zoo.plain import plain

WIDTH, HEIGHT = 440, 190
_LEFT, _TOP, _BASE = 12.0, 30.0, 150.0
_MOST = 24
"""Marks of a chart: there are about six blocks and three ranges of yaw, and a hostile index may claim thousands."""
_ROOM = 12
"""Marks whose labels do not touch; of more, every second or third is labelled."""


@dataclass(frozen=True)
class Mark:
    """One value: its middle, its top, a bar's width, SVG units; and its texts, empty where there is no room."""

    x: float
    y: float
    width: float
    value: str
    name: str
    known: bool


@dataclass(frozen=True)
class Chart:
    """Values side by side, from 0 up: bars, or dots joined by ``lines`` (points of polylines).

    ``text`` says everything for those who cannot see it.
    """

    title: str
    text: str
    axis: str
    marks: tuple[Mark, ...]
    lines: tuple[str, ...]
    bars: bool
    left: float = _LEFT
    base: float = _BASE
    width: int = WIDTH
    height: int = HEIGHT


def block_chart(metric: Metric) -> Chart | None:
    """The error before the first block and after each, or None where the evaluation does not say."""
    if not metric.nme_per_block:
        return None
    names = ["P⁰", *(str(i + 1) for i in range(len(metric.nme_per_block)))]
    values = [metric.nme_initial, *metric.nme_per_block]
    return _chart("Error after each block, NME %", "block (P⁰: before the first)", names, values, bars=False)


def yaw_chart(metric: Metric) -> Chart | None:
    """The error by absolute yaw, or None where the evaluation does not say."""
    if not metric.nme_by_yaw:
        return None
    names = [f"{plain(name, 12)}°" for name in metric.nme_by_yaw]
    return _chart("Error by yaw, NME %", "absolute yaw", names, list(metric.nme_by_yaw.values()), bars=True)


def _chart(title: str, axis: str, names: Sequence[str], values: Sequence[float | None], *, bars: bool) -> Chart:
    left_out = len(values) - _MOST
    names, values = names[:_MOST], values[:_MOST]
    top = max((v for v in values if v is not None), default=0.0)
    step = (WIDTH - 2 * _LEFT) / len(values)
    every = -(-len(values) // _ROOM)
    marks = []
    for i, (name, found) in enumerate(zip(names, values, strict=True)):
        # An error is not negative, but an index may say so.
        part = max(0.0, found) / top if found is not None and top > 0 else 0.0
        shown = i % every == 0
        marks.append(
            Mark(
                x=round(_LEFT + (i + 0.5) * step, 1),
                y=round(_BASE - part * (_BASE - _TOP), 1),
                width=round(min(0.7 * step, 64.0), 1),
                value="" if not shown else "none" if found is None else number(found),
                name=name if shown else "",
                known=found is not None,
            )
        )
    said = ", ".join(f"{name}: {number(found)}" for name, found in zip(names, values, strict=True))
    text = f"{title} by {axis}. {said}" + (f", and {left_out} more" if left_out > 0 else "")
    return Chart(title, text, axis, tuple(marks), () if bars else _lines(marks), bars)


def _lines(marks: Sequence[Mark]) -> tuple[str, ...]:
    """The runs of known marks, each as a polyline's points."""
    runs: list[list[str]] = [[]]
    for mark in marks:
        if mark.known:
            runs[-1].append(f"{mark.x},{mark.y}")
        else:
            runs.append([])
    return tuple(" ".join(run) for run in runs if len(run) > 1)
