"""Chunks read past Zarr are what Zarr reads; what is not as ``pifa prep`` writes it is left to Zarr."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec

from pifa_data.errors import StoreError
from pifa_data.store import Store
from pifa_model.chunks import PictureChunks
from pifa_model.store_rows import StoreRows

SHAPE = (22, 6, 5, 3)


def array_of(folder: Path, **settings: Any) -> tuple[zarr.Array, np.ndarray]:
    """An array of noise, written by Zarr: chunks of 4 pictures, the last one shorter."""
    settings = {
        "chunks": (4, *SHAPE[1:]),
        "compressors": [BloscCodec(cname="zstd", clevel=1), Crc32cCodec()],
    } | settings
    array = zarr.create_array(folder, shape=SHAPE, **{"dtype": "uint8", **settings})
    values = np.random.default_rng(0).integers(0, 256, SHAPE).astype(array.dtype)
    array[:] = values
    return zarr.open_array(folder, mode="r"), values


def equal(folder: Path, array: zarr.Array, values: np.ndarray) -> bool:
    chunks = PictureChunks(folder, array)
    for number in (5, 0, 3, 2, 0):
        found = chunks.read(number)
        part = values[number * 4 : number * 4 + 4]
        if found is None or not np.array_equal(found[: len(part)], part):
            return False
    return True


@pytest.mark.parametrize("shards", [None, (8, *SHAPE[1:]), (16, *SHAPE[1:])])
@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_chunks_are_what_zarr_reads(tmp_path: Path, shards: Any, codec: str) -> None:
    compressors = [BloscCodec(cname=codec, clevel=1), Crc32cCodec()]
    assert equal(tmp_path, *array_of(tmp_path, shards=shards, compressors=compressors))


@pytest.mark.parametrize(
    "settings",
    [
        {"compressors": [GzipCodec()]},
        {"compressors": [BloscCodec()]},
        {"dtype": "uint16"},
        {"chunks": (4, 3, *SHAPE[2:])},
        {"chunks": (4, 3, *SHAPE[2:]), "shards": (8, *SHAPE[1:])},
        {"filters": [zarr.codecs.TransposeCodec(order=(0, 2, 1, 3))]},
    ],
)
def test_what_prep_does_not_write_is_left_to_zarr(tmp_path: Path, settings: dict[str, Any]) -> None:
    array, _ = array_of(tmp_path, **settings)
    assert PictureChunks(tmp_path, array).read(0) is None


@pytest.mark.parametrize("sharded", [False, True])
def test_any_changed_byte_is_seen(tmp_path: Path, sharded: bool) -> None:
    array, values = array_of(tmp_path, shards=(16, *SHAPE[1:]) if sharded else None)
    file = tmp_path / "c/0/0/0/0"
    good = file.read_bytes()
    chunks = PictureChunks(tmp_path, array)
    step = 7
    for at in [*range(0, len(good), step), *range(len(good) - 70, len(good))]:
        file.write_bytes(good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :])
        found = chunks.read(0)
        assert found is None or np.array_equal(found, values[:4])  # a byte of another chunk
    for length in (0, 3, 20, len(good) - 1):
        file.write_bytes(good[:length])
        assert chunks.read(0) is None
    file.unlink()
    assert chunks.read(0) is None


def test_headers_that_lie_are_refused(tmp_path: Path) -> None:
    """With a right checksum, so that only the header tells: Blosc would read or write beyond the buffers."""
    import google_crc32c

    array, _ = array_of(tmp_path, shards=None)
    file = tmp_path / "c/0/0/0/0"
    data = file.read_bytes()[:-4]
    for at, value in ((4, 10**6), (4, 16), (12, 10**6), (12, 20)):
        lie = data[:at] + value.to_bytes(4, "little") + data[at + 4 :]
        file.write_bytes(lie + google_crc32c.value(lie).to_bytes(4, "little"))
        assert PictureChunks(tmp_path, array).read(0) is None
    file.write_bytes(b"abc" + google_crc32c.value(b"abc").to_bytes(4, "little"))
    assert PictureChunks(tmp_path, array).read(0) is None


def test_rows_are_read_alike_by_both(layouts: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for path in layouts.values():
        data = StoreRows(Store(path))
        rows = np.random.default_rng(0).permutation(len(data.valid))
        flipped = rows % 3 == 0
        assert data._chunks is not None
        fast = data.read_pictures(rows, flipped)
        with monkeypatch.context() as patch:
            patch.setattr(PictureChunks, "read", lambda self, number: None)
            slow = StoreRows(Store(path))
            np.testing.assert_array_equal(slow.read_pictures(rows, flipped), fast)
        stored = data.store.read("images")[data.stored_at(rows)]
        if not data.shared:
            stored[flipped] = stored[flipped, :, ::-1]
        np.testing.assert_array_equal(fast, stored)


def test_damage_has_zarrs_error(small_store: Path, tmp_path: Path) -> None:
    path = tmp_path / "S.zarr"
    shutil.copytree(small_store, path)
    data = StoreRows(Store(path))
    [file] = [file for file in (path / "images" / "c").rglob("*") if file.is_file()]
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"images, shard 0: can't be read .*checksum.*pifa store repair"):
        data.read_pictures(np.arange(4))
