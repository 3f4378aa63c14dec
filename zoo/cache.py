"""The cache: ``zoo/`` below ``PIFA_HOME``, with checkpoints by the hash of their weights and indexes by their registry.

What was verified is recorded beside it with size and times; a file that is unchanged since is not hashed again.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal

from zoo.documents import Document, dump_json, parse
from zoo.entry import FileEntry, Sha256
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

    def is_as(self, other: Verified) -> bool:
        """Whether it is the same file, but for its name: a new one changes ``ctime``."""
        return (self.sha256, self.size, self.mtime_ns) == (other.sha256, other.size, other.mtime_ns)


class Record(Document):
    """What of a cached checkpoint was verified, and the fingerprints of the keys whose signatures were."""

    schema_version: Literal[1] = 1
    weights: Verified
    config: Verified
    signed_by: tuple[Sha256, ...] = ()


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


def read_record(folder: Path) -> Record | None:
    """The record of a cached checkpoint; None, and all is hashed anew, where there is none that can be read."""
    try:
        return parse(Record, (folder / RECORD).read_bytes(), str(folder / RECORD))
    except (OSError, ZooError):
        return None


def write_record(folder: Path, record: Record) -> None:
    """Write the record of a cached checkpoint."""
    write_once(folder / RECORD, dump_json(record.model_dump(mode="json")))


def as_verified(path: Path, sha256: str) -> Verified:
    """What to record of a file that has this hash."""
    status = path.stat()
    return Verified(sha256=sha256, size=status.st_size, mtime_ns=status.st_mtime_ns, ctime_ns=status.st_ctime_ns)


def is_unchanged(path: Path, verified: Verified) -> bool:
    """Whether the file at ``path`` is still as it was when it was verified."""
    try:
        return as_verified(path, verified.sha256) == verified
    except OSError:
        return False
