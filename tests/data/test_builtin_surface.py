"""The surface of the builtin model: mesh, proportions, warp."""

from __future__ import annotations

import numpy as np
import pytest

from pifa_data.morphable.making import Surface, make_surface, warp
from pifa_data.schemes import get_scheme

FLIP = np.array([-1.0, 1.0, 1.0])
MIRROR = get_scheme("ibug68").mirror


def _areas(surface: Surface) -> np.ndarray:
    """``(T, 3)`` area vectors, mm²."""
    a, b, c = (surface.vertices[surface.triangles[:, k]] for k in range(3))
    return np.cross(b - a, c - a) / 2


def _edges(triangles: np.ndarray) -> np.ndarray:
    return np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])


def _volume(surface: Surface) -> float:
    corners = surface.vertices[surface.triangles]
    return float(np.einsum("ti,ti->t", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6)


def test_shapes(surface: Surface) -> None:
    n = len(surface.vertices)
    assert 5000 <= n <= 8000
    assert surface.vertices.dtype == np.float64
    assert surface.triangles.dtype == surface.landmarks.dtype == surface.mirror.dtype == np.int32
    assert surface.landmarks.shape == (68,)
    assert surface.unrolled.shape == (n, 2)
    assert np.isfinite(surface.vertices).all()
    assert np.array_equal(np.unique(surface.triangles), np.arange(n)), "every vertex belongs to a triangle"
    assert np.array_equal(surface.parts["skin"], ~surface.parts["eyeball"])


def test_the_same_every_time(surface: Surface) -> None:
    again = make_surface()
    for name in ("vertices", "triangles", "landmarks", "mirror", "unrolled"):
        assert np.array_equal(getattr(surface, name), getattr(again, name)), name


def test_symmetry_is_exact(surface: Surface) -> None:
    mirror = surface.mirror
    assert np.array_equal(mirror[mirror], np.arange(len(mirror)))
    assert np.array_equal(surface.vertices[mirror] * FLIP, surface.vertices)
    assert np.array_equal(mirror[surface.landmarks], surface.landmarks[MIRROR])
    ours = {tuple(sorted(t)) for t in surface.triangles.tolist()}
    assert {tuple(sorted(t)) for t in mirror[surface.triangles].tolist()} == ours
    middle = surface.landmarks[[8, 27, 28, 29, 30, 33, 51, 57, 62, 66]]
    assert (surface.vertices[middle, 0] == 0).all()


def test_manifold_and_consistently_oriented(surface: Surface) -> None:
    directed = _edges(surface.triangles)
    assert len(np.unique(directed, axis=0)) == len(directed), "two triangles run along an edge the same way"
    _, count = np.unique(np.sort(directed, axis=1), axis=0, return_counts=True)
    assert count.max() == 2
    # Open at the outline, the mouth, two eyes, and the rims of two eyeballs: each vertex there has one way on.
    seen = {tuple(edge) for edge in directed.tolist()}
    rim = [edge for edge in directed.tolist() if (edge[1], edge[0]) not in seen]
    following = dict(rim)
    assert len(following) == len(rim)
    loops = 0
    while following:
        vertex = next(iter(following))
        while vertex in following:
            vertex = following.pop(vertex)
        loops += 1
    assert loops == 6


def test_no_degenerate_triangle(surface: Surface) -> None:
    corners = surface.vertices[surface.triangles]
    lengths = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2)
    area = np.linalg.norm(_areas(surface), axis=1)
    assert area.min() > 0.01
    assert lengths.min() > 0.1
    assert lengths.max() < 20
    quality = 4 * np.sqrt(3) * area / (lengths**2).sum(1)  # 1 for an equilateral triangle
    assert np.median(quality) > 0.8
    assert (quality < 0.1).mean() < 0.005


def test_normals_point_outwards(surface: Surface) -> None:
    areas = _areas(surface)
    middle = surface.vertices[surface.triangles].mean(1)
    outwards = (areas * (middle - [0, -10, 0])).sum(1)
    size = np.linalg.norm(areas, axis=1)
    assert size[outwards > 0].sum() > 0.97 * size.sum()  # the rest: behind the ears, inside nostrils
    front = surface.parts["skin"][surface.triangles].all(1) & (np.abs(middle[:, 0]) < 40) & (middle[:, 1] > 40)
    assert (areas[front, 2] > 0).all()


def test_landmarks_are_distinct_and_in_order(surface: Surface) -> None:
    assert len(np.unique(surface.landmarks)) == 68
    p = surface.vertices[surface.landmarks]
    assert (np.diff(p[:17, 0]) > 0).all(), "the jaw runs from the image's left to its right"
    assert (np.diff(p[8:17, 1]) > 0).all()
    assert (np.diff(p[17:27, 0]) > 0).all()
    assert (np.diff(p[27:31, 2]) > 0).all()
    assert (np.diff(p[27:31, 1]) < 0).all()
    assert (np.diff(p[31:36, 0]) > 0).all()
    assert p[30, 2] == p[:, 2].max(), "the tip of the nose stands out most"
    for left, up1, up2, right, low1, low2 in (range(36, 42), range(42, 48)):
        assert p[left, 0] < p[up1, 0] < p[up2, 0] < p[right, 0]
        assert p[left, 0] < p[low2, 0] < p[low1, 0] < p[right, 0]
        assert min(p[[up1, up2], 1]) > max(p[[left, right], 1]) > max(p[[low1, low2], 1])
    assert p[48, 0] < p[60, 0] < p[61, 0] < p[62, 0] < p[63, 0] < p[64, 0] < p[54, 0]
    assert np.allclose(p[[61, 62, 63]], p[[67, 66, 65]], atol=0.3), "the lips are closed"
    assert (surface.landmarks[[61, 62, 63]] != surface.landmarks[[67, 66, 65]]).all()


@pytest.mark.parametrize(
    ("what", "a", "b", "low", "high"),
    [
        # Means of women and men ± 2 standard deviations, Farkas 1994.
        ("exocanthion to exocanthion", 36, 45, 80, 97),
        ("endocanthion to endocanthion", 39, 42, 27, 38),
        ("palpebral fissure", 42, 45, 25, 34),
        ("sellion to subnasale", 27, 33, 45, 60),
        ("nasal protrusion", 30, 33, 16, 24),
        ("mouth width", 48, 54, 44, 60),
        ("subnasale to labrale superius", 33, 51, 10, 19),
        ("sellion to gnathion", 27, 8, 105, 130),
        ("nasal base width", 31, 35, 24, 40),
        ("vermilion of the upper lip", 51, 62, 5, 11),
        ("vermilion of the lower lip", 66, 57, 6, 12),
        ("ear to ear", 1, 15, 130, 155),
    ],
)
def test_proportions(surface: Surface, what: str, a: int, b: int, low: float, high: float) -> None:
    p = surface.vertices[surface.landmarks]
    assert low <= np.linalg.norm(p[a] - p[b]) <= high, what


def test_lids_lie_on_the_eyeballs(surface: Surface) -> None:
    ball = surface.vertices[surface.parts["white"]]
    edge = surface.vertices[surface.lines["lid_edge"]]
    gap = np.linalg.norm(edge[:, None] - ball[None], axis=2).min(1)
    assert gap.max() < 2.6  # the distance to the ball's nearest vertex
    rim = surface.vertices[surface.lines["lid_rim"]]
    assert (rim[:, 2] > edge[:, 2].min()).all()


def _targets(surface: Surface, size: float) -> np.ndarray:
    """Symmetric places about ``size`` mm from the landmarks."""
    moved = np.random.default_rng(5).normal(0, size, (68, 3))
    return surface.vertices[surface.landmarks] + (moved + moved[MIRROR] * FLIP) / 2


def test_warp_hits_its_targets_and_keeps_symmetry(surface: Surface) -> None:
    targets = _targets(surface, 1.0)
    warped = warp(surface, targets)
    assert np.allclose(warped.vertices[surface.landmarks], targets, atol=1e-9)
    assert np.array_equal(warped.vertices[surface.mirror] * FLIP, warped.vertices)
    assert np.array_equal(warped.triangles, surface.triangles)
    assert np.linalg.norm(warped.vertices - surface.vertices, axis=1).max() < 8
    agree = (_areas(warped) * _areas(surface)).sum(1) > 0
    assert agree.mean() > 0.995
    assert _volume(warped) > 0


def test_warp_of_smooth_change_turns_no_triangle(surface: Surface) -> None:
    # 10 mm: a longer, narrower face with its mouth farther in front.
    p = surface.vertices[surface.landmarks]
    targets = p * [0.9, 1.08, 1.0] + np.column_stack([np.zeros(68), np.zeros(68), np.where(p[:, 1] < -30, 6.0, 0.0)])
    warped = warp(surface, targets)
    assert ((_areas(warped) * _areas(surface)).sum(1) > 0).mean() > 0.9995
    assert np.linalg.norm(warped.vertices - surface.vertices, axis=1).max() < 20


def test_warp_by_nothing_and_by_a_shift(surface: Surface) -> None:
    p = surface.vertices[surface.landmarks]
    assert np.allclose(warp(surface, p).vertices, surface.vertices, atol=1e-6)
    shift = np.array([3.0, -2.0, 5.0])
    assert np.allclose(warp(surface, p + shift).vertices, surface.vertices + shift, atol=1e-6)


def test_warp_parts_the_lips(surface: Surface) -> None:
    upper, lower = [61, 62, 63], [65, 66, 67]
    targets = surface.vertices[surface.landmarks].copy()
    targets[upper, 1] += 1.5
    targets[lower, 1] -= 1.5
    moved = warp(surface, targets).vertices - surface.vertices
    seams = {name: surface.lines[name][-6:] for name in ("seam_upper", "seam_lower")}  # the middle third
    assert (moved[seams["seam_upper"], 1] > 0.8).all()
    assert (moved[seams["seam_lower"], 1] < -0.8).all()
    assert np.linalg.norm(moved, axis=1).max() < 2.5
