"""Publishing to a registry that can be read and not written, such as one behind a web server.

What is new is written to a folder of the publisher's, and he copies that to the server: everything else first,
``index.json`` last.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from zoo.backends.base import Backend, Opened
from zoo.backends.folder import FolderBackend
from zoo.entry import INDEX, MAX_INDEX_BYTES, FileEntry
from zoo.errors import MissingFileError, PublishError
from zoo.index import EMPTY, dump_index
from zoo.storage import read_up_to

log = logging.getLogger("pifa")


class StagingWriter:
    """A folder with the difference to the registry ``base``.

    The index is the base's with the folder's own versions added, each time anew: where another publisher was faster,
    the same command again is the cure.

    Raises:
        PublishError: ``folder`` is the registry or inside it, where it would be written at once.
    """

    def __init__(self, base: Backend, folder: Path) -> None:
        if base.folder is not None and folder.resolve().is_relative_to(base.folder.resolve()):
            raise PublishError(
                f"{folder}: expected a folder outside the registry for what is to be copied there, found one in "
                f"{base.folder}; choose another --staging DIR, or leave it out to write to that registry"
            )
        self._base, self._staging = base, FolderBackend(str(folder))
        self._warned = False

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

    @contextmanager
    def open(self, path: str, start: int = 0) -> Iterator[Opened]:
        """What is staged, or else the registry's."""
        try:
            with self._staging.open(path, start) as opened:
                yield opened
            return
        except MissingFileError:
            pass
        with self._base.open(path, start) as opened:
            yield opened

    def read_indexes(self) -> tuple[list[bytes], str | None]:
        """The tag is the staged index's: the registry's can change any time, until the folder is copied there."""
        staged, tag = self._staging.read_indexes()
        try:
            with self._base.open(INDEX) as opened:
                return [read_up_to(opened.stream, MAX_INDEX_BYTES + 1), *staged], tag
        except MissingFileError:
            if not self._warned:
                log.warning("%s: no index there: beginning a new registry", self._base.where(INDEX))
            self._warned = True
            return [dump_index(EMPTY), *staged], tag

    def swap_index(self, data: bytes, tag: str | None) -> bool:
        return self._staging.swap_index(data, tag)
