"""Changing a registry's index: one writer at a time, and the file is always whole."""

import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from zoo.documents import dump_json, explain
from zoo.entry import Entry, Index, version_key
from zoo.errors import PublishError
from zoo.registry import INDEX, Registry, parse_index
from zoo.storage import locked, sync_folder, temporary_path, write_new, writing

LOCK = ".index.lock"
LOCK_SECONDS = 60.0

# The lock already keeps writers apart; the serial is for file systems that ignore locks (some NFS).
_ATTEMPTS = 5

Change = Callable[[Index], tuple[Entry, ...]]


def writable_folder(registry: str | os.PathLike[str]) -> Path:
    """The folder of a registry that is to be written.

    Raises:
        PublishError: the registry is not a folder on this machine.
    """
    folder = Registry(registry).folder
    if folder is None:
        raise PublishError(
            f"registry {os.fspath(registry)!r}: expected a folder, found a URL; "
            "publish to a folder and copy it there, index.json last"
        )
    return folder


def update_index(folder: Path, change: Change) -> Index:
    """Replace the index's entries by ``change(index)``, raise its serial by one, and write it.

    Raises:
        PublishError: the index would be refused by its readers, or it keeps changing under the lock.
        ZooError: from ``change``, or the lock stays held.
    """
    registry = Registry(folder)
    with locked(folder / LOCK, LOCK_SECONDS):
        for _ in range(_ATTEMPTS):
            before = registry.index()
            after = _next(before, change(before))
            data = dump_json(after.model_dump(mode="json"))
            parse_index(data, f"{folder / INDEX}, about to be written")
            with temporary_path(folder, ".index-") as temporary:
                write_new(temporary, data)
                if registry.index().serial != before.serial:
                    continue
                with writing(folder / INDEX):
                    temporary.replace(folder / INDEX)
                    sync_folder(folder)
            return after
    raise PublishError(
        f"{folder / INDEX}: changed {_ATTEMPTS} times while it was being changed; "
        "let one publisher write at a time and publish again"
    )


def _next(before: Index, entries: tuple[Entry, ...]) -> Index:
    ordered = tuple(sorted(entries, key=lambda entry: (entry.name, version_key(entry.version))))
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    try:
        return Index(serial=before.serial + 1, updated=now, entries=ordered)
    except ValidationError as error:
        raise PublishError(f"index: {explain(error)}") from error
