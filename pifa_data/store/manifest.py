"""The manifest: one JSON file a finished shard, with what its arrays are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from pifa_data.store.layout import Layout
from pifa_data.store.location import Location
from pifa_data.store.sealing import unsealed

MANIFEST = "manifest"


def entry_key(shard: int) -> str:
    """The key of a shard's entry."""
    return f"{MANIFEST}/{shard:06d}.json"


def array_digest(array: np.ndarray) -> str:
    """SHA-256 of an array's shape, type and little-endian bytes."""
    array = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{array.shape} {array.dtype.newbyteorder('<').str}\n".encode())
    digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
    return digest.hexdigest()


def store_digest(entries: Mapping[int, Mapping[str, Any]]) -> str:
    """One SHA-256 over the decoded arrays of all shards, in their order: equal for equal builds."""
    digest = hashlib.sha256()
    for shard in sorted(entries):
        for name, value in sorted(entries[shard]["digests"].items()):
            digest.update(f"{shard} {name} {value}\n".encode())
    return digest.hexdigest()


def read_manifest(location: Location, layout: Layout, plan: str) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """The entries of the finished shards, and what is wrong with the others that have one."""
    entries, problems = {}, {}
    columns = set(layout.columns())
    numbers = {}
    for key in location.sizes(MANIFEST):
        number = key.removeprefix(f"{MANIFEST}/").removesuffix(".json")
        if key.endswith(".json") and number.isascii() and number.isdigit():
            numbers[key] = int(number)
    for key, data in location.read_all(numbers).items():
        try:
            if isinstance(data, OSError):
                raise data
            entries[numbers[key]] = _parse(data, numbers[key], columns, plan)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            problems[numbers[key]] = f"the manifest's entry {key} is damaged ({error})"
    return dict(sorted(entries.items())), problems


def _parse(data: bytes, shard: int, columns: set[str], plan: str) -> dict[str, Any]:
    entry = unsealed(json.loads(data))
    if entry["shard"] != shard or entry["digests"].keys() != columns or entry["bytes"].keys() != columns:
        raise ValueError("expected this shard's number and every array")
    if entry["plan"] != plan:
        raise ValueError("it is of another build")
    return entry
