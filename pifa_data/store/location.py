"""Where a store lives: a folder on disk, or a prefix of an object store (``s3://bucket/prefix``).

Both are a flat set of keys, as ``images/c/0/0/0/0``, each written whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import filelock
from zarr.storage import LocalStore, ObjectStore, StoreLike, StorePath

from pifa_data.buckets import ONE_PART, SMALL_AT_ONCE, ahead, open_bucket, plain_errors
from pifa_data.errors import PifaError, StoreError
from pifa_data.urls import is_url

PARTIAL = ".partial"
"""How the name of a file ends that is being written."""


PAGE = 1000
"""Names that a server gives at a time."""

LOCK = ".lock"
"""File that is locked while a run writes; it may stay behind."""


class Location(ABC):
    """A set of keys and the bytes of each. ``str()`` gives it as the user named it.

    Attributes:
        remote: reading takes so long that several should be under way together.
    """

    remote = False

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
            OSError: no right to read, no connection.
        """

    def read_all(self, keys: Iterable[str]) -> dict[str, bytes | OSError]:
        """The bytes of those of the keys that are there, or why one can't be read."""
        found: dict[str, bytes | OSError] = {}
        for key in keys:
            try:
                found[key] = self.read(key)
            except FileNotFoundError:
                continue
            except OSError as error:
                found[key] = error
        return found

    @abstractmethod
    def write(self, key: str, data: bytes | memoryview) -> None:
        """Set a key, whole or not at all; who reads it meanwhile gets the old bytes or the new.

        Raises:
            OSError: no space, no right to write, no connection.
        """

    def write_all(self, files: Mapping[str, bytes | memoryview]) -> None:
        """Set many keys, in no order."""
        for key, data in files.items():
            self.write(key, data)

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove a key; nothing happens if there is none."""

    @abstractmethod
    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Bytes of every key under a prefix (a folder, or everything)."""

    @abstractmethod
    def create(self, files: Mapping[str, bytes], mark: str, *, replace: bool = False) -> None:
        """Write the first keys of a place, which has to be empty unless ``replace``.

        Whenever this is killed, ``mark`` is there, or nothing, or what there was before. The other keys may be missing.

        Raises:
            StoreError: something is there; another run makes this place.
            OSError: as of ``write``.
        """

    @abstractmethod
    def sweep(self) -> None:
        """Remove what killed runs left behind. Only while nobody writes."""

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other runs off while this one writes. Not in object stores, which have no locks.

        Raises:
            StoreError: another run is at it.
            OSError: no space, no right to write.
        """
        yield

    @abstractmethod
    def zarr(self, *, read_only: bool = True) -> StoreLike:
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
            try:
                partial.replace(final)
            except IsADirectoryError:  # damage: nothing that this program makes
                shutil.rmtree(final)
                partial.replace(final)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def delete(self, key: str) -> None:
        _remove(self.path / key)

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
                            continue
                        with suppress(FileNotFoundError):  # moved to its place since it was listed
                            found[entry.path[start:].replace(os.sep, "/")] = entry.stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                continue
        return found

    def create(self, files: Mapping[str, bytes], mark: str, *, replace: bool = False) -> None:
        # Made under another name and moved, so that a store either has all its arrays or is not there.
        new, old, final = self._beside("new"), self._beside("old"), self.path.resolve()
        if replace and Path.cwd().is_relative_to(final):
            raise StoreError(f"{self}: can't be replaced from within itself; run this in another folder")
        new.path.mkdir(parents=True, exist_ok=True)
        with new.claimed():
            _remove(old.path)
            for leftover in new.path.iterdir():
                if leftover.name != LOCK:
                    _remove(leftover)
            for key, data in files.items():
                new.write(key, data)
            if replace and self.exists():
                final.rename(old.path)
            try:
                new.path.rename(final)
            except OSError:
                if self.exists():
                    raise StoreError(f"{self}: another `pifa prep` has just made a store there") from None
                raise
        _remove(old.path)

    def _beside(self, what: str) -> Folder:
        """A hidden folder in the same place, that a run makes on the way and a later one removes."""
        path = self.path.resolve()  # a link to a store on a large disk stays one to it
        return Folder(path.with_name(f".{path.name}.{what}"))

    def sweep(self) -> None:
        for key in self.sizes():
            if key.endswith(PARTIAL):
                self.delete(key)
        for left in ("new", "old"):
            _remove(self._beside(left).path)

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

    def zarr(self, *, read_only: bool = True) -> StoreLike:
        return LocalStore(self.path, read_only=read_only)

    @property
    def whole_name(self) -> str:
        return str(self.path.resolve())


class Bucket(Location):
    """A prefix of an object store; each object is put whole."""

    remote = True

    def __init__(self, url: str) -> None:
        super().__init__(url.rstrip("/"))
        self._client, self._root = open_bucket(url)

    def _key(self, key: str) -> str:
        return f"{self._root}/{key}".strip("/")

    def exists(self) -> bool:
        with plain_errors(self.name):
            return any(map(len, islice(self._client.list(self._root), 1)))

    def read(self, key: str) -> bytes:
        with plain_errors(f"{self.name}/{key}"):
            return bytes(self._client.get(self._key(key)).bytes())

    def read_all(self, keys: Iterable[str]) -> dict[str, bytes | OSError]:
        keys = list(keys)
        found = dict(zip(keys, ahead(self._read_if_there, keys, SMALL_AT_ONCE), strict=True))
        return {key: data for key, data in found.items() if data is not None}

    def _read_if_there(self, key: str) -> bytes | None:
        try:
            return self.read(key)
        except FileNotFoundError:
            return None

    def write(self, key: str, data: bytes | memoryview) -> None:
        with plain_errors(f"{self.name}/{key}"):
            self._client.put(self._key(key), data, chunk_size=ONE_PART)

    def write_all(self, files: Mapping[str, bytes | memoryview]) -> None:
        for _ in ahead(lambda key: self.write(key, files[key]), files):
            pass

    def delete(self, key: str) -> None:
        with suppress(FileNotFoundError), plain_errors(f"{self.name}/{key}"):
            self._client.delete(self._key(key))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        with plain_errors(self.name):
            found: list[Any] = next(iter(self._client.list(self._key(prefix), chunk_size=PAGE)), [])
            if len(found) == PAGE:  # one page comes after the other; those of an array's folder beside another's
                found, folders = self._list_folder(self._key(prefix))
                inner: list[str] = []
                for objects, below in ahead(self._list_folder, folders):
                    found += objects
                    inner += below
                for objects in ahead(self._list, inner):
                    found += objects
        start = len(self._root) + 1 if self._root else 0
        return {about["path"][start:]: int(about["size"]) for about in found}

    def _list(self, folder: str) -> list[Any]:
        return [about for page in self._client.list(folder, chunk_size=PAGE) for about in page]

    def _list_folder(self, folder: str) -> tuple[list[Any], list[str]]:
        """The objects directly in a folder, and the folders."""
        listed = self._client.list_with_delimiter(folder)
        return list(listed["objects"]), list(listed["common_prefixes"])

    def create(self, files: Mapping[str, bytes], mark: str, *, replace: bool = False) -> None:
        # The mark comes first and goes last: what else is there belongs to a store then, and is put right on resume.
        if replace:
            with plain_errors(self.name):
                self._client.delete([self._key(key) for key in self.sizes() if key != mark])
        self.write(mark, files[mark])
        self.write_all({key: data for key, data in files.items() if key != mark})

    def sweep(self) -> None:
        return  # an object is there whole or not at all

    def zarr(self, *, read_only: bool = True) -> StoreLike:
        return StorePath(ObjectStore(self._client, read_only=read_only), self._root)

    @property
    def whole_name(self) -> str:
        return self.name


def locate(where: str | Path | Location) -> Location:
    """The place that a path or URL names.

    Raises:
        PifaError: the URL's kind is not known, or needs a package that is not installed.
        OSError: no credentials, no connection, no such bucket.
    """
    if isinstance(where, Location):
        return where
    if isinstance(where, Path) and where.parts[:1] == ("s3:",):
        raise PifaError(f"{where}: a Path keeps one slash of two; give the URL as text")
    return Bucket(str(where)) if is_url(where) else Folder(Path(where))


def _remove(path: Path) -> None:
    """Remove a file, a folder and all in it, or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
