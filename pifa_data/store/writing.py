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
from pifa_data.store.sealing import sealed, unsealed

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
    *,
    replace: bool = False,
) -> None:
    """Make the empty arrays of a new store; ``complete`` is false.

    Args:
        replace: take the place of what is there, which the caller has claimed.

    Raises:
        StoreError: something is there already.
        OSError: no space, no right to write.
    """
    location = locate(where)
    if location.exists() and not replace:
        raise StoreError(f"{location}: exists already; give --resume to finish it or --overwrite to replace it")
    files = _files(layout, model, skipped)
    location.create(files | {ROOT: _first_root(layout, attributes, files)}, ROOT, replace=replace)


def restore_root(
    location: Location, layout: Layout, attributes: dict[str, Any], model: MorphableModel, skipped: Sequence[Skipped]
) -> None:
    """Write the attributes again as they were when the store was made; the arguments are ``create_store``'s."""
    location.write(ROOT, _first_root(layout, attributes, _files(layout, model, skipped)))


def _first_root(layout: Layout, attributes: dict[str, Any], files: Mapping[str, bytes]) -> bytes:
    own = {
        "schema_version": SCHEMA_VERSION,
        "layout": asdict(layout),
        "files": {key: hashlib.sha256(data).hexdigest() for key, data in files.items()},
        "complete": False,
    }
    return _root({**attributes, **own})


def damaged_files(location: Location) -> list[str]:
    """The keys that are of no shard and whose bytes are not those of the store's creation."""
    attributes = read_attributes(location)
    return [key for key in attributes["files"] if not is_undamaged(location, attributes, key)]


def is_undamaged(location: Location, attributes: Mapping[str, Any], key: str) -> bool:
    """Whether a file that is of no shard has the bytes that the store was made with."""
    try:
        return hashlib.sha256(location.read(key)).hexdigest() == attributes["files"].get(key)
    except OSError:
        return False


def restore_files(
    location: Location, layout: Layout, model: MorphableModel, skipped: Sequence[Skipped] | None = None
) -> None:
    """Write what ``damaged_files`` finds again, but the list of skipped faces if that is not known.

    Other versions of Zarr or safetensors may give other bytes, which become the store's.
    """
    damaged = [key for key in damaged_files(location) if key != SKIPPED or skipped is not None]
    if damaged:
        files = _files(layout, model, skipped or ())
        for key in damaged:
            location.write(key, files[key])
        hashes = {key: hashlib.sha256(files[key]).hexdigest() for key in damaged}
        set_attributes(location, {"files": read_attributes(location)["files"] | hashes})


def _files(layout: Layout, model: MorphableModel, skipped: Sequence[Skipped]) -> dict[str, bytes]:
    """Everything that is of no shard but the attributes, by key."""
    listed = json.dumps([[face.id, face.reason] for face in skipped]).encode()
    return {**array_files(layout), MORPHABLE: _model_bytes(model), SKIPPED: listed}


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
    group = {"attributes": sealed(attributes), "zarr_format": 3, "node_type": "group"}
    return json.dumps(group, indent=2, allow_nan=False).encode()


def read_attributes(location: Location) -> dict[str, Any]:
    """The attributes of a store as they are now.

    Raises:
        OSError: there is no group.
        StoreError: it is of another schema version.
        ValueError: it is damaged, or of something else.
    """
    group, attributes = _parsed(location)
    version = attributes.get("schema_version")
    if version is None:
        raise ValueError("no schema version")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{location}: expected a store of schema version {SCHEMA_VERSION}, found {version}; make it again with "
            "`pifa prep`"
        )
    if (group.get("zarr_format"), group.get("node_type")) != (3, "group"):
        raise ValueError("not a Zarr v3 group")
    attributes = unsealed(attributes)
    for key, kind in {"plan": str, "layout": dict, "files": dict, "complete": bool}.items():
        if not isinstance(attributes.get(key), kind):
            raise ValueError(f"no {key}")
    return attributes


def _parsed(location: Location) -> tuple[dict[str, Any], dict[str, Any]]:
    """The group's metadata and, of it, the attributes."""
    group = json.loads(location.read(ROOT))
    if not isinstance(group, dict) or not isinstance(group.get("attributes"), dict):
        raise ValueError("no attributes")
    return group, group["attributes"]


def set_attributes(location: Location, changes: Mapping[str, Any]) -> None:
    """Change attributes of a store, all or none of them."""
    location.write(ROOT, _root(read_attributes(location) | dict(changes)))


def is_store(where: str | Path | Location) -> bool:
    """Whether a place is a store that this program made, of whatever version and however unfinished."""
    try:
        _, attributes = _parsed(locate(where))
    except (OSError, ValueError, RecursionError):
        return False
    return "schema_version" in attributes and "plan" in attributes


def write_shard(
    where: str | Path | Location,
    layout: Layout,
    shard: int,
    arrays: dict[str, np.ndarray],
    failures: dict[int, str],
    plan: str,
) -> dict[str, Any]:
    """Write one shard whole and return its manifest entry, also written.

    Args:
        arrays: this shard's rows of every column of ``layout``.
        failures: number in the store and reason of each face that failed.
        plan: of the build that the shard belongs to.

    Raises:
        StoreError: the store is of another build by now.
        OSError: no space, no right to write; the shard then has no entry and is built again on resume.
    """
    location = locate(where)
    # A worker of a cluster outlives the run that it works for, and another run may since have replaced the store. One
    # that does so in the moment of writing finds the entry to be of another plan.
    if read_attributes(location).get("plan") != plan:
        raise StoreError(f"{location}: was replaced by another build while this one was running")
    columns = layout.columns()
    parts = {name: _encode(arrays[name], column, layout.shard_rows(name)) for name, column in columns.items()}
    location.write_all({shard_key(name, columns[name], shard): data for name, data in parts.items()})
    entry = {
        "shard": shard,
        "plan": plan,
        "digests": {name: array_digest(arrays[name]) for name in columns},
        "bytes": {name: len(data) for name, data in parts.items()},
        "failures": {str(face): reason for face, reason in failures.items()},
    }
    location.write(entry_key(shard), json.dumps(sealed(entry), sort_keys=True).encode())
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
