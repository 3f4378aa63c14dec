"""The bootstrap over people against what is known of the mean."""

from __future__ import annotations

import numpy as np
import pytest

from pifa_model.bootstrap import bootstrap_mean


def test_interval_of_a_known_distribution() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    found = bootstrap_mean(values, np.arange(400))
    half = 1.96 * values.std() / np.sqrt(400)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)


def test_people_are_drawn_and_not_faces() -> None:
    """Twenty faces of one person tell what one does."""
    rng = np.random.default_rng(2)
    people = np.repeat(np.arange(50), 20)
    of_person = rng.normal(0, 1, 50)
    values = of_person[people] + rng.normal(0, 0.1, 1000)
    found = bootstrap_mean(values, people)
    assert found.high - found.low == pytest.approx(2 * 1.96 * of_person.std() / np.sqrt(50), rel=0.05)
    as_faces = bootstrap_mean(values, np.arange(1000))
    assert found.high - found.low > 4 * (as_faces.high - as_faces.low)


def test_the_mean_is_over_faces_and_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 12, 60)
    people = np.repeat(np.arange(60), sizes)
    covered = 0
    for trial in range(200):
        values = rng.normal(0, 1, 60)[people] + rng.normal(0, 1, len(people))
        found = bootstrap_mean(values, people, draws=500, seed=trial)
        assert found.mean == pytest.approx(values.mean())
        covered += found.low < 0 < found.high
    # 95 %, less what 60 people of unequal shares cost; the deviation of 200 trials is 1.5 %.
    assert 0.90 <= covered / 200 <= 0.985


def test_pairing_takes_out_what_both_share() -> None:
    rng = np.random.default_rng(4)
    people = np.repeat(np.arange(40), 5)
    first = rng.gamma(2, 2, 200)
    second = first - 0.3 + rng.normal(0, 0.05, 200)
    found = bootstrap_mean(second - first, people)
    assert found.high < 0, "found though each mean alone is uncertain by far more"
    assert found.excludes_zero
    alone = bootstrap_mean(first, people)
    assert alone.high - alone.low > 0.6
    constant = bootstrap_mean(np.full(200, 0.3), people)
    assert (constant.low, constant.high) == pytest.approx((0.3, 0.3))


def test_faces_without_a_number_take_no_part() -> None:
    values, people = np.array([1.0, 3.0, np.nan, np.nan]), np.array(["a", "a", "a", "b"])
    found = bootstrap_mean(values, people)
    assert (found.mean, found.low, found.high) == (2, 2, 2)
    with pytest.raises(ValueError, match="at least one finite number"):
        bootstrap_mean(np.full(2, np.nan), np.arange(2))
    with pytest.raises(ValueError, match=r"found \(2,\) and \(3,\)"):
        bootstrap_mean(np.zeros(2), np.zeros(3))


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(5).normal(size=30)
    assert bootstrap_mean(values, np.arange(30), seed=7) == bootstrap_mean(values, np.arange(30), seed=7)
    assert bootstrap_mean(values, np.arange(30), seed=7) != bootstrap_mean(values, np.arange(30), seed=8)
