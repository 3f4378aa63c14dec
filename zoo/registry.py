"""A registry for reading: a folder, or any other place of static files that fsspec can open.

Layout: ``index.json``, and ``NAME/VERSION/{weights.safetensors, config.json, card.md}``, which never change.
"""

import datetime as dt
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

from zoo.documents import load_json, parse
from zoo.entry import Entry, FileEntry, Index
from zoo.errors import RegistryError, ZooError
from zoo.storage import check, copy_hashed, hash_bytes, read_up_to

INDEX = "index.json"

# Thousands of entries fit; a hostile index cannot fill the memory.
MAX_INDEX_BYTES = 16 * 2**20
# What `Registry.read` takes into memory; weights are copied to disk instead.
MAX_READ_BYTES = 64 * 2**20

_BUNDLED = Path(__file__).parent / "registry"
_NEVER = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def default_registry() -> str:
    """The registry used where none is named: ``PIFA_REGISTRY``, else the one that ships with the project."""
    return os.environ.get("PIFA_REGISTRY") or str(_BUNDLED)


class Registry:
    """One registry, read only.

    Args:
        url: a folder, ``file://...``, or another fsspec URL (``https://...``, ``s3://...``); None is
            `default_registry()`.

    Attributes:
        url: as given.
        folder: the folder on this machine, or None where the registry is elsewhere.

    Raises:
        RegistryError: a ``file://`` URL that names another machine.
    """

    def __init__(self, url: str | os.PathLike[str] | None = None) -> None:
        self.url = os.fspath(url) if url is not None else default_registry()
        self.folder = _local_folder(self.url)

    def where(self, path: str) -> str:
        """How a file of the registry is named in messages, and opened: folder or URL, then ``path``."""
        return str(self.folder / path) if self.folder is not None else f"{self.url.rstrip('/')}/{path}"

    def index(self) -> Index:
        """Read the index; a folder without one is a registry without entries.

        Raises:
            RegistryError: the registry cannot be reached, or the index is too large or no index.
        """
        if self.folder is not None:
            if not self.folder.is_dir():
                found = "no such folder" if not self.folder.exists() else "something else"
                raise RegistryError(
                    f"{self.folder}: expected a registry's folder, found {found}; correct --registry or PIFA_REGISTRY"
                )
            if not os.path.lexists(self.folder / INDEX):
                return Index(serial=0, updated=_NEVER)
        with self.open(INDEX) as stream:
            data = read_up_to(stream, MAX_INDEX_BYTES + 1)
        return parse_index(data, self.where(INDEX))

    def read(self, entry: Entry, name: str) -> bytes:
        """One small file of an entry (its card, its configuration), checked against size and SHA-256.

        Raises:
            RegistryError: the entry has no such file, it is over 64 MiB, or the registry cannot be read.
            HashError: the file is not what the entry promises.
        """
        expected, where = file_of(entry, name), self.where(path_of(entry, name))
        if expected.size > MAX_READ_BYTES:
            raise RegistryError(
                f"{where}: expected at most {MAX_READ_BYTES} bytes, found {expected.size}; fetch it to disk"
            )
        with self.open(path_of(entry, name)) as stream:
            data = read_up_to(stream, expected.size + 1)
        check(hash_bytes(data), expected, where)
        return data

    def copy(self, entry: Entry, name: str, target: Path) -> None:
        """Copy one file of an entry to the new file ``target``, checked while it is copied.

        On an error ``target`` may hold a part of the file.

        Raises:
            RegistryError: the entry has no such file, or the registry cannot be read.
            HashError: the file is not what the entry promises.
        """
        expected = file_of(entry, name)
        with self.open(path_of(entry, name)) as stream:
            found = copy_hashed(stream, target, expected.size)
        check(found, expected, self.where(path_of(entry, name)))

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """Open a file of the registry by its path below the root; nothing outside the root is opened.

        Raises:
            RegistryError: no such file, or it lies (by a symbolic link) outside the registry, or any other
                fault while it is read.
        """
        where = self.where(path)
        try:
            if self.folder is not None:
                with _inside(self.folder, path).open("rb") as stream:
                    yield stream
            else:
                import fsspec  # 0.15 s, and not needed for folders

                # As one stream: by default fsspec asks for ranges, which simple web servers do not serve.
                options = {"block_size": 0} if where.startswith(("http://", "https://")) else {}
                with fsspec.open(where, "rb", **options) as stream:
                    yield stream
        except ZooError:
            raise
        except FileNotFoundError as error:
            raise RegistryError(
                f"{where}: expected a file, found none; correct --registry, or tell the registry's publisher"
            ) from error
        except Exception as error:
            # fsspec's back ends raise their libraries' own exceptions, which have no common base.
            raise RegistryError(
                f"{where}: expected a readable file, found {type(error).__name__}: {error}; "
                "check the address and the connection"
            ) from error


def path_of(entry: Entry, name: str) -> str:
    """Where an entry's file lies below the registry's root."""
    return f"{entry.name}/{entry.version}/{name}"


def file_of(entry: Entry, name: str) -> FileEntry:
    """What the entry says about its file ``name``.

    Raises:
        RegistryError: the entry has no such file.
    """
    file = entry.file(name)
    if file is None:
        have = ", ".join(file.name for file in entry.files)
        raise RegistryError(f"{entry.label}: expected a file {name!r}, found {have}; ask for one of these")
    return file


def parse_index(data: bytes, where: str) -> Index:
    """Parse ``index.json``.

    Raises:
        RegistryError: over 16 MiB, not JSON, another schema version, or any field at fault.
    """
    if len(data) > MAX_INDEX_BYTES:
        raise RegistryError(
            f"{where}: expected an index of at most {MAX_INDEX_BYTES} bytes, found more; this is no registry of PIFA's"
        )
    document = load_json(data, where, RegistryError)
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != 1:
        newer = isinstance(version, int) and version > 1
        cure = "update pifa" if newer else "this is no registry of PIFA's"
        raise RegistryError(f"{where}: expected schema_version 1, found {'a later one' if newer else 'none'}; {cure}")
    return parse(Index, data, where, RegistryError)


def _local_folder(url: str) -> Path | None:
    if url.startswith("file:"):
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost"):
            raise RegistryError(
                f"registry {url!r}: expected file:///folder, found a file URL of another machine; write three slashes"
            )
        return Path(url2pathname(parts.path))
    return None if "://" in url else Path(url)


def _inside(folder: Path, path: str) -> Path:
    """``folder / path`` with symbolic links followed, if it is a regular file inside ``folder``."""
    resolved = (folder / path).resolve()
    if not resolved.is_relative_to(folder.resolve()):
        raise RegistryError(
            f"{folder / path}: expected a file inside the registry, found a symbolic link out of it; "
            "do not use this registry before its publisher explains that"
        )
    if resolved.exists() and not resolved.is_file():
        raise RegistryError(f"{folder / path}: expected a file, found a folder or a device; this is no registry")
    return resolved
