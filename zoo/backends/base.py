"""What a registry needs of the place where its files are: to read them, and to publish."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from zoo.entry import FileEntry


@dataclass(frozen=True)
class Opened:
    """A file of a registry while it is read.

    Attributes:
        stream: its bytes from ``start`` on.
        start: as asked for, or 0 where the place gives files only from their beginning.
        size: bytes of the whole file, or None where the place does not say.
    """

    stream: BinaryIO
    start: int = 0
    size: int | None = None


class Backend(Protocol):
    """A place whose files can be read.

    Attributes:
        url: its address as given.
        folder: the folder on this machine, or None where it is elsewhere.
    """

    @property
    def url(self) -> str: ...

    @property
    def folder(self) -> Path | None: ...

    def where(self, path: str) -> str:
        """How a file is named in messages."""

    def exists(self) -> bool:
        """Whether the place is there as such: a registry without an index is then one without entries.

        Raises:
            RegistryError: it is not, in words of its own kind.
        """

    def open(self, path: str, start: int = 0) -> AbstractContextManager[Opened]:
        """Open a file by its path below the root, from byte ``start`` on.

        Raises:
            MissingFileError: there is no such file.
            UnreachableError: what may pass; also while the stream is read.
            RegistryError: what will not pass.
        """


class Writer(Protocol):
    """A place to publish to. Whatever it writes appears whole or not at all."""

    def open(self, path: str, start: int = 0) -> AbstractContextManager[Opened]:
        """As `Backend.open`."""

    def prepare(self) -> None:
        """Make the place, where it can be made."""

    def new_folder(self) -> AbstractContextManager[Path]:
        """An empty folder on this machine to put a version's files in, removed at the end."""

    def put_version(self, made: Path, path: str, files: Sequence[FileEntry]) -> None:
        """Give the files of the folder ``made`` their place ``path``, ``NAME/VERSION``.

        What is there already, left by a publication that was killed before the index named it, must be the same.

        Raises:
            PublishError: other files are there.
        """

    def put_file(self, path: str, data: bytes) -> None:
        """Write a small file; what stands in its place is replaced: it may be damaged, or another's."""

    def turn(self) -> AbstractContextManager[None]:
        """Wait for one's turn to change the index, where the place has a lock."""

    def read_indexes(self) -> tuple[list[bytes], str | None]:
        """The index as it is, and a tag that is another after every change; empty and None: there is none yet.

        Where what is written is a difference to a registry elsewhere, that registry's index comes first, and
        that of an empty one where it has none yet.
        """

    def swap_index(self, data: bytes, tag: str | None) -> bool:
        """Replace the index if it is still the one of the tag; False where somebody else changed it."""
