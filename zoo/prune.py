"""Emptying the cache of what is not needed: broken downloads, left-overs, and checkpoints long unused."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from zoo.cache import LOCK, RECORD, USED, cache_folder
from zoo.entry import CONFIG, WEIGHTS
from zoo.errors import ZooError
from zoo.storage import writing

UNUSED_DAYS = 90.0
"""A checkpoint that nobody fetched for so long goes; it comes back by the next fetch."""

_OURS = {WEIGHTS, CONFIG, RECORD, USED}


@dataclass(frozen=True)
class Pruned:
    """A file that was removed, or would be: why (``unfinished`` or ``unused``), and its bytes."""

    path: Path
    why: str
    size: int


def prune(
    cache: str | os.PathLike[str] | None = None, *, days: float = UNUSED_DAYS, dry_run: bool = False
) -> list[Pruned]:
    """Remove broken downloads, and checkpoints that were not fetched for ``days`` (0: all of them).

    What another process is fetching is left alone. A program that has a removed checkpoint open keeps it until it
    ends. Indexes and keys stay.

    Args:
        cache: see `cache_folder`.
        days: without a fetch, from the cache or not.
        dry_run: remove nothing.

    Raises:
        ZooError: ``days`` is negative or no number, or something cannot be removed.
    """
    from filelock import FileLock, Timeout

    if not days >= 0:
        raise ZooError(f"days: expected a number from 0 up, found {days}; give such a number")
    home = cache_folder(cache) / "zoo"
    found: list[Pruned] = []
    for folder in sorted(home.iterdir()) if home.is_dir() else []:
        if not (folder.is_dir() and not folder.is_symlink() and _is_hash(folder.name)):
            continue
        try:
            with FileLock(folder / LOCK, timeout=0):
                found += _prune(folder, time.time() - days * 86400, dry_run)
        except Timeout:
            continue
    return found


def _prune(folder: Path, before: float, dry_run: bool) -> list[Pruned]:
    """What goes of one checkpoint's folder; the folder stays with its lock, which others may be waiting for."""
    files = [path for path in folder.iterdir() if path.name != LOCK and not path.is_dir()]
    whole = (folder / WEIGHTS).exists()
    gone = files if not whole or _used(folder) <= before else [path for path in files if path.name not in _OURS]
    why = "unused" if len(gone) == len(files) and whole else "unfinished"
    found = [Pruned(path, why, path.lstat().st_size) for path in gone]
    for path in gone if not dry_run else []:
        with writing(path):
            path.unlink()
    return found


def _used(folder: Path) -> float:
    used = folder / USED
    return (used if used.exists() else folder / WEIGHTS).stat().st_mtime


def _is_hash(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdef")
