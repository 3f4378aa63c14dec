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
    locate,
    set_attributes,
    shard_key,
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
    columns = store.layout.columns()
    assert {name: store.array(name).shape for name, column in columns.items() if column.of == "crop"} == {
        "images": (rows, 114, 114, 3),
        "params": (rows, k),
        "landmarks": (rows, 68, 2),
        "visibility": (rows, 68),
        "boxes": (rows, 4),
        "valid": (rows,),
        "source": (rows,),
        "copy": (rows,),
        "mirrored": (rows,),
    }
    for name, column in columns.items():
        array = store.array(name)
        assert array.dtype == np.dtype(column.dtype), name
        assert array.shape == (rows if column.of == "crop" else FACES, *column.shape), name
    assert store.layout.shards == 1
    assert store.model.fingerprint == model.fingerprint
    assert store.attributes["schema_version"] == SCHEMA_VERSION
    assert store.attributes["complete"] is True
    assert store.attributes["config"]["copies"] == COPIES
    assert store.attributes["digest"] == store_digest(store.entries)


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
    assert all(f"shard 0, {array}:" in p.text for p in problems)
    assert {p.shard for p in problems} <= {0}
    # A few bytes of a file are never decoded; whatever changes what the array holds must be found.
    assert problems or array_digest(Store(copy).read(array)) == Store(copy).entries[0]["digests"][array]
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
        with pytest.raises(StoreError, match=f"shard 0, {array}: expected .* bytes, found .*pifa store repair"):
            Store(copy)
        problems = list(Store(copy, unfinished=True).verify())
        assert len(problems) == 1
        assert f"shard 0, {array}:" in problems[0].text


def found(store: Path) -> list[str]:
    return [problem.text for problem in Store(store, unfinished=True).verify()]


def test_verify_finds_a_missing_array_a_missing_entry_and_a_changed_digest(copy: Path) -> None:
    set_attributes(locate(copy), {"digest": "0" * 64})
    assert found(copy) == ["the manifest does not give the digest in the store's attributes"]
    shutil.rmtree(copy / "boxes")
    assert any("boxes" in text and "missing" in text for text in found(copy))
    (copy / "manifest" / "000000.json").unlink()
    assert "shard 0: not built" in found(copy)


@pytest.mark.parametrize("entry", [b"", b"{", b"[]", b"null", b'{"shard": 1}', b"\xff"])
def test_a_damaged_entry_of_the_manifest_is_a_shard_not_built(copy: Path, entry: bytes) -> None:
    whole = (copy / "manifest" / "000000.json").read_bytes()
    for data in (entry, whole.replace(b'"shard": 0', b'"shard": 1'), whole.replace(b'"boxes": ', b'"boxen": ')):
        (copy / "manifest" / "000000.json").write_bytes(data)
        assert Store(copy, unfinished=True).entries == {}
        assert any("shard 0: the manifest's entry" in text and "damaged" in text for text in found(copy))
        with pytest.raises(StoreError, match="pifa store repair"):
            Store(copy)


@pytest.mark.parametrize("key", ["images/zarr.json", "faces/zarr.json", "faces/id/zarr.json"])
def test_damaged_metadata_is_named(copy: Path, key: str) -> None:
    (copy / key).write_bytes((copy / key).read_bytes().replace(b"2", b"3", 1) + b" ")
    assert any(problem.key == key for problem in Store(copy, unfinished=True).verify())


def test_an_unfinished_store_is_refused_unless_asked_for(copy: Path) -> None:
    set_attributes(locate(copy), {"complete": False})
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
    with pytest.raises(StoreError, match="expected a store of schema version 3, found 99"):
        Store(copy)


def test_a_missing_array_is_named(copy: Path) -> None:
    shutil.rmtree(copy / "params")
    with pytest.raises(StoreError, match="'params'"):
        Store(copy, unfinished=True).read("params")


def test_another_morphable_model_in_the_store_is_refused(copy: Path, model: MorphableModel) -> None:
    replace(model, mean=model.mean * np.float32(1.1)).save(copy / "morphable.safetensors")
    with pytest.raises(StoreError, match="morphable"):
        _ = Store(copy).model


def test_a_store_is_never_made_over_something(copy: Path, model: MorphableModel) -> None:
    with pytest.raises(StoreError, match="exists already"):
        create_store(copy, Store(copy).layout, {}, model)


@pytest.mark.parametrize("kind", ["crops", "faces"])
def test_write_and_read_a_shard(kind: str, tmp_path: Path, model: MorphableModel) -> None:
    """The last, shorter shard goes to its own rows, and its entry is its digest."""
    widths = dict.fromkeys(TEXTS, 3)
    layout = Layout(130, 2, 8, 68, 9, widths, kind=kind, shard_faces=128)
    store = tmp_path / "S.zarr"
    create_store(store, layout, {"config": {"copies": 2, "size": 8}, "scheme": SCHEME, "plan": "p"}, model)
    rng = np.random.default_rng(0)
    rows = {name: 4 if column.of == "crop" else 2 for name, column in layout.columns().items()}
    arrays = {
        name: (rng.random((rows[name], *column.shape)) * 99).astype(column.dtype)
        for name, column in layout.columns().items()
    }
    entry = write_shard(store, layout, 1, arrays, {129: "why"}, "p")
    opened = Store(store, unfinished=True)
    assert opened.entries == {1: entry}
    assert entry["failures"] == {"129": "why"}
    assert opened.layout == layout
    for name, array in arrays.items():
        np.testing.assert_array_equal(opened.read(name)[-rows[name] :], array)
        assert not opened.read(name)[: -rows[name]].any()
    assert list(opened.missing()) == [0]
    # Byte for byte what Zarr itself writes.
    keys = {shard_key(name, column, 1) for name, column in layout.columns().items()}
    ours = {key: (store / key).read_bytes() for key in keys}
    group = zarr.open_group(store, mode="r+")
    for name, array in arrays.items():
        group[name].with_config({"write_empty_chunks": True})[-rows[name] :] = array
    assert {key: (store / key).read_bytes() for key in keys} == ours
