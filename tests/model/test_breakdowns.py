"""Errors told apart, against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pifa_data.schemes import SCHEMES, Scheme, get_scheme
from pifa_model.breakdowns import (
    PARTS,
    at_points,
    by_part,
    error_curve,
    parts_of,
    pose_error,
    visibility_confusion,
)
from pifa_model.metrics import (
    LABELLED,
    OCCLUDED,
    Truth,
    area_under_curve,
    by_yaw,
    count_by_yaw,
    face_errors,
    failure_rate,
    mean_of,
    point_errors,
)

IBUG = get_scheme("ibug68")


def faces(n: int = 1, scheme: Scheme = IBUG) -> Truth:
    """Faces whose tight box is 100 by 100 and whose outer eye corners are 50 apart."""
    points = np.full((len(scheme), 2), 40.0)
    points[0], points[-1] = (0, 0), (100, 100)
    a, b = scheme.eye_corners
    points[a], points[b] = (20, 10), (70, 10)
    landmarks = np.repeat(points[None], n, axis=0)
    return Truth(landmarks, np.full((n, len(scheme)), 2, np.uint8), np.full((n, 4), np.nan), np.zeros(n))


def test_visible_labelled_and_occluded_points() -> None:
    truth = faces()
    truth.visibility[0, 10:30] = 1
    truth.visibility[0, 30:40] = 0
    predicted = truth.landmarks.copy()
    predicted[0, :10] += (3, 4)  # 10 visible points are 5 off, the other 28 are right
    predicted[0, 10:30] += (0, 2)  # 20 occluded ones are 2 off
    predicted[0, 30:40] += 1000  # 10 that nobody labelled
    assert face_errors(predicted, truth, "tight", IBUG) == pytest.approx(10 * 5 / 38)
    assert face_errors(predicted, truth, "tight", IBUG, OCCLUDED) == pytest.approx(2)
    assert face_errors(predicted, truth, "tight", IBUG, LABELLED) == pytest.approx((10 * 5 + 20 * 2) / 58)
    assert np.isnan(face_errors(predicted, faces(), "tight", IBUG, OCCLUDED)).all()


def test_every_scheme_has_known_parts_and_each_point_is_in_one() -> None:
    for scheme in SCHEMES.values():
        parts = parts_of(scheme)
        assert set(parts) <= set(PARTS.values()), scheme.name
        assert sorted(i for members in parts.values() for i in members) == list(range(len(scheme))), scheme.name
    assert {name: len(at) for name, at in parts_of(IBUG).items()} == {
        **{"jaw": 17, "brows": 10, "nose": 9, "eyes": 12, "mouth": 20}
    }


def test_parts_by_hand() -> None:
    truth = faces(2)
    truth.visibility[1, :17] = 0  # the second face has no jaw, and its tight box goes from 10 to 100: 80 by 90
    predicted = truth.landmarks.copy()
    predicted[0, :17, 0] += 4  # the jaw is 4 off
    predicted[0, 17:22, 1] += 2  # half of the brows, 2: 1 on average
    predicted[1, 48:] += (3, 4)  # the mouth, 5
    size = np.sqrt(80 * 90)
    found = by_part(predicted, truth, "tight", IBUG)
    assert found == pytest.approx({"jaw": 4, "brows": 0.5, "nose": 0, "eyes": 0, "mouth": 100 * 5 / size / 2})
    truth.visibility[:, :17] = 1
    assert by_part(predicted, truth, "tight", IBUG)["jaw"] is None


def test_at_68_and_51_points() -> None:
    truth = faces(2)
    predicted = truth.landmarks.copy()
    predicted[0, :17, 0] += 17  # jaw only: 17·17/68 = 4.25 pixels are 8.5 % of 50 at 68 points, 0 at 51
    predicted[1, 30, 0] += 51  # nose only: 0.75 pixels, 1.5 %, at 68; 1 pixel, 2 %, at 51
    at68, at51 = (at_points(predicted, truth, IBUG, name) for name in ("ibug68", "ibug51"))
    assert at68 == pytest.approx([8.5, 1.5])
    assert at51 == pytest.approx([0, 2])
    assert at68 is not None
    assert at51 is not None
    assert (failure_rate(at68), failure_rate(at51)) == (0.5, 0)
    assert area_under_curve(at51) == pytest.approx((8 + 6) / 8 / 2)


def test_at_points_of_a_union_and_of_a_scheme_without_them() -> None:
    union = get_scheme("aflw21+ibug68")
    truth = faces(1, union)
    assert at_points(truth.landmarks, truth, union, "ibug68") is not None
    sparse = get_scheme("aflw21")
    truth = faces(1, sparse)
    assert at_points(truth.landmarks, truth, sparse, "ibug51") is None


def test_curve_by_hand() -> None:
    # Of four faces, each stands for a quarter: 1 … 25 % do not exceed 1, 26 … 50 % 2, and so on.
    curve = error_curve(np.array([3.0, np.nan, 1.0, 2.0, 9.0]))
    assert curve is not None
    assert len(curve) == 101
    assert [curve[i] for i in (0, 1, 25, 26, 50, 75, 76, 100)] == [1, 1, 1, 2, 2, 3, 9, 9]
    assert error_curve(np.array([np.nan])) is None
    assert error_curve(np.array([])) is None


def test_counts_of_the_bins() -> None:
    yaw = np.radians([0.0, -29.9, 30.0, -59.0, 60.0, 95.0, np.nan])
    errors = np.array([0, np.nan, 2, 3, 4, 5, 6.0])
    assert count_by_yaw(errors, yaw) == {"0-30": 1, "30-60": 2, "60-90": 2}
    assert by_yaw(errors, yaw) == {"0-30": 0, "30-60": 2.5, "60-90": 4.5}


def test_confusion_by_hand() -> None:
    truth = faces(2)
    predicted = np.ones((2, 68), bool)
    assert visibility_confusion(predicted, truth) is None  # nothing to be confused about
    truth.visibility[0, :17] = 0
    truth.visibility[1, :4] = 1
    predicted[0, :10] = False  # 10 of 17 rightly hidden
    predicted[1, 3:9] = False  # 1 of 4 occluded and 5 visible ones hidden
    assert visibility_confusion(predicted, truth) == {
        "visible": {"visible": 2 * 68 - 17 - 4 - 5, "hidden": 5},
        "occluded": {"visible": 3, "hidden": 1},
        "not_labelled": {"visible": 7, "hidden": 10},
    }
    known = np.ones((2, 68), bool)
    known[0, :17] = False  # the first face's own scheme has no jaw
    found = visibility_confusion(predicted, truth, known)
    assert found is not None
    assert found["not_labelled"] == {"visible": 0, "hidden": 0}


def test_pose_error_by_hand() -> None:
    predicted = np.radians([[10, 0, 179], [-20, 5, 0], [0, 0, 0]])
    reference = np.radians([[13, 1, -179], [-19, 2, 0], [np.nan, 0, 0]])
    # Yaw (3 + 1)/2, pitch (1 + 3)/2, roll (2 + 0)/2: 179° and −179° are 2° apart.
    found = pose_error(predicted, reference)
    assert found == pytest.approx({"yaw": 2, "pitch": 2, "roll": 1, "mean": 5 / 3, "faces": 2})
    assert pose_error(predicted, np.full((3, 3), np.nan)) is None
    with pytest.raises(ValueError, match="not finite"):
        pose_error(reference, predicted)
    with pytest.raises(ValueError, match=r"expected \(N, 3\)"):
        pose_error(predicted[:, :2], reference[:, :2])


@pytest.mark.parametrize("name", ["landmarks", "visibility", "boxes", "yaw"])
def test_labels_that_do_not_belong_together_are_refused(name: str) -> None:
    truth = faces(3)
    broken = replace(truth, **{name: getattr(truth, name)[:2]})
    with pytest.raises(ValueError, match="expected"):
        point_errors(truth.landmarks, broken)


def test_labels_that_are_no_numbers_never_flatter() -> None:
    truth = faces(2)
    truth.landmarks[0, 3] = np.nan
    with pytest.raises(ValueError, match="labelled point is not finite"):
        face_errors(np.zeros((2, 68, 2)), truth, "tight", IBUG)
    truth.visibility[0, 3] = 0  # where nobody labelled it, a NaN is as good as any place
    assert mean_of(face_errors(np.where(np.isnan(truth.landmarks), 0, truth.landmarks), truth, "tight", IBUG)) == 0
    truth.visibility[0, 3] = 7
    with pytest.raises(ValueError, match="0, 1 and 2"):
        point_errors(np.zeros((2, 68, 2)), truth)


@pytest.mark.parametrize("shape", [(2, 51, 2), (1, 68, 2), (2, 68, 3), (68, 2)])
def test_predictions_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="predicted: expected"):
        point_errors(np.zeros(shape), faces(2))


def test_no_face_at_all() -> None:
    truth = faces(0)
    assert mean_of(face_errors(truth.landmarks, truth, "tight", IBUG)) is None
    assert set(by_part(truth.landmarks, truth, "tight", IBUG).values()) == {None}
    assert visibility_confusion(np.zeros((0, 68), bool), truth) is None
