"""Unions of schemes, and what schemes share."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pifa_data.errors import PifaError
from pifa_data.fitting import landmarks_of, silhouette
from pifa_data.morphable import MorphableModel, load_builtin
from pifa_data.morphable.points import contour_of, landmark_vertices
from pifa_data.schemes import SCHEMES, correspondence, get_scheme, leading_scheme, to_scheme, union_name

NAMES = list(SCHEMES)
some_schemes = st.lists(st.sampled_from(NAMES), min_size=2, max_size=4, unique=True).map("+".join)


@pytest.fixture(scope="module")
def builtin() -> MorphableModel:
    return load_builtin()


@given(some_schemes)
def test_a_union_is_a_scheme(name: str) -> None:
    scheme = get_scheme(name)
    assert scheme.name == name
    assert len(set(scheme.points)) == len(scheme)
    assert (scheme.mirror[scheme.mirror] == np.arange(len(scheme))).all()
    grouped = [i for numbers in scheme.groups.values() for i in numbers]
    assert sorted(grouped) == list(range(len(scheme)))
    assert {int(scheme.mirror[i]) for i in scheme.contour} == set(scheme.contour)
    first = get_scheme(leading_scheme(name))
    assert scheme.eye_corners == first.eye_corners
    assert scheme.points[: len(first)] == first.points


@given(some_schemes)
def test_every_point_of_every_part_is_in_the_union_once(name: str) -> None:
    parts = name.split("+")
    numbers = [correspondence(part, name) for part in parts]
    assert all((found >= 0).all() and len(set(found)) == len(found) for found in numbers)
    assert set(np.concatenate(numbers)) == set(range(len(get_scheme(name))))


def test_correspondences_are_one_to_one_and_mirror() -> None:
    for a, b in permutations(NAMES, 2):
        there, back = correspondence(a, b), correspondence(b, a)
        shared = np.flatnonzero(there >= 0)
        np.testing.assert_array_equal(back[there[shared]], shared)
        np.testing.assert_array_equal(get_scheme(b).mirror[there[shared]], there[get_scheme(a).mirror[shared]])


def test_known_correspondences() -> None:
    ibug, cofw = get_scheme("ibug68"), get_scheme("cofw29")
    there = dict(zip(cofw.points, correspondence("cofw29", "ibug68").tolist(), strict=True))
    assert there["right_eye_outer"] == 36
    assert there["left_eye_outer"] == 45
    assert there["nose_tip"] == 30
    assert there["left_mouth_corner"] == 54
    assert there["chin"] == 8
    assert there["right_pupil"] == -1
    assert correspondence("ibug68", "ibug51").tolist() == [-1] * 17 + list(range(51))
    # WFLW's outline lies at other places along the jaw.
    assert (correspondence("wflw98", "ibug68")[:33] == -1).all()
    assert correspondence("wflw98", "ibug68")[60] == 36
    assert ibug.points[36] == "right_eye_0"


def test_labels_come_over_with_their_visibility() -> None:
    rng = np.random.default_rng(0)
    landmarks, visibility = rng.uniform(0, 100, (5, 29, 2)), rng.integers(0, 3, (5, 29)).astype(np.uint8)
    points, seen = to_scheme(landmarks, visibility, "cofw29", "ibug68+cofw29")
    numbers = correspondence("cofw29", "ibug68+cofw29")
    np.testing.assert_array_equal(points[:, numbers], landmarks)
    np.testing.assert_array_equal(seen[:, numbers], visibility)
    assert seen.sum() == visibility.sum()
    back, again = to_scheme(points, seen, "ibug68+cofw29", "cofw29")
    np.testing.assert_array_equal(back, landmarks)
    np.testing.assert_array_equal(again, visibility)
    one, two = to_scheme(landmarks[0], visibility[0], "cofw29", "aflw21")
    assert one.shape == (21, 2)
    assert two.shape == (21,)


def test_the_unions_name_does_not_depend_on_the_order_of_the_sources() -> None:
    assert union_name({"aflw21", "ibug68"}, NAMES) == union_name({"ibug68", "aflw21"}, NAMES) == "ibug68+aflw21"
    assert union_name({"wflw98"}, NAMES) == "wflw98"


@pytest.mark.parametrize("name", ["ibug68+", "+", "ibug68+ibug68", "ibug68+nothing", "nothing", ""])
def test_no_such_scheme(name: str) -> None:
    with pytest.raises(PifaError, match="landmark scheme"):
        get_scheme(name)


def test_vertices_and_lines_of_a_union(builtin: MorphableModel) -> None:
    name = "ibug68+wflw98+aflw21"
    vertices, contour = landmark_vertices(builtin, name), contour_of(builtin, name)
    assert contour is not None
    for part in name.split("+"):
        own, numbers = contour_of(builtin, part), correspondence(part, name)
        np.testing.assert_array_equal(vertices[numbers], builtin.landmarks[part])
        if own is not None:
            rows = [contour.points.tolist().index(numbers[i]) for i in own.points]
            np.testing.assert_array_equal(contour.vertices[rows, : own.vertices.shape[1]], own.vertices)
            np.testing.assert_array_equal(contour.side[rows], own.side)
    assert contour_of(builtin, "aflw21+cofw29") is None
    assert contour_of(builtin, "aflw21") is None


@pytest.mark.parametrize("kind", ["2d", "3d"])
def test_landmarks_of_a_union_are_those_of_its_parts(builtin: MorphableModel, kind: str) -> None:
    rng = np.random.default_rng(1)
    params = np.concatenate([[1.0, 0.1, 0.5, 200, 0.1, -1.1, 0.2, 300], rng.normal(size=builtin.n_coefficients)])[None]
    for name in ("ibug68+aflw21", "ibug68+wflw98"):
        together = landmarks_of(builtin, name, params, kind)
        for part in name.split("+"):
            np.testing.assert_allclose(
                together[:, correspondence(part, name)], landmarks_of(builtin, part, params, kind), atol=1e-9
            )


def test_jaw_points_of_2d_faces_march(builtin: MorphableModel) -> None:
    params = np.zeros((1, 8 + builtin.n_coefficients))
    params[0, :8] = [0.7, 0, 0.7, 0, 0, -1, 0, 0]  # yaw 45°
    marched, fixed = (landmarks_of(builtin, "ibug68", params, kind)[0] for kind in ("2d", "3d"))
    assert np.abs(marched[17:] - fixed[17:]).max() == 0
    assert np.abs(marched[:17] - fixed[:17]).max() > 3
    contour = contour_of(builtin, "ibug68")
    assert contour is not None
    lines = builtin.vertices(params[0, 8:], contour.vertices.ravel()).reshape(*contour.vertices.shape, 3)
    camera = params[:, :8].reshape(-1, 2, 4)
    points = lines @ camera[0, :, :3].T
    chosen = silhouette(points[None], camera, contour.side)[0]
    np.testing.assert_allclose(marched[contour.points], points[np.arange(len(chosen)), chosen], atol=1e-9)
