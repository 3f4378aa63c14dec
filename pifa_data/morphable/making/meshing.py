"""Meshes half of the flat map: the feature lines' samples are vertices, a centroidal Voronoi tessellation the others.

A first mesh is even on the map. Where the skin stands steeply over the map (behind the ear, around the nose) its
triangles are long in space; so once the skin is known, ``refine`` spreads the vertices again by distances in space and
flips edges until the triangulation is Delaunay's in space (Bobenko and Springborn 2007).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.spatial import Delaunay, cKDTree

from pifa_data.morphable.making.domain import Line, inside, unroll

GROWTH = 0.19
"""How fast triangles grow away from feature lines, mm an mm."""

COARSEST = 3.6
"""mm: distance of neighbouring vertices far from every feature line, on the front of the face."""

SEEN = 120.0
"""Map units: beyond, behind the ears and on the neck, the mesh grows coarser."""

ROUNDS = 4
"""Flips and relaxations that follow one another."""

SAMPLES = 50_000
"""Points that stand for the area in Lloyd's iterations, some fifteen a vertex."""


@dataclass(frozen=True)
class Sheet:
    """The meshed half.

    Attributes:
        positions: ``(n, 2)`` on the map, x ≥ 0; exactly 0 on the midline. The lines' vertices come first.
        triangles: ``(t, 3)`` counter-clockwise.
        vertex_of: for each line's name, the vertex number of each of its samples.
        spacing: ``(f,)`` the wanted distance around each vertex of a line, mm.
        border: ``(b, 2)`` polygon of the outline on the map.
        openings: polygons of the openings.
        placed: ``(n, 3)`` mm where the vertices are about to be, once a skin is known; before, ``(n, 2)`` positions.
    """

    positions: np.ndarray
    triangles: np.ndarray
    vertex_of: dict[str, np.ndarray]
    spacing: np.ndarray
    border: np.ndarray
    openings: list[np.ndarray]
    placed: np.ndarray

    def covers(self, points: np.ndarray) -> np.ndarray:
        """Which of ``(m, 2)`` places on the map are skin."""
        good = inside(points, self.border)
        for opening in self.openings:
            good &= ~inside(points, opening)
        return good


def make_sheet(lines: dict[str, Line], outline: tuple[str, ...], holes: list[tuple[str, ...]]) -> Sheet:
    """Mesh the half, evenly on the map.

    Args:
        lines: feature lines; earlier ones win where two come close.
        outline: lines that bound the face, one after the other, from the midline round to the midline.
        holes: the same for each opening.
    """
    fixed, spacing, vertex_of = _fixed_vertices(lines)

    def polygon(names: tuple[str, ...]) -> np.ndarray:
        return np.concatenate([fixed[vertex_of[name]] for name in names])

    empty = np.empty((0, 3), np.int32)
    sheet = Sheet(fixed, empty, vertex_of, spacing, polygon(outline), [polygon(hole) for hole in holes], fixed)
    return _filled(sheet, None)


def refine(sheet: Sheet, skin: np.ndarray) -> Sheet:
    """The half meshed again, evenly in space, where the ``(n, 3)`` skin, mm, of its vertices is known."""
    return _filled(sheet, skin)


def _fixed_vertices(lines: dict[str, Line]) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Vertices of the lines' samples; samples closer than a third of the spacing become one vertex."""
    positions: list[np.ndarray] = []
    spacing: list[float] = []
    vertex_of = {}
    for name, line in lines.items():
        samples, controls = line.samples()
        flat = unroll(samples)
        flat[np.abs(flat[:, 0]) < 1e-6, 0] = 0.0
        vertices = np.full(len(flat), -1)
        # Control points first: a landmark keeps its place whatever comes close to it.
        for i in [*controls, *np.setdiff1d(np.arange(len(flat)), controls)]:
            if positions:
                distance = np.linalg.norm(np.array(positions) - flat[i], axis=1)
                nearest = int(distance.argmin())
                if distance[nearest] < 0.33 * min(line.spacing, spacing[nearest]):
                    vertices[i] = nearest
                    continue
            vertices[i] = len(positions)
            positions.append(flat[i])
            spacing.append(line.spacing)
        vertex_of[name] = vertices
    return np.array(positions), np.array(spacing), vertex_of


def _filled(sheet: Sheet, skin: np.ndarray | None) -> Sheet:
    """The sheet with new vertices between the lines; distances are the map's, or the map's and the skin's together."""
    # Numbers drawn from one seed: the mesh is the same every time.
    rng = np.random.default_rng(68)
    low, high = sheet.border.min(0), sheet.border.max(0)
    cloud = rng.uniform(low, high, (SAMPLES * 3, 2))
    cloud = cloud[sheet.covers(cloud)]
    cell_area = np.full(len(cloud), np.prod(high - low) / (SAMPLES * 3))
    count = len(sheet.spacing)
    fixed = sheet.positions[:count]

    if skin is not None:
        corner, weights, stretch = _lookup(cloud, sheet, skin)
        cell_area *= stretch

        # Lips touch in space and are apart on the map: half of the map's distance keeps them apart.
        placed = np.column_stack([np.einsum("ni,nij->nj", weights, skin[corner]), 0.5 * cloud])
        anchors = np.column_stack([skin[:count], 0.5 * fixed])
    else:
        placed, anchors = cloud, fixed

    tree = cKDTree(anchors)
    distance, near = tree.query(placed, k=12)
    coarsest = COARSEST + 0.04 * np.maximum(np.linalg.norm(cloud, axis=1) - SEEN, 0)
    size = np.minimum((sheet.spacing[near] + GROWTH * distance).min(1), coarsest)
    density = cell_area / size**2
    free = round(density.sum() / 0.866) - round(0.86 * count)
    chosen = rng.choice(len(cloud), SAMPLES, p=density / density.sum())
    cloud, placed, size = cloud[chosen], placed[chosen], size[chosen]
    seeds = np.arange(free)  # the cloud is in random order
    for _ in range(3 if skin is None else 12):
        cell = cKDTree(np.concatenate([anchors, placed[seeds]])).query(placed)[1] - count
        own = cell >= 0
        total = np.maximum(np.bincount(cell[own], minlength=len(seeds)), 1)
        centre = (
            np.stack([np.bincount(cell[own], column[own], len(seeds)) for column in placed.T], axis=1) / total[:, None]
        )
        # The sample nearest to the cell's centre, so that its place on the map is known too.
        seeds = np.unique(cKDTree(placed).query(centre)[1])
    seeds = seeds[tree.query(placed[seeds])[0] > 0.55 * size[seeds]]
    close = cKDTree(placed[seeds]).query_pairs(0.5 * COARSEST, output_type="ndarray")
    gap = np.linalg.norm(placed[seeds[close[:, 0]]] - placed[seeds[close[:, 1]]], axis=1)
    seeds = np.delete(seeds, np.unique(close[gap < 0.5 * size[seeds[close[:, 1]]], 1]))
    positions = np.concatenate([fixed, cloud[seeds]])
    triangles = Delaunay(positions).simplices
    a, b, c = (positions[triangles[:, k]] for k in range(3))
    area = _doubled_area(a, b, c)
    triangles[area < 0] = triangles[area < 0][:, ::-1]
    edges = _line_edges(sheet.vertex_of)
    triangles = with_edges(triangles[np.abs(area) > 1e-3], positions, edges)
    triangles = triangles[sheet.covers(positions[triangles].mean(1))]
    lifted = np.concatenate([anchors, placed[seeds]])
    if skin is not None:
        for _ in range(ROUNDS):
            triangles = flipped(triangles, positions, lifted, edges)
            positions, lifted = relaxed(triangles, positions, lifted, count)
        triangles = flipped(triangles, positions, lifted, edges)
    return replace(sheet, positions=positions, triangles=triangles.astype(np.int32), placed=lifted[:, :3])


def _doubled_area(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])


def _lookup(points: np.ndarray, sheet: Sheet, skin: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For places on the map: their triangle's corners ``(m, 3)``, the weights of these, and how much larger the
    triangle is in space than on the map."""
    a, b, c = (sheet.positions[sheet.triangles[:, k]] for k in range(3))
    inverse = np.linalg.inv(np.stack([b - a, c - a], axis=-1))
    # Of the triangles whose middles are nearest, the one that holds the point.
    _, near = cKDTree((a + b + c) / 3).query(points, k=8)
    uv = np.einsum("mkij,mkj->mki", inverse[near], points[:, None] - a[near])
    weights = np.concatenate([1 - uv.sum(-1, keepdims=True), uv], axis=-1)
    best = weights.min(-1).argmax(1)
    rows = np.arange(len(points))
    triangle = near[rows, best]
    weights = np.clip(weights[rows, best], 0, None)
    weights /= weights.sum(1, keepdims=True)
    corners = skin[sheet.triangles]
    spatial = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return sheet.triangles[triangle], weights, (spatial / np.abs(_doubled_area(a, b, c)))[triangle]


def _line_edges(vertex_of: dict[str, np.ndarray]) -> np.ndarray:
    """``(e, 2)`` neighbours on feature lines, the smaller number first. (A closed line's last edge needs no care: the
    mesh has it wherever it has the others.)"""
    pairs = np.concatenate([np.column_stack([at[:-1], at[1:]]) for at in vertex_of.values()])
    return np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)


def _neighbours(triangles: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    """Inner edges: their key, ends i and j, the tips k and m of both triangles, and these triangles' numbers."""
    start, end, tip = (np.concatenate([triangles[:, (k + j) % 3] for k in range(3)]) for j in range(3))
    owner = np.tile(np.arange(len(triangles)), 3)
    key = np.minimum(start, end).astype(np.int64) * n + np.maximum(start, end)
    order = np.argsort(key, kind="stable")
    twin = np.flatnonzero(key[order][1:] == key[order][:-1])
    one, two = order[twin], order[twin + 1]
    return key[one], start[one], end[one], tip[one], tip[two], owner[one], owner[two]


def with_edges(triangles: np.ndarray, flat: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The triangulation of ``(V, 2)`` points changed to hold ``(e, 2)`` edges, by flipping what crosses them (Sloan
    1993). An edge that runs through another vertex is left out."""
    triangles = triangles.copy()
    n = len(flat)
    for turn in range(60):
        sides = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
        missing = edges[~np.isin(edges[:, 0] * n + edges[:, 1], sides[:, 0].astype(np.int64) * n + sides[:, 1])]
        _, i, j, k, m, one, two = _neighbours(triangles, n)
        convex = (_doubled_area(flat[k], flat[i], flat[m]) > 1e-4) & (_doubled_area(flat[m], flat[j], flat[k]) > 1e-4)
        busy = np.zeros(len(triangles), bool)
        for a, b in missing:
            side_i, side_j = (_doubled_area(flat[a], flat[b], flat[v]) for v in (i, j))
            side_a, side_b = (_doubled_area(flat[i], flat[j], flat[v]) for v in (a, b))
            able = np.flatnonzero((side_i * side_j < 0) & (side_a * side_b < 0) & convex & ~busy[one] & ~busy[two])
            if len(able):
                e = able[turn % len(able)]
                busy[one[e]] = busy[two[e]] = True
                triangles[one[e]] = k[e], i[e], m[e]
                triangles[two[e]] = m[e], j[e], k[e]
        if not busy.any():
            break
    return triangles


def relaxed(triangles: np.ndarray, flat: np.ndarray, placed: np.ndarray, fixed: int) -> tuple[np.ndarray, np.ndarray]:
    """Each vertex but the first ``fixed`` ones moved half way to the middle of its neighbours, on the map and in space
    alike, except where a triangle would turn over on the map."""
    n = len(flat)
    ends = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    ends = np.concatenate([ends, ends[:, ::-1]])
    graph = sparse.csr_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), (n, n))
    share = np.where(np.arange(n) < fixed, 0.0, 0.5)
    mean = sparse.diags(1 / np.maximum(np.asarray(graph.sum(1)).ravel(), 1)) @ graph
    both = np.column_stack([flat, placed])
    goal = mean @ both
    moved = both
    for _ in range(20):
        moved = both + share[:, None] * (goal - both)
        a, b, c = (moved[triangles[:, k], :2] for k in range(3))
        over = _doubled_area(a, b, c) < 1e-3
        if not over.any():
            break
        share[triangles[over].ravel()] = 0.0
    return moved[:, :2], moved[:, 2:]


def flipped(triangles: np.ndarray, flat: np.ndarray, placed: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Edges flipped until the triangulation is Delaunay's in space, as far as it stays one on the map.

    Args:
        triangles: ``(T, 3)`` counter-clockwise on the map.
        flat: ``(V, 2)`` on the map.
        placed: ``(V, D)`` in space.
        edges: ``(e, 2)`` edges that stay, the smaller number first.
    """
    triangles = triangles.copy()
    n = len(flat)
    locked = edges[:, 0] * n + edges[:, 1]
    for _ in range(40):
        key, i, j, k, m, one, two = _neighbours(triangles, n)

        def angle(at: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
            u, v = placed[p] - placed[at], placed[q] - placed[at]
            return np.arccos(np.clip((u * v).sum(1) / np.sqrt((u**2).sum(1) * (v**2).sum(1)), -1, 1))

        excess = angle(k, i, j) + angle(m, i, j) - np.pi
        convex = (_doubled_area(flat[k], flat[i], flat[m]) > 1e-3) & (_doubled_area(flat[m], flat[j], flat[k]) > 1e-3)
        wanted = np.flatnonzero((excess > 1e-6) & convex & ~np.isin(key, locked))
        if not len(wanted):
            break
        busy = np.zeros(len(triangles), bool)
        for e in wanted[np.argsort(-excess[wanted], kind="stable")]:
            if not (busy[one[e]] or busy[two[e]]):
                busy[one[e]] = busy[two[e]] = True
                triangles[one[e]] = k[e], i[e], m[e]
                triangles[two[e]] = m[e], j[e], k[e]
    return triangles
