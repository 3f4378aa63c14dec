"""The masks of the visualization layer, and which vertices it draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pifa_data.errors import MorphableError
from pifa_data.morphable import MorphableModel, load_builtin
from pifa_data.morphable.simplify import seen
from pifa_model.config import VisualizationConfig
from pifa_model.masks import PARTS, drawn_vertices, spread_vertices, vertex_mask


@pytest.mark.parametrize("mask", ["nose", "parts"])
def test_masks_are_normalised(model: MorphableModel, mask: str) -> None:
    a = vertex_mask(model, VisualizationConfig(mask=mask))
    assert a.mean() == pytest.approx(0, abs=1e-4)
    assert a.std() == pytest.approx(1, abs=1e-4)


def test_mask_1_is_equation_11(model: MorphableModel) -> None:
    a = vertex_mask(model, VisualizationConfig(mask_sigma=0.35)).astype(np.float64)
    assert a.argmax() == model.nose_tip
    assert a[model.landmarks["ibug68"][[0, 16]]].max() < 0
    # Undone up to a factor and a shift, it is the Gaussian: three vertices give both, the others must agree.
    width = np.ptp(model.mean[model.landmarks["ibug68"], 0])
    squared = ((model.mean - model.mean[model.nose_tip]) ** 2).sum(1)
    gaussian = np.exp(-squared / (2 * (0.35 * width) ** 2))
    slope, shift = np.polyfit(gaussian, a, 1)
    assert slope > 0
    np.testing.assert_allclose(slope * gaussian + shift, a, atol=1e-5)


def test_mask_2_has_five_areas() -> None:
    model = load_builtin()
    a = vertex_mask(model, VisualizationConfig(mask="parts"))
    neighbours = [set() for _ in a]
    for i, j, k in model.triangles:
        for p, q in ((i, j), (j, k), (k, i)):
            neighbours[p].add(q)
            neighbours[q].add(p)
    peaks = [v for v, around in enumerate(neighbours) if a[v] > 1.5 and all(a[v] >= a[w] for w in around)]
    places = model.landmarks["ibug68"]
    wanted = np.stack([model.mean[places[list(part)]].mean(0) for part in PARTS])
    nearest = {int(np.linalg.norm(wanted - model.mean[peak], axis=1).argmin()) for peak in peaks}
    assert nearest == set(range(5))
    # Apart from each other: skin between the eyes, on the cheeks, the chin and the forehead is negative.
    between = places[[27, 8, 19, 24, 2, 14]]
    assert a[between].max() < 0


def test_no_mask_is_one(model: MorphableModel) -> None:
    assert (vertex_mask(model, VisualizationConfig(mask="none")) == 1).all()


def test_mask_2_needs_the_landmarks(model: MorphableModel) -> None:
    bare = replace(model, landmarks={"afw6": model.landmarks["ibug68"][:6]}, contours={})
    with pytest.raises(MorphableError, match="no landmark vertices for the scheme ibug68"):
        vertex_mask(bare, VisualizationConfig(mask="parts"))


def test_spread_vertices_are_distinct_and_well_apart(model: MorphableModel) -> None:
    chosen = spread_vertices(model.mean, 100)
    assert len(set(chosen.tolist())) == 100
    points = model.mean[chosen].astype(np.float64)
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2) + np.eye(100) * 1e9
    first = model.mean[:100].astype(np.float64)
    others = np.linalg.norm(first[:, None] - first[None], axis=2) + np.eye(100) * 1e9
    assert gaps.min() > 2 * others.min()
    assert (spread_vertices(model.mean, 10**6) == np.arange(len(model.mean))).all()


def test_vertices_at_one_place_are_taken_once() -> None:
    assert (spread_vertices(np.zeros((50, 3)), 49) == np.arange(49)).all()


def test_drawn_vertices_are_denser_where_the_face_is_seen(model: MorphableModel) -> None:
    share = seen(model.mean.astype(np.float64), model.normals)
    chosen, even = drawn_vertices(model, 500), spread_vertices(model.mean, 500)
    assert len(set(chosen.tolist())) == 500
    assert share[chosen].mean() > share[even].mean() + 0.03
    assert len(drawn_vertices(model, 10**6)) == len(model.mean)
