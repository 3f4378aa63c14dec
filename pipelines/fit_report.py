"""``pifa fit --report``: one page about a run of fits, whole in itself: no script, no file beside it, no request."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pifa_data.faces import Face
from pifa_data.morphable import MorphableModel
from pifa_data.schemes import get_scheme
from pipelines.fit_tiles import Drawing, draw_fit
from pipelines.fits import FitSummary, FitTable
from pipelines.pages import write_page
from pipelines.progress import progress
from pipelines.tiles import cut_out, square_around

WORST, LEAST_PLAUSIBLE, SAMPLE = 24, 12, 12
LARGEST_TABLE = 200
"""Skipped faces that are listed; FITS.npz has all of them."""

MOST_GROUPS = 12
"""Folders in the faces' names up to which a table has a row for each."""

YAW_BANDS = ((0, 30), (30, 60), (60, 90), (90, 181))
_TILE = 300  # units of a drawing, and pixels of the pictures in it


@dataclass
class Shortlists:
    """The faces that the page will draw, picked while the others stream past.

    Each list holds (key, row, face), the largest key first; the earlier row wins a tie.
    """

    worst: list[tuple[float, int, Face]] = field(default_factory=list)
    least_plausible: list[tuple[float, int, Face]] = field(default_factory=list)
    sample: list[tuple[float, int, Face]] = field(default_factory=list)

    def add(self, faces: Sequence[Face], first_row: int, nme: np.ndarray, plausibility: np.ndarray) -> None:
        """Consider the faces of rows ``first_row`` and on, with ``(F,)`` errors and plausibilities."""
        rows = range(first_row, first_row + len(faces))
        self.worst = _largest(self.worst, nme, rows, faces, WORST)
        known = np.nan_to_num(plausibility, nan=-np.inf)
        self.least_plausible = _largest(self.least_plausible, known, rows, faces, LEAST_PLAUSIBLE)
        # A hash of the name: chance, but the same faces for the same source every time.
        chance = [int.from_bytes(hashlib.sha256(face.id.encode()).digest()[:6], "big") for face in faces]
        self.sample = _largest(self.sample, np.array(chance), rows, faces, SAMPLE)


def _largest(
    before: list[tuple[float, int, Face]], keys: np.ndarray, rows: Sequence[int], faces: Sequence[Face], size: int
) -> list[tuple[float, int, Face]]:
    new = zip(keys.tolist(), rows, faces, strict=True)
    return heapq.nlargest(size, [*before, *new], key=lambda pick: (pick[0], -pick[1]))


def write_report(
    path: Path,
    sources: Sequence[str],
    table: FitTable,
    summary: FitSummary,
    chosen: Shortlists,
    model: MorphableModel,
    scheme: str,
) -> None:
    """Write the page; images are read from where the faces say, and drawn without where there are none.

    Raises:
        OSError: no space, or no right to write.
    """
    from pipelines.fit_charts import draw_charts  # Matplotlib is not needed by a run without a report

    lists = {
        "Worst fits": chosen.worst,
        "Least plausible shapes": chosen.least_plausible,
        "Faces by chance, to compare with": chosen.sample,
    }
    with progress("drawing", sum(map(len, lists.values())), "faces") as advance:
        sections = []
        for title, picks in lists.items():
            tiles = []
            for _, row, face in picks:
                tiles.append(draw_tile(face, table, row, model))
                advance(1)
            sections.append({"title": title, "tiles": tiles})
    write_page(
        path,
        "fit_report.html.j2",
        sources=sources,
        summary=summary,
        model=model,
        scheme=scheme,
        points=len(get_scheme(scheme)),
        kinds=sorted(set(table.kind.tolist())),
        charts=draw_charts(table),
        by_yaw=by_yaw(table),
        by_folder=by_folder(table),
        sections=sections,
        tile=_TILE,
        skipped=summary.reasons[:LARGEST_TABLE],
    )


@dataclass(frozen=True)
class Row:
    """One line of a table of the page."""

    title: str
    faces: int
    median: float
    p95: float
    plausibility: float
    not_converged: int
    implausible: int


def _row(title: str, table: FitTable, which: np.ndarray) -> Row:
    known = table.plausibility[which & np.isfinite(table.plausibility)]
    return Row(
        title,
        faces=int(which.sum()),
        median=float(np.median(table.nme[which])),
        p95=float(np.percentile(table.nme[which], 95)),
        plausibility=float(np.median(known)) if len(known) else float("nan"),
        not_converged=int((~table.converged[which]).sum()),
        implausible=int((~table.plausible[which]).sum()),
    )


def by_yaw(table: FitTable) -> list[Row]:
    """One row a band of |yaw| that has faces."""
    size = np.abs(table.yaw)
    bands = [(f"{low}° to {min(high, 180)}°", (size >= low) & (size < high)) for low, high in YAW_BANDS]
    return [_row(title, table, which) for title, which in bands if which.any()]


def by_folder(table: FitTable) -> list[Row]:
    """One row a folder that the faces' names begin with, where there are a few, as MERL-RAV's by pose."""
    folders = np.array([name.partition("/")[0] if "/" in name else "" for name in table.name.tolist()])
    titles = sorted(set(folders.tolist()))
    if not 1 < len(titles) <= MOST_GROUPS:
        return []
    return [_row(title or "(no folder)", table, folders == title) for title in titles]


@dataclass(frozen=True)
class Tile:
    """One drawn face.

    Attributes:
        name: the face's.
        nme, yaw, plausibility: its numbers.
        flags: what is wrong with the fit, in words.
        drawing: the picture, a square of ``_TILE`` units.
    """

    name: str
    nme: float
    yaw: float
    plausibility: float
    flags: list[str]
    drawing: Drawing


def draw_tile(face: Face, table: FitTable, row: int, model: MorphableModel) -> Tile:
    """Draw one face: its labels, its fitted points, and its mesh."""
    fitted = table.landmarks[row].astype(np.float64)
    square = square_around(face.landmarks[face.visibility > 0], fitted, _TILE)
    crop, found = cut_out(face, square)
    flags = []
    if not table.converged[row]:
        flags.append("not converged")
    if not table.plausible[row]:
        flags.append("implausible")
    return Tile(
        name=face.id,
        nme=float(table.nme[row]),
        yaw=float(table.yaw[row]),
        plausibility=float(table.plausibility[row]),
        flags=flags,
        drawing=draw_fit(
            *(square, crop, face.landmarks, face.visibility, fitted, table.params[row], model, face.scheme),
            photo=found,
        ),
    )
