"""Contour lines: the places on the head that a ``2d`` jaw label may mean, computed from the mean face.

When a head turns about its vertical axis, a point keeps its height; so the silhouette at the height of a jaw point is
the outermost point of the horizontal slice through that point. A line therefore holds the vertices of that slice from
the landmark's own vertex forward to the middle of the face. For the near side the outermost one stays the landmark's
own vertex, and for the far side it marches to the cheek, as annotators (and detectors trained on them) label it.
"""

from __future__ import annotations

import numpy as np

from pifa_data.morphable.model import Contour

MIDDLE = 0.1
"""Lines end this far from the middle of the face, as a share of the jaw's width: beyond it a slice climbs the nose,
which is never where a far jaw point is seen."""

CANDIDATES = 24
"""Vertices a line. The silhouette is tangential to the slice, so 3 mm between neighbours costs far less than that."""


def contour_lines(
    mean: np.ndarray, normals: np.ndarray, landmarks: np.ndarray, points: tuple[int, ...], nose_tip: int
) -> Contour:
    """Lines of the contour landmarks of one scheme.

    Args:
        mean: ``(V, 3)`` mean face, model units, y up, z towards the viewer.
        normals: ``(V, 3)`` outward unit normals.
        landmarks: ``(L,)`` vertex of each landmark.
        points: the contour landmarks.
        nose_tip: vertex number.
    """
    width = np.ptp(mean[landmarks[list(points)], 0])
    axis = mean[nose_tip, 2] - 0.9 * width  # the vertical line that the slices' angles are measured about
    angle = np.arctan2(mean[:, 0], mean[:, 2] - axis)
    radius = np.hypot(mean[:, 0], mean[:, 2] - axis)
    # Only outer skin: the normal points away from the axis. Leaves out sockets, lips' insides, the back of ears.
    radial = np.stack([np.sin(angle), np.zeros_like(angle), np.cos(angle)], axis=1)
    skin = (normals * radial).sum(1) > 0.25

    lines, sides = [], []
    for point in points:
        start = int(landmarks[point])
        offset = mean[start, 0] / width
        side = 0 if abs(offset) < 0.02 else int(np.sign(offset))
        line = [start]
        last = min(abs(angle[start]), np.arcsin(MIDDLE * width / radius[start]))
        for target in np.linspace(angle[start], side * last, CANDIDATES)[1:]:
            # The vertex nearest to this angle of the slice; a step in angle is measured along the skin.
            off_slice = (mean[:, 1] - mean[start, 1]) ** 2 + ((angle - target) * radius) ** 2
            inside = skin & (side * angle >= 0) & (off_slice < (0.06 * width) ** 2)
            line.append(int(np.where(inside, off_slice, np.inf).argmin()) if side and inside.any() else line[-1])
        lines.append(line)
        sides.append(side)
    return Contour(
        points=np.array(points, dtype=np.int32),
        vertices=np.array(lines, dtype=np.int32),
        side=np.array(sides, dtype=np.int32),
    )
