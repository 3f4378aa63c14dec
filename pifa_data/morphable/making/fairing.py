"""Smooth surfaces and smooth movements through given places: least bending on a triangle mesh.

The bending energy is the discrete ∫(Δf)² = fᵀ K M⁻¹ K f with K the cotangent stiffness matrix and M the lumped areas
(Botsch and Kobbelt 2004, "An intuitive framework for real-time freeform modeling").
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu


def stiffness(vertices: np.ndarray, triangles: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Cotangent matrix K ``(V, V)`` and areas ``(V,)`` of a mesh whose vertices have two or three coordinates."""
    n = len(vertices)
    rows, columns, values = [], [], []
    areas = np.zeros(n)
    for k in range(3):
        i, j, o = triangles[:, k], triangles[:, (k + 1) % 3], triangles[:, (k + 2) % 3]
        u, v = vertices[i] - vertices[o], vertices[j] - vertices[o]
        dot = (u * v).sum(1)
        cross = np.sqrt(np.maximum((u**2).sum(1) * (v**2).sum(1) - dot**2, 1e-12))
        # Slivers are bounded: a cotangent of 20 is an angle of 3 degrees.
        half = np.clip(dot / cross, -20, 20) / 2
        rows += [i, j, i, j]
        columns += [j, i, i, j]
        values += [-half, -half, half, half]
        np.add.at(areas, triangles[:, k], cross / 6)
    shape = (n, n)
    matrix = sparse.coo_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape)
    return matrix.tocsr(), np.maximum(areas, 1e-6)


def fair(
    metric: np.ndarray, triangles: np.ndarray, data: sparse.spmatrix, targets: np.ndarray, weights: np.ndarray,
    bend: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """The vertices' values of least bending that pass near given values.

    Args:
        metric: ``(V, 2 or 3)`` where lengths and angles are measured.
        triangles: ``(T, 3)``.
        data: ``(D, V)`` each row an average of vertices.
        targets: ``(D, C)`` what that average should be.
        weights: ``(D,)`` how stiffly, 1/mm².
        bend: ``(V,)`` share of the bending energy that each vertex keeps.

    Returns:
        ``(V, C)``.
    """
    matrix, areas = stiffness(metric, triangles)
    energy = matrix.T @ sparse.diags(bend / areas) @ matrix
    pull = data.T @ sparse.diags(weights)
    system = (energy + pull @ data + 1e-9 * sparse.identity(len(metric))).tocsc()
    return splu(system).solve(pull @ targets)


def locate(points: np.ndarray, positions: np.ndarray, triangles: np.ndarray) -> sparse.csr_matrix:
    """Rows of barycentric weights ``(D, V)`` of points ``(D, 2)`` in a flat mesh; outside it, the nearest triangle."""
    a, b, c = (positions[triangles[:, k]] for k in range(3))
    rows = np.arange(len(points))
    columns = np.empty((len(points), 3), dtype=int)
    values = np.empty((len(points), 3))
    basis = np.linalg.inv(np.stack([b - a, c - a], axis=-1))
    for i, point in enumerate(points):
        uv = np.einsum("tij,tj->ti", basis, point - a)
        weights = np.column_stack([1 - uv.sum(1), uv])
        best = int(weights.min(1).argmax())
        columns[i] = triangles[best]
        clipped = np.clip(weights[best], 0, None)
        values[i] = clipped / clipped.sum()
    shape = (len(points), len(positions))
    return sparse.csr_matrix((values.ravel(), (np.repeat(rows, 3), columns.ravel())), shape)
