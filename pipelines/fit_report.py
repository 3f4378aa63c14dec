"""``pifa fit --report``: one page about a run of fits, whole in itself: no script, no file beside it, no request."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pifa_data.camera import decompose, project
from pifa_data.drawing import draw_mesh
from pifa_data.faces import Face
from pifa_data.morphable import MorphableModel
from pifa_data.schemes import get_scheme
from pipelines.fits import FitSummary, FitTable
from pipelines.pages import picture_address, write_page
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
    """One drawn face; coordinates are units of a square of ``_TILE``, rounded for the page.

    Attributes:
        name: the face's.
        nme, yaw, plausibility: its numbers.
        flags: what is wrong with the fit, in words.
        photo: data address of the crop, or empty.
        mesh: data address of the fitted mesh over the crop, or over a plain ground.
        labels: (x, y, class) of the labelled points.
        fitted: (x, y, class) of all fitted points.
        misses: (x0, y0, x1, y1) from each label to its fitted point.
        strokes: lines through the fitted points of each part of the face, for the eye.
    """

    name: str
    nme: float
    yaw: float
    plausibility: float
    flags: list[str]
    photo: str
    mesh: str
    labels: list[tuple[float, float, str]]
    fitted: list[tuple[float, float, str]]
    misses: list[tuple[float, float, float, float]]
    strokes: list[str]


def draw_tile(face: Face, table: FitTable, row: int, model: MorphableModel) -> Tile:
    """Draw one face: its labels, its fitted points, and its mesh."""
    params = table.params[row].astype(np.float64)
    fitted = table.landmarks[row].astype(np.float64)
    labelled = face.visibility > 0
    square = square_around(face.landmarks[labelled], fitted, _TILE)
    at, where = np.round(square.to_crop(face.landmarks), 1), np.round(square.to_crop(fitted), 1)
    crop, found = cut_out(face, square)
    photo = picture_address(crop) if found else ""
    view = params[:8].reshape(2, 4)
    vertices = model.vertices(params[8:])
    scale, turn, _ = decompose(view)
    factor = square.size / square.side
    depth = -float(scale) * factor * (vertices @ turn[2])
    points = np.clip(square.to_crop(project(vertices, view)), -1e4, 1e4)  # cv2 counts in 32 bits
    mesh = draw_mesh(crop, points, depth, model.triangles, opacity=0.65 if photo else 1.0)

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
        photo=photo,
        mesh=picture_address(mesh),
        labels=[(*at[i], "seen" if face.visibility[i] == 2 else "covered") for i in np.flatnonzero(labelled)],
        fitted=[(*where[i], "fit" if labelled[i] else "guess") for i in range(len(where))],
        misses=[(*at[i], *where[i]) for i in np.flatnonzero(labelled)],
        strokes=_strokes(where, face.scheme),
    )


def _strokes(points: np.ndarray, scheme: str) -> list[str]:
    lines = []
    for name, members in get_scheme(scheme).groups.items():
        chain = list(members)
        if "eye" in name or "lip" in name:
            chain.append(chain[0])
        lines.append(" ".join(f"{points[i][0]},{points[i][1]}" for i in chain))
    return lines
