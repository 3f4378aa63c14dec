"""Bringing a file here whole: resumed where it stopped, tried again where the fault may pass, from the next mirror.

What has come is kept beside the target as ``.NAME.SHA256.part``. A download that breaks off goes on there, in this
process or in a later one; the part becomes the target only when its hash is right.
"""

from __future__ import annotations

import hashlib
import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from zoo.backends.base import Backend
from zoo.errors import HashError, RegistryError, UnreachableError, ZooError
from zoo.storage import CHUNK, flush, sync_folder, writable, writing

log = logging.getLogger("pifa")

PAUSES = (0.5, 2.0, 8.0)
"""Seconds before each further attempt, times 0.5 to 1.5 by chance: what failed together is not to return together."""

TOLD_SECONDS = 3.0
"""Longer pauses are told: who waits at a terminal wonders."""

LEAST_PROGRESS = 2**20
"""Bytes that an attempt must bring for the attempts to be counted anew: long downloads may break often."""

UNSIZED_BYTES = 2**26
"""Bytes at most of a file whose size is not known beforehand."""

Advance = Callable[[int, int], None]
"""Told how many bytes of a file are there, of how many, while it comes."""

T = TypeVar("T")


def untold(there: int, size: int) -> None:
    """The `Advance` of those whom nobody watches."""


@dataclass(frozen=True)
class Source:
    """One place that a file can be had from."""

    backend: Backend
    path: str

    @property
    def where(self) -> str:
        """Its address in messages."""
        return self.backend.where(self.path)


class Wanted(Protocol):
    """What is known of a file beforehand: `FileEntry` without the name, or the hash alone (size None)."""

    @property
    def sha256(self) -> str: ...
    @property
    def size(self) -> int | None: ...


def patiently(work: Callable[[], T], pauses: Sequence[float] = PAUSES, longest: float = math.inf) -> T:
    """Do something that may fail for a while, and again after each pause; none is longer than ``longest`` seconds.

    Raises:
        UnreachableError: it still fails after the last.
    """
    for pause in pauses:
        try:
            return work()
        except UnreachableError as error:
            _wait(pause, error, longest)
    return work()


def download(
    sources: Sequence[Source],
    wanted: Wanted,
    target: Path,
    *,
    accept: Callable[[Path], None] = lambda part: None,
    advance: Advance = untold,
    pauses: Sequence[float] = PAUSES,
) -> None:
    """Bring a file to ``target``, from the first source that has it right. One process at a time may do so.

    Args:
        sources: in this order; a source with another file is passed over, with a warning where a later one helps.
        wanted: its hash, and its size where that is known.
        target: replaced at once when the file is whole and right.
        accept: a last look at the part; what it raises is raised, and the part is removed.
        advance: see `Advance`.
        pauses: see `PAUSES`.

    Raises:
        HashError: every source has another file, or none, and the first was another.
        RegistryError: it can't be had; what came is kept.
        ZooError: ``target`` cannot be written.
    """
    part = target.with_name(f".{target.name}.{wanted.sha256[:16]}.part")
    left, attempt = list(sources), 0
    refused: dict[Source, ZooError] = {}
    while True:
        passing: UnreachableError | None = None
        before = _size(part)
        for source in tuple(left):
            try:
                _bring(source, wanted, part, advance)
            except UnreachableError as error:
                passing = passing or error
            except ZooError as error:
                if not isinstance(error, RegistryError | HashError):
                    raise  # the disk's: no other source is the cure
                left.remove(source)
                refused[source] = error
            else:
                for fault in refused.values():
                    log.warning("%s; taken from %s instead", fault, source.where)
                try:
                    accept(part)
                except ZooError:
                    part.unlink(missing_ok=True)
                    raise
                with writing(target):
                    with part.open("rb+") as file:
                        flush(file)  # here, since a process that was killed may have written the last of it
                    part.replace(target)
                    sync_folder(target.parent)
                return
        if passing is None:
            raise refused[sources[0]]
        attempt = 0 if _size(part) - before >= LEAST_PROGRESS else attempt + 1
        if attempt > len(pauses):
            raise refused.get(sources[0]) or _going_on(passing, part)
        _wait(pauses[max(attempt - 1, 0)] if pauses else 0.0, passing)


def _bring(source: Source, wanted: Wanted, part: Path, advance: Advance) -> None:
    """Complete the part from a source.

    Raises:
        UnreachableError: it broke off; the part has what came.
        HashError: the source has another file; there is no part any more, unless the source's own word of the size was
            enough: what came from others is then as good as it was.
    """
    resumed = _size(part) > 0
    try:
        _go_on(source, wanted, part, advance)
    except HashError:
        if not resumed or part.exists():
            raise
        # What an earlier run or another source began may be at fault: once more from the beginning.
        _go_on(source, wanted, part, advance)


def _go_on(source: Source, wanted: Wanted, part: Path, advance: Advance) -> None:
    digest = hashlib.sha256()
    most = UNSIZED_BYTES if wanted.size is None else wanted.size
    start = _read_part(part, most, digest)
    advance(start, most)
    whole = digest.hexdigest() == wanted.sha256 if wanted.size is None else start == wanted.size
    if not whole or not part.exists():
        with source.backend.open(source.path, start) as opened:
            size = opened.size if wanted.size is None else wanted.size
            if opened.size not in (None, size):
                raise _hash_error(source, f"{size} bytes", f"{opened.size}")
            if opened.start != start:
                digest, start = hashlib.sha256(), 0
            came = _receive(opened.stream, most, part, digest, start, advance)
        if came > most:
            raise _other_file(part, source, f"at most {most} bytes" if wanted.size is None else f"{most} bytes", "more")
        if size is not None and came < size:
            if opened.size is None:
                raise _other_file(part, source, f"{size} bytes", f"{came}")
            raise UnreachableError(
                f"{source.where}: expected {size} bytes, found the connection broken after {came}; check the connection"
            )
    if digest.hexdigest() != wanted.sha256:
        raise _other_file(part, source, f"SHA-256 {wanted.sha256}", digest.hexdigest())


def _read_part(part: Path, most: int, digest: Any) -> int:
    """Hash what is there of the file; returns its bytes, 0 where it is too much."""
    with writing(part):
        if part.is_symlink() or _size(part) > most:
            part.unlink()
        if not part.exists():
            return 0
        with part.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
            return file.tell()


def _receive(stream: BinaryIO, most: int, part: Path, digest: Any, start: int, advance: Advance) -> int:
    """Append the stream to the part's first ``start`` bytes; returns the bytes there, at most one too many."""
    came = start
    with writable(part, "r+b") as file:
        with writing(part):
            file.truncate(start)
            file.seek(start)
        while came <= most and (chunk := stream.read(min(CHUNK, most + 1 - came))):
            digest.update(chunk)
            with writing(part):
                file.write(chunk)
            came += len(chunk)
            advance(came, most)
    return came


def _going_on(error: UnreachableError, part: Path) -> UnreachableError:
    size = _size(part)
    kept = f"; {size} bytes are kept: the same command goes on there" if size else ""
    return UnreachableError(f"{error}{kept}", error.retry_after)


def _other_file(part: Path, source: Source, expected: str, found: str) -> HashError:
    part.unlink(missing_ok=True)
    return _hash_error(source, expected, found)


def _hash_error(source: Source, expected: str, found: str) -> HashError:
    return HashError(
        f"{source.where}: expected {expected}, found {found}; it is damaged or was replaced, or something on the way "
        "changes it: tell its publisher, or get it elsewhere"
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _wait(pause: float, error: UnreachableError, longest: float = math.inf) -> None:
    seconds = min(max(pause * random.uniform(0.5, 1.5), error.retry_after or 0.0), longest)
    if seconds > TOLD_SECONDS:
        log.info("%s; trying again in %.0f s", error, seconds)
    time.sleep(seconds)
