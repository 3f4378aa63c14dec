"""Subsets of vertices for drawing."""

from pathlib import Path

import numpy as np
import pytest
from test_data_mapping import complete

from pifa_data.errors import MorphableError
from pifa_data.morphable import MorphableModel, import_ict_npz
from pifa_data.morphable.simplify import sample_vertices, seen
from pifa_model.masks import spread_vertices


@pytest.mark.parametrize("count", [300, 700, 1500])
def test_landmarks_are_kept_and_the_rest_is_well_apart(model: MorphableModel, count: int) -> None:
    whole = complete(model)
    chosen = whole.simplify(count)
    assert chosen.shape == (count,)
    assert (np.diff(chosen) > 0).all()
    assert np.isin(np.concatenate([[whole.nose_tip], *whole.stored_landmarks.values()]), chosen).all()
    np.testing.assert_array_equal(whole.simplify(count), chosen)


def test_all_where_there_are_no_more(model: MorphableModel) -> None:
    np.testing.assert_array_equal(model.simplify(10**6), np.arange(len(model.mean)))
    np.testing.assert_array_equal(model.simplify(len(model.mean)), np.arange(len(model.mean)))


def test_too_few_are_refused(model: MorphableModel) -> None:
    with pytest.raises(MorphableError, match=r"at least 68 vertices.*found 67"):
        model.simplify(67)
    assert set(model.simplify(68)) == set(model.landmarks["ibug68"])


def test_vertices_at_one_place_are_taken_once() -> None:
    mean = np.zeros((50, 3))
    chosen = sample_vertices(mean, np.tile([0.0, 0, 1], (50, 1)), np.array([3]), 3, 20)
    assert len(set(chosen.tolist())) == 20


def sphere(radius: float, count: int = 4000) -> np.ndarray:
    """Evenly spread points of a sphere (a Fibonacci lattice)."""
    i = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * i / count), np.pi * (1 + 5**0.5) * i
    return radius * np.stack([np.cos(turn) * np.sin(polar), np.cos(polar), np.sin(turn) * np.sin(polar)], axis=1)


def test_what_is_inside_or_behind_is_not_seen() -> None:
    outer, inner = sphere(10), sphere(7)
    points = np.concatenate([outer, inner])
    share = seen(points, points / np.linalg.norm(points, axis=1, keepdims=True))
    front, back = outer[:, 2] > 8, outer[:, 2] < -5
    assert share[:4000][front].min() > 0.8
    assert share[:4000][back].max() < 0.4
    assert share[4000:].max() < 0.1  # at the rim, where a cell holds both
    assert share[4000:].mean() < 0.01
    assert share.max() == 1


def test_it_is_densest_where_the_face_is_seen(shared_data: Path) -> None:
    model = import_ict_npz([shared_data / "morphable/ict_face.npz"])
    chosen = model.simplify(3000)
    share = seen(model.mean.astype(float), model.normals)
    assert (share[chosen] > 0).mean() > 0.999
    from_nose = np.linalg.norm(model.mean - model.mean[model.nose_tip], axis=1)
    even = spread_vertices(model.mean, 3000)
    assert (from_nose[chosen] < 9).mean() > 1.3 * (from_nose[even] < 9).mean()
