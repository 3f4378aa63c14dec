"""Order, completeness and mirroring of training batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pifa_data.errors import ConfigError
from pifa_data.store import Store
from pifa_model.batches import StoreRows, TrainingStream
from pifa_model.shape import Landmarks


@pytest.fixture(scope="module")
def data(small_store: Path) -> StoreRows:
    return StoreRows(Store(small_store))


def test_an_epoch_sees_every_row_once(data: StoreRows) -> None:
    rows = data.rows_of(np.ones(data.store.layout.faces, bool))
    stream = TrainingStream(data, rows, 5, seed=1, mirror=0.0)
    order, starts = stream.order(0)
    assert sorted(order.tolist()) == rows.tolist()
    assert starts[0] == 0
    assert starts[-1] == len(rows)
    assert (stream.order(0)[0] == order).all()
    assert (stream.order(1)[0] != order).any()
    seen = np.concatenate([batch.rows for batch in stream.read(0, stream.steps_per_epoch)])
    np.testing.assert_array_equal(seen, order[: len(seen)])


def test_batches_hold_what_the_store_holds(data: StoreRows) -> None:
    rows = data.rows_of(np.ones(data.store.layout.faces, bool))
    images = data.store.read("images")
    for batch in TrainingStream(data, rows, 4, seed=0, mirror=0.0).read(0, 6):
        np.testing.assert_array_equal(batch.images, images[batch.rows])
        np.testing.assert_array_equal(batch.landmarks, data.landmarks[batch.rows])


def test_a_resumed_stream_goes_on_where_it_was(data: StoreRows) -> None:
    rows = data.rows_of(np.ones(data.store.layout.faces, bool))
    stream = TrainingStream(data, rows, 4, seed=3, mirror=0.5)
    steps = stream.steps_per_epoch + 5  # past the end of the first epoch
    whole = list(stream.read(0, steps))
    rest = list(stream.read(7, steps - 7))
    for a, b in zip(whole[7:], rest, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.params, b.params)


def test_a_mirrored_crop_has_the_fit_and_labels_of_its_mirror_image(data: StoreRows) -> None:
    rows = data.rows_of(np.ones(data.store.layout.faces, bool))[:16]
    images = data.read_images(rows)
    plain = data.batch(rows, images, np.zeros(16, bool))
    flipped = data.batch(rows, images, np.ones(16, bool))
    np.testing.assert_array_equal(flipped.images, plain.images[:, :, ::-1])
    project = Landmarks(data.store.model, "ibug68")

    def error(batch: object) -> float:
        points = project(torch.from_numpy(batch.params), torch.from_numpy(batch.marching)).numpy()
        return float(np.linalg.norm(points - batch.landmarks, axis=2).mean())

    # A wrong permutation, sign or half-pixel would be far above the fit's own error.
    assert error(flipped) < 1.2 * error(plain) + 0.05


def test_a_batch_larger_than_the_set_is_refused(data: StoreRows) -> None:
    with pytest.raises(ConfigError, match="more than the 3 training crops"):
        TrainingStream(data, np.arange(3), 4, seed=0, mirror=0.0)


def test_an_abandoned_stream_ends_its_thread(data: StoreRows) -> None:
    import threading

    stream = TrainingStream(data, data.rows_of(np.ones(data.store.layout.faces, bool)), 2, seed=0, mirror=0.0)
    batches = stream.read(0, 1000)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "pifa-reader"]
