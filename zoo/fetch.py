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
    Verified,
    as_verified,
    cache_folder,
    checkpoint_folder,
    is_unchanged,
    read_record,
    write_record,
)
from zoo.checkpoint import Header, disagreement, read_header
from zoo.documents import dump_json
from zoo.entry import CONFIG, VERSION_PATTERN, WEIGHTS, Entry, FileEntry, version_key
from zoo.errors import CheckpointError, UnknownEntryError
from zoo.reference import resolve
from zoo.registry import Registry, file_of, path_of
from zoo.storage import hash_bytes, hash_file, locked, write_once, writing
from zoo.transfer import Advance, download, untold
from zoo.version import pifa_version

# Longer than another process's download of a large checkpoint over a slow line; a killed one's lock is free at once.
LOCK_SECONDS = 4 * 3600.0


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
    weights = file_of(entry, WEIGHTS)
    folder = checkpoint_folder(home, weights)
    if not _recorded(registry, folder, weights):
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / LOCK, LOCK_SECONDS):
            # Asked again: another process may have fetched it while this one waited.
            if not _recorded(registry, folder, weights):
                _bring(registry, entry, weights, folder, advance)
    with suppress(OSError):  # a cache that others fill, and that is only read here
        (folder / USED).touch()
    return folder / WEIGHTS


def _recorded(registry: Registry, folder: Path, weights: FileEntry) -> bool:
    """Whether both files were verified, also against the keys that are trusted now, and are unchanged since."""
    record = read_record(folder)
    if record is None or not (
        is_unchanged(folder / WEIGHTS, record.weights) and is_unchanged(folder / CONFIG, record.config)
    ):
        return False
    keys = {key.fingerprint for key in registry.keys}
    return record.weights.sha256 == weights.sha256 and (not keys or not keys.isdisjoint(record.signed_by))


def _bring(registry: Registry, entry: Entry, file: FileEntry, folder: Path, advance: Advance) -> None:
    """Verify the weights, downloaded if need be, and write their configuration and the record beside them."""
    path = folder / WEIGHTS
    signature = registry.weights_signature(entry)
    accepted: list[tuple[Verified, Header, tuple[str, ...]]] = []

    def accept(found: Path) -> None:
        seen, where = as_verified(found, file.sha256), registry.where(path_of(entry, WEIGHTS))
        header = read_header(found, where)
        if difference := disagreement(header, entry):
            raise CheckpointError(f"{where}: {difference}; tell the registry's publisher")
        accepted.append((seen, header, registry.check_weights(entry, found, signature)))

    if _holds(path, file):
        accept(path)
    else:
        download(registry.sources(entry, WEIGHTS), file, path, accept=accept, advance=advance)
    # It is the one in the weights' header, whatever a registry's config.json says: `verify` compares the two.
    ((seen, header, signed_by),) = accepted
    config = dump_json(header.document)
    write_once(folder / CONFIG, config)
    weights = as_verified(path, file.sha256)
    if weights.is_as(seen):  # else it was changed in between, and the next fetch hashes it
        of_config = as_verified(folder / CONFIG, hash_bytes(config).sha256)
        write_record(folder, Record(weights=weights, config=of_config, signed_by=signed_by))


def _holds(path: Path, file: FileEntry) -> bool:
    try:
        before = as_verified(path, file.sha256)
        return before.size == file.size and hash_file(path).is_of(file) and is_unchanged(path, before)
    except OSError:
        return False


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
