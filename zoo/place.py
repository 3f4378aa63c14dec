"""A version's folder: made beside its place, and moved there whole."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from zoo.entry import FileEntry
from zoo.errors import PublishError
from zoo.storage import hash_file, sync_folder, unique_name, writing

PREFIX = ".publish-"


@contextmanager
def new_folder(registry: Path) -> Iterator[Path]:
    """An empty hidden folder in the registry (so on its file system), removed unless it was moved away."""
    folder = registry / unique_name(PREFIX)
    with writing(folder):
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def place(made: Path, target: Path, files: Sequence[FileEntry]) -> None:
    """Move the folder ``made`` to ``target``, ``REGISTRY/NAME/VERSION``.

    Where ``target`` is there already, left by a publication that was killed before the index named it, it
    must hold exactly ``files``; it is then kept and ``made`` is not used.

    Raises:
        PublishError: ``target`` holds anything else, or lies outside the registry.
    """
    registry = made.parent
    if not target.resolve().is_relative_to(registry.resolve()):
        raise PublishError(f"{target}: expected a folder inside the registry, found a link out of it; remove the link")
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
        sync_folder(registry)


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
