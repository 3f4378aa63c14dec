"""Where a store lives: a folder on disk, or a prefix of an object store (``s3://bucket/prefix``).

Both are a flat set of keys, as ``images/c/0/0/0/0``, each written whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import filelock
import zarr
from zarr.abc.store import Store as ZarrStore

from pifa_data.errors import PifaError, StoreError
from pifa_data.urls import UNCACHED, is_url, open_url

PARTIAL = ".partial"
"""How the name of a file ends that is being written."""


LOCK = ".lock"
"""File that is locked while a run writes; it may stay behind."""


class Location(ABC):
    """A set of keys and the bytes of each. ``str()`` gives it as the user named it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name

    @abstractmethod
    def exists(self) -> bool:
        """Whether anything is there."""

    @abstractmethod
    def read(self, key: str) -> bytes:
        """The bytes of a key.

        Raises:
            FileNotFoundError: there is no such key.
        """

    @abstractmethod
    def write(self, key: str, data: bytes | memoryview) -> None:
        """Set a key, whole or not at all; who reads it meanwhile gets the old bytes or the new.

        Raises:
            OSError: no space, no right to write, no connection.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove a key; nothing happens if there is none."""

    @abstractmethod
    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Bytes of every key under a prefix (a folder, or everything)."""

    @abstractmethod
    def create(self, files: Mapping[str, bytes], mark: str) -> None:
        """Write the first keys of an empty place. Without ``mark``, which comes last, none of them counts."""

    @abstractmethod
    def sweep(self) -> None:
        """Remove what killed writes left behind. Only while nobody writes."""

    @abstractmethod
    def clear(self) -> None:
        """Remove everything."""

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other runs off while this one writes. Not in object stores, which have no locks.

        Raises:
            StoreError: another run is at it.
        """
        yield

    @abstractmethod
    def zarr(self, *, read_only: bool = True) -> ZarrStore:
        """The same place as Zarr wants it."""

    @property
    @abstractmethod
    def whole_name(self) -> str:
        """The name that means this place in another folder, and on another machine that shares it."""


class Folder(Location):
    """A folder on disk."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path

    def exists(self) -> bool:
        return self.path.exists()

    def read(self, key: str) -> bytes:
        return (self.path / key).read_bytes()

    def write(self, key: str, data: bytes | memoryview) -> None:
        final = self.path / key
        final.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: a worker that outlived a killed run may be writing the same bytes beside this one.
        partial = final.with_name(f"{final.name}.{uuid.uuid4().hex}{PARTIAL}")
        try:
            partial.write_bytes(data)
            partial.replace(final)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def delete(self, key: str) -> None:
        (self.path / key).unlink(missing_ok=True)

    def sizes(self, prefix: str = "") -> dict[str, int]:
        found: dict[str, int] = {}
        folders = [str(self.path / prefix)]
        start = len(str(self.path)) + 1
        while folders:  # os.scandir, since Path.rglob takes five times as long
            try:
                with os.scandir(folders.pop()) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        else:
                            found[entry.path[start:].replace(os.sep, "/")] = entry.stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                continue
        return found

    def create(self, files: Mapping[str, bytes], mark: str) -> None:
        # Made under another name and moved, so that a store either has all its arrays or is not there.
        new = Folder(self.path.with_name(f".{self.path.name}.new"))
        new.clear()
        new.path.mkdir(parents=True)
        for key, data in files.items():
            new.write(key, data)
        new.path.rename(self.path)

    def sweep(self) -> None:
        for key in self.sizes():
            if key.endswith(PARTIAL):
                self.delete(key)

    def clear(self) -> None:
        if self.path.exists():
            shutil.rmtree(self.path)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        lock = filelock.FileLock(self.path / LOCK, timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise StoreError(f"{self}: another `pifa prep` or `pifa store repair` is at work on it") from None
        try:
            yield
        finally:
            lock.release()

    def zarr(self, *, read_only: bool = True) -> ZarrStore:
        return zarr.storage.LocalStore(self.path, read_only=read_only)

    @property
    def whole_name(self) -> str:
        return str(self.path.resolve())


class Bucket(Location):
    """A prefix of an object store that fsspec knows; each object is put whole."""

    def __init__(self, url: str) -> None:
        super().__init__(url.rstrip("/"))
        with _plain_errors(url):
            self._fs, self._root = open_url(self.name)

    def exists(self) -> bool:
        with _plain_errors(self.name):
            return bool(self._fs.exists(self._root))

    def read(self, key: str) -> bytes:
        with _plain_errors(self.name):
            return bytes(self._fs.cat_file(f"{self._root}/{key}"))

    def write(self, key: str, data: bytes | memoryview) -> None:
        with _plain_errors(self.name):
            self._fs.pipe_file(f"{self._root}/{key}", bytes(data))

    def delete(self, key: str) -> None:
        with _plain_errors(self.name):
            try:
                self._fs.rm_file(f"{self._root}/{key}")
            except FileNotFoundError:
                return

    def sizes(self, prefix: str = "") -> dict[str, int]:
        with _plain_errors(self.name):
            found = self._fs.find(f"{self._root}/{prefix}".rstrip("/"), detail=True)
        start = len(self._root) + 1
        return {name[start:]: int(about["size"]) for name, about in found.items()}

    def create(self, files: Mapping[str, bytes], mark: str) -> None:
        for key in sorted(files, key=lambda key: key == mark):
            self.write(key, files[key])

    def sweep(self) -> None:
        return  # an object is there whole or not at all

    def clear(self) -> None:
        with _plain_errors(self.name):
            if self._fs.exists(self._root):
                self._fs.rm(self._root, recursive=True)

    def zarr(self, *, read_only: bool = True) -> ZarrStore:
        with _plain_errors(self.name):
            return zarr.storage.FsspecStore.from_url(self.name, read_only=read_only, storage_options=UNCACHED)

    @property
    def whole_name(self) -> str:
        return self.name


def locate(where: str | Path | Location) -> Location:
    """The place that a path or URL names.

    Raises:
        PifaError: the URL's kind is not known, or needs a package that is not installed.
    """
    if isinstance(where, Location):
        return where
    return Bucket(str(where)) if is_url(where) else Folder(Path(where))


@contextmanager
def _plain_errors(name: str) -> Iterator[None]:
    """What the object store's client raises (no credentials, no connection, …) as an ``OSError`` that names the URL."""
    try:
        yield
    except (OSError, PifaError):
        raise
    except Exception as error:  # botocore's errors have a base of their own, which only the [s3] extra brings
        raise OSError(f"{name}: {type(error).__name__}: {error}") from error
