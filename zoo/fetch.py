"""Fetching a checkpoint into the cache: ``zoo/<SHA-256 of the weights>/{weights.safetensors, config.json}``.

The place is named by its content, and the configuration is the one in the weights' own header: registries
share the cache, and none can put anything into it that is not that checkpoint's.
"""

import os
from pathlib import Path

import platformdirs

from zoo.checkpoint import config_fault, disagreement, read_header
from zoo.entry import CONFIG, WEIGHTS, Entry, FileEntry
from zoo.errors import CheckpointError
from zoo.reference import resolve
from zoo.registry import Registry, file_of, path_of
from zoo.storage import hash_file, locked, sync_folder, temporary_path, writing

LOCK = ".lock"
# Long enough for another process's download of a large checkpoint over a slow line.
LOCK_SECONDS = 1800.0


def cache_folder(cache: str | os.PathLike[str] | None = None) -> Path:
    """Where caches live: the argument, else ``PIFA_HOME``, else the user's cache folder. It may not exist."""
    return Path(cache or os.environ.get("PIFA_HOME") or platformdirs.user_cache_dir("pifa"))


def fetch(
    ref: str,
    registry_url: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Path:
    """Fetch a checkpoint, unless it is in the cache, and give its path there.

    The cached file's SHA-256 is computed on every call (10 MB take about 10 ms); a damaged one is fetched
    again. Processes that fetch the same at once download it once.

    Args:
        ref: ``NAME``, ``NAME@1``, ``NAME@1.2``, ``NAME@1.2.3`` or ``NAME@^1.2``.
        registry_url: see `Registry`.
        cache: folder used instead of ``PIFA_HOME``.

    Returns:
        The path of ``weights.safetensors``; ``config.json`` lies beside it.

    Raises:
        UnknownEntryError: nothing in the registry matches ``ref``.
        RegistryError: the registry cannot be read.
        HashError: the registry's file is not what its index promises; the cache is as it was.
        CheckpointError: the file is what the index promises but no PIFA checkpoint, or another one.
        ZooError: the cache cannot be written, or another process keeps its lock.
    """
    registry = Registry(registry_url)
    entry = resolve(registry.index(), ref)
    weights, config = file_of(entry, WEIGHTS), file_of(entry, CONFIG)
    folder = cache_folder(cache) / "zoo" / weights.sha256
    if not (_holds(folder, weights) and _holds(folder, config)):
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / LOCK, LOCK_SECONDS):
            # Asked again: another process may have fetched it while this one waited.
            for file in (weights, config):  # in this order: the one is checked against the other
                if not _holds(folder, file):
                    _download(registry, entry, file, folder)
    return folder / WEIGHTS


def _holds(folder: Path, file: FileEntry) -> bool:
    path = folder / file.name
    try:
        return path.stat().st_size == file.size and hash_file(path).is_of(file)
    except OSError:
        return False


def _download(registry: Registry, entry: Entry, file: FileEntry, folder: Path) -> None:
    with temporary_path(folder, f".{file.name}-") as temporary:
        registry.copy(entry, file.name, temporary)
        if file.name == WEIGHTS:
            _check_weights(registry, entry, temporary)
        else:
            _check_config(registry, entry, temporary, folder / WEIGHTS)
        with writing(folder / file.name):
            temporary.replace(folder / file.name)
            sync_folder(folder)


def _check_weights(registry: Registry, entry: Entry, path: Path) -> None:
    where = registry.where(path_of(entry, WEIGHTS))
    if difference := disagreement(read_header(path, where), entry):
        raise CheckpointError(f"{where}: {difference}; tell the registry's publisher")


def _check_config(registry: Registry, entry: Entry, path: Path, weights: Path) -> None:
    where = registry.where(path_of(entry, CONFIG))
    if fault := config_fault(path, read_header(weights), where):
        raise CheckpointError(fault)
