"""Landmarks and their visibility as ONNX operations; see ``Landmarks`` in ``shape.py``."""

from __future__ import annotations

import numpy as np

from pifa_model.onnx_graph import Graph
from pifa_model.onnx_layer import points_of, view_of
from pifa_model.shape import Landmarks


def add_landmarks(graph: Graph, landmarks: Landmarks, stages: list[str], marching: str) -> tuple[str, str, str]:
    """P and the landmarks of every stage, and the last one's visibility.

    Args:
        graph: where to.
        landmarks: of the scheme.
        stages: P ``(N, 8 + K)`` of each.
        marching: ``(N,)`` bool.

    Returns:
        ``(stages, N, 8 + K)``, ``(stages, N, L, 2)`` and ``(N, L)`` bool.
    """
    count, points = len(stages), len(landmarks._fixed)
    numbers = 8 + len(landmarks.shape.basis)
    params = graph.add("Concat", *stages, axis=0)  # all stages as one batch
    camera, p = graph.parts(params, 8, numbers - 8, axis=1)
    view = view_of(graph, camera)
    at, _ = points_of(graph, landmarks.shape.mean, landmarks.shape.basis, p, view)
    marching = graph.reshape(graph.add("Concat", *[marching] * count, axis=0), -1, 1)
    chosen, on_contour = _selection(graph, landmarks, camera, at, marching)
    both = graph.add("Concat", chosen, chosen, axis=1)
    found = graph.add("Transpose", graph.add("GatherElements", at, both, axis=2), perm=[0, 2, 1])

    g = graph.add("MatMul", view.direction, graph.constant(-landmarks._normals.T))
    seen = graph.add("Greater", graph.add("GatherElements", g, chosen, axis=2), graph.constant(0.0))
    seen = graph.add("Or", graph.reshape(seen, -1, points), on_contour)
    last = graph.constant(count - 1, np.int64)
    return (
        graph.reshape(params, count, -1, numbers),
        graph.reshape(found, count, -1, points, 2),
        graph.add("Gather", graph.reshape(seen, count, -1, points), last, axis=0),
    )


def _selection(graph: Graph, landmarks: Landmarks, camera: str, at: str, marching: str) -> tuple[str, str]:
    """The vertex of each landmark ``(B, 1, L)`` int64, and which lie on the silhouette ``(B, L)`` bool."""
    lines, contour = landmarks._lines.numpy(), landmarks._points.numpy()
    fixed = landmarks._fixed.numpy()[None]
    is_contour = np.zeros((1, fixed.shape[1]), bool)
    is_contour[0, contour] = True
    on_contour = graph.add("And", marching, graph.constant(is_contour, np.bool_))
    if not len(contour):
        # Of as many rows as faces, as the other is.
        rows = graph.add("Cast", on_contour, to=7)
        return graph.reshape(graph.add("Add", rows, graph.constant(fixed, np.int64)), -1, 1, fixed.shape[1]), on_contour
    across = np.zeros((8, 2))
    across[5, 0], across[1, 1] = -1, 1
    outward = graph.add("MatMul", graph.reshape(graph.add("MatMul", camera, graph.constant(across)), -1, 1, 2), at)
    of_lines = graph.add("Gather", graph.reshape(outward, 0, -1), graph.constant(lines, np.int64), axis=1)
    best = graph.add(
        "ArgMax", graph.add("Mul", of_lines, graph.constant(landmarks._sides[:, None])), axis=2, keepdims=0
    )
    begins = graph.constant(np.arange(len(lines)) * lines.shape[1], np.int64)
    marched = graph.add("Gather", graph.constant(lines.ravel(), np.int64), graph.add("Add", best, begins), axis=0)
    place = np.zeros(fixed.shape[1], np.int64)
    place[contour] = np.arange(len(contour))
    moved = graph.add("Gather", marched, graph.constant(place, np.int64), axis=1)
    chosen = graph.add("Where", on_contour, moved, graph.constant(fixed, np.int64))
    return graph.reshape(chosen, -1, 1, fixed.shape[1]), on_contour
