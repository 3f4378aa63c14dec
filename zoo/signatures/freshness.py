"""Whether a signed index is the newest: a signature does not tell, for an old index was signed too.

An attacker between a client and its registry can serve an index of last year, with a checkpoint that was yanked since.
Against that stand the index's ``expires``, and a record of the highest serial that this client has seen.
"""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field

from zoo.documents import Document, dump_json, read_document
from zoo.entry import Index, Sha256
from zoo.errors import StaleIndexError, ZooError
from zoo.signatures.keys import TrustedKey
from zoo.storage import locked, write_once, writing

LOCK_SECONDS = 60.0

MAX_STATE_BYTES = 2**16


class Seen(Document):
    """The newest index that was seen of a registry."""

    schema_version: Literal[1]
    serial: int = Field(ge=0, le=2**53)
    sha256: Sha256
    updated: AwareDatetime
    signed_by: Sha256 | None = None


def was_signed_by(sha256: str, keys: Sequence[TrustedKey], state: Path) -> TrustedKey | None:
    """The one of ``keys`` whose signature of the newest index seen was checked, if that index has this SHA-256.

    Who reads the same index again need not check its signature again, which takes a second of imports.

    Raises:
        ZooError: ``state`` is damaged or cannot be read.
    """
    seen = _read(state)
    if seen is None or seen.sha256 != sha256:
        return None
    return next((key for key in keys if key.fingerprint == seen.signed_by), None)


def check_fresh(
    index: Index, sha256: str, state: Path, where: str, now: dt.datetime, signed_by: TrustedKey | None = None
) -> None:
    """Refuse an index that has expired or is not the newest one seen, and record it otherwise.

    Args:
        index: one whose signature is checked already.
        sha256: of its bytes, 64 hex digits.
        state: the JSON file with what was seen of this registry; its lock is beside it.
        where: the index's place, for messages.
        now: the time, with a zone.
        signed_by: the key that signed it, for `was_signed_by`.

    Raises:
        StaleIndexError: it has expired, a newer one was seen, or another one of the same serial was.
        ZooError: ``state`` is damaged or cannot be written.
    """
    if index.expires is not None and now >= index.expires:
        raise StaleIndexError(
            f"{where}: expected an index in force at {_time(now)}, found one that expired at {_time(index.expires)}; "
            "set this machine's clock if it is wrong, or ask the registry's publisher for a new one"
        )
    key = signed_by.fingerprint if signed_by else None
    new = Seen(schema_version=1, serial=index.serial, sha256=sha256, updated=index.updated, signed_by=key)
    # Without the lock first: a cache that is filled by another user and only read here will do.
    seen = check_not_older(index, sha256, state, where)
    if seen == new:
        return
    try:
        with writing(state):
            state.parent.mkdir(parents=True, exist_ok=True)
        with locked(state.with_name(f"{state.name}.lock"), LOCK_SECONDS):
            check_not_older(index, sha256, state, where)
            _write(state, new)
    except StaleIndexError:
        raise
    except ZooError:
        # Where only who signed it can't be recorded, that is found out again the next time.
        if seen is None or seen.serial != index.serial:
            raise


def check_not_older(index: Index, sha256: str, state: Path, where: str) -> Seen | None:
    """Refuse an index that is not the newest one seen; what was seen before, if anything.

    Raises:
        StaleIndexError: a newer one was seen, or another one of the same serial was.
        ZooError: ``state`` is damaged or cannot be read.
    """
    seen = _read(state)
    if seen is not None:
        _compare(index, sha256, seen, state, where)
    return seen


def _compare(index: Index, sha256: str, seen: Seen, state: Path, where: str) -> None:
    cure = f"do not use it; if its publisher says that it began anew, delete {state}"
    if index.serial < seen.serial:
        raise StaleIndexError(
            f"{where}: expected serial {seen.serial} of {_time(seen.updated)} or a later one, "
            f"found {index.serial} of {_time(index.updated)}; an old index is served: {cure}"
        )
    if index.serial == seen.serial and sha256 != seen.sha256:
        raise StaleIndexError(
            f"{where}: expected the index of serial {seen.serial} that was seen before (SHA-256 {seen.sha256}), "
            f"found another ({sha256}); {cure}"
        )


def _read(state: Path) -> Seen | None:
    return read_document(Seen, state, MAX_STATE_BYTES, "delete it only if you trust the registry's index of today")


def _write(state: Path, seen: Seen) -> None:
    write_once(state, dump_json(seen.model_dump(mode="json")))


def _time(moment: dt.datetime) -> str:
    # In its own zone: the first and the last day of the calendar have no other.
    return moment.isoformat(sep=" ", timespec="seconds")
