"""What labels can be fitted at all."""

import numpy as np
import pytest

from pifa_data.faces import FEWEST_POINTS, refusal

CLOUD = np.random.default_rng(0).uniform(10, 90, (68, 2))
SEEN = np.full(68, 2, np.uint8)


def some(count: int, points: np.ndarray = CLOUD, level: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the first ``count`` points; the others hold NaN."""
    visibility = np.where(np.arange(68) < count, level, 0).astype(np.uint8)
    return np.where(visibility[:, None] > 0, points, np.nan), visibility


def test_good_labels_are_not_refused() -> None:
    assert refusal(CLOUD, SEEN) is None
    for level in (1, 2):
        assert refusal(*some(FEWEST_POINTS, level=level)) is None
    # Labels in units of one's own, far from the origin, large and small.
    for good in (CLOUD / 1e4, CLOUD + 9e5, CLOUD * 1e4, CLOUD.astype(np.float32)):
        assert refusal(good, SEEN) is None


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (some(FEWEST_POINTS - 1), "at least 6 labelled points, found 5"),
        (some(0), "found 0"),
        ((np.where(CLOUD[3, 0] == CLOUD, np.nan, CLOUD), SEEN), "finite"),
        ((np.where(CLOUD[3, 0] == CLOUD, -np.inf, CLOUD), SEEN), "finite"),
        ((np.where(CLOUD[3, 0] == CLOUD, 1e7, CLOUD), SEEN), "pixels out"),
        ((np.full((68, 2), 5.0), SEEN), "one point"),
        ((np.zeros((68, 2)), SEEN), "one point"),
        ((5 + CLOUD * 1e-9, SEEN), "one point"),
        ((np.stack([CLOUD[:, 0], 3 * CLOUD[:, 0] + 1], 1), SEEN), "one line"),
        ((CLOUD * [1, 0], SEEN), "one line"),
        ((CLOUD * [1e-5, 1] + [400, 0], SEEN), "one line"),
        ((np.tile(CLOUD[:5], (14, 1))[:68], SEEN), "6 different places at least, found 5"),
    ],
)
def test_bad_labels_are_refused_with_the_reason(labels: tuple[np.ndarray, np.ndarray], reason: str) -> None:
    found = refusal(*labels)
    assert found is not None
    assert reason in found
