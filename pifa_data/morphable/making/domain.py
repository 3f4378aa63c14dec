"""The flat map that the face is meshed on.

Every feature line of the face (lid, lip, nose wing, jaw, …) is a spline through a few points of the half x ≥ 0. The
head is unrolled by the azimuthal equidistant projection about +z, which keeps the middle of the face undistorted and
still reaches behind the ears and under the chin. The lines' samples are fixed vertices; the space between them is
filled by a centroidal Voronoi tessellation (Du, Faber, Gunzburger 1999) whose density falls off away from the lines,
and Delaunay's triangulation joins them. The other half is the mirror image, so the mesh is symmetric by construction.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import CubicSpline

CENTRE = np.array([0.0, -10.0, 0.0])
"""mm: the projection looks from here. Low and between the ears, so that chin, neck and forehead are all in front."""

RADIUS = 100.0
"""mm: one radian on the map. A typical distance of the skin from CENTRE, so that a map unit is about 1 mm."""

GROWTH = 0.19
"""How fast triangles grow away from feature lines, mm an mm."""

COARSEST = 4.2
"""mm: distance of neighbouring vertices far from every feature line, on the front of the face."""

SEEN = 120.0
"""Map units: beyond, behind the ears and on the neck, the mesh grows coarser."""


@dataclass(frozen=True)
class Line:
    """A feature line of the half x ≥ 0: a spline through control points.

    Attributes:
        points: ``(n, 6)`` control points, mm: the place, and a shift of it that only the map sees, for what is folded
            over in space, such as the inside of a lip.
        spacing: mm between vertices.
        stiffness: weight of the line's points against the bending of the skin, 1/mm².
        bend: how much of the bending energy its vertices keep: 0 folds freely (a crease), 1 is smooth skin.
        landmarks: ibug68 number of control points.
        closed: the last point runs on to the first.
        mirrored: the line starts on the midline and runs on smoothly in the mirror image; ``end`` is the same there.
    """

    points: np.ndarray
    spacing: float
    stiffness: float = 30.0
    bend: float = 1.0
    landmarks: dict[int, int] = field(default_factory=dict)
    closed: bool = False
    mirrored: bool = False
    mirrored_end: bool = False

    def samples(self) -> tuple[np.ndarray, np.ndarray]:
        """Points on the line, ``(m, 6)``, place and shift, and the row of each control point."""
        points = self.points
        knots, first = points, 0
        turn = np.array([-1, 1, 1, -1, 1, 1])
        if self.closed:
            knots = np.concatenate([points, points[:1]])
        if self.mirrored:
            knots, first = np.concatenate([(knots[1:3] * turn)[::-1], knots]), 2
        if self.mirrored_end:
            knots = np.concatenate([knots, (knots[-3:-1] * turn)[::-1]])
        # The chord's square root is centripetal: no loops where long and short pieces meet.
        steps = np.sqrt(np.linalg.norm(np.diff(knots[:, :3], axis=0), axis=1))
        t = np.concatenate([[0], np.cumsum(steps)])
        spline = CubicSpline(t, knots, bc_type="periodic" if self.closed else "natural")
        rows: list[np.ndarray] = []
        controls = []
        pieces = len(points) if self.closed else len(points) - 1
        for i in range(first, first + pieces):
            dense = spline(np.linspace(t[i], t[i + 1], 40))
            along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(dense[:, :3], axis=0), axis=1))])
            count = max(1, round(along[-1] / self.spacing))
            controls.append(sum(len(row) for row in rows))
            where = np.interp(np.linspace(0, along[-1], count + 1)[:-1], along, np.linspace(t[i], t[i + 1], 40))
            rows.append(spline(where))
        if not self.closed:
            controls.append(sum(len(row) for row in rows))
            rows.append(points[-1:])
        return np.concatenate(rows), np.array(controls)


def unroll(points: np.ndarray) -> np.ndarray:
    """The map: ``(..., 3)`` mm, or ``(..., 6)`` with a shift that the map sees, to ``(..., 2)`` map units."""
    away = points[..., :3] - CENTRE
    if points.shape[-1] == 6:
        away = away + points[..., 3:]
    across = np.hypot(away[..., 0], away[..., 1])
    angle = np.arctan2(across, away[..., 2])
    return away[..., :2] * (RADIUS * angle / np.maximum(across, 1e-9))[..., None]


def inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Which of ``(n, 2)`` points lie in a ``(m, 2)`` polygon, by crossings."""
    result = np.zeros(len(points), bool)
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (ay > points[:, 1]) != (by > points[:, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            result ^= crosses & (points[:, 0] < ax + (points[:, 1] - ay) * (bx - ax) / (by - ay))
    return result
