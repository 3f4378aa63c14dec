"""Files that are hashed as they are copied, and that exist whole or not at all."""

import hashlib
import math
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from zoo.entry import FileEntry
from zoo.errors import HashError, ZooError

CHUNK = 2**20


@dataclass(frozen=True)
class Digest:
    """A file's content: SHA-256 in lower-case hex, size in bytes."""

    sha256: str
    size: int

    def named(self, name: str) -> FileEntry:
        """As an entry's file of that name."""
        return FileEntry(name=name, sha256=self.sha256, size=self.size)

    def is_of(self, file: FileEntry) -> bool:
        """Whether it is what an entry says about a file."""
        return (self.sha256, self.size) == (file.sha256, file.size)


def unique_name(prefix: str) -> str:
    """A file name that no other process uses.

    `tempfile` is not used: its files are readable by their owner alone, and a registry is served to others.
    """
    return f"{prefix}{secrets.token_hex(8)}"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write (rights, a full disk) into a `ZooError` that names ``path``."""
    try:
        yield
    except OSError as error:
        raise ZooError(
            f"{path}: expected to write there, found {error.strerror or error}; "
            "make room, or choose a folder that you may write"
        ) from error


@contextmanager
def writable(path: Path, mode: str) -> Iterator[BinaryIO]:
    """A binary file to write to, made where it is not there, and never through a link that others may have laid.

    On a full disk the system may refuse what is left only when it is closed.
    """
    with writing(path):
        file = cast(BinaryIO, open(path, mode, opener=_open_own))  # noqa: SIM115 (a path has no opener)
    try:
        yield file
    finally:
        with writing(path):
            file.close()


def _open_own(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)


def hash_bytes(data: bytes) -> Digest:
    """The digest of bytes in memory."""
    return Digest(hashlib.sha256(data).hexdigest(), len(data))


def hash_file(path: Path) -> Digest:
    """The digest of a file on disk."""
    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest(), file.tell())


def read_up_to(source: BinaryIO, max_bytes: int, seconds: float = math.inf) -> bytes:
    """Read a stream to its end, or ``max_bytes`` of it; one ``read`` of a network stream may give less.

    Raises:
        TimeoutError: it takes longer than ``seconds``.
    """
    limit, data = time.monotonic() + seconds, bytearray()
    while len(data) < max_bytes and (chunk := source.read(min(CHUNK, max_bytes - len(data)))):
        data += chunk
        if time.monotonic() > limit:
            raise TimeoutError(f"found {len(data)} bytes so far")
    return bytes(data)


def hash_stream(stream: BinaryIO, max_bytes: int) -> Digest:
    """The digest of a stream; at most ``max_bytes + 1`` bytes are read."""
    digest, size = hashlib.sha256(), 0
    while size <= max_bytes and (chunk := stream.read(min(CHUNK, max_bytes + 1 - size))):
        digest.update(chunk)
        size += len(chunk)
    return Digest(digest.hexdigest(), size)


def copy_hashed(source: BinaryIO, target: Path, max_bytes: int) -> Digest:
    """Copy a stream to a new file and flush it to the disk.

    At most ``max_bytes + 1`` bytes are copied: a source that never ends is noticed by its size, not by a full
    disk. Returns what was copied.

    Raises:
        ZooError: ``target`` cannot be written (a full disk). Faults of ``source`` are its own.
    """
    digest, size = hashlib.sha256(), 0
    with writable(target, "xb") as file:
        while size <= max_bytes and (chunk := source.read(min(CHUNK, max_bytes + 1 - size))):
            digest.update(chunk)
            with writing(target):
                file.write(chunk)
            size += len(chunk)
        with writing(target):
            flush(file)
    return Digest(digest.hexdigest(), size)


def flush(file: BinaryIO) -> None:
    """Flush an open file to the disk."""
    file.flush()
    os.fsync(file.fileno())


def check(found: Digest, expected: FileEntry, where: str) -> None:
    """Compare a copied file with what its entry promises.

    Raises:
        HashError: size or SHA-256 differ.
    """
    cure = "the registry's file is damaged or was replaced: tell its publisher, or use another registry"
    if found.size != expected.size:
        size = f"{found.size} bytes" if found.size < expected.size else "more"
        raise HashError(f"{where}: expected {expected.size} bytes, found {size}; {cure}")
    if found.sha256 != expected.sha256:
        raise HashError(f"{where}: expected SHA-256 {expected.sha256}, found {found.sha256}; {cure}")


def write_new(path: Path, data: bytes) -> Digest:
    """Write a file that must not exist, and flush it to the disk.

    Raises:
        ZooError: it cannot be written.
    """
    with writing(path), path.open("xb") as file:
        file.write(data)
        flush(file)
    return hash_bytes(data)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def temporary_path(folder: Path, prefix: str) -> Iterator[Path]:
    """A unique path in ``folder`` for a file that is moved to its place; what is left of it is removed."""
    path = folder / unique_name(prefix)
    try:
        yield path
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


@contextmanager
def working_folder(folder: Path) -> Iterator[Path]:
    """Make a folder that is moved to its place; what is left of it is removed.

    Raises:
        ZooError: it cannot be made.
    """
    with writing(folder):
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A folder outside of everything, removed at the end.

    Raises:
        ZooError: it can't be made.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix=prefix)
    except OSError as error:
        raise ZooError(
            f"TMPDIR: expected a folder for temporary files, found {error.strerror or error}; "
            "name one that you may write"
        ) from error
    with made as folder:
        yield Path(folder)


@contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Hold the lock file ``path``, waiting for it at most ``seconds``.

    Raises:
        ZooError: another process kept it for longer.
    """
    from filelock import FileLock, Timeout  # not needed by who only lists

    lock = FileLock(path)
    with writing(path):
        try:
            lock.acquire(timeout=seconds)
        except Timeout as error:
            raise ZooError(
                f"{path}: expected the lock to be free within {seconds:g} s, found it held; "
                "wait for the other pifa process, or end it, and try again"
            ) from error
    try:
        yield
    finally:
        lock.release()


def write_once(path: Path, data: bytes) -> None:
    """Write a file whole, in place of an older one; nothing is done where it holds just that.

    Raises:
        ZooError: it cannot be written.
    """
    with writing(path):
        if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_path(path.parent, f".{path.name}-") as temporary:
        write_new(temporary, data)
        with writing(path):
            temporary.replace(path)
            sync_folder(path.parent)
