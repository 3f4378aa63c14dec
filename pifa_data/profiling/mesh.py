"""The morphable model's skin as one that a picture can be laid on: without holes, with each vertex's neighbours."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from pifa_data.morphable.model import MorphableModel

Edges = np.ndarray
"""``(E, 2)`` int64 vertex numbers."""


class HeadMesh:
    """A model's vertices and triangles, the mouth's and eyes' openings closed.

    Each opening but the largest (neck and back of the head) gets a vertex in its middle and triangles around it, so
    that teeth and eyeballs, which a model may lack, are part of the picture's surface.

    Attributes:
        mean: ``(N, 3)`` float64, the model's V vertices, then those in the middle of openings.
        triangles: ``(T, 3)`` int64.
        neighbours: ``(N, N)`` float64, 1 where an edge joins two vertices.
    """

    def __init__(self, model: MorphableModel) -> None:
        found = sorted(openings(model), key=lambda edges: np.ptp(model.mean[edges[:, 0]], axis=0).max())[:-1]
        first = len(model.mean)
        caps = [np.column_stack([edges[:, ::-1], np.full(len(edges), first + i)]) for i, edges in enumerate(found)]
        self.triangles = np.concatenate([model.triangles, *caps]).astype(np.int64)
        around = [np.unique(edges) for edges in found]

        def closed(vertices: np.ndarray) -> np.ndarray:
            return np.concatenate([vertices, *(vertices[:, rim].mean(1, keepdims=True) for rim in around)], axis=1)

        self.mean = closed(model.mean[None].astype(np.float64))[0]
        modes = closed(model.modes.astype(np.float64))
        self._modes = modes.reshape(len(modes), -1)
        edges = _edges(self.triangles)
        size = len(self.mean)
        joined = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (size, size)).tocsr()
        self.neighbours: csr_array = ((joined + joined.T) > 0).astype(np.float64)

    def vertices(self, coefficients: np.ndarray) -> np.ndarray:
        """Equation 1: ``(K,)`` coefficients to ``(N, 3)`` float64 vertices, model units."""
        return self.mean + (coefficients @ self._modes).reshape(-1, 3)


def _edges(triangles: np.ndarray) -> Edges:
    return np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).astype(np.int64)


def openings(model: MorphableModel) -> list[Edges]:
    """The edges around each opening of a model: those of one triangle alone, in its direction."""
    size = len(model.mean)
    edges = _edges(model.triangles)
    rim = edges[~np.isin(edges[:, 0] * size + edges[:, 1], edges[:, 1] * size + edges[:, 0])]
    _, label = connected_components(
        coo_array((np.ones(len(rim)), (rim[:, 0], rim[:, 1])), (size, size)), directed=False
    )
    of = label[rim[:, 0]]
    return [rim[of == i] for i in np.unique(of)]
