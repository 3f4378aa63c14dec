"""The cache: ``zoo/`` below ``PIFA_HOME``, with checkpoints by the hash of their weights and indexes by their registry.

What was verified is recorded beside it with size and times; a file that is unchanged since is not hashed again.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pydantic import Field

from zoo.documents import Document, dump_json, parse
from zoo.entry import FileEntry, FileName, Sha256
from zoo.errors import ZooError
from zoo.storage import write_once

LOCK = ".lock"
RECORD = "verified.json"
USED = ".used"


class Verified(Document):
    """A file as it was when its hash was right: times in nanoseconds; ``ctime`` is none that a user can set."""

    sha256: Sha256
    size: int
    mtime_ns: int
    ctime_ns: int
    signed_by: tuple[Sha256, ...] = ()


class Record(Document):
    """What of a cached checkpoint was verified."""

    schema_version: int = Field(default=1, ge=1, le=1)
    files: dict[FileName, Verified] = Field(default_factory=dict)


def cache_folder(cache: str | os.PathLike[str] | None = None) -> Path:
    """Where caches live: the argument, else ``PIFA_HOME``, else the user's cache folder. It may not exist."""
    if named := cache or os.environ.get("PIFA_HOME"):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("pifa"))


def remembered_folder(cache: Path, url: str) -> Path:
    """Where the index of a registry is kept as it was seen last."""
    from zoo.signatures.trust import same_place

    return cache / "zoo" / "registries" / hashlib.sha256(same_place(url).encode()).hexdigest()[:32]


def state_file(cache: Path, url: str) -> Path:
    """What was the newest index of a registry that a client with trusted keys has seen."""
    return remembered_folder(cache, url) / "state.json"


def checkpoint_folder(cache: Path, weights: FileEntry) -> Path:
    """Where a checkpoint is cached."""
    return cache / "zoo" / weights.sha256


def read_record(folder: Path) -> Record:
    """The record of a cached checkpoint; one that can't be read records nothing: all is hashed anew."""
    try:
        return parse(Record, (folder / RECORD).read_bytes(), str(folder / RECORD))
    except (OSError, ZooError):
        return Record()


def record(folder: Path, record: Record) -> None:
    """Write the record of a cached checkpoint."""
    write_once(folder / RECORD, dump_json(record.model_dump(mode="json")))


def as_verified(path: Path, file: FileEntry, signed_by: tuple[str, ...] = ()) -> Verified:
    """The entry of a file whose hash was just found right."""
    status = path.stat()
    return Verified(
        sha256=file.sha256,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        signed_by=signed_by,
    )


def is_unchanged(path: Path, file: FileEntry, verified: Verified | None) -> bool:
    """Whether the file at ``path`` is still the one that was found to be ``file``."""
    if verified is None or (verified.sha256, verified.size) != (file.sha256, file.size):
        return False
    try:
        return as_verified(path, file, verified.signed_by) == verified
    except OSError:
        return False
