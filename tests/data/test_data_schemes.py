"""Landmark schemes as data: names, groups, mirror."""

import numpy as np
import pytest
from synthetic import SCHEME

from pifa_data.errors import PifaError
from pifa_data.morphable import MorphableModel
from pifa_data.schemes import SCHEMES, Scheme, get_scheme, other_side, scheme_of_count
from pifa_data.schemes.base import subset

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


# The flip orders that users of these data sets share (as in mmpose's dataset descriptions), written out as pairs.
PUBLISHED_PAIRS = {
    "aflw19": "0-5 1-4 2-3 6-11 7-10 8-9 12-14 15-17",
    "aflw21": "0-5 1-4 2-3 6-11 7-10 8-9 12-16 13-15 17-19",
    "cofw29": "0-1 2-3 4-6 5-7 8-9 10-11 12-14 13-15 16-17 18-19 22-23",
    "wflw98": (
        "0-32 1-31 2-30 3-29 4-28 5-27 6-26 7-25 8-24 9-23 10-22 11-21 12-20 13-19 14-18 15-17 "
        "33-46 34-45 35-44 36-43 37-42 38-50 39-49 40-48 41-47 55-59 56-58 "
        "60-72 61-71 62-70 63-69 64-68 65-75 66-74 67-73 "
        "76-82 77-81 78-80 83-87 84-86 88-92 89-91 93-95 96-97"
    ),
    "lapa106": (
        "0-32 1-31 2-30 3-29 4-28 5-27 6-26 7-25 8-24 9-23 10-22 11-21 12-20 13-19 14-18 15-17 "
        "33-46 34-45 35-44 36-43 37-42 38-50 39-49 40-48 41-47 55-65 56-64 57-63 58-62 59-61 "
        "66-79 67-78 68-77 69-76 70-75 71-82 72-81 73-80 74-83 "
        "84-90 85-89 86-88 91-95 92-94 96-100 97-99 101-103 104-105"
    ),
}


@pytest.mark.parametrize("name", PUBLISHED_PAIRS)
def test_mirrors_are_the_published_ones(name: str) -> None:
    expected = np.arange(len(get_scheme(name)))
    for pair in PUBLISHED_PAIRS[name].split():
        a, b = map(int, pair.split("-"))
        expected[a], expected[b] = b, a
    np.testing.assert_array_equal(get_scheme(name).mirror, expected)


@pytest.mark.parametrize(("part", "whole"), [("ibug51", "ibug68"), ("aflw19", "aflw21"), ("aflw21", "pifa34")])
def test_a_part_means_what_the_whole_does(part: str, whole: str) -> None:
    small, large = get_scheme(part), get_scheme(whole)
    where = [large.points.index(name) for name in small.points]
    assert [large.points[large.mirror[i]] for i in where] == [small.points[i] for i in small.mirror]
    assert where == sorted(where)
    assert [small.points[i] for i in small.eye_corners] == [large.points[i] for i in large.eye_corners]


def test_sizes_and_what_is_left_out() -> None:
    sizes = {
        "ibug68": 68,
        "ibug51": 51,
        "aflw21": 21,
        "aflw19": 19,
        "pifa34": 34,
        "afw6": 6,
        "cofw29": 29,
        "wflw98": 98,
        "lapa106": 106,
    }
    assert {name: len(scheme) for name, scheme in SCHEMES.items()} == sizes
    assert not [name for name in get_scheme("ibug51").points if name.startswith("jaw")]
    assert set(get_scheme("aflw21").points) - set(get_scheme("aflw19").points) == {"right_ear", "left_ear"}
    assert [name for name, scheme in SCHEMES.items() if scheme.contour] == ["ibug68", "pifa34", "wflw98", "lapa106"]


def test_a_part_without_eye_corners_is_refused() -> None:
    with pytest.raises(PifaError, match="eye corners"):
        subset("jaw17", get_scheme("ibug68"), range(17))


@every_scheme
def test_the_other_side_of_a_name(scheme: Scheme) -> None:
    for i, name in enumerate(scheme.points):
        assert other_side(other_side(name)) == name
        if name.startswith(("right_", "left_")) and scheme.name not in ("ibug68", "ibug51", "wflw98", "lapa106"):
            assert scheme.points[scheme.mirror[i]] == other_side(name)


def test_scheme_of_count() -> None:
    for scheme in SCHEMES.values():
        assert scheme_of_count(len(scheme)) is scheme
    assert scheme_of_count(67) is None
