"""Writing a store shard by shard. One task owns one shard and writes every array's part of it, then its manifest entry,
the mark that the shard is finished; ``complete`` is set last of all.

So a killed build is resumed at the first shard without an entry, and nothing half-written is ever taken for data. A
shard's bytes are made in memory and put in their place in one step: a worker that outlives its killed run can at worst
replace a shard by the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import MemoryStore

from pifa_data.errors import StoreError
from pifa_data.faces import Skipped
from pifa_data.morphable.model import MorphableModel
from pifa_data.store.layout import Column, Layout
from pifa_data.store.location import Location, locate
from pifa_data.store.manifest import array_digest, entry_key

SCHEMA_VERSION = 3
ROOT = "zarr.json"
"""The group's own metadata and attributes; there once a store has all its arrays."""
MORPHABLE = "morphable.safetensors"
SKIPPED = "skipped.json"
"""Faces that never entered the store: a list of [face, reason]."""


def create_store(
    where: str | Path | Location,
    layout: Layout,
    attributes: dict[str, Any],
    model: MorphableModel,
    skipped: Sequence[Skipped] = (),
) -> None:
    """Make the empty arrays of a new store; ``complete`` is false.

    Raises:
        StoreError: something is there already.
        OSError: no right to write.
    """
    location = locate(where)
    if location.exists():
        raise StoreError(f"{location}: exists already; give --resume to finish it or --overwrite to replace it")
    files = array_files(layout)
    own = {
        "schema_version": SCHEMA_VERSION,
        "layout": asdict(layout),
        "arrays": _hashes(files),
        "complete": False,
    }
    files[MORPHABLE] = _model_bytes(model)
    files[SKIPPED] = json.dumps([[face.id, face.reason] for face in skipped]).encode()
    files[ROOT] = _root({**attributes, **own})
    location.create(files, ROOT)


def restore_arrays(location: Location, layout: Layout) -> None:
    """Write the metadata of every array again, as for a new store."""
    files = array_files(layout)
    for key, data in files.items():
        location.write(key, data)
    set_attributes(location, {"arrays": _hashes(files)})


def restore_model(location: Location, model: MorphableModel) -> None:
    """Write the store's copy of its morphable model again."""
    location.write(MORPHABLE, _model_bytes(model))


def _hashes(files: Mapping[str, bytes]) -> dict[str, str]:
    return {key: hashlib.sha256(data).hexdigest() for key, data in files.items()}


def _model_bytes(model: MorphableModel) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / MORPHABLE)
        return (Path(folder) / MORPHABLE).read_bytes()


def array_files(layout: Layout) -> dict[str, bytes]:
    """The metadata of every array, and of the group of face arrays, by key."""
    files: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(files), zarr_format=3)
    group.create_group("faces")
    for name, column in layout.columns().items():
        rows = layout.faces * (layout.copies if column.of == "crop" else 1)
        _array(group.store, name, column, rows, layout.shard_rows(name))
    return {key: value.to_bytes() for key, value in files.items() if key != ROOT}


def _array(store: Any, name: str | None, column: Column, rows: int, shard_rows: int) -> zarr.Array:
    return zarr.create_array(
        store,
        name=name,
        shape=(rows, *column.shape),
        dtype=column.dtype,
        chunks=(column.chunk, *column.shape),
        # A shard of one chunk would be an index around it.
        shards=None if column.chunk == shard_rows else (shard_rows, *column.shape),
        # A bit that flips on the way from the disk raises an error instead of going into a network.
        compressors=[BloscCodec(cname="zstd", clevel=1), Crc32cCodec()],
        # Comparing every chunk with the fill value first made writing several times slower.
        config={"write_empty_chunks": True},
    )


def _root(attributes: Mapping[str, Any]) -> bytes:
    group = {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"}
    return json.dumps(group, indent=2, allow_nan=False).encode()


def read_attributes(location: Location) -> dict[str, Any]:
    """The attributes of a store as they are now, whatever its version.

    Raises:
        FileNotFoundError: there is no group.
        ValueError: it is damaged.
    """
    attributes = json.loads(location.read(ROOT))["attributes"]
    if not isinstance(attributes, dict):
        raise ValueError("no attributes")
    return attributes


def set_attributes(location: Location, changes: Mapping[str, Any]) -> None:
    """Change attributes of a store, all or none of them."""
    location.write(ROOT, _root(read_attributes(location) | dict(changes)))


def is_store(where: str | Path | Location) -> bool:
    """Whether a place is a store that this program made, of whatever version and however unfinished."""
    try:
        attributes = read_attributes(locate(where))
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return "schema_version" in attributes and "plan" in attributes


def write_shard(
    where: str | Path | Location,
    layout: Layout,
    shard: int,
    arrays: dict[str, np.ndarray],
    failures: dict[int, str],
) -> dict[str, Any]:
    """Write one shard whole and return its manifest entry, also written.

    Args:
        arrays: this shard's rows of every column of ``layout``.
        failures: number in the store and reason of each face that failed.

    Raises:
        OSError: no space, no right to write; the shard then has no entry and is built again on resume.
    """
    location = locate(where)
    columns = layout.columns()
    parts = {name: _encode(arrays[name], column, layout.shard_rows(name)) for name, column in columns.items()}
    location.write_all({shard_key(name, columns[name], shard): data for name, data in parts.items()})
    entry = {
        "shard": shard,
        "digests": {name: array_digest(arrays[name]) for name in columns},
        "bytes": {name: len(data) for name, data in parts.items()},
        "failures": {str(face): reason for face, reason in failures.items()},
    }
    location.write(entry_key(shard), json.dumps(entry, sort_keys=True).encode())
    return entry


def shard_key(name: str, column: Column, shard: int) -> str:
    """The key of a shard's part of an array."""
    return f"{name}/c/{shard}" + "/0" * len(column.shape)


def _encode(rows: np.ndarray, column: Column, shard_rows: int) -> memoryview:
    """What Zarr would write for a shard that begins with ``rows``, as bytes."""
    files: dict[str, Any] = {}
    array = _array(MemoryStore(files), None, column, len(rows), shard_rows)
    array[...] = rows
    # Not to_bytes(), which copies them once more.
    return np.ascontiguousarray(files[shard_key("", column, 0).lstrip("/")].as_numpy_array()).data
