"""The store on disk: layout, text columns, and damage that must be found."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import example, given
from hypothesis import strategies as st
from synthetic import SCHEME

from pifa_data.errors import StoreError
from pifa_data.morphable import MorphableModel
from pifa_data.store import (
    FACES_A_SHARD,
    SCHEMA_VERSION,
    TEXTS,
    Layout,
    Store,
    array_digest,
    create_store,
    decode_text,
    encode_text,
    read_manifest,
    store_digest,
    write_shard,
)

FACES, COPIES = 24, 3


@pytest.fixture
def copy(small_store: Path, tmp_path: Path) -> Path:
    """A store to damage."""
    return Path(shutil.copytree(small_store, tmp_path / "S.zarr"))


def test_layout(small_store: Path, model: MorphableModel) -> None:
    store = Store(small_store)
    rows, k = FACES * COPIES, 8 + model.n_coefficients
    assert {name: store.array(name).shape for name in store.layout.crop_arrays()} == {
        "images": (rows, 114, 114, 3),
        "params": (rows, k),
        "landmarks": (rows, 68, 2),
        "visibility": (rows, 68),
        "boxes": (rows, 4),
        "valid": (rows,),
        "source": (rows,),
        "copy": (rows,),
    }
    for name, (shape, dtype) in store.layout.face_arrays().items():
        array = store.array(f"faces/{name}")
        assert (array.shape, array.dtype) == ((FACES, *shape), np.dtype(dtype)), name
    assert all(store.array(name).dtype == np.dtype(dtype) for name, (_, dtype) in store.layout.crop_arrays().items())
    assert store.layout.shards == 1
    assert store.model.fingerprint == model.fingerprint
    assert store.attributes["schema_version"] == SCHEMA_VERSION
    assert store.attributes["complete"] is True
    assert store.attributes["config"]["copies"] == COPIES
    assert store.attributes["digest"] == store_digest(read_manifest(small_store))


def test_rows_point_to_their_faces(small_store: Path) -> None:
    store = Store(small_store)
    source, number = store.read("source"), store.read("copy")
    assert sorted(zip(source.tolist(), number.tolist(), strict=True)) == [
        (f, c) for f in range(FACES) for c in range(COPIES)
    ]
    assert source.tolist() != sorted(source.tolist())  # mixed, for a good shuffle
    first = number == 0
    np.testing.assert_array_equal(store.read("boxes")[first], store.read("faces/box")[source[first]])
    np.testing.assert_array_equal(store.read("params")[:, 8:], store.read("faces/params")[source, 8:])


def test_the_face_table_names_every_face(small_store: Path, synthetic: Path) -> None:
    store = Store(small_store)
    names = store.text("id")
    assert sorted(names) == sorted(p.name for p in (synthetic / "faces/images").iterdir())
    assert [Path(path).name for path in store.text("path")] == names
    assert len(set(store.text("subject"))) == 8
    assert set(store.text("split")) == {"training", "test"}
    assert set(store.text("kind")) == {"2d"}
    assert set(store.text("scheme")) == {"ibug68"}
    assert set(store.text("subsets")) == {""}
    assert set(TEXTS) == {"id", "path", "subject", "split", "subsets", "scheme", "kind"}


def test_the_synthetic_faces_are_fitted_well(small_store: Path) -> None:
    store = Store(small_store)
    assert store.read("faces/valid").all()
    assert store.read("faces/fit_nme").max() < 0.6
    np.testing.assert_allclose(store.read("faces/fit_nme_mirrored"), store.read("faces/fit_nme"), atol=0.05)
    assert np.abs(np.degrees(store.read("faces/pose")[:, 0])).max() < 50


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12), min_size=1))
@example([" Zoé ", "", "\t東京\n", "a" * 40])
def test_text_columns_round_trip(values: list[str]) -> None:
    width = max(1, *(len(v.encode()) for v in values))
    column = encode_text(values, width)
    assert (column.shape, column.dtype) == ((len(values), width), np.uint8)
    assert decode_text(column) == values


def test_layout_ranges_cover_everything_once() -> None:
    layout = Layout(faces=2 * FACES_A_SHARD + 5, copies=3, size=8, points=68, params=17, text_widths={})
    assert layout.shards == 3
    faces = np.concatenate([np.arange(layout.faces)[layout.face_range(s)] for s in range(3)])
    rows = np.concatenate([np.arange(layout.faces * 3)[layout.row_range(s)] for s in range(3)])
    np.testing.assert_array_equal(faces, np.arange(layout.faces))
    np.testing.assert_array_equal(rows, np.arange(layout.faces * 3))


def test_array_digest_sees_values_shape_and_type_but_not_byte_order() -> None:
    array = np.arange(6, dtype="<i4")
    assert array_digest(array) == array_digest(array.astype(">i4"))
    assert array_digest(array) == array_digest(np.repeat(array, 2)[::2])
    others = [array.reshape(2, 3), array.astype("<i8"), array + 1, array.astype("<u4")]
    assert array_digest(array) not in {array_digest(other) for other in others}


def test_verify_is_silent_on_a_good_store(copy: Path) -> None:
    assert list(Store(copy).verify()) == []


def shard_files(store: Path, array: str) -> list[Path]:
    return sorted(p for p in (store / array / "c").rglob("*") if p.is_file())


@pytest.mark.parametrize("array", ["images", "params", "valid", "faces/pose", "faces/id"])
@pytest.mark.parametrize("where", [0.0, 0.3, 0.77, 1.0])
def test_verify_finds_a_flipped_bit(copy: Path, array: str, where: float) -> None:
    (file,) = shard_files(copy, array)
    data = bytearray(file.read_bytes())
    at = int(where * (len(data) - 1))
    data[at] ^= 0x04
    file.write_bytes(data)
    problems = list(Store(copy).verify())
    assert all(f"shard 0, {array}:" in p for p in problems)
    # A few bytes of a file are never decoded; whatever changes what the array holds must be found.
    assert problems or array_digest(Store(copy).read(array)) == read_manifest(copy)[0]["digests"][array]
    assert problems or where in (0.0, 0.3)


@pytest.mark.parametrize("array", ["images", "landmarks", "faces/params"])
def test_verify_finds_a_missing_and_a_truncated_shard(copy: Path, array: str) -> None:
    (file,) = shard_files(copy, array)
    whole = file.read_bytes()
    for data in (None, b"", whole[: len(whole) // 2], whole[:-1]):
        if data is None:
            file.unlink()
        else:
            file.write_bytes(data)
        problems = list(Store(copy).verify())
        assert len(problems) == 1
        assert f"shard 0, {array}:" in problems[0]


def test_verify_finds_a_missing_array_a_missing_entry_and_a_changed_digest(copy: Path) -> None:
    group = zarr.open_group(copy, mode="r+")
    group.attrs["digest"] = "0" * 64
    assert list(Store(copy).verify()) == ["the manifest does not give the digest in the store's attributes"]
    shutil.rmtree(copy / "boxes")
    assert any("boxes" in p and "missing" in p for p in Store(copy).verify())
    (copy / "manifest" / "000000.json").unlink()
    assert "shard 0: not built" in list(Store(copy).verify())


def test_an_unfinished_store_is_refused_unless_asked_for(copy: Path) -> None:
    zarr.open_group(copy, mode="r+").attrs["complete"] = False
    with pytest.raises(StoreError, match="--resume"):
        Store(copy)
    assert Store(copy, unfinished=True).layout.faces == FACES


def test_what_is_not_a_store_is_refused(tmp_path: Path, copy: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "zarr.json").write_text("{")
    for name in ("none", "folder", "file", "broken"):
        with pytest.raises(StoreError, match=name):
            Store(tmp_path / name)
    zarr.open_group(copy, mode="r+").attrs["schema_version"] = 99
    with pytest.raises(StoreError, match="expected a store of schema version 2, found 99"):
        Store(copy)


def test_a_missing_array_is_named(copy: Path) -> None:
    shutil.rmtree(copy / "params")
    with pytest.raises(StoreError, match="'params'"):
        Store(copy).read("params")


def test_another_morphable_model_in_the_store_is_refused(copy: Path, model: MorphableModel) -> None:
    replace(model, mean=model.mean * np.float32(1.1)).save(copy / "morphable.safetensors")
    with pytest.raises(StoreError, match="morphable"):
        _ = Store(copy).model


def test_a_store_is_never_made_over_something(copy: Path, model: MorphableModel) -> None:
    with pytest.raises(StoreError, match="exists already"):
        create_store(copy, Store(copy).layout, {}, model)


def test_write_and_read_a_shard(tmp_path: Path, model: MorphableModel) -> None:
    """The last, shorter shard goes to its own rows, and its entry is its digest."""
    widths = dict.fromkeys(TEXTS, 3)
    layout = Layout(faces=FACES_A_SHARD + 2, copies=1, size=4, points=68, params=9, text_widths=widths)
    store = tmp_path / "S.zarr"
    create_store(store, layout, {"config": {"copies": 1, "size": 4}, "scheme": SCHEME}, model)
    rng = np.random.default_rng(0)
    crops = {n: (rng.random((2, *shape)) * 99).astype(t) for n, (shape, t) in layout.crop_arrays().items()}
    faces = {n: (rng.random((2, *shape)) * 99).astype(t) for n, (shape, t) in layout.face_arrays().items()}
    entry = write_shard(store, layout, 1, crops, faces, {129: "why"})
    assert read_manifest(store) == {1: entry}
    assert entry["failures"] == {"129": "why"}
    opened = Store(store, unfinished=True)
    assert opened.layout == layout
    for name, array in crops.items():
        np.testing.assert_array_equal(opened.read(name)[-2:], array)
        assert not opened.read(name)[:-2].any()
    np.testing.assert_array_equal(opened.read("faces/id")[-2:], faces["id"])
    assert list(opened.verify()) == ["shard 0: not built"]
