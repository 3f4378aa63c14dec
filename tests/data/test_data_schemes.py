"""Landmark schemes as data: names, groups, mirror."""

import numpy as np
import pytest
from synthetic import SCHEME

from pifa_data.errors import PifaError
from pifa_data.morphable import MorphableModel
from pifa_data.schemes import SCHEMES, Scheme, get_scheme, scheme_of_count

every_scheme = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES.keys())


@every_scheme
def test_mirror_is_an_involution(scheme: Scheme) -> None:
    assert sorted(scheme.mirror) == list(range(len(scheme)))
    np.testing.assert_array_equal(scheme.mirror[scheme.mirror], np.arange(len(scheme)))


@every_scheme
def test_groups_cover_every_point_once(scheme: Scheme) -> None:
    members = [point for group in scheme.groups.values() for point in group]
    assert sorted(members) == list(range(len(scheme)))


@every_scheme
def test_names_are_unique_and_there(scheme: Scheme) -> None:
    assert all(scheme.points)
    assert len(set(scheme.points)) == len(scheme)
    assert SCHEMES[scheme.name] is scheme


@every_scheme
def test_mirror_swaps_right_and_left_groups_and_keeps_the_others(scheme: Scheme) -> None:
    for name, members in scheme.groups.items():
        other = name.replace("right_", "LEFT_").replace("left_", "right_").replace("LEFT_", "left_")
        assert sorted(scheme.mirror[list(members)]) == sorted(scheme.groups[other]), name
    assert sorted(scheme.mirror[list(scheme.contour)]) == sorted(scheme.contour)
    right, left = scheme.eye_corners
    assert scheme.mirror[right] == left


def test_ibug68_mirror_is_the_published_one() -> None:
    """The flip order that 300W's users share, written out."""
    expected = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31]
    expected += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    expected += [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
    assert get_scheme("ibug68").mirror.tolist() == expected


def test_ibug68_midline() -> None:
    """The points that are their own mirror image: chin, ridge of the nose, its base, lips' middles."""
    mirror = get_scheme("ibug68").mirror
    assert list(np.flatnonzero(mirror == np.arange(68))) == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]


def test_the_mirrored_synthetic_head_is_the_head(model: MorphableModel) -> None:
    """The mirror permutation on a surface that is symmetric: x turns over, y and z stay."""
    points = model.mean[model.landmarks[SCHEME]]
    mirrored = points[get_scheme(SCHEME).mirror]
    np.testing.assert_allclose(mirrored, points * [-1, 1, 1], atol=1e-5)
    assert (points[list(get_scheme(SCHEME).groups["right_eye"]), 0] < 0).all()


def test_the_mirrored_mean_of_real_faces_is_itself(shared_data) -> None:
    rows = np.loadtxt(shared_data / "ytf68/keypoints.csv", delimiter=",", skiprows=1, usecols=range(1, 137))
    points = rows.reshape(-1, 68, 2)
    points = points - points[:, [27, 28, 29, 30]].mean(1, keepdims=True)
    points /= np.ptp(points, axis=(1, 2), keepdims=True)
    mean = points.mean(0)
    # Heads turn to both sides, so the mean is near frontal; a wrong pair would be off by the space between points.
    assert np.abs(mean[get_scheme("ibug68").mirror] * [-1, 1] - mean).max() < 0.04


def test_unknown_scheme_names_the_known() -> None:
    with pytest.raises(PifaError, match=r"ibug99.*ibug68"):
        get_scheme("ibug99")


def test_scheme_of_count() -> None:
    assert scheme_of_count(68) is SCHEMES["ibug68"]
    assert scheme_of_count(67) is None
