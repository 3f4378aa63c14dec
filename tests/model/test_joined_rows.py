"""Several stores as one: the same rows as of each, and which stores are refused."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

from pifa_data.build import PrepConfig
from pifa_data.errors import ConfigError, StoreError
from pifa_data.store import CHUNK, Store
from pifa_model import batches
from pifa_model.batches import TrainingStream
from pifa_model.joined_rows import JoinedRows, check_validation
from pifa_model.rows import Rows
from pifa_model.store_rows import StoreRows
from pipelines.prep import run_prep

Pair = tuple[Path, Path]


@pytest.fixture(scope="module")
def others(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stores of both layouts of 8 of the faces, with other crops than those of ``layouts``."""
    folder = tmp_path_factory.mktemp("others")
    source, model = f"keypoints-csv:{synthetic / 'faces'}", str(synthetic / "model.safetensors")
    for layout in ("crops", "faces"):
        config = PrepConfig(copies=2, layout=layout, seed=1)
        run_prep([source], folder / layout, morphable=model, config=config, workers=1, limit=8)
    return {layout: folder / layout for layout in ("crops", "faces")}


@pytest.fixture(params=["crops", "faces"])
def pair(request: pytest.FixtureRequest, layouts: dict[str, Path], others: dict[str, Path]) -> Pair:
    return layouts[request.param], others[request.param]


def joined(*paths: Path) -> JoinedRows:
    return JoinedRows([Store(path) for path in paths])


def every_row(data: Rows) -> np.ndarray:
    return data.rows_of(np.ones(len(data.subjects), bool))


def test_the_rows_are_those_of_each_store(pair: Pair) -> None:
    both, parts = joined(*pair), [StoreRows(Store(path)) for path in pair]
    assert both.subjects == parts[0].subjects + parts[1].subjects
    assert len(set(both.subjects)) == 8, "the same people"
    rows = np.random.default_rng(0).permutation(every_row(both))
    flipped = np.random.default_rng(1).random(len(rows)) < 0.5
    batch = both.batch(rows, both.read_pictures(rows, flipped), flipped)
    labels = both.labels(rows)
    seen = 0
    for part, start in zip(parts, (0, len(parts[0].valid)), strict=True):
        own = np.flatnonzero((rows >= start) & (rows < start + len(part.valid)))
        numbers = rows[own] - start
        seen += len(own)
        alone = part.batch(numbers, part.read_pictures(numbers, flipped[own]), flipped[own])
        for name in ("images", "params", "landmarks", "visibility", "marching"):
            np.testing.assert_array_equal(getattr(batch, name)[own], getattr(alone, name), name)
        if part.shared:
            assert batch.windows is not None
            np.testing.assert_array_equal(batch.windows[own], alone.windows)
        np.testing.assert_array_equal(labels.params[own], part.params(numbers))
        np.testing.assert_array_equal(both.params(rows)[own], part.params(numbers))
        np.testing.assert_array_equal(both.copies[both.source[rows[own]]], part.copies[0])
        for name in ("copy", "mirrored"):
            np.testing.assert_array_equal(getattr(both, name)[rows[own]], getattr(part, name)[numbers], name)
        np.testing.assert_array_equal(
            np.array(both.subjects)[both.source[rows[own]]], np.array(part.subjects)[part.source[numbers]]
        )
        assert sorted(both.as_photographed(rows)[np.isin(both.as_photographed(rows), rows[own])] - start) == sorted(
            part.as_photographed(numbers)
        )
    assert seen == len(rows) == sum(len(every_row(part)) for part in parts)


def test_an_epoch_sees_every_row_of_all_stores_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    data = joined(*pair)
    monkeypatch.setattr(batches, "GROUP", 2)
    rows = every_row(data)
    stream = TrainingStream(data, rows, 5, seed=1, mirror=0.0)
    order, _ = stream.order(0)
    assert sorted(order.tolist()) == rows.tolist()
    seen = list(stream.read(0, stream.steps_per_epoch))
    np.testing.assert_array_equal(np.concatenate([batch.rows for batch in seen]), order[: 5 * len(seen)])
    first = set(data.stored_at(np.flatnonzero(data.source < 24)) // CHUNK)
    assert not first & set(data.stored_at(np.flatnonzero(data.source >= 24)) // CHUNK), "a chunk is of one store"


def test_one_store_is_the_case_of_one(layouts: dict[str, Path]) -> None:
    data, alone = joined(layouts["faces"]), StoreRows(Store(layouts["faces"]))
    rows = every_row(alone)
    streams = [TrainingStream(each, rows, 8, seed=2, mirror=0.5) for each in (data, alone)]
    for a, b in zip(*(stream.read(3, 5) for stream in streams), strict=True):
        for name in ("images", "windows", "params", "landmarks", "visibility", "marching", "rows"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), name)


def test_no_rows_are_none(pair: Pair) -> None:
    data, none = joined(*pair), np.zeros(0, np.int64)
    assert data.read_pictures(none).shape[0] == 0
    assert data.labels(none).landmarks.shape == (0, 68, 2)


def test_rows_are_described_by_store_and_number(pair: Pair) -> None:
    data = joined(*pair)
    first = len(StoreRows(Store(pair[0])).valid)
    assert data.describe(np.array([first + 3, 7, 2])) == f"{pair[0]}: rows 7, 2; {pair[1]}: rows 3"


def test_pictures_kept_in_memory_are_bounded_for_all_together(
    layouts: dict[str, Path], others: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pifa_model.store_rows.KEPT", 17 * 148 * 148 * 3)
    data = joined(layouts["faces"], others["faces"])
    data.read_pictures(every_row(data))
    assert [len(part._kept) for part in data._parts] == [1, 1], "one chunk of 8 pictures each"


@pytest.mark.parametrize(
    ("name", "option", "expected", "found"),
    [
        ("morphable model", "--morphable", ".+", "0123"),
        ("crop size", "--size", "114 pixels", "96 pixels"),
        ("crop over box", "--grow", "1.4", "1.6"),
        ("landmark scheme", "--scheme", "ibug68", "aflw21"),
        ("kind of boxes", "--boxes", "tight", "dataset"),
        ("layout", "--layout", "crops", "faces"),
    ],
)
def test_stores_that_do_not_fit_are_refused(
    name: str, option: str, expected: str, found: str, small_store: Path, others: dict[str, Path]
) -> None:
    first, second = Store(small_store), Store(others["faces" if name == "layout" else "crops"])
    second.attributes = copy.deepcopy(second.attributes)
    changes = {
        "morphable model": ("morphable", "fingerprint", "0123"),
        "crop size": ("layout", "size", 96),
        "crop over box": ("config", "grow", 1.6),
        "kind of boxes": ("config", "boxes", "dataset"),
    }
    if name in changes:
        section, key, value = changes[name]
        second.attributes[section][key] = value
        del second.layout  # cached
    elif name == "landmark scheme":
        second.attributes["scheme"] = "aflw21"
    message = rf"{second.location}: expected the {name} of {first.location}, {expected}, found {found}; .*{option}"
    with pytest.raises(StoreError, match=message):
        JoinedRows([first, second])
    if name in ("kind of boxes", "layout"):
        return  # of a store to validate on they may be others
    validation = StoreRows(Store(others["crops"]))
    validation.store = second
    with pytest.raises(StoreError, match=message):
        check_validation(StoreRows(first), validation)


def test_the_same_store_twice_is_refused(small_store: Path, others: dict[str, Path], tmp_path: Path) -> None:
    link = tmp_path / "copy"
    link.symlink_to(small_store)
    with pytest.raises(StoreError, match=f"{small_store} and {link}: hold the same crops"):
        joined(small_store, others["crops"], link)


def test_people_of_both_sides_are_refused_by_name(small_store: Path, others: dict[str, Path]) -> None:
    train, validation = StoreRows(Store(small_store)), joined(others["faces"])
    people = sorted(set(validation.subjects))
    with pytest.raises(ConfigError, match=rf"{others['faces']}: 3 of its 3 people .* {small_store} \({people[0]}, "):
        check_validation(train, validation)
    train.subjects = [f"another {subject}" for subject in train.subjects]
    check_validation(train, validation)
    train.subjects[5] = people[-1]
    with pytest.raises(ConfigError, match=rf"1 of its 3 people .* \({people[-1]}\)"):
        check_validation(train, validation)
