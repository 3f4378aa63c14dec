"""Order, completeness and mirroring of training batches, from stores of both layouts."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from pifa_data.errors import ConfigError
from pifa_data.schemes import get_scheme
from pifa_data.store import Store
from pifa_model import batches
from pifa_model.batches import TrainingStream
from pifa_model.crops import cut_crops
from pifa_model.rows import Batch
from pifa_model.shape import Landmarks
from pifa_model.store_rows import StoreRows

Stores = dict[str, StoreRows]


@pytest.fixture(scope="module")
def stores(small_store: Path, layouts: dict[str, Path]) -> Stores:
    """The small store, and both layouts with mirrored copies."""
    return {name: StoreRows(Store(path)) for name, path in {"small": small_store, **layouts}.items()}


@pytest.fixture(params=["small", "crops", "faces"])
def data(request: pytest.FixtureRequest, stores: Stores) -> StoreRows:
    return stores[request.param]


def every_row(data: StoreRows) -> np.ndarray:
    return data.rows_of(np.ones(data.store.layout.faces, bool))


def finished(batch: Batch, size: int) -> np.ndarray:
    """The crops that the network would see."""
    if batch.windows is None:
        return batch.images
    pictures = torch.from_numpy(batch.images).permute(0, 3, 1, 2)
    return cut_crops(pictures, torch.from_numpy(batch.windows), size).permute(0, 2, 3, 1).numpy()


def test_an_epoch_sees_every_row_once(data: StoreRows) -> None:
    rows = every_row(data)
    stream = TrainingStream(data, rows, 5, seed=1, mirror=0.0)
    order, starts = stream.order(0)
    assert sorted(order.tolist()) == rows.tolist()
    assert starts[0] == 0
    assert starts[-1] == len(rows)
    assert (np.diff(starts) > 0).all()
    assert (stream.order(0)[0] == order).all()
    assert (stream.order(1)[0] != order).any()
    seen = np.concatenate([batch.rows for batch in stream.read(0, stream.steps_per_epoch)])
    np.testing.assert_array_equal(seen, order[: len(seen)])


def test_the_order_of_a_store_of_crops_is_what_it_was(stores: Stores) -> None:
    """A run begun before there was another layout goes on as it began."""
    data = stores["small"]
    rows = every_row(data)
    rng = np.random.default_rng([7, 2])
    chunks = rng.permutation(np.unique(rows // 64))
    expected = rows[np.lexsort((rng.random(len(rows)), np.argsort(chunks)[rows // 64] // batches.GROUP))]
    np.testing.assert_array_equal(TrainingStream(data, rows, 4, seed=7, mirror=0.0).order(2)[0], expected)


def test_the_crops_of_a_face_are_spread_over_the_epoch(stores: Stores) -> None:
    """They share one picture: read in one go they would lie in the same few batches."""
    data = stores["faces"]
    faces = data.store.layout.faces
    stream = TrainingStream(data, every_row(data), 4, seed=0, mirror=0.0)
    passes = data.source[stream.order(0)[0]].reshape(-1, faces)  # every face is valid, so every pass has each once
    assert len(passes) == data.store.layout.copies
    assert (np.sort(passes, axis=1) == np.arange(faces)).all()
    copies = data.copy[stream.order(0)[0]].reshape(-1, faces)
    assert (np.ptp(copies, axis=1) > 0).all(), "a pass must not show all faces unjittered, say"


def test_passes_cover_faces_with_unequal_numbers_of_rows(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    data = stores["faces"]
    rows = np.sort(np.random.default_rng(3).permutation(every_row(data))[:60])
    monkeypatch.setattr(batches, "CHUNK", 4)  # so that there are several groups
    monkeypatch.setattr(batches, "GROUP", 2)
    stream = TrainingStream(data, rows, 7, seed=0, mirror=0.0)
    order, starts = stream.order(4)
    assert sorted(order.tolist()) == rows.tolist()
    for start, stop in itertools.pairwise(starts):
        faces = data.source[order[start:stop]]
        assert len(set(faces)) == len(faces)
        assert len(set(faces // 4)) <= 2
    whole = list(stream.read(0, 12))
    for a, b in zip(whole[5:], stream.read(5, 7), strict=True):
        np.testing.assert_array_equal(finished(a, data.size), finished(b, data.size))


def test_batches_hold_what_the_store_holds(stores: Stores) -> None:
    for name in ("small", "crops"):
        data = stores[name]
        arrays = {part: data.store.read(part) for part in ("images", "params", "landmarks", "visibility")}
        for batch in TrainingStream(data, every_row(data), 4, seed=0, mirror=0.0).read(0, 6):
            np.testing.assert_array_equal(batch.images, arrays["images"][batch.rows])
            np.testing.assert_array_equal(batch.visibility, arrays["visibility"][batch.rows])
            np.testing.assert_allclose(batch.params, arrays["params"][batch.rows], atol=1e-4)
            np.testing.assert_allclose(batch.landmarks, arrays["landmarks"][batch.rows], atol=1e-4)


def test_both_layouts_give_the_same_rows(stores: Stores) -> None:
    pairs = []
    for data in (stores["crops"], stores["faces"]):
        rows = every_row(data)
        pairs.append((data, rows[np.lexsort((data.mirrored[rows], data.copy[rows], data.source[rows]))]))
    (crops, left), (faces, right) = pairs
    assert len(left) == len(right) == crops.store.layout.faces * 6
    for name in ("source", "copy", "mirrored", "boxes"):
        np.testing.assert_array_equal(getattr(crops, name)[left], getattr(faces, name)[right], name)
    labels = faces.labels(right)
    for name in ("params", "landmarks", "visibility"):
        np.testing.assert_allclose(getattr(labels, name), crops.store.read(name)[left], atol=1e-4, err_msg=name)
    a, b = crops.read_images(left), faces.read_images(right)
    away = np.abs(a.astype(int) - b)
    # The jittered crops of layout "faces" are resampled twice; the synthetic faces carry pixel noise, which that blurs.
    plain = crops.copy[left] == 0
    assert away[plain].mean() < 0.02
    assert away[~plain].mean() < 1.6, "a quarter of a pixel beside gives 1.8"
    # A mirrored row, or one of another copy, differs by far more.
    assert np.abs(a[~plain].astype(int) - b[~plain][:, :, ::-1]).mean() > 20


def test_finished_crops_are_those_of_the_batches(data: StoreRows) -> None:
    rows = every_row(data)[::-2]
    batch = data.batch(rows, data.read_pictures(rows), np.zeros(len(rows), bool))
    np.testing.assert_array_equal(data.read_images(rows), finished(batch, data.size))


def test_pictures_are_kept_within_a_limit(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stores["faces"].store.location.name
    expected = stores["faces"].read_images(np.arange(100))
    monkeypatch.setattr("pifa_model.store_rows.KEPT", 9 * 148 * 148 * 3)  # one chunk of three
    data = StoreRows(Store(path))
    for _ in range(2):
        np.testing.assert_array_equal(data.read_images(np.arange(100)), expected)
    assert len(data._kept) == 1


def test_statistics_are_measured_in_blocks(data: StoreRows) -> None:
    rows = every_row(data)
    blocks = list(data.params_by_blocks(rows, 7))
    assert max(map(len, blocks)) == 7
    np.testing.assert_array_equal(np.concatenate(blocks), data.labels(rows).params)


def test_a_resumed_stream_goes_on_where_it_was(data: StoreRows) -> None:
    stream = TrainingStream(data, every_row(data), 4, seed=3, mirror=0.5)
    steps = stream.steps_per_epoch + 5  # past the end of the first epoch
    whole = list(stream.read(0, steps))
    rest = list(stream.read(7, steps - 7))
    for a, b in zip(whole[7:], rest, strict=True):
        np.testing.assert_array_equal(finished(a, data.size), finished(b, data.size))
        np.testing.assert_array_equal(a.params, b.params)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_each_batch(data: StoreRows, world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "CHUNK", 8)
    monkeypatch.setattr(batches, "GROUP", 2)
    rows = every_row(data)
    alone = TrainingStream(data, rows, 6, seed=5, mirror=0.5)
    ranks = [TrainingStream(data, rows, 6, seed=5, mirror=0.5, rank=rank, world=world) for rank in range(world)]
    assert {stream.steps_per_epoch for stream in ranks} == {alone.steps_per_epoch}
    first, count = 3, alone.steps_per_epoch  # into the next epoch
    whole = alone.read(first, count)
    for batch, *parts in zip(whole, *(stream.read(first, count) for stream in ranks), strict=True):
        assert {len(part.rows) for part in parts} == {6 // world}
        for name in ("images", "params", "landmarks", "visibility", "marching", "rows"):
            np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(batch, name))


def test_a_batch_that_ranks_can_not_share_is_refused(stores: Stores) -> None:
    data = stores["small"]
    with pytest.raises(ConfigError, match=r"training.batch_size: 8 rows .*no multiple of 3 devices"):
        TrainingStream(data, every_row(data), 8, seed=0, mirror=0.0, rank=0, world=3)


def test_a_mirrored_crop_has_the_fit_and_labels_of_its_mirror_image(data: StoreRows) -> None:
    rows = every_row(data)[:16]
    plain, flipped = (
        data.batch(rows, data.read_pictures(rows, turned), turned) for turned in (np.zeros(16, bool), np.ones(16, bool))
    )
    away = finished(flipped, data.size).astype(int) - finished(plain, data.size)[:, :, ::-1]
    assert np.abs(away).max() <= 1
    mirror = get_scheme("ibug68").mirror
    np.testing.assert_array_equal(flipped.visibility, plain.visibility[:, mirror])
    np.testing.assert_allclose(flipped.landmarks, plain.landmarks[:, mirror] * [-1, 1] + [113, 0], atol=1e-4)
    project = Landmarks(data.store.model, "ibug68")

    def error(batch: Batch) -> float:
        points = project(torch.from_numpy(batch.params), torch.from_numpy(batch.marching)).numpy()
        return float(np.linalg.norm(points - batch.landmarks, axis=2).mean())

    # A wrong permutation, sign or half-pixel would be far above the fit's own error.
    assert error(flipped) < 1.2 * error(plain) + 0.05


def test_a_mirrored_row_flipped_back_has_the_fit_of_the_labels_as_they_were(stores: Stores) -> None:
    data = stores["crops"]
    rows = every_row(data)
    rows = rows[data.mirrored[rows]]
    back = data.labels(rows, np.ones(len(rows), bool))
    # Its box is the one it would have had unflipped, so the coefficients are the face's own.
    np.testing.assert_array_equal(back.params[:, 8:], data.store.read("faces/params")[data.source[rows], 8:])


def test_a_batch_larger_than_the_set_is_refused(stores: Stores) -> None:
    with pytest.raises(ConfigError, match="more than the 3 training crops"):
        TrainingStream(stores["small"], np.arange(3), 4, seed=0, mirror=0.0)


def test_an_abandoned_stream_ends_its_thread(stores: Stores) -> None:
    import threading

    stream = TrainingStream(stores["small"], every_row(stores["small"]), 2, seed=0, mirror=0.0)
    batches = stream.read(0, 1000)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "pifa-reader"]


def test_mirrored_labels_lie_where_the_labels_lie(data: StoreRows) -> None:
    """Labels to the right of the face are so on its mirror image too, where mirrored ones are to the left."""
    rows, shift = every_row(data), 0.75
    plain, shifted = (
        list(TrainingStream(data, rows, 8, seed=2, mirror=0.5, mirror_shift=by).read(0, 9)) for by in (0.0, shift)
    )
    moved = 0
    for a, b in zip(plain, shifted, strict=True):
        unmoved = data.labels(a.rows)  # as the store has them
        mirrored = data.mirrored[a.rows] ^ (np.abs(a.params - unmoved.params).max(1) > 1e-3)
        by = np.where(mirrored, np.float32(2 * shift), np.float32(0))
        np.testing.assert_allclose(
            b.landmarks[..., 0] - a.landmarks[..., 0], by[:, None] * (a.visibility > 0), atol=1e-4
        )
        np.testing.assert_allclose(b.params[:, 3] - a.params[:, 3], by, atol=1e-4)
        np.testing.assert_array_equal(a.landmarks[..., 1], b.landmarks[..., 1])
        moved += int(mirrored.sum())
    assert 20 < moved < 52  # of 72


def test_faces_of_fewer_crops_come_through_the_whole_epoch(stores: Stores) -> None:
    """Of a store with 6 copies and one with 2: the second's must not all come first."""
    data = stores["faces"]
    few = data.source[every_row(data)] % 2 == 0
    rows = every_row(data)[~few | (data.copy[every_row(data)] == 0)]
    stream = TrainingStream(data, rows, 4, seed=0, mirror=0.0)
    order, _ = stream.order(0)
    assert sorted(order.tolist()) == rows.tolist()
    where = np.flatnonzero(data.source[order] % 2 == 0) / len(order)
    assert np.histogram(where, 3, (0, 1))[0].min() >= 4
    assert (stream.order(0)[0] == order).all()
    for one in stream._passes(np.random.default_rng(5)):
        assert len(set(data.source[one].tolist())) == len(one)  # no picture has two rows in a pass
