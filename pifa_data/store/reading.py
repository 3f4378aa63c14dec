"""A store opened for reading, and its whole examination."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from pifa_data.errors import StoreError
from pifa_data.faces import Skipped
from pifa_data.morphable.model import MorphableModel
from pifa_data.store.layout import Layout
from pifa_data.store.location import Location, locate
from pifa_data.store.manifest import array_digest, read_manifest, store_digest
from pifa_data.store.writing import MORPHABLE, ROOT, SKIPPED, damaged_files, is_undamaged, read_attributes, shard_key


def encode_text(values: list[str], width: int) -> np.ndarray:
    """Text column: ``(F, width)`` uint8, UTF-8, zero-padded."""
    rows = [value.encode().ljust(width, b"\0") for value in values]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(values), width)


def decode_text(column: np.ndarray) -> list[str]:
    """The inverse of ``encode_text``."""
    return [bytes(row).rstrip(b"\0").decode() for row in column]


@dataclass(frozen=True)
class Problem:
    """Something wrong with a store.

    Attributes:
        text: one line.
        shard: the shard that has to be built again, if it is one's.
        key: the key whose bytes are not what they were, if it is of no shard.
    """

    text: str
    shard: int | None = None
    key: str | None = None

    def __str__(self) -> str:
        return self.text


class Store:
    """A store opened for reading."""

    def __init__(self, where: str | Path | Location, *, unfinished: bool = False) -> None:
        """Open a store and, unless ``unfinished``, check that every file is there and as long as it was written.

        Raises:
            StoreError: not a store, of another schema version, or (unless ``unfinished``) not complete or damaged.
        """
        self.location = locate(where)
        self._arrays: dict[str, zarr.Array] = {}
        try:
            self.attributes = read_attributes(self.location)
        except StoreError:
            raise
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreError(f"{where}: not a store made by `pifa prep`: there is no {ROOT}") from error
        except OSError as error:
            raise StoreError(f"{where}: can't be read ({error})") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StoreError(
                f"{where}: not a store made by `pifa prep`, or its {ROOT} is damaged ({error}), which the same "
                "`pifa prep` with --resume mends"
            ) from error
        if not unfinished:
            if not self.attributes.get("complete"):
                raise StoreError(f"{where}: the build is not finished; run the same `pifa prep` with --resume")
            self.check_files()

    def check_files(self) -> None:
        """Check that every shard is built and every file as long as it was written.

        Raises:
            StoreError: names the first that is not.
        """
        for problem in self.missing().values():
            where = self.location
            raise StoreError(f"{where}: is damaged: {problem}; mend it with `pifa store repair {where}`")

    @cached_property
    def layout(self) -> Layout:
        """The sizes that the store was begun with.

        Raises:
            StoreError: the attributes are damaged.
        """
        try:
            return Layout(**self.attributes["layout"])
        except TypeError as error:
            raise StoreError(f"{self.location}: the attributes are damaged ({error}); make the store again") from error

    @cached_property
    def entries(self) -> dict[int, dict[str, Any]]:
        """The manifest's entries that can be read, as they were when first asked for."""
        return read_manifest(self.location, self.layout, self.attributes["plan"])[0]

    @cached_property
    def model(self) -> MorphableModel:
        """The morphable model that the faces were fitted with, kept in the store.

        Raises:
            StoreError: the model's file is not the one the store was built with.
        """
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / MORPHABLE
                path.write_bytes(self.location.read(MORPHABLE))
                model = MorphableModel.load(path)
        except (OSError, ValueError) as error:
            where = self.location
            raise StoreError(
                f"{where}: {MORPHABLE} can't be read ({error}); mend it with `pifa store repair {where}`"
            ) from error
        expected = self.attributes["morphable"]["fingerprint"]
        if model.fingerprint != expected:
            raise StoreError(
                f"{self.location}: expected the morphable model {expected}, found {model.fingerprint} in {MORPHABLE}"
            )
        return model

    def array(self, name: str) -> zarr.Array:
        """One array by name, as ``images`` or ``faces/pose``.

        Raises:
            StoreError: its metadata is missing or damaged, and could tell Zarr to read anything.
        """
        if name not in self._arrays:
            if not is_undamaged(self.location, self.attributes, f"{name}/{ROOT}"):
                raise StoreError(
                    f"{self.location}: the array {name!r} is missing or its metadata damaged; mend it with "
                    f"`pifa store repair {self.location}`"
                )
            self._arrays[name] = zarr.open_array(self.location.zarr(), path=name, mode="r", zarr_format=3)
        return self._arrays[name]

    def read(self, name: str, rows: slice | None = None) -> np.ndarray:
        """Rows of an array in memory, or all.

        Raises:
            StoreError: it can't be read; the message names the array, the shard and the cure.
        """
        with self.reading(name, rows):
            return np.asarray(self.array(name)[slice(None) if rows is None else rows])

    @contextmanager
    def reading(self, name: str, rows: slice | None = None) -> Iterator[None]:
        """What Zarr raises for a damaged chunk of an array, as a ``StoreError``."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # codecs and object stores have errors of their own
            which = "" if rows is None else f", shard {rows.start // self.layout.shard_rows(name)}"
            raise StoreError(
                f"{self.location}: {name}{which}: can't be read ({str(error) or type(error).__name__}); see "
                f"`pifa store verify {self.location}`, mend it with `pifa store repair {self.location}`"
            ) from error

    def text(self, name: str, rows: slice | None = None) -> list[str]:
        """One text column of the face table, or rows of it."""
        return decode_text(self.read(f"faces/{name}", rows))

    def skipped(self) -> list[Skipped]:
        """Faces without valid rows: those that never entered the store, then those that failed while it was built.

        Raises:
            StoreError: the list is damaged.
        """
        try:
            first = [Skipped(face, reason) for face, reason in json.loads(self.location.read(SKIPPED))]
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(f"{self.location}: {SKIPPED} can't be read ({error})") from error
        failed = {int(face): reason for entry in self.entries.values() for face, reason in entry["failures"].items()}
        if not failed:
            return first
        names: dict[int, str] = {}
        for shard in sorted({face // self.layout.shard_faces for face in failed}):
            rows = self.layout.face_range(shard)
            names.update(zip(range(rows.start, rows.stop), self.text("id", rows), strict=True))
        return first + [Skipped(names[face], failed[face]) for face in sorted(failed)]

    def missing(self) -> dict[int, str]:
        """Shards that are not built, or have a file that is missing or not as long as it was written, and why."""
        sizes = self.location.sizes()
        entries, problems = read_manifest(self.location, self.layout, self.attributes["plan"])
        columns = self.layout.columns()
        found = {}
        for shard in range(self.layout.shards):
            if shard not in entries:
                found[shard] = f"shard {shard}: {problems.get(shard, 'not built')}"
                continue
            for name, expected in entries[shard]["bytes"].items():
                size = sizes.get(shard_key(name, columns[name], shard))
                if size != expected:
                    what = "missing" if size is None else f"{size} bytes"
                    found[shard] = f"shard {shard}, {name}: expected {expected} bytes, found {what}"
                    break
        return found

    def verify(self, advance: Callable[[int], None] = lambda _: None) -> Iterator[Problem]:
        """Read everything and compare it with the manifest; ``advance`` is called after each shard."""
        for key in damaged_files(self.location):
            yield Problem(f"{key}: missing or damaged", key=key)
        missing = self.missing()
        for shard in range(self.layout.shards):
            if shard in missing:
                yield Problem(missing[shard], shard)
            else:
                yield from (Problem(text, shard) for text in self._damage(shard))
            advance(1)
        if not self.attributes.get("complete"):
            yield Problem("the build is not finished")
        elif not missing and store_digest(self.entries) != self.attributes.get("digest"):
            yield Problem("the manifest does not give the digest in the store's attributes")

    def _damage(self, shard: int) -> Iterator[str]:
        """Read one shard that has an entry and compare it; yields one line a problem."""
        for name, expected in self.entries[shard]["digests"].items():
            try:
                found = array_digest(self.read(name, self.layout.rows_of(name, shard)))
            except StoreError as error:
                yield f"shard {shard}, {name}: can't be read ({error.__cause__ or error})"
                continue
            if found != expected:
                yield f"shard {shard}, {name}: expected SHA-256 {expected[:12]}…, found {found[:12]}…"
