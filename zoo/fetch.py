"""Fetching a checkpoint into the cache: ``zoo/<SHA-256 of the weights>/{weights.safetensors, config.json}``.

The place is named by its content, and the configuration is the one in the weights' own header: registries
share the cache, and none can put anything into it that is not that checkpoint's.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from zoo.cache import (
    LOCK,
    USED,
    Record,
    as_verified,
    cache_folder,
    checkpoint_folder,
    is_unchanged,
    read_record,
    record,
)
from zoo.checkpoint import config_fault, disagreement, read_header
from zoo.entry import CONFIG, VERSION_PATTERN, WEIGHTS, Entry, FileEntry, version_key
from zoo.errors import CheckpointError, UnknownEntryError
from zoo.reference import resolve
from zoo.registry import Registry, file_of, path_of
from zoo.storage import hash_file, locked, writing
from zoo.transfer import Advance, download, untold
from zoo.version import pifa_version

# Long enough for another process's download of a large checkpoint over a slow line.
LOCK_SECONDS = 1800.0


def fetch(
    ref: str,
    registry_url: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    *,
    offline: bool | None = None,
    advance: Advance = untold,
) -> Path:
    """Fetch a checkpoint, unless it is in the cache, and give its path there.

    A cached file is hashed unless it is recorded as verified and its size and times are unchanged since; a damaged
    one is fetched again. A download that broke off is gone on with. Processes that fetch the same at once download
    it once.

    Args:
        ref: ``NAME``, ``NAME@1``, ``NAME@1.2``, ``NAME@1.2.3`` or ``NAME@^1.2``.
        registry_url: see `Registry`.
        cache: folder used instead of ``PIFA_HOME``.
        offline: see `Registry`.
        advance: told about the weights; see `Advance`.

    Returns:
        The path of ``weights.safetensors``; ``config.json`` lies beside it.

    Raises:
        UnknownEntryError: nothing in the registry matches ``ref``, or this pifa is too old for it.
        RegistryError: the registry cannot be read; OfflineError: and is not to be.
        HashError: the registry's file is not what its index promises; the cache is as it was.
        CheckpointError: the file is what the index promises but no PIFA checkpoint, or another one.
        SignatureError: there are keys to trust, and none of them signed it.
        ZooError: the cache cannot be written, or another process keeps its lock.
    """
    home = cache_folder(cache)
    registry = Registry(registry_url, cache=home, offline=offline)
    entry = resolve(registry.index(), ref)
    _check_age(entry)
    return fetch_entry(registry, entry, home, advance)


def fetch_entry(registry: Registry, entry: Entry, home: Path, advance: Advance = untold) -> Path:
    """`fetch`, once it is known what."""
    weights, config = file_of(entry, WEIGHTS), file_of(entry, CONFIG)
    folder = checkpoint_folder(home, weights)
    if not (_recorded(registry, folder, weights) and _recorded(registry, folder, config)):
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / LOCK, LOCK_SECONDS):
            # Asked again: another process may have fetched it while this one waited.
            for file in (weights, config):  # in this order: the one is checked against the other
                if not _recorded(registry, folder, file):
                    _bring(registry, entry, file, folder, advance)
    with suppress(OSError):  # a cache that others fill, and that is only read here
        (folder / USED).touch()
    return folder / WEIGHTS


def _recorded(registry: Registry, folder: Path, file: FileEntry) -> bool:
    """Whether a file was verified, also against the keys that are trusted now, and is unchanged since."""
    verified = read_record(folder).files.get(file.name)
    if not is_unchanged(folder / file.name, file, verified):
        return False
    keys = {key.fingerprint for key in registry.keys}
    return file.name != WEIGHTS or not keys or (verified is not None and not keys.isdisjoint(verified.signed_by))


def _bring(registry: Registry, entry: Entry, file: FileEntry, folder: Path, advance: Advance) -> None:
    path = folder / file.name
    signed_by: tuple[str, ...] = ()

    def accept(part: Path) -> None:
        nonlocal signed_by
        if file.name == WEIGHTS:
            _check_weights(registry, entry, part)
            signed_by = registry.check_weights(entry, part)
        else:
            _check_config(registry, entry, part, folder / WEIGHTS)

    if _holds(path, file):
        accept(path)
    else:
        told = advance if file.name == WEIGHTS else untold
        download(registry.sources(entry, file.name), file, path, accept=accept, advance=told)
    others = read_record(folder).files
    record(folder, Record(files={**others, file.name: as_verified(path, file, signed_by)}))


def _holds(path: Path, file: FileEntry) -> bool:
    try:
        return path.stat().st_size == file.size and hash_file(path).is_of(file)
    except OSError:
        return False


def _check_weights(registry: Registry, entry: Entry, path: Path) -> None:
    where = registry.where(path_of(entry, WEIGHTS))
    if difference := disagreement(read_header(path, where), entry):
        raise CheckpointError(f"{where}: {difference}; tell the registry's publisher")


def _check_config(registry: Registry, entry: Entry, path: Path, weights: Path) -> None:
    where = registry.where(path_of(entry, CONFIG))
    if fault := config_fault(path, read_header(weights), where):
        raise CheckpointError(fault)


def _check_age(entry: Entry) -> None:
    """Refuse what this pifa can't load, by the entry's own word."""
    mine = pifa_version()
    if entry.min_pifa is None or not re.fullmatch(VERSION_PATTERN, mine):
        return
    if version_key(mine) < version_key(entry.min_pifa):
        raise UnknownEntryError(
            f"{entry.label}: expected pifa {entry.min_pifa} or newer, found {mine}; update pifa, or ask for an older "
            f"version, as {entry.name}@VERSION of `pifa zoo list`"
        )
