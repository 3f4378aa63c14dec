"""A registry in a folder on this machine, or on a disk that several share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import urlsplit

from zoo.backends.base import Opened
from zoo.entry import INDEX, MAX_INDEX_BYTES, FileEntry
from zoo.errors import MissingFileError, PublishError, RegistryError
from zoo.storage import (
    hash_bytes,
    hash_file,
    locked,
    read_up_to,
    sync_folder,
    temporary_path,
    unique_name,
    working_folder,
    write_new,
    write_once,
    writing,
)

LOCK = ".index.lock"
LOCK_SECONDS = 60.0


class FolderBackend:
    """A folder.

    Args:
        url: a path, or ``file:///path``.

    Raises:
        RegistryError: a ``file://`` URL that names another machine.
    """

    folder: Path

    def __init__(self, url: str) -> None:
        self.url = url
        self.folder = _path_of(url)

    def where(self, path: str) -> str:
        return str(self.folder / path)

    def exists(self) -> bool:
        if not self.folder.is_dir():
            found = "something else" if self.folder.exists() else "no such folder"
            raise RegistryError(
                f"{self.folder}: expected a registry's folder, found {found}; correct --registry or PIFA_REGISTRY"
            )
        return True

    @contextmanager
    def open(self, path: str, start: int = 0) -> Iterator[Opened]:
        """See `Backend.open`; nothing outside the folder is opened, whatever links it has."""
        where = self.where(path)
        with _plain_errors(where):
            stream = _inside(self.folder, path).open("rb")
        with stream:
            with _plain_errors(where):
                stream.seek(start)
                size = os.fstat(stream.fileno()).st_size
            yield Opened(cast(BinaryIO, _File(stream, where)), start, size)

    def prepare(self) -> None:
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def new_folder(self) -> AbstractContextManager[Path]:
        """Hidden and in the registry, so that one rename moves it to its place."""
        return working_folder(self.folder / unique_name(".publish-"))

    def put_version(self, made: Path, path: str, files: Sequence[FileEntry]) -> None:
        target = self.folder / path
        if not target.resolve().is_relative_to(self.folder.resolve()):
            raise PublishError(
                f"{target}: expected a folder inside the registry, found a link out of it; remove the link"
            )
        with writing(target):
            target.parent.mkdir(exist_ok=True)
            sync_folder(made)
            try:
                made.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
                _compare(target, files)
            sync_folder(target.parent)
            sync_folder(self.folder)

    def put_file(self, path: str, data: bytes) -> None:
        target = self.folder / path
        with writing(target):
            target.parent.mkdir(exist_ok=True)
            _inside(self.folder, path)
        write_once(target, data)

    @contextmanager
    def turn(self) -> Iterator[None]:
        with locked(self.folder / LOCK, LOCK_SECONDS):
            yield

    def read_indexes(self) -> tuple[list[bytes], str | None]:
        if not os.path.lexists(self.folder / INDEX):
            return [], None
        with self.open(INDEX) as opened:
            data = read_up_to(opened.stream, MAX_INDEX_BYTES + 1)
        return [data], hash_bytes(data).sha256

    def swap_index(self, data: bytes, tag: str | None) -> bool:
        """The lock keeps writers apart; the tag is for file systems that ignore locks (some NFS)."""
        with temporary_path(self.folder, ".index-") as temporary:
            write_new(temporary, data)
            if self.read_indexes()[1] != tag:
                return False
            with writing(self.folder / INDEX):
                temporary.replace(self.folder / INDEX)
                sync_folder(self.folder)
        return True


class _File:
    """A file while it is read; only its own faults are the registry's, not those of who reads."""

    def __init__(self, stream: BinaryIO, where: str) -> None:
        self._stream, self._where = stream, where

    def read(self, size: int = -1) -> bytes:
        with _plain_errors(self._where):
            return self._stream.read(size)


@contextmanager
def _plain_errors(where: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFileError(
            f"{where}: expected a file, found none; correct --registry, or tell the registry's publisher"
        ) from error
    except OSError as error:
        raise RegistryError(
            f"{where}: expected a readable file, found {error.strerror or error}; correct --registry, or its rights"
        ) from error


def _path_of(url: str) -> Path:
    if not url.startswith("file:"):
        return Path(url)
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise RegistryError(
            f"registry {url!r}: expected file:///folder, found a file URL of another machine; write three slashes"
        )
    from urllib.request import url2pathname  # brings the whole of http and ssl

    return Path(url2pathname(parts.path))


def _inside(folder: Path, path: str) -> Path:
    """``folder / path`` with symbolic links followed, if it is a regular file inside ``folder`` or nothing."""
    resolved = (folder / path).resolve()
    if not resolved.is_relative_to(folder.resolve()):
        raise RegistryError(
            f"{folder / path}: expected a file inside the registry, found a symbolic link out of it; "
            "do not use this registry before its publisher explains that"
        )
    if resolved.exists() and not resolved.is_file():
        raise RegistryError(f"{folder / path}: expected a file, found a folder or a device; this is no registry")
    return resolved


def _compare(folder: Path, files: Sequence[FileEntry]) -> None:
    found = sorted(path.name for path in folder.iterdir())
    same = found == sorted(file.name for file in files) and all(
        (folder / file.name).is_file()
        and not (folder / file.name).is_symlink()
        and hash_file(folder / file.name).is_of(file)
        for file in files
    )
    if not same:
        raise PublishError(
            f"{folder}: expected no such folder, found one with other files that the index does not name, "
            "left by a publication that was killed or is under way; if none is under way, remove that folder "
            "and publish again"
        )
