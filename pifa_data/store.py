"""The store: one Zarr v3 group on disk (layout in ``docs/store.md``), written shard by shard, read by ``pifa train``.

A shard is ``FACES_A_SHARD`` faces with all their copies. One task owns one shard and writes every array's part of it,
then its manifest entry, the mark that the shard is finished; ``complete`` is set last of all. So a killed build is
resumed at the first shard without an entry, and nothing half-written is ever taken for data.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from pifa_data.errors import StoreError
from pifa_data.morphable.model import MorphableModel

SCHEMA_VERSION = 2
FACES_A_SHARD = 128
CHUNK = 64
TEXTS = ("id", "path", "subject", "split", "subsets", "scheme", "kind")
"""Text columns of the face table, kept as zero-padded UTF-8 bytes (F, W): Zarr v3 has no settled string type yet."""

_MANIFEST = "manifest"
_MORPHABLE = "morphable.safetensors"


@dataclass(frozen=True)
class Layout:
    """Sizes of a store, known before the first row is written."""

    faces: int
    copies: int
    size: int
    points: int
    params: int
    text_widths: dict[str, int]

    @property
    def shards(self) -> int:
        return -(-self.faces // FACES_A_SHARD)

    def face_range(self, shard: int) -> slice:
        return slice(shard * FACES_A_SHARD, min((shard + 1) * FACES_A_SHARD, self.faces))

    def row_range(self, shard: int) -> slice:
        faces = self.face_range(shard)
        return slice(faces.start * self.copies, faces.stop * self.copies)

    def crop_arrays(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape of one row and type of each array."""
        return {
            "images": ((self.size, self.size, 3), "uint8"),
            "params": ((self.params,), "float32"),
            "landmarks": ((self.points, 2), "float32"),
            "visibility": ((self.points,), "uint8"),
            "boxes": ((4,), "float32"),
            "valid": ((), "bool"),
            "source": ((), "int64"),
            "copy": ((), "int16"),
        }

    def face_arrays(self) -> dict[str, tuple[tuple[int, ...], str]]:
        numbers: dict[str, tuple[tuple[int, ...], str]] = {
            "box": ((4,), "float32"),
            "dataset_box": ((4,), "float32"),
            "dataset_pose": ((3,), "float32"),
            "landmarks": ((self.points, 2), "float32"),
            "visibility": ((self.points,), "uint8"),
            "params": ((self.params,), "float32"),
            "params_mirrored": ((self.params,), "float32"),
            "fit_nme": ((), "float32"),
            "fit_nme_mirrored": ((), "float32"),
            "pose": ((3,), "float32"),
            "valid": ((), "bool"),
        }
        return numbers | {name: ((width,), "uint8") for name, width in self.text_widths.items()}


def create_store(path: Path, layout: Layout, attributes: dict[str, Any], model: MorphableModel) -> None:
    """Make the empty arrays of a new store; ``complete`` is false.

    Raises:
        StoreError: something is there already.
    """
    if path.exists():
        raise StoreError(f"{path}: exists already; give --resume to finish it or --overwrite to replace it")
    # Made under another name and moved, so that a store either has all its arrays or is not there.
    new = path.with_name(f".{path.name}.new")
    if new.exists():
        shutil.rmtree(new)
    new.parent.mkdir(parents=True, exist_ok=True)
    group = zarr.create_group(new, zarr_format=3)
    compressor = BloscCodec(cname="zstd", clevel=1)
    shard_rows = FACES_A_SHARD * layout.copies
    for name, (shape, dtype) in layout.crop_arrays().items():
        group.create_array(
            name,
            shape=(layout.faces * layout.copies, *shape),
            dtype=dtype,
            chunks=(math.gcd(CHUNK, shard_rows), *shape),
            shards=(shard_rows, *shape),
            compressors=compressor,
            # Comparing every chunk with the fill value first made writing several times slower.
            config={"write_empty_chunks": True},
        )
    table = group.create_group("faces")
    for name, (shape, dtype) in layout.face_arrays().items():
        table.create_array(
            name,
            shape=(layout.faces, *shape),
            dtype=dtype,
            chunks=(FACES_A_SHARD, *shape),
            compressors=compressor,
            config={"write_empty_chunks": True},
        )
    (new / _MANIFEST).mkdir()
    model.save(new / _MORPHABLE)
    group.attrs.update({**attributes, "schema_version": SCHEMA_VERSION, "complete": False})
    new.rename(path)


def is_store(path: Path) -> bool:
    """Whether a folder is a store that this program made, of whatever version and however unfinished."""
    try:
        attributes = zarr.open_group(path, mode="r", zarr_format=3).attrs
    except (FileNotFoundError, ValueError, KeyError, OSError):
        return False
    return "schema_version" in attributes and "plan" in attributes


def write_shard(
    path: Path,
    layout: Layout,
    shard: int,
    crops: dict[str, np.ndarray],
    faces: dict[str, np.ndarray],
    failures: dict[int, str],
) -> dict[str, Any]:
    """Write one shard whole and return its manifest entry, also written.

    Args:
        crops, faces: arrays as ``Layout`` names them, this shard's rows.
        failures: number in the store and reason of each face that failed.

    Raises:
        OSError: no space, no right to write; the shard then has no entry and is built again on resume.
    """
    # Opened array by array, never through the group's listing: other tasks are writing beside this one.
    mode: Any = "r+"
    digests = {}
    for prefix, arrays, where in (
        ("", crops, layout.row_range(shard)),
        ("faces/", faces, layout.face_range(shard)),
    ):
        for name, array in arrays.items():
            target = zarr.open_array(path / prefix / name, mode=mode, config={"write_empty_chunks": True})
            # Zarr reads a shard before it replaces it, and fails on one that a crash of the machine left torn.
            _remove(path / prefix / name / "c" / str(shard))
            target[where] = array
            digests[prefix + name] = array_digest(array)
    entry = {"shard": shard, "digests": digests, "failures": {str(k): v for k, v in failures.items()}}
    final = path / _MANIFEST / f"{shard:06d}.json"
    partial = final.with_suffix(".partial")
    partial.write_text(json.dumps(entry, sort_keys=True), encoding="utf-8")
    partial.replace(final)
    return entry


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def array_digest(array: np.ndarray) -> str:
    """SHA-256 of an array's shape, type and little-endian bytes."""
    array = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{array.shape} {array.dtype.newbyteorder('<').str}\n".encode())
    digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
    return digest.hexdigest()


def read_manifest(path: Path) -> dict[int, dict[str, Any]]:
    """Entries of the finished shards."""
    entries = {}
    for file in sorted((path / _MANIFEST).glob("*.json")):
        entry = json.loads(file.read_text(encoding="utf-8"))
        entries[int(entry["shard"])] = entry
    return entries


def store_digest(entries: dict[int, dict[str, Any]]) -> str:
    """One SHA-256 over the decoded arrays of all shards, in their order: equal for equal builds."""
    digest = hashlib.sha256()
    for shard in sorted(entries):
        for name, value in sorted(entries[shard]["digests"].items()):
            digest.update(f"{shard} {name} {value}\n".encode())
    return digest.hexdigest()


def sweep(path: Path) -> None:
    """Remove what a killed write left behind."""
    for leftover in path.rglob("*.partial"):
        leftover.unlink(missing_ok=True)


def encode_text(values: list[str], width: int) -> np.ndarray:
    """Text column: ``(F, width)`` uint8, UTF-8, zero-padded."""
    rows = [value.encode().ljust(width, b"\0") for value in values]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(values), width)


def decode_text(column: np.ndarray) -> list[str]:
    """The inverse of ``encode_text``."""
    return [bytes(row).rstrip(b"\0").decode() for row in column]


class Store:
    """A store opened for reading."""

    def __init__(self, path: Path, *, unfinished: bool = False) -> None:
        """Open a store.

        Raises:
            StoreError: not a store, of another schema version, or (unless ``unfinished``) not complete.
        """
        self.path = Path(path)
        try:
            self._group = zarr.open_group(self.path, mode="r", zarr_format=3)
        except (FileNotFoundError, ValueError, KeyError, json.JSONDecodeError) as error:
            raise StoreError(f"{path}: not a store made by `pifa prep` ({type(error).__name__})") from error
        self.attributes: dict[str, Any] = dict(self._group.attrs)
        version = self.attributes.get("schema_version")
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{path}: expected a store of schema version {SCHEMA_VERSION}, found {version}; make it again with "
                "`pifa prep`"
            )
        if not unfinished and not self.attributes.get("complete"):
            raise StoreError(f"{path}: the build is not finished; run the same `pifa prep` with --resume")

    def array(self, name: str) -> zarr.Array:
        """One array by name, as ``images`` or ``faces/pose``."""
        found = self._group.get(name)
        if not isinstance(found, zarr.Array):
            raise StoreError(f"{self.path}: the array {name!r} is missing; build the store again")
        return found

    def read(self, name: str) -> np.ndarray:
        """A whole array in memory; for everything but the images."""
        return np.asarray(self.array(name)[:])

    def text(self, name: str) -> list[str]:
        """One text column of the face table."""
        return decode_text(self.read(f"faces/{name}"))

    @cached_property
    def layout(self) -> Layout:
        config = self.attributes["config"]
        faces, points = self.array("faces/landmarks").shape[:2]
        return Layout(
            faces=faces,
            copies=config["copies"],
            size=config["size"],
            points=points,
            params=self.array("params").shape[1],
            text_widths={name: self.array(f"faces/{name}").shape[1] for name in TEXTS},
        )

    @cached_property
    def model(self) -> MorphableModel:
        """The morphable model that the faces were fitted with, kept in the store.

        Raises:
            StoreError: the model's file is not the one the store was built with.
        """
        model = MorphableModel.load(self.path / _MORPHABLE)
        expected = self.attributes["morphable"]["fingerprint"]
        if model.fingerprint != expected:
            raise StoreError(
                f"{self.path}: expected the morphable model {expected}, found {model.fingerprint} in {_MORPHABLE}"
            )
        return model

    def verify(self) -> Iterator[str]:
        """Read every shard and compare it with the manifest; yields one line a problem."""
        entries = read_manifest(self.path)
        for shard in range(self.layout.shards):
            if shard not in entries:
                yield f"shard {shard}: not built"
                continue
            for name, expected in entries[shard]["digests"].items():
                where = self.layout.face_range(shard) if name.startswith("faces/") else self.layout.row_range(shard)
                try:
                    found = array_digest(np.asarray(self.array(name)[where]))
                except (StoreError, ValueError, OSError, RuntimeError) as error:
                    yield f"shard {shard}, {name}: can't be read ({error})"
                    continue
                if found != expected:
                    yield f"shard {shard}, {name}: expected SHA-256 {expected[:12]}…, found {found[:12]}…"
        if self.attributes.get("complete") and store_digest(entries) != self.attributes.get("digest"):
            yield "the manifest does not give the digest in the store's attributes"
