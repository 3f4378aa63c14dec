"""Equations 9 and 10: the vertices that are seen, each spread over the pixels around its own.

    V(u, v) = Σ_q I(q) w / Σ_q w,    w = w_x·w_y = exp(−(u − x_q)²/2σ²)·exp(−(v − y_q)²/2σ²)

A pixel keeps at most one vertex, the nearest, so the sum over vertices becomes one over cells, of which each gives to
the (2R+1)² cells around it. Cells lie in one row: all faces behind each other, each with R empty columns and R empty
rows, so that a shift by (dx, dy) is one by dx + pitch·dy of the whole row, and what leaves a face falls into empty
cells. A sum over dx for every dy, then one over dy: no array has (2R+1)² numbers a pixel.

The gradient of a loss E is the same sum turned round. With G = ∂E/∂V ÷ Σw and H = G·V, both of the cell (dx, dy) away,

    ∂E/∂I = Σ w G,    ∂E/∂x = Σ w (dx − ox)/σ² (I·G − H),    and so for y,

where ox is how far the vertex lies from its cell's centre. Weights are computed again instead of kept. Each vertex
holds at most one cell, so gradients are read from cells, never added up, and the same inputs give the same bits on
every device. Which vertices are seen is a constant of the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

DEPTH_STEPS = 2.0**20
"""Steps a model unit that depth is cut to when vertices compete for a pixel; far below any real distance."""

# A key is 2²⁰·depth + vertex number, so the least one is the nearest vertex and, of several, the lowest number.
_NUMBERS = 1 << 20
_DEEPEST = 2.0**41
_NONE = 1 << 62  # above every key
_PIECE = 1 << 15  # cells; about 4 MB of temporary arrays


class Grid(NamedTuple):
    """The map and the neighbourhood that each vertex is spread over.

    Attributes:
        size: side of the map S, pixels.
        radius: half-width R of the neighbourhood D.
        sigma: σ of equation 10, map pixels.
    """

    size: int
    radius: int
    sigma: float

    @property
    def pitch(self) -> int:
        """Cells from one row to the next: the map's and R empty ones. A face has as many rows."""
        return self.size + self.radius

    @property
    def margin(self) -> int:
        """Largest shift."""
        return self.radius * (self.pitch + 1)

    @property
    def steps(self) -> list[int]:
        """−R to R without 0."""
        return [k for k in range(-self.radius, self.radius + 1) if k]

    @property
    def constants(self) -> dict[int, float]:
        """exp(−k²/2σ²) of each step k."""
        return {k: math.exp(-0.5 * (k / self.sigma) ** 2) for k in range(-self.radius, self.radius + 1)}


def spread(points: Tensor, intensity: Tensor, facing: Tensor, grid: Grid) -> Tensor:
    """V of equation 9.

    Args:
        points: ``(B, 3, Q)`` x and y in map pixels, and depth r₃·S times ``DEPTH_STEPS``, smaller is nearer. Depth
            has no gradient.
        intensity: ``(B, Q)`` g·a; only read where a vertex is seen.
        facing: ``(B, Q)`` bool, g > 0.
        grid: size, radius, σ.

    Returns:
        ``(B, 1, S, S)``; 0 where no vertex is near.
    """
    if torch.is_grad_enabled() and (points.requires_grad or intensity.requires_grad):
        drawn: Tensor = _Spread.apply(points, intensity, facing, grid)
        return drawn
    return _draw(points, intensity, facing, grid)[0]


def nearest_vertices(pixel: Tensor, depth: Tensor, facing: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The vertex that each pixel keeps: of those facing the viewer in that pixel, the one of smallest depth.

    Args:
        pixel: ``(B, 2, Q)`` column and row that each vertex projects to, whole numbers.
        depth: ``(B, Q)`` as in ``spread``; equal depths go to the lower vertex number.
        facing: ``(B, Q)`` bool.
        grid: the map.

    Returns:
        vertex number ``(B, pitch²)`` int64 of each cell, Q where there is none, and the cell ``(B, Q)`` int64 that
        each vertex competes for, pitch² if none.
    """
    cells, vertices = grid.pitch**2, facing.shape[1]
    middle = (grid.size - 1) / 2
    # Compared as floats: a far-off point may not fit an integer. Not true of NaN.
    inside = (torch.maximum(*(pixel - middle).abs_().unbind(1)) <= middle).logical_and_(facing)
    column, row = pixel.unbind(1)
    cell = torch.add(column, row, alpha=grid.pitch).masked_fill_(inside.logical_not_(), cells).long()
    key = depth.clamp(-_DEEPEST, _DEEPEST).long()
    key = torch.add(torch.arange(vertices, device=key.device), key, alpha=_NUMBERS)
    best = key.new_full((key.shape[0], cells + 1), _NONE + vertices)
    best = best.scatter_reduce_(1, cell, key, "amin")[:, :cells]
    return best & (_NUMBERS - 1), cell


def _fill(offset: Tensor, intensity: Tensor, winner: Tensor, grid: Grid) -> Tensor:
    """``(4, N + 2·margin)``: offset of the vertex from the cell's centre in x and y, its intensity, 1; or zeros.

    All faces are in a row of N = B·pitch² cells with ``margin`` empty ones at both ends.
    """
    x, y = offset.unbind(1)
    one = x.new_ones(()).expand_as(x)
    values = F.pad(torch.stack([x, y, intensity, one]), (0, 1))  # of vertex Q, which is none
    return F.pad(torch.gather(values, 2, winner.expand(4, -1, -1)).flatten(1), (grid.margin, grid.margin))


def _weights(offset: Tensor, grid: Grid) -> tuple[Tensor, dict[int, Tensor], dict[int, Tensor]]:
    """The factors of equation 10 for a vertex o from its cell's centre, and a pixel k = (dx, dy) cells away.

    −|k − o|²/2σ² = −|o|²/2σ² + (dx·oₓ + dy·o_y)/σ² − |k|²/2σ²: two exponentials instead of one a pixel.

    Args:
        offset: o ``(2, N)``.
        grid: radius and σ.

    Returns:
        exp(−|o|²/2σ²) ``(N,)``; exp(dx·oₓ/σ²) ``(N,)`` of every step dx from −R to R but 0; and the same along y. The
        last term is in ``grid.constants``.
    """
    up = (offset / grid.sigma**2).exp_()
    powers = {1: up, -1: up.reciprocal()}
    for k in range(2, grid.radius + 1):
        powers[k], powers[-k] = powers[k - 1] * powers[1], powers[1 - k] * powers[-1]
    along_x, along_y = {}, {}
    for k, power in powers.items():
        along_x[k], along_y[k] = power.unbind()
    return offset.square().sum(0).mul_(-0.5 / grid.sigma**2).exp_(), along_x, along_y


def _in_pieces(work: Callable[..., Tensor], grid: Grid, *arrays: Tensor) -> Tensor:
    """``work`` on a few faces' cells at a time, so that what it makes on the way stays in a CPU's cache."""
    n = arrays[0].shape[1] - 2 * grid.margin
    # A compiler fuses the steps, and may not know n. A GPU has no such cache, and every piece has its own launches: a
    # batch of 256 faces on 57x57 pixels would be 27 pieces of some 60 kernels, in each of five blocks.
    step = n if torch.compiler.is_compiling() or arrays[0].is_cuda else _PIECE
    if n <= step:
        return work(*arrays, grid)
    return torch.cat(
        [work(*(a[:, i : i + step + 2 * grid.margin] for a in arrays), grid) for i in range(0, n, step)], 1
    )


def _sums(cells: Tensor, grid: Grid) -> Tensor:
    """Σ I w and Σ w of every cell: ``(2, N)`` from what ``_fill`` gives."""
    r, constants = grid.radius, grid.constants
    peak, along_x, along_y = _weights(cells[:2], grid)
    # What a cell gives to row dy, but for w's factor along x: (2R+1, 2, N + 2·margin)
    factors = torch.stack([along_y[dy] if dy else torch.ones_like(peak) for dy in range(-r, r + 1)])
    source = factors[:, None] * (cells[2:] * peak)
    n, rows = cells.shape[1] - 2 * grid.margin, r * grid.pitch
    # For every dy the sum over dx, from `rows` cells before the first on. A cell's share comes from the cell dx before.
    across: Tensor | None = None
    for dx in grid.steps:
        here = slice(r - dx, r - dx + n + 2 * rows)
        share = source[..., here], along_x[dx][here]
        if across is None:
            across = torch.addcmul(source[..., r : r + n + 2 * rows], *share, value=constants[dx])
        else:
            across.addcmul_(*share, value=constants[dx])
    assert across is not None  # for the type checker: R is at least 1
    for_rows = across.unbind()
    total = for_rows[r][:, rows : rows + n]
    for dy in grid.steps:
        begin = rows - dy * grid.pitch
        total = torch.add(total, for_rows[r + dy][:, begin : begin + n], alpha=constants[dy])
    return total


def _draw(
    points: Tensor, intensity: Tensor, facing: Tensor, grid: Grid
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    at, depth = points[:, :2], points[:, 2]
    pixel = at.round()
    winner, cell = nearest_vertices(pixel, depth, facing, grid)
    cells = _fill(pixel.neg_().add_(at), intensity, winner, grid)
    sums = _in_pieces(_sums, grid, cells).reshape(2, -1, 1, grid.pitch, grid.pitch)
    top, bottom = sums[..., : grid.size, : grid.size]
    bottom.add_(bottom == 0)  # nothing is near
    return top / bottom, bottom, cells, winner, cell


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, intensity: Tensor, facing: Tensor, grid: Grid) -> Tensor:
        drawn, bottom, cells, winner, cell = _draw(points, intensity, facing, grid)
        last = grid.pitch**2 - 1
        # The last cell is always empty.
        own = torch.gather(winner, 1, cell.clamp_max(last)) == torch.arange(cell.shape[1], device=cell.device)
        place = cell.masked_fill_(own.logical_not_(), last + 1).int()
        ctx.save_for_backward(drawn, bottom, cells[:3], place)
        ctx.grid = grid
        return drawn

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        drawn, bottom, cells, place = ctx.saved_tensors
        grid: Grid = ctx.grid
        g = gradient / bottom
        both = F.pad(torch.cat([g, g * drawn], 1).transpose(0, 1), (0, grid.radius, 0, grid.radius)).flatten(1)
        at_cells = _in_pieces(_cell_gradients, grid, F.pad(both, (grid.margin, grid.margin)), cells)
        # The last column is for vertices that hold no cell.
        at_cells = F.pad(at_cells.reshape(3, -1, grid.pitch**2), (0, 1))
        found = torch.gather(at_cells, 2, place.long().expand(3, -1, -1))
        value = found[2].clone()
        found[2].zero_()  # depth
        return found.transpose(0, 1), value, None, None


def _cell_gradients(both: Tensor, cells: Tensor, grid: Grid) -> Tensor:
    """∂E/∂x, ∂E/∂y and ∂E/∂I of the vertex in each cell: ``(3, N)``, from G and H ``(2, N + 2·margin)``."""
    n, constants = both.shape[1] - 2 * grid.margin, grid.constants
    offset, intensity = cells[:, grid.margin : grid.margin + n].split((2, 1))
    peak, along_x, along_y = _weights(offset, grid)
    # Over the neighbourhood, of w·G and w·H without `peak`: the sum, and the sums times dx and times dy.
    whole, times_dx, times_dy = both.new_zeros(3, 2, n)
    for dy in range(-grid.radius, grid.radius + 1):
        begin = grid.margin + dy * grid.pitch
        row, row_times_dx = both[:, begin : begin + n].clone(), both.new_zeros(2, n)
        for dx in grid.steps:
            share = both[:, begin + dx : begin + dx + n], along_x[dx]
            row.addcmul_(*share, value=constants[dx])
            row_times_dx.addcmul_(*share, value=dx * constants[dx])
        if dy == 0:
            whole.add_(row)
            times_dx.add_(row_times_dx)
        else:
            whole.addcmul_(row, along_y[dy], value=constants[dy])
            times_dx.addcmul_(row_times_dx, along_y[dy], value=constants[dy])
            times_dy.addcmul_(row, along_y[dy], value=dy * constants[dy])
    slopes = torch.stack([times_dx, times_dy]).addcmul_(offset[:, None], whole, value=-1)  # Σ w (k − o) of G and H
    moved = (slopes[:, 0] * intensity - slopes[:, 1]) / grid.sigma**2
    return torch.cat([moved, whole[:1]]) * peak
