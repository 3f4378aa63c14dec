"""Publishing to a registry that can be read and not written, such as one behind a web server.

What is new is written to a folder of the publisher's, and he copies that to the server: everything else first,
``index.json`` last.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from zoo.backends.base import Backend
from zoo.backends.folder import FolderBackend
from zoo.entry import INDEX, MAX_INDEX_BYTES, FileEntry
from zoo.errors import MissingFileError
from zoo.index import dump_index, merged, parse_index
from zoo.storage import read_up_to


class StagingWriter:
    """A folder with the difference to the registry ``base``.

    The index is the base's with the folder's own versions added, each time anew: where another publisher was faster,
    the same command again is the cure.
    """

    def __init__(self, base: Backend, folder: Path) -> None:
        self._base, self._staging = base, FolderBackend(str(folder))

    def prepare(self) -> None:
        self._staging.prepare()

    def new_folder(self) -> AbstractContextManager[Path]:
        return self._staging.new_folder()

    def put_version(self, made: Path, path: str, files: Sequence[FileEntry]) -> None:
        self._staging.put_version(made, path, files)

    def put_file(self, path: str, data: bytes) -> None:
        self._staging.put_file(path, data)

    def turn(self) -> AbstractContextManager[None]:
        return self._staging.turn()

    def read_index(self) -> tuple[bytes | None, str | None]:
        """The base's index and what was staged before; the tag is the staged index's."""
        staged, tag = self._staging.read_index()
        try:
            with self._base.open(INDEX) as opened:
                base: bytes | None = read_up_to(opened.stream, MAX_INDEX_BYTES + 1)
        except MissingFileError:
            base = None
        if staged is None or base is None:
            return staged or base, tag
        index = merged(parse_index(base, self._base.where(INDEX)), parse_index(staged, self._staging.where(INDEX)))
        return dump_index(index), tag

    def swap_index(self, data: bytes, tag: str | None) -> bool:
        return self._staging.swap_index(data, tag)
