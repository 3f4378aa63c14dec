"""Yanking: a published version stays where it is, and is no longer chosen."""

import os

from pydantic import ValidationError

from zoo.documents import explain
from zoo.entry import Entry, Index
from zoo.errors import PublishError, UnknownEntryError
from zoo.registry import Registry
from zoo.update import update_index, writable_folder


def yank(registry: str | os.PathLike[str], name: str, version: str, reason: str) -> Entry:
    """Mark a version as withdrawn; its files stay, and an exact reference still gives it, with a warning.

    Args:
        registry: a folder or ``file://`` URL.
        name: the entry's name.
        version: its exact version, ``X.Y.Z``.
        reason: one line for those who pinned it.

    Returns:
        The entry as it now is.

    Raises:
        PublishError: the registry is no folder, the version is yanked already, or the reason is empty or not
            one line.
        UnknownEntryError: the registry has no such version.
    """
    folder = writable_folder(registry)
    Registry(folder).index()  # a folder that does not exist is an error before a lock is made in it

    def withdrawn(index: Index) -> tuple[Entry, ...]:
        entry = index.get(name, version)
        if entry is None:
            raise UnknownEntryError(
                f"{name}@{version}: expected an entry of {folder}, found none; "
                "give an exact NAME@X.Y.Z of `pifa zoo list`"
            )
        if entry.yanked is not None:
            raise PublishError(
                f"{entry.label}: expected a version in use, found it yanked ({entry.yanked}); nothing to do"
            )
        try:
            changed = Entry.model_validate({**dict(entry), "yanked": reason})
        except ValidationError as error:
            raise PublishError(f"reason: {explain(error)}; give one line of text") from error
        return tuple(changed if other is entry else other for other in index.entries)

    index = update_index(folder, withdrawn)
    return next(entry for entry in index.entries if entry.label == f"{name}@{version}")
