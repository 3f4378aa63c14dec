"""Boxes, squares and the jitter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pifa_data.boxes import (
    DETECTOR_RISE,
    DETECTOR_SCALE,
    DETECTOR_SHIFT,
    DETECTOR_SIZE,
    DETECTOR_TURN,
    JITTER_SCALE,
    JITTER_SHIFT,
    Square,
    box_size,
    check_box,
    detector_box,
    face_rng,
    jitter_box,
    square_of,
    tight_box,
)
from pifa_data.errors import PifaError

BOX = np.array([10.0, 20.0, 110.0, 84.0])  # 100 x 64: size 80
places = st.floats(-3000, 3000)
boxes = st.builds(
    lambda x, y, w, h: np.array([x, y, x + w, y + h]), places, places, st.floats(1, 3000), st.floats(1, 3000)
)


@given(boxes, st.floats(0.5, 10), st.integers(16, 512))
def test_square_of_a_box(box: np.ndarray, grow: float, size: int) -> None:
    square = square_of(box, grow, size)
    assert square.side == pytest.approx(np.sqrt((box[2] - box[0]) * (box[3] - box[1])) * grow)
    # The box's centre lands in the crop's middle, the square's edges half a pixel outside the first and last centre.
    middle = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]
    np.testing.assert_allclose(square.to_crop(np.array(middle)), [(size - 1) / 2] * 2, atol=1e-6)
    corner = np.array(middle) - square.side / 2
    np.testing.assert_allclose(square.to_crop(corner), [-0.5, -0.5], atol=1e-6)


@given(boxes, st.floats(0.5, 10), st.integers(16, 512), places, places)
def test_crop_and_uncrop(box: np.ndarray, grow: float, size: int, x: float, y: float) -> None:
    square = square_of(box, grow, size)
    np.testing.assert_allclose(square.to_image(square.to_crop(np.array([x, y]))), [x, y], atol=1e-6)


def test_a_square_of_its_own_size_shifts_only() -> None:
    square = Square(x=50, y=40, side=32, size=32)
    np.testing.assert_allclose(square.to_crop(np.array([50.0, 40.0])), [15.5, 15.5])
    np.testing.assert_allclose(square.matrix, [[1, 0, -34.5], [0, 1, -24.5]])


def test_tight_box_and_size() -> None:
    points = np.array([[5.0, 7.0], [1.0, 9.0], [np.nan, np.inf], [4.0, 2.0]])
    box = tight_box(points, np.array([2, 1, 0, 2], np.uint8))
    np.testing.assert_array_equal(box, [1, 2, 5, 9])
    assert box_size(BOX) == pytest.approx(80)


@pytest.mark.parametrize(
    "bad",
    [
        [1, 2, 3],
        [1, 2, 3, np.nan],
        [1, 2, np.inf, 4],
        [5, 2, 5, 4],
        [5, 2, 4, 4],
        [1, 4, 3, 2],
        [[1, 2, 3, 4]],
    ],
)
def test_check_box_refuses(bad: list) -> None:
    with pytest.raises(PifaError, match="here"):
        check_box(np.array(bad, dtype=float), "here")


def test_check_box_gives_float64() -> None:
    found = check_box([1, 2, 3, 4], "here")
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [1, 2, 3, 4])


def test_jitter_has_the_documented_distribution() -> None:
    rng = np.random.default_rng(0)
    jittered = np.array([jitter_box(BOX, rng) for _ in range(20000)])
    shift = ((jittered[:, :2] + jittered[:, 2:]) / 2 - [60, 52]) / 80
    factor = (jittered[:, 2:] - jittered[:, :2]) / [100, 64]
    # 20,000 draws: four standard errors of a mean are 0.0015, of a standard deviation 0.001.
    np.testing.assert_allclose(shift.mean(0), 0, atol=0.0015)
    np.testing.assert_allclose(shift.std(0), JITTER_SHIFT, atol=0.0011)
    np.testing.assert_allclose(factor.mean(0), 1, atol=0.0015)
    np.testing.assert_allclose(factor.std(0), JITTER_SCALE, atol=0.0011)
    correlation = np.corrcoef(np.c_[shift, factor].T) - np.eye(4)
    assert np.abs(correlation).max() < 0.03


def test_jitter_never_turns_a_box_inside_out() -> None:
    rng = np.random.default_rng(0)
    jittered = np.array([jitter_box(BOX, rng, scale=3.0) for _ in range(500)])
    assert ((jittered[:, 2:] - jittered[:, :2]) >= 0.2 * np.array([100, 64]) - 1e-9).all()


def test_no_jitter_gives_the_box_back() -> None:
    np.testing.assert_allclose(jitter_box(BOX, np.random.default_rng(0), 0, 0), BOX)


def test_a_jittered_box_depends_on_seed_face_and_copy_alone() -> None:
    def draw(seed: int, face: str, copy: int) -> tuple:
        return tuple(jitter_box(BOX, face_rng(seed, face, copy)))

    keys = [(s, f, c) for s in (0, 1) for f in ("a.jpg", "b.jpg", "é.jpg") for c in (1, 2, 19)]
    forwards = {key: draw(*key) for key in keys}
    backwards = {key: draw(*key) for key in reversed(keys)}
    assert forwards == backwards
    assert len(set(forwards.values())) == len(keys)


def test_a_jittered_box_is_the_same_in_every_version() -> None:
    """Stores promise the same bytes for the same seed: a change here changes every store."""
    found = jitter_box(BOX, face_rng(7, "training_Person_A_01.jpg", 3))
    known = [-3.193121524304175, 21.018116966636363, 109.9555039052211, 89.55450910291819]
    np.testing.assert_allclose(found, known, atol=1e-9)


@given(boxes, st.floats(-np.pi, np.pi))
def test_a_detectors_box(box: np.ndarray, yaw: float) -> None:
    found, size = detector_box(box, np.array(yaw)), box_size(box)
    sides, away = found[2:] - found[:2], ((found[:2] + found[2:]) - (box[:2] + box[2:])) / 2 / size
    np.testing.assert_allclose(sides, DETECTOR_SIZE * size, rtol=1e-6)  # a square
    assert away[1] == pytest.approx(-DETECTOR_RISE, abs=1e-6)  # higher
    # The way that the nose points (to the image's left where yaw > 0), and no farther than was measured.
    assert away[0] * yaw <= 1e-9
    assert abs(away[0]) <= DETECTOR_TURN * np.sin(np.radians(33)) + 1e-6
    if abs(yaw) < np.radians(33):
        assert away[0] == pytest.approx(-DETECTOR_TURN * np.sin(yaw), abs=1e-6)
    # Of the flipped face it is the flipped box: training mirrors crops.
    flipped = detector_box(box[[2, 1, 0, 3]] * [-1, 1, -1, 1], np.array(-yaw))
    np.testing.assert_allclose(flipped, found[[2, 1, 0, 3]] * [-1, 1, -1, 1], atol=1e-6)


def test_many_detectors_boxes_at_once() -> None:
    many, yaws = np.stack([BOX, BOX + 7, BOX * 2]), np.array([0.0, 0.3, -1.2])
    one_by_one = [detector_box(box, yaw) for box, yaw in zip(many, yaws, strict=True)]
    np.testing.assert_array_equal(detector_box(many, yaws), one_by_one)


def test_drawn_detectors_boxes_have_the_measured_moments() -> None:
    """Of 0.028 and 0.036 (centre) and 0.074 (ln of the size) two numbers are kept: see ``benchmarks/detector.py``."""
    rng = np.random.default_rng(0)
    mean = detector_box(BOX, np.array(0.4))
    drawn = np.array([jitter_box(mean, rng, DETECTOR_SHIFT, DETECTOR_SCALE) for _ in range(5000)])
    away = ((drawn[:, :2] + drawn[:, 2:]) - (BOX[:2] + BOX[2:])) / 2 / box_size(BOX)
    size = np.log(box_size(drawn) / box_size(BOX))
    np.testing.assert_allclose(away.mean(0), [-0.46 * np.sin(0.4), -0.196], atol=0.003)
    np.testing.assert_allclose(away.std(0), [0.028, 0.036], atol=0.010)
    assert size.mean() == pytest.approx(0.14, abs=0.01)
    assert size.std() == pytest.approx(0.074, abs=0.005)
