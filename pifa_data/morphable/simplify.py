"""Fewer vertices for drawing: a subset that is even where the face is seen, with every landmark in it.

Farthest-point sampling (Gonzalez, 1985) with the distance multiplied by how much a vertex is seen: what is never seen
(the mouth's inside, sockets, the back of the ears) is taken last, what only profiles show is taken at wider spacing.
The result is vertex numbers, so positions, modes and normals stay those of the full mesh.
"""

from __future__ import annotations

import numpy as np

YAWS, PITCHES = np.radians(np.arange(-90, 91, 15)), np.radians((-25.0, 0.0, 25.0))
"""Poses that a vertex is looked at from."""

NEVER_SEEN, BEYOND = 0.1, 0.5
"""Weight of a vertex that no pose shows, and factor of one farther from the nose tip than every landmark (neck, skull):
spacing there is 10 and 2 times as wide."""


def sample_vertices(mean: np.ndarray, normals: np.ndarray, keep: np.ndarray, nose_tip: int, count: int) -> np.ndarray:
    """A well-spread subset of a model's vertices.

    Args:
        mean: ``(V, 3)`` mean face.
        normals: ``(V, 3)`` outward unit normals.
        keep: vertex numbers that must be in it: the landmarks and the nose tip, at most ``count`` of them.
        nose_tip: vertex number.
        count: vertices wanted; all if there are fewer.

    Returns:
        ``(count,)`` int64, ascending.
    """
    if count >= len(mean):
        return np.arange(len(mean))
    points = mean.astype(np.float64)
    from_nose = np.linalg.norm(points - points[nose_tip], axis=1)
    weight = np.maximum(seen(points, normals), NEVER_SEEN)
    weight[from_nose > from_nose[keep].max(initial=0.0)] *= BEYOND
    return farthest_points(points, count, np.unique(keep), weight)


def farthest_points(points: np.ndarray, count: int, first: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Well-spread points by farthest-point sampling.

    Args:
        points: ``(V, 3)`` float64.
        count: points wanted, at most V.
        first: numbers of those to begin with.
        weight: ``(V,)`` positive factor of a point's distance to the chosen ones.

    Returns:
        ``(count,)`` int64, ascending.
    """
    squares, squared_weight = (points**2).sum(1), weight**2
    distance = np.full(len(points), np.inf)
    chosen = np.zeros(count, np.int64)
    chosen[: len(first)] = first
    for i in range(count):
        if i >= len(first):
            chosen[i] = (distance * squared_weight).argmax()
        last = chosen[i]
        # ‖p − q‖² by its square: a fifth of the time, and rounded to below 0 where points are alike.
        distance = np.minimum(distance, squares + squares[last] - 2 * points @ points[last])
        # A chosen vertex is never taken again, not even where another one lies at the same place.
        distance[last] = -np.inf
    return np.sort(chosen)


def seen(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Share of the poses from which each vertex is seen, where the one seen most has 1: ``(V,)`` from 0 to 1.

    A vertex is seen if it faces the viewer and no other one in its cell of a coarse grid is much nearer. Cells are wide
    enough to hold several vertices of a surface, so that a surface has no holes.
    """
    extent = np.ptp(points, axis=0).max()
    cell = max(3 * extent / np.sqrt(len(points)), 1e-12)
    shown = np.zeros(len(points))
    for yaw in YAWS:
        for pitch in PITCHES:
            cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
            forward = np.array([sy * cp, sp, cy * cp])  # to the viewer
            right = np.array([cy, 0.0, -sy])
            up = np.cross(forward, right)
            column, row = np.floor((points @ np.stack([right, up], axis=1)) / cell).astype(np.int64).T
            column, row = column - column.min(), row - row.min()
            place = row * (column.max() + 1) + column
            height = points @ forward
            nearest = np.full(place.max() + 1, -np.inf)
            np.maximum.at(nearest, place, height)
            facing = normals @ forward
            # A cell's own slope, and a little for skin that folds.
            slope = cell * np.sqrt(1 / np.maximum(facing, 0.2) ** 2 - 1)
            shown += (facing > 0.05) & (height > nearest[place] - slope - 0.02 * extent)
    return shown / max(float(shown.max()), 1.0)
