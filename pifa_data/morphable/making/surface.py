"""The face surface of the ``builtin`` model, and how it is carried to measured landmarks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.spatial.distance import cdist

from pifa_data.morphable.making import anatomy
from pifa_data.morphable.making.domain import Line, unroll
from pifa_data.morphable.making.fairing import fair, locate
from pifa_data.morphable.making.meshing import Sheet, make_sheet, refine
from pifa_data.schemes import get_scheme

HOLES = [("lid_edge",), ("mouth_upper", "mouth_lower")]
"""Lines around the openings of the skin: the eye, and the right half of the mouth."""

REFINEMENTS = 2
"""How often the mesh is spread again over the skin found so far."""

GUIDE_WEIGHT = 0.12
"""1/mm² a guide point. They stand about 8 mm apart: 1/8² would be as stiff as the skin's bending, so it follows them,
and still evens out what the hand did unevenly."""

ROUNDING = 4.0
"""mm: c of the warp's kernel. Without it the skin would come to a point at every landmark."""


@dataclass(frozen=True)
class Surface:
    """A left-right symmetric face.

    Attributes:
        vertices: ``(V, 3)`` float64, mm: x to the image's right, y up, z towards the viewer, origin between the tragia.
        triangles: ``(T, 3)`` int32, counter-clockwise seen from outside.
        landmarks: ``(68,)`` int32 ibug68 vertex numbers.
        mirror: ``(V,)`` int32: the vertex on the other side.
        unrolled: ``(V, 2)`` float64: place on the flat map that the face was meshed on, about mm.
        lines: vertex numbers along each feature line of the image's right half (x ≥ 0); ``mirror`` gives the left.
        parts: ``(V,)`` bool mask of each part: ``skin``, ``eyeball`` and what lies on
            the ball's round surface, ``white`` (the iris is cut into it, its edge tucked in).
    """

    vertices: np.ndarray
    triangles: np.ndarray
    landmarks: np.ndarray
    mirror: np.ndarray
    unrolled: np.ndarray
    lines: dict[str, np.ndarray]
    parts: dict[str, np.ndarray]


def make_surface() -> Surface:
    """Mesh and sculpt the face; the same every time."""
    lines = anatomy.feature_lines()
    half = make_sheet(lines, ("outline",), HOLES)
    for _ in range(REFINEMENTS):
        half = refine(half, _sculpt(lines, half, *_whole(half.positions, half.triangles))[: len(half.positions)])
    positions, triangles, mirror = _whole(half.positions, half.triangles)
    skin = symmetrized(_sculpt(lines, half, positions, triangles, mirror), mirror)

    ball, ball_map, ball_triangles, white = _eyeball()
    n, m = len(skin), len(ball)
    flip = np.array([-1.0, 1.0, 1.0])
    vertices = np.concatenate([skin, ball, ball * flip])
    both = np.arange(m)
    return Surface(
        vertices=vertices,
        triangles=np.concatenate([triangles, ball_triangles + n, ball_triangles[:, ::-1] + n + m]).astype(np.int32),
        landmarks=_landmarks(lines, half, mirror),
        mirror=np.concatenate([mirror, both + n + m, both + n]).astype(np.int32),
        unrolled=np.concatenate([positions, ball_map, ball_map * flip[:2]]),
        lines={name: number.astype(np.int32) for name, number in half.vertex_of.items()},
        parts={
            "skin": np.arange(n + 2 * m) < n,
            "eyeball": np.arange(n + 2 * m) >= n,
            "white": np.concatenate([np.zeros(n, bool), white, white]),
        },
    )


def symmetrized(vertices: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """The mean of ``(..., V, 3)`` vertices or offsets and their mirror image: exactly symmetric."""
    return (vertices + reflected(vertices, mirror)) / 2


def reflected(vertices: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """The mirror image of ``(..., V, 3)`` vertices or offsets."""
    return vertices[..., mirror, :] * np.array([-1.0, 1.0, 1.0])


def _whole(positions: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both halves: ``(V, 2)`` positions, ``(T, 3)`` triangles and the mirror permutation."""
    n = len(positions)
    side = np.flatnonzero(positions[:, 0] > 0)
    mirror = np.arange(n + len(side))
    mirror[side] = n + np.arange(len(side))
    mirror[mirror[side]] = side
    other = mirror[triangles][:, ::-1]
    return (
        np.concatenate([positions, positions[side] * [-1, 1]]),
        np.concatenate([triangles, other]).astype(np.int32),
        mirror,
    )


def _sculpt(
    lines: dict[str, Line], half: Sheet, positions: np.ndarray, triangles: np.ndarray, mirror: np.ndarray
) -> np.ndarray:
    """``(V, 3)`` the smoothest skin through the lines and near the guides."""
    n = len(positions)
    bend = np.ones(n)
    rows, targets, weights = [], [], []
    for name, line in lines.items():
        at = half.vertex_of[name]
        bend[at] = np.minimum(bend[at], line.bend)
        samples, _ = line.samples()
        rows.append(at)
        targets.append(samples[:, :3])
        weights.append(np.full(len(at), line.stiffness))
    vertex = np.concatenate(rows)
    count = len(vertex)
    on_lines = sparse.csr_matrix((np.ones(count), (np.arange(count), vertex)), (count, n))
    on_guides = locate(unroll(anatomy.GUIDES), positions, triangles)
    flip = np.array([-1.0, 1.0, 1.0])
    right = sparse.vstack([on_lines, on_guides])
    places = np.concatenate([*targets, anatomy.GUIDES[:, :3]])
    stiff = np.concatenate([*weights, np.full(len(anatomy.GUIDES), GUIDE_WEIGHT)])
    data = sparse.vstack([right, right[:, mirror]]).tocsr()
    places = np.concatenate([places, places * flip])
    bend = np.minimum(bend, bend[mirror])

    # The first skin's bending is measured on the flat map, the next one's on the first skin.
    other = half.placed[mirror[len(half.positions) :]] * flip[: half.placed.shape[1]]
    metric = np.concatenate([half.placed, other])
    return fair(metric, triangles, data, places, np.tile(stiff, 2), bend)


def _eyeball() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The part of the right eye (x > 0) that the lids leave open, and 3 mm behind them.

    Returns:
        vertices ``(m, 3)`` mm, their places on the map ``(m, 2)``, triangles, and ``(m,)`` which lie on the ball.
    """
    around = 28
    angle = np.linspace(0, 2 * np.pi, around, endpoint=False)
    # Radius and how far the eye is cut in there, mm, as sculptors do it: a hollow whose slopes are dark without colour.
    table = np.array([(1.2, 4.6), (2.3, 2.9), (4.0, 1.5), (5.6, 0.3), (5.9, 0.0), (7.2, 0.0)])
    circles = np.concatenate([table[:, 0], np.full(3, 8.0)])
    # The last circle is tucked in, so that it doesn't show through the skin at the corners.
    cut = np.concatenate([[6.5], np.repeat(np.concatenate([table[:, 1], [0.0, 0.0, 1.0]]), around)])
    # From the iris outwards the circles turn into the almond that the lids leave open, and reach behind them.
    share = np.concatenate([np.zeros(5), [0.25, 0.5, 0.75, 1.0]])[:, None]
    middle = np.array([31.3, 20.7])
    x = (1 - share) * (middle[0] + np.outer(circles, np.cos(angle))) + share * (30.6 + 14.6 * np.cos(angle))
    y = (1 - share) * (middle[1] + np.outer(circles, np.sin(angle))) + share * (20.6 + 8.6 * np.sin(angle))
    rings = len(circles)
    x, y = np.append(middle[0], x), np.append(middle[1], y)
    vertices = np.column_stack([x, y, anatomy.eye_depth(x, y) - cut])
    first = 1 + np.arange(around)
    after = np.roll(first, -1)
    triangles = [np.column_stack([np.zeros(around, int), first, after])]
    for ring in range(rings - 1):
        a, b = first + ring * around, after + ring * around
        triangles += [np.column_stack([a, a + around, b + around]), np.column_stack([a, b + around, b])]
    return vertices, unroll(vertices), np.concatenate(triangles), cut == 0


def _landmarks(lines: dict[str, Line], half: Sheet, mirror: np.ndarray) -> np.ndarray:
    """ibug68: the lines name the points of the image's right half and the midline, the scheme's mirror the others."""
    found = np.full(68, -1)
    for name, line in lines.items():
        _, controls = line.samples()
        for control, landmark in line.landmarks.items():
            found[landmark] = half.vertex_of[name][controls[control]]
    other = get_scheme("ibug68").mirror
    left = found < 0
    found[left] = mirror[found[other[left]]]
    return found.astype(np.int32)


def warp(surface: Surface, landmarks: np.ndarray) -> Surface:
    """The surface carried smoothly so that its landmarks lie at measured places.

    The displacement is an interpolating multiquadric (Hardy 1971), √(r² + c²), with a constant part only: a linear part
    would shear what lies far from the landmarks. r counts the distance on the map besides that in space, so that the
    lips, which touch, can be parted.

    Args:
        landmarks: ``(68, 3)`` mm. Where they are symmetric, so is the result, exactly.
    """
    targets = np.asarray(landmarks, dtype=np.float64)
    other = get_scheme("ibug68").mirror
    symmetric = np.allclose(targets, targets[other] * [-1, 1, 1], atol=1e-9)
    places = np.column_stack([surface.vertices, surface.unrolled])
    sources = places[surface.landmarks]
    n = len(sources)

    def kernel(points: np.ndarray) -> np.ndarray:
        return np.sqrt(cdist(points, sources, "sqeuclidean") + ROUNDING**2)

    system = np.ones((n + 1, n + 1))
    system[:n, :n] = kernel(sources)
    system[n, n] = 0
    moves = targets - surface.vertices[surface.landmarks]
    weights = np.linalg.solve(system, np.concatenate([moves, np.zeros((1, 3))]))
    moved = surface.vertices + kernel(places) @ weights[:n] + weights[n]
    moved[surface.landmarks] = targets
    if symmetric:
        moved = symmetrized(moved, surface.mirror)
    return replace(surface, vertices=moved)
