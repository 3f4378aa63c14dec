"""A z-buffer in NumPy: which triangle each pixel shows, of thousands of small ones at once.

Triangles are cut into rows of pixels and rows into pixels, each by one ``np.repeat``: the work is that of the pixels
covered, and no Python loop runs over triangles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SLACK = 1e-6
"""Pixels. A centre on the edge between two triangles belongs to both, whatever the rounding: no cracks."""


@dataclass(frozen=True)
class Raster:
    """What each pixel of an H×W picture shows.

    Attributes:
        triangle: ``(H, W)`` int32, number of the nearest triangle; −1 where there is none.
        weights: ``(3, H, W)`` float64, barycentric coordinates of the pixel's centre in it; 0 where there is none.
        depth: ``(H, W)`` float32; infinite where there is none.
    """

    triangle: np.ndarray
    weights: np.ndarray
    depth: np.ndarray

    def interpolate(self, values: np.ndarray, triangles: np.ndarray) -> np.ndarray:
        """``(n, C)`` float64: what ``(V, C)`` values of the vertices are at the n pixels that show a triangle."""
        shown = self.triangle >= 0
        corners = triangles[self.triangle[shown]]
        weights = self.weights[:, shown]
        # Corner by corner: NumPy's sum over an axis of three is several times slower.
        return sum(weights[i, :, None] * values[corners[:, i]] for i in range(3))


def rasterise(points: np.ndarray, depth: np.ndarray, triangles: np.ndarray, shape: tuple[int, int]) -> Raster:
    """Draw triangles, whichever way they face.

    A pixel shows the nearest of the triangles that its centre lies in, of equally near ones the last.

    Args:
        points: ``(V, 2)`` pixels.
        depth: ``(V,)``, larger is farther.
        triangles: ``(T, 3)``.
        shape: H and W.
    """
    height, width = shape
    x, y, z = (np.ascontiguousarray(v[triangles].T, np.float64) for v in (points[:, 0], points[:, 1], depth))
    # Barycentric coordinates are 2D cross products with the edges: w_i = a_i x + b_i y + c_i.
    after, before = (1, 2, 0), (2, 0, 1)
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    first = np.clip(np.ceil(y.min(0)), 0, height).astype(np.int64)
    last = np.clip(np.floor(y.max(0)), -1, height - 1).astype(np.int64)
    across = np.clip(np.ceil(x.min(0)), 0, width) <= np.clip(np.floor(x.max(0)), -1, width - 1)
    kept = np.flatnonzero((last >= first) & across & (np.abs(area) > 1e-9))
    x, y, z, area = x[:, kept], y[:, kept], z[:, kept], area[kept]
    a = (y[after, :] - y[before, :]) / area
    b = (x[before, :] - x[after, :]) / area
    c = (x[after, :] * y[before, :] - x[before, :] * y[after, :]) / area

    of, row = _expand(first[kept], last[kept])
    slope = [a[i, of] for i in range(3)]
    rest = [b[i, of] * row + c[i, of] for i in range(3)]
    # Along a row each w_i ≥ 0 bounds x: from the left where the slope is positive, from the right where negative.
    left, right = np.full(len(of), -np.inf), np.full(len(of), np.inf)
    outside = np.zeros(len(of), bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        for k, r in zip(slope, rest, strict=True):
            bound = -r / k
            left = np.where(k > 0, np.maximum(left, bound), left)
            right = np.where(k < 0, np.minimum(right, bound), right)
            outside |= (k == 0) & (r < 0)
    start = np.clip(np.ceil(left - SLACK), 0, width).astype(np.int64)
    stop = np.clip(np.floor(right + SLACK), -1, width - 1).astype(np.int64)
    stop[outside] = -1
    span, column = _expand(start, stop)
    # Depth is linear along the row.
    steps, origin = (sum(w[i] * z[i, of] for i in range(3)) for w in (slope, rest))
    near = (steps[span] * column + origin[span]).astype(np.float32)
    pixel = (row * width)[span] + column

    buffer = np.full(height * width, np.inf, np.float32)
    np.minimum.at(buffer, pixel, near)
    shown = np.flatnonzero(near == buffer[pixel])
    chosen = np.full(height * width, -1, np.int64)
    chosen[pixel[shown]] = shown  # of several the last: NumPy's rule for repeated indices
    covered = np.flatnonzero(chosen >= 0)
    span, column = span[chosen[covered]], column[chosen[covered]]
    triangle = np.full(height * width, -1, np.int32)
    triangle[covered] = kept[of[span]]
    weights = np.zeros((3, height * width))
    for i in range(3):
        weights[i, covered] = slope[i][span] * column + rest[i][span]
    return Raster(triangle.reshape(shape), weights.reshape(3, height, width), buffer.reshape(shape))


def _expand(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole numbers from ``first`` to ``last`` of each entry, and the entry that each is of."""
    count = np.maximum(last - first + 1, 0)
    of = np.repeat(np.arange(len(first)), count)
    return of, np.arange(len(of)) + np.repeat(first - np.cumsum(count) + count, count)
