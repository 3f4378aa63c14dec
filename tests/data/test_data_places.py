"""Where the schemes' landmarks lie: on the reference face, on models, and on labelled pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
from synthetic import SCHEME

from pifa_data.morphable import MorphableModel, import_ict_npz
from pifa_data.morphable.mapping import REFERENCE68
from pifa_data.morphable.places import LOOSE, loose_mean, loose_modes, places_of, positions, scheme_vertices
from pifa_data.schemes import SCHEMES, Scheme, get_scheme

ONE_PLACE = {"lapa106": [(74, 104), (83, 105)]}
"""LaPa labels the middle of an eye's opening at the pupil, which it labels again."""

every_scheme = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES.keys())


@every_scheme
def test_mirrored_places_are_the_mirror_images(scheme: Scheme) -> None:
    points = positions(scheme.name, REFERENCE68)
    assert points.shape == (len(scheme), 3)
    np.testing.assert_allclose(points[scheme.mirror], points * [-1, 1, 1], atol=1e-9)


@every_scheme
def test_right_is_the_subjects_right_and_middles_are_in_the_middle(scheme: Scheme) -> None:
    points = positions(scheme.name, REFERENCE68)
    for group, members in scheme.groups.items():
        side = {"right": -1, "left": 1}.get(group.split("_")[0], 0)
        if side:
            assert (side * points[list(members), 0] > 5).all(), group
    np.testing.assert_allclose(points[scheme.mirror == np.arange(len(scheme)), 0], 0, atol=1e-9)
    assert points[scheme.eye_corners[0], 0] < -25


@every_scheme
def test_no_two_places_are_one(scheme: Scheme) -> None:
    points = positions(scheme.name, REFERENCE68)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2) + 100 * np.eye(len(points))
    for a, b in ONE_PLACE.get(scheme.name, []):
        assert apart[a, b] == 0
        apart[a, b] = apart[b, a] = 100
    assert apart.min() > 1.0  # mm; lips are closed


@every_scheme
def test_places_do_not_depend_on_units(scheme: Scheme) -> None:
    moved = positions(scheme.name, 0.1 * REFERENCE68 + [3, -4, 50])
    np.testing.assert_allclose(moved, 0.1 * positions(scheme.name, REFERENCE68) + [3, -4, 50], atol=1e-9)


@every_scheme
def test_weights_are_shares(scheme: Scheme) -> None:
    for place in places_of(scheme.name):
        assert sum(place.weights.values()) == pytest.approx(1)
        assert place.mirrored().mirrored() == place


@pytest.mark.parametrize("scheme", ["wflw98", "lapa106"])
def test_the_outline_is_evenly_spaced_and_ends_at_the_brows(scheme: str) -> None:
    outline = positions(scheme, REFERENCE68)[:33]
    steps = np.linalg.norm(np.diff(outline, axis=0), axis=1)
    assert steps.max() < 1.1 * steps.min()  # chords of equal arcs
    np.testing.assert_allclose(outline[16], REFERENCE68[8], atol=1e-9)
    assert outline[0, 1] > REFERENCE68[36, 1] + 10


def test_schemes_agree_where_their_names_do() -> None:
    """A name means one place, whichever scheme it stands in."""
    seen: dict[str, np.ndarray] = {}
    for scheme in ("aflw21", "aflw19", "pifa34", "afw6", "cofw29"):
        for name, point in zip(get_scheme(scheme).points, positions(scheme, REFERENCE68), strict=True):
            np.testing.assert_array_equal(point, seen.setdefault(name, point), err_msg=f"{scheme} {name}")


def test_loose_vertices_are_means_and_move_as_means() -> None:
    at = loose_mean(REFERENCE68)
    np.testing.assert_allclose(at[LOOSE.index("mouth_centre")], REFERENCE68[[62, 66]].mean(0))
    eye = REFERENCE68[36:42]
    np.testing.assert_allclose(at[LOOSE.index("right_pupil"), :2], eye.mean(0)[:2])
    assert 1 < at[LOOSE.index("right_pupil"), 2] - eye.mean(0)[2] < 4  # the cornea stands out
    movements = np.random.default_rng(0).normal(size=(5, 68, 3))
    moved = loose_modes(movements)
    assert moved.shape == (5, 3, 3)
    np.testing.assert_allclose(moved[:, LOOSE.index("left_pupil")], movements[:, 42:48].mean(1), atol=1e-12)


def test_vertices_lie_where_they_should_and_none_is_used_twice(shared_data: Path) -> None:
    model = import_ict_npz([shared_data / "morphable/ict_face.npz"])
    points = model.mean[model.landmarks[SCHEME]].astype(float)
    for name, vertices in model.landmarks.items():
        assert len(set(vertices.tolist())) == len(vertices) - len(ONE_PLACE.get(name, []))
        apart = 10 * np.linalg.norm(model.mean[vertices] - positions(name, points), axis=1)
        assert apart.mean() < 1.5
        assert apart.max() < 6.5  # ICT's ear lobe and chin lie off the place that fits other models too
        mirrored = model.mean[vertices][get_scheme(name).mirror] * [-1, 1, 1]
        assert 10 * np.abs(mirrored - model.mean[vertices]).max() < 1  # ICT's mesh is symmetric


def test_a_coarse_mesh_still_gives_every_landmark_its_own_vertex(model: MorphableModel) -> None:
    count = len(model.mean)
    found = scheme_vertices(model.mean, model.normals, model.landmarks[SCHEME], count + np.arange(3), SCHEMES)
    for name, vertices in found.items():
        assert vertices.dtype == np.int32
        assert len(set(vertices.tolist())) == len(SCHEMES[name]) - len(ONE_PLACE.get(name, []))
        assert vertices.max() < count + 3


@pytest.mark.parametrize(
    ("folder", "name"), [("aflw", "aflw19"), ("cofw", "cofw29"), ("wflw", "wflw98"), ("300w", "ibug68")]
)
def test_the_order_is_that_of_labelled_pictures(shared_data: Path, folder: str, name: str) -> None:
    """The places of the reference face, moved as a whole onto the labels, lie near them: and far in another order."""
    scheme, places = get_scheme(name), positions(name, REFERENCE68)
    document = json.loads((shared_data / f"samples/coco_json/{folder}/test_{folder}.json").read_text("utf-8"))
    for annotation in document["annotations"]:
        labels = np.array(annotation["keypoints"], float).reshape(-1, 3)[:, :2]
        assert len(labels) == len(scheme)
        size = np.sqrt(np.prod(np.ptp(labels, axis=0)))

        def error(order: np.ndarray, labels: np.ndarray = labels, size: float = size) -> float:
            # Any linear camera: with 19 points and more it can't make up for a wrong order.
            design = np.c_[places[order], np.ones(len(order))]
            solved = np.linalg.lstsq(design, labels, rcond=None)[0]
            return float(np.linalg.norm(design @ solved - labels, axis=1).mean() / size)

        right = np.arange(len(scheme))
        assert error(right) < 0.06
        for pair in {(min(i, j), max(i, j)) for i, j in enumerate(scheme.mirror.tolist()) if i != j}:
            if np.linalg.norm(places[pair[0]] - places[pair[1]]) > 15:
                swapped = right.copy()
                swapped[list(pair)] = pair[::-1]
                assert error(swapped) > error(right), scheme.points[pair[0]]
