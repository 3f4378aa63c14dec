"""Losses and metrics against hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pifa_data.morphable import MorphableModel
from pifa_data.schemes import get_scheme
from pifa_model.breakdowns import visibility_accuracy
from pifa_model.config import LossConfig
from pifa_model.losses import AlignmentLoss, parameter_weights, relative_error
from pifa_model.metrics import (
    Truth,
    area_under_curve,
    by_yaw,
    face_errors,
    failure_rate,
    mean_of,
    mean_offset,
    normaliser,
    point_errors,
)
from pifa_model.shape import Landmarks
from pifa_model.statistics import measure_params

IBUG = get_scheme("ibug68")


def square_face(n: int = 1) -> Truth:
    """Landmarks on a 100-pixel-wide, 64-pixel-high grid: √(w·h) = 80, outer eye corners 50 apart."""
    points = np.zeros((68, 2))
    points[:, 0] = np.linspace(0, 100, 68)
    points[:, 1] = np.linspace(0, 64, 68)
    points[36], points[45] = (20, 10), (70, 10)
    landmarks = np.repeat(points[None], n, axis=0)
    return Truth(landmarks, np.full((n, 68), 2, np.uint8), np.tile([0.0, 0, 200, 50], (n, 1)), np.zeros(n))


def test_normalisers_by_hand() -> None:
    truth = square_face()
    assert normaliser(truth, "tight", IBUG) == pytest.approx(80)
    assert normaliser(truth, "box", IBUG) == pytest.approx(100)
    assert normaliser(truth, "interocular", IBUG) == pytest.approx(50)


def test_nme_counts_visible_points_only_and_leaves_its_arguments_alone() -> None:
    truth = square_face(2)
    truth.visibility[1, 10:] = 1  # occluded points are labelled, but not measured
    truth.visibility[1, 5] = 0
    predicted = truth.landmarks + np.array([3.0, 4.0])  # 5 pixels off everywhere
    predicted[1, 10:] += 1000
    predicted[1, 5] = 1e9
    before = predicted.copy(), truth.landmarks.copy()
    errors = face_errors(predicted, truth, "tight", IBUG)
    assert errors[0] == pytest.approx(100 * 5 / 80)
    assert errors[1] == pytest.approx(100 * 5 / normaliser(truth, "tight", IBUG)[1])
    assert mean_of(point_errors(predicted, truth)) == pytest.approx(5)
    np.testing.assert_array_equal(predicted, before[0])
    np.testing.assert_array_equal(truth.landmarks, before[1])


def test_the_offset_is_the_mean_of_signed_errors() -> None:
    truth = square_face(3)
    truth.visibility[1, 10:] = 1
    truth.visibility[2] = 0  # nothing to measure
    predicted = truth.landmarks + np.array([2.0, -1.0])
    predicted[0, ::2] += [4, 0]
    predicted[0, 1::2] -= [4, 0]  # errors that cancel out
    predicted[1, 10:] += 1000
    second = normaliser(truth, "tight", IBUG)[1]
    expected = [100 * (2 / 80 + 2 / second) / 2, -100 * (1 / 80 + 1 / second) / 2]
    assert mean_offset(predicted, truth, "tight", IBUG) == pytest.approx(expected)
    assert mean_offset(predicted[2:], Truth(*(a[2:] for a in vars(truth).values())), "tight", IBUG) is None


def test_faces_without_the_normaliser_are_left_out() -> None:
    truth = square_face(2)
    truth.visibility[0, 36] = 0
    truth.boxes[1] = np.nan
    errors = face_errors(truth.landmarks + 1, truth, "interocular", IBUG)
    assert np.isnan(errors[0])
    assert mean_of(errors) == pytest.approx(100 * np.sqrt(2) / 50)
    assert np.isnan(face_errors(truth.landmarks + 1, truth, "box", IBUG)[1])


def test_failure_rate_and_area_by_hand() -> None:
    errors = np.array([2.0, 4.0, 8.0, 10.0, np.nan])
    assert failure_rate(errors) == pytest.approx(1 / 4)
    # Areas above each error up to 8: 6, 4, 0, 0 of 8.
    assert area_under_curve(errors) == pytest.approx((6 + 4) / 8 / 4)
    grid = np.linspace(0, 8, 200001)
    curve = (errors[:4, None] <= grid).mean(0)
    assert area_under_curve(errors) == pytest.approx(np.trapezoid(curve, grid) / 8, abs=1e-4)
    assert failure_rate(np.array([np.nan])) is None
    assert area_under_curve(np.array([])) is None


def test_bins_of_yaw() -> None:
    yaw = np.radians([0.0, -29.9, 30.0, -59.0, 60.0, 95.0])
    assert by_yaw(np.arange(6.0), yaw) == {"0-30": 0.5, "30-60": 2.5, "60-90": 4.5}
    assert by_yaw(np.array([1.0]), np.array([0.0]))["60-90"] is None


def test_visibility_accuracy_only_where_it_is_labelled() -> None:
    truth = square_face()
    predicted = np.ones((1, 68), bool)
    assert visibility_accuracy(predicted, truth) is None
    truth.visibility[0, :17] = 0
    assert visibility_accuracy(predicted, truth) == pytest.approx(51 / 68)
    # Where the jaw is no part of the face's scheme, its 0 says nothing.
    known = np.arange(68)[None] >= 17
    assert visibility_accuracy(predicted, truth, known) is None
    truth.visibility[0, 17] = 1
    assert visibility_accuracy(predicted, truth, known) == pytest.approx(50 / 51)


def test_curve_while_training_is_the_tight_nme() -> None:
    truth = square_face(4)
    truth.visibility[2, ::2] = 1
    truth.visibility[3] = 1
    predicted = truth.landmarks + np.random.default_rng(0).normal(0, 4, truth.landmarks.shape)
    arrays = (predicted, truth.landmarks, truth.visibility)
    found = relative_error(*(torch.from_numpy(array) for array in arrays)).numpy()
    np.testing.assert_allclose(found, face_errors(predicted, truth, "tight", IBUG), rtol=1e-6)
    assert np.isnan(found[3])


def test_predictions_that_are_no_numbers_never_flatter() -> None:
    truth = square_face()
    predicted = truth.landmarks.copy()
    predicted[0, 3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        face_errors(predicted, truth, "tight", IBUG)


def test_parameter_weights_follow_equation_6(model: MorphableModel) -> None:
    params = np.zeros((2, 8 + model.n_coefficients), np.float32)
    params[:, :8] = [2, 0, 0, 50, 0, -2, 0, 70]
    weights = parameter_weights(measure_params(lambda: [params[:1], params[1:]]), model)
    r = (4 / 6) / 60
    np.testing.assert_allclose(weights[[0, 1, 2, 4, 5, 6]], 1 / r, rtol=1e-5)
    np.testing.assert_array_equal(weights[[3, 7]], 1)
    np.testing.assert_allclose(weights[8:], 2 * model.mode_sizes, rtol=1e-5)


@pytest.mark.parametrize("kind", ["parameters", "landmarks"])
def test_each_loss_by_hand(model: MorphableModel, kind: str) -> None:
    k = 8 + model.n_coefficients
    config = LossConfig(blocks=(kind, kind), weights=(1, 3))
    landmarks = Landmarks(model, "ibug68")
    target = torch.zeros(2, k)
    target[:, :8] = torch.tensor([4.0, 0, 0, 57, 0, -4.0, 0, 57])
    marching = torch.zeros(2, dtype=torch.bool)
    labels = landmarks(target, marching)
    visibility = torch.full((2, 68), 2)
    visibility[0, 3:] = 0
    off = target.clone()
    off[:, 3] += 3
    off[:, 7] += 4  # every landmark moves by 5 pixels
    labels[0, 3:] = 1e6  # unknown positions must not matter
    weights = torch.full((k,), 2.0)
    loss = AlignmentLoss(config, weights)([off, target], target, labels, visibility, marching, landmarks)
    of_block_1 = {"parameters": 2 * (9 + 16), "landmarks": 25}[kind]
    assert float(loss) == pytest.approx(of_block_1 / 4, rel=2e-3)
