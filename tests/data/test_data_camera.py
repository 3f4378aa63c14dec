"""The camera: angles, signs, and how it follows a crop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pifa_data.boxes import Square
from pifa_data.camera import camera, crop_camera, decompose, pose_angles, project, rotation, uncrop_camera

angle = st.floats(-np.pi + 0.01, np.pi - 0.01)
steep = st.floats(-np.pi / 2 + 0.05, np.pi / 2 - 0.05)
scales = st.floats(0.01, 1000)
places = st.floats(-5000, 5000)
squares = st.builds(Square, x=places, y=places, side=st.floats(1, 5000), size=st.integers(16, 512))


def reference(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The docstring's product written with one matrix an axis."""

    def about(axis: int, a: float) -> np.ndarray:
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = np.cos(a), -np.sin(a), np.sin(a), np.cos(a)
        return turn

    return about(2, -roll) @ about(0, -pitch) @ about(1, -yaw)


@given(angle, steep, angle)
def test_rotation_is_the_documented_product(yaw: float, pitch: float, roll: float) -> None:
    found = rotation(yaw, pitch, roll)
    np.testing.assert_allclose(found, reference(yaw, pitch, roll), atol=1e-12)
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(found) == pytest.approx(1)


@given(angle, steep, angle, scales, places, places)
def test_angles_round_trip(yaw: float, pitch: float, roll: float, s: float, x: float, y: float) -> None:
    m = camera(np.array(s), rotation(yaw, pitch, roll), np.array([x, y]))
    np.testing.assert_allclose(pose_angles(m), [yaw, pitch, roll], atol=1e-7)
    scale, turn, translation = decompose(m)
    assert scale == pytest.approx(s)
    np.testing.assert_allclose(turn, rotation(yaw, pitch, roll), atol=1e-9)
    np.testing.assert_array_equal(translation, [x, y])


def test_angles_of_a_batch_are_the_angles_of_each() -> None:
    rng = np.random.default_rng(0)
    angles = rng.uniform(-1.2, 1.2, (4, 5, 3))
    m = camera(np.ones((4, 5)), rotation(*np.moveaxis(angles, -1, 0)), np.zeros((4, 5, 2)))
    assert m.shape == (4, 5, 2, 4)
    np.testing.assert_allclose(pose_angles(m), angles, atol=1e-9)


@pytest.mark.parametrize(
    ("angles", "point", "axis", "sign"),
    [
        ((0.3, 0, 0), (0, 0, 1), 0, -1),  # yaw > 0: the nose goes to the image's left
        ((0, 0.3, 0), (0, 0, 1), 1, -1),  # pitch > 0: the nose goes up, which is −y
        ((0, 0, 0.3), (0, 1, 0), 0, 1),  # roll > 0: the top of the head goes to the image's right
    ],
)
def test_signs(angles: tuple, point: tuple, axis: int, sign: int) -> None:
    m = camera(np.array(2.0), rotation(*angles), np.array([50.0, 60.0]))
    moved = project(np.array([point], dtype=float), m)[0] - [50, 60]
    assert moved[axis] == pytest.approx(sign * 2 * np.sin(0.3))


def test_a_frontal_camera_keeps_x_and_turns_y_over() -> None:
    m = camera(np.array(2.0), rotation(0, 0, 0), np.array([10.0, 20.0]))
    np.testing.assert_allclose(m, [[2, 0, 0, 10], [0, -2, 0, 20]], atol=1e-15)
    np.testing.assert_allclose(project(np.array([[1.0, 3.0, 7.0]]), m), [[12, 14]])


def test_the_papers_third_row_points_into_the_scene() -> None:
    m = camera(np.array(3.0), rotation(0.4, -0.2, 0.1), np.zeros(2))
    third = np.cross(m[0, :3], m[1, :3]) / (np.linalg.norm(m[0, :3]) * np.linalg.norm(m[1, :3]))
    np.testing.assert_allclose(third, -rotation(0.4, -0.2, 0.1)[2], atol=1e-12)


def test_decompose_gives_the_nearest_scaled_rotation() -> None:
    rng = np.random.default_rng(1)
    m = camera(np.array(5.0), rotation(0.5, 0.1, -0.3), np.array([1.0, 2.0]))
    noisy = m + np.c_[rng.normal(0, 0.2, (2, 3)), np.zeros(2)]
    scale, turn, _ = decompose(noisy)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    flip = np.array([[1.0], [-1.0]])
    best = np.linalg.norm(noisy[:, :3] - scale * turn[:2] * flip)
    for _ in range(200):
        other = rotation(*(rng.normal(0, 0.05, 3))) @ turn
        assert np.linalg.norm(noisy[:, :3] - scale * other[:2] * flip) >= best - 1e-12


@given(squares, angle, steep, angle, scales, places, places)
def test_a_cropped_camera_projects_into_the_crop(
    square: Square, yaw: float, pitch: float, roll: float, s: float, x: float, y: float
) -> None:
    m = camera(np.array(s), rotation(yaw, pitch, roll), np.array([x, y]))
    before = m.copy()
    points = np.random.default_rng(0).normal(size=(7, 3))
    k = square.size / square.side
    tolerance = 1e-9 * k * (s + abs(x) + abs(y) + abs(square.x) + abs(square.y) + square.size)
    cropped = crop_camera(m, square)
    np.testing.assert_allclose(project(points, cropped), square.to_crop(project(points, m)), atol=tolerance)
    np.testing.assert_allclose(uncrop_camera(cropped, square), m, atol=tolerance / k + 1e-9)
    np.testing.assert_array_equal(m, before)


@given(squares)
def test_a_squares_matrix_is_its_point_map(square: Square) -> None:
    points = np.random.default_rng(0).normal(0, 100, (5, 2))
    by_matrix = points @ square.matrix[:, :2].T + square.matrix[:, 2]
    magnitude = square.size / square.side * (abs(square.x) + abs(square.y) + 500) + square.size
    np.testing.assert_allclose(square.to_crop(points), by_matrix, atol=1e-12 * magnitude)
    np.testing.assert_allclose(square.to_image(square.to_crop(points)), points, atol=1e-8)
