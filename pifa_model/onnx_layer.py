"""Equations 1, 3 and 8-11 as ONNX operations: the visualization layer and the anchors.

The same as ``visualization.py`` and ``spreading.py``, in as few nodes as they go into, as at batch 1 a node costs more
than its numbers: drawn vertices and anchors are columns of one array, and equation 9 is one Col2Im of each cell's
patch. Rows have S + 1 cells and there are S + R + 1 rows; those beyond the map stay empty, and a vertex before the
first column or row comes to them too, as negative indices count from the end. The very last cell, whose patch is all
outside, takes the vertices that are not seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pifa_model.network import Network
from pifa_model.onnx_graph import Graph

_FAR = 1e4
"""Offset of the vertex in a cell that has none, map pixels: its weights are 0."""


@dataclass(frozen=True)
class View:
    """What equations 3 and 8 need of M.

    Attributes:
        rows: ``(N, 3, 3)`` m₁, m₂ and r₃, the first two times a scale.
        shift: ``(N, 2, 1)`` the translation, times that scale and shifted.
        direction: ``(N, 1, 3)`` r₃.
    """

    rows: str
    shift: str
    direction: str


def view_of(graph: Graph, camera: str, scale: float = 1.0, shift: float = 0.0) -> View:
    """M ``(N, 8)`` taken apart; pixels become scale·x + shift."""
    # One product gives, of each M, the factors of m₁×m₂, of |m₁|² and of |m₂|², and the scaled axes and translation.
    axes = [0, 1, 2, 4, 5, 6]
    left, right = [1, 2, 0, 2, 0, 1, *axes], [6, 4, 5, 5, 6, 4, *axes]
    picked = np.zeros((8, 32))
    picked[left + right + axes + [3, 7], np.arange(32)] = [1.0] * 24 + [scale] * 8
    moved = np.array([0.0] * 30 + [shift] * 2)
    parts = graph.add("Gemm", camera, graph.constant(picked), graph.constant(moved))
    first, second, axes_of, shift_of = graph.parts(parts, 12, 12, 6, 2, axis=1)
    sums = np.zeros((12, 5))
    sums[[0, 1, 2], [0, 1, 2]], sums[[3, 4, 5], [0, 1, 2]] = 1, -1
    sums[6:9, 3], sums[9:, 4] = 1, 1
    cross, of_first, of_second = graph.parts(
        graph.add("MatMul", graph.add("Mul", first, second), graph.constant(sums)), 3, 1, 1, axis=1
    )
    length = graph.add("Sqrt", graph.add("Mul", of_first, of_second))
    direction = graph.add("Div", cross, length)
    rows = graph.reshape(graph.add("Concat", axes_of, direction, axis=1), -1, 3, 3)
    return View(rows, graph.reshape(shift_of, -1, 2, 1), graph.reshape(direction, -1, 1, 3))


def points_of(graph: Graph, mean: torch.Tensor, basis: torch.Tensor, coefficients: str, view: View) -> list[str]:
    """Equations 1 and 3: x and y ``(N, 2, Q)`` and depth ``(N, 1, Q)`` of vertices ``(3, Q)`` and ``(K, 3Q)``."""
    shape = graph.add("Gemm", coefficients, graph.constant(basis), graph.constant(mean.reshape(1, -1)))
    turned = graph.add("MatMul", view.rows, graph.reshape(shape, -1, 3, mean.shape[1]))
    flat, depth = graph.parts(turned, 2, 1, axis=1)
    return [graph.add("Add", flat, view.shift), depth]


class Layer:
    """Draws P for one network, and tells where its anchors are; shares what is the same for every block."""

    def __init__(self, graph: Graph, network: Network, batch: str) -> None:
        """``batch`` is the number of faces, ``(1,)`` int64."""
        self.graph, self.side, self.stride = graph, network.size // network.stride, network.stride
        self.drawn = "map" in network.inputs
        shapes = [network.visualization.shape] if self.drawn else []
        shapes += [network.anchors.shape] if network.anchors is not None else []
        coefficients = len(network.initial) - 8
        self.counts = [shape.mean.shape[1] for shape in shapes]
        self.mean = torch.cat([shape.mean for shape in shapes], 1) if shapes else torch.zeros(3, 0)
        bases = [shape.basis.reshape(coefficients, 3, -1) for shape in shapes]
        self.basis = torch.cat(bases, 2).flatten(1) if shapes else None
        if self.drawn:
            layer = network.visualization
            self.radius, self.sigma = layer.radius, layer.sigma
            anchors = sum(self.counts[1:])
            # Anchors face nowhere, so they are not drawn.
            self.frontward = graph.constant(np.pad(layer._frontward, ((0, 0), (0, anchors))))
            self.mask = graph.constant(np.pad(layer._mask, (0, anchors)))
            start = np.full((self.side + self.radius + 1, self.side + 1), -np.inf)
            self.cells = start.size
            start[: self.side, : self.side] = np.inf
            self.empty = graph.for_all(start.reshape(1, 1, -1), batch)
            nobody = np.repeat([[_FAR], [_FAR], [0.0], [0.0]], self.cells, axis=1)
            self.nobody = graph.for_all(nobody[None], batch)
            self.ones = graph.for_all(np.ones((1, 1, sum(self.counts))), batch)

    def add(self, params: str) -> tuple[str, str]:
        """V ``(N, 1, S, S)`` and the anchors ``(N, A, 1, 2)`` as GridSample takes them, of P ``(N, 8 + K)``.

        An empty name for one that the network does not use.
        """
        graph = self.graph
        if self.basis is None:
            return "", ""
        camera, p = graph.parts(params, 8, len(self.basis), axis=1)
        view = view_of(graph, camera, 1 / self.stride, 0.5 / self.stride - 0.5)
        at, depth = points_of(graph, self.mean, self.basis, p, view)
        places = self._places(at) if len(self.counts) > int(self.drawn) else ""
        return (self._map(at, depth, view) if self.drawn else ""), places

    def _places(self, at: str) -> str:
        graph, first, last = self.graph, sum(self.counts[:-1]), sum(self.counts)
        own = at if not first else graph.slice(at, first, last, axis=2)
        scaled = graph.add("Mul", graph.add("Transpose", own, perm=[0, 2, 1]), graph.constant(2 / self.side))
        return graph.reshape(graph.add("Add", scaled, graph.constant(1 / self.side - 1)), 0, 0, 1, 2)

    def _map(self, at: str, depth: str, view: View) -> str:
        graph, side, pitch = self.graph, self.side, self.side + 1
        g = graph.add("MatMul", view.direction, self.frontward)  # equation 8; below 0 nothing is drawn
        pixel = graph.add("Clip", graph.add("Round", at), graph.constant(-1.0), graph.constant(float(side)))
        cell = graph.add("MatMul", graph.constant([[1.0, pitch]]), pixel)
        facing = graph.add("Greater", g, graph.constant(0.0))
        cell = graph.add("Cast", graph.add("Where", facing, cell, graph.constant(-1.0)), to=7)
        # The nearest of each cell, and where it lies.
        nearest = graph.add("ScatterElements", self.empty, cell, depth, axis=2, reduction="min")
        seen = graph.add("Equal", graph.add("GatherElements", nearest, cell, axis=2), depth)
        cell = graph.add("Where", seen, cell, graph.constant(-1, np.int64))
        intensity = graph.add("Mul", g, self.mask)
        values = graph.add("Concat", graph.add("Sub", at, pixel), intensity, self.ones, axis=1)
        cells = graph.add("ScatterElements", self.nobody, graph.add("Concat", *[cell] * 4, axis=1), values, axis=2)
        offset, shares = graph.parts(cells, 2, 2, axis=1)
        width = 2 * self.radius + 1
        steps = graph.constant(np.arange(-self.radius, self.radius + 1)[:, None])
        away = graph.add("Sub", graph.reshape(offset, 0, 2, 1, self.cells), steps)
        power = graph.add("Mul", graph.add("Mul", away, away), graph.constant(-0.5 / self.sigma**2))
        across, along = graph.parts(graph.add("Exp", power), 1, 1, axis=1)  # equation 10's factors in x and y
        weights = graph.add("Mul", graph.reshape(along, 0, width, 1, self.cells), across)
        weights = graph.reshape(weights, 0, 1, width**2, self.cells)
        patches = graph.add("Mul", weights, graph.reshape(shares, 0, 2, 1, self.cells))
        sums = graph.add(
            "Col2Im",
            graph.reshape(patches, 0, 2 * width**2, self.cells),
            graph.integers(side, side),
            graph.integers(width, width),
            pads=[self.radius, self.radius, 2 * self.radius + 1, self.radius + 1],
        )
        top, bottom = graph.parts(sums, 1, 1, axis=1)
        return graph.add("Div", top, graph.add("Max", bottom, graph.constant(1e-30)))
