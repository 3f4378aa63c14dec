"""Changing a registry's index: read, change, write if it is still the one that was read, or once more."""

from __future__ import annotations

import datetime as dt
import random
import time
from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING

from zoo.addresses import shown_address
from zoo.backends import Writer
from zoo.cache import cache_folder, state_file
from zoo.entry import INDEX, Entry, Index
from zoo.errors import PublishError, StaleIndexError
from zoo.index import EMPTY, dump_index, following, merged, parse_index
from zoo.registry import read_signature
from zoo.signatures.signer import Signer
from zoo.storage import hash_bytes
from zoo.transfer import patiently

if TYPE_CHECKING:
    from zoo.signatures.keys import TrustedKey

ATTEMPTS = 50
PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds before the second attempt and between the last: of many publishers at once most find the index changed."""

Change = Callable[[Index], tuple[Entry, ...]]


def read_for_change(
    writer: Writer, url: str, signer: Signer | None = None, *, adopt: bool = False
) -> tuple[Index, str | None]:
    """The index as it is, and its tag for `Writer.swap_index`.

    A registry that is signed is changed by those alone who sign it again, and what was not signed is not signed
    unseen: somebody else may have changed it. ``adopt`` signs it as it is, unless it is older than one seen before.
    What is staged and was not uploaded yet is no index that a reader may have seen: only its signature counts.

    Raises:
        PublishError: it is signed and there is no signer, or the other way round; or what is staged can't be added.
        SignatureError: it is signed neither by the signer's key nor by one that is trusted.
        StaleIndexError: it is older than one seen before.
    """
    documents, tag = patiently(writer.read_indexes)
    if signer is not None and not documents:
        _check_never_seen(url)
    where = f"{shown_address(url).rstrip('/')}/{INDEX}"
    indexes = [parse_index(data, where) for data in documents]
    for number, (data, index) in enumerate(zip(documents, indexes, strict=True)):
        if signer is None and index.signed_by:
            raise PublishError(f"{where}: expected a key, for this registry is signed, found none; give --sign KEY")
        if signer is None:
            continue
        key = None if adopt else _check_signed(writer, url, where, data, index, signer)
        if number == 0:
            _check_fresh(url, where, data, index, key)
    return (reduce(merged, indexes) if indexes else EMPTY), tag


def update_index(
    writer: Writer, url: str, change: Change, signer: Signer | None = None, *, adopt: bool = False
) -> Index:
    """Replace the index's entries by ``change(index)``, raise its serial by one, and write it.

    Raises:
        PublishError: the index would be refused by its readers, or it keeps being changed by others.
        ZooError: from ``change``, as `read_for_change`, or the lock stays held.
    """
    where = f"{shown_address(url).rstrip('/')}/{INDEX}"
    signed_by = tuple(key.fingerprint for key in signer.public) if signer else ()
    tried: tuple[Index, Index] | None = None
    with writer.turn():
        for attempt in range(ATTEMPTS):
            before, tag = read_for_change(writer, url, signer, adopt=adopt)
            if tried is not None and _holds(before, *tried):
                return before
            expires = signer.expires if signer else None
            after = following(before, entries=change(before), expires=expires, signed_by=signed_by)
            data = dump_index(after)
            parse_index(data, f"{where}, about to be written")
            if signer is not None:
                signer.sign_index(writer, data)
            if writer.swap_index(data, tag):
                return after
            tried = before, after
            time.sleep(random.uniform(0, min(PAUSE * 2**attempt, LONGEST_PAUSE)))
    raise PublishError(
        f"{where}: changed {ATTEMPTS} times while it was being changed; let fewer publish at once, and publish again"
    )


def _holds(index: Index, before: Index, after: Index) -> bool:
    """Whether an index has what changed from ``before`` to ``after``.

    Then it was written after all: the answer that said so was lost, and the same request made again was refused.
    """
    known = {entry.label: entry for entry in before.entries}
    changed = [entry for entry in after.entries if known.get(entry.label) != entry]
    return index == after or (bool(changed) and all(index.get(entry.name, entry.version) == entry for entry in changed))


def _check_never_seen(url: str) -> None:
    """Refuse to begin anew where this publisher has seen an index: who emptied the place may not be its owner."""
    if (state := state_file(cache_folder(), url)).exists():
        raise StaleIndexError(
            f"{shown_address(url)}: expected the index that was seen before, found none or an empty one; if you mean "
            f"to begin anew, delete {state}"
        )


def _check_signed(writer: Writer, url: str, where: str, data: bytes, index: Index, signer: Signer) -> TrustedKey | None:
    """The key that signed an index; None where nothing is in it to sign."""
    from zoo.signatures.signing import check_bytes
    from zoo.signatures.trust import trusted_keys

    if not index.signed_by:
        if not index.entries:
            return None
        raise PublishError(
            f"{where}: expected a signed registry, found one that is not, with {len(index.entries)} entries; look at "
            "them, and sign them all by `pifa zoo sign --adopt`"
        )
    keys = (*signer.public, *trusted_keys(url, cache_folder()))
    signature = read_signature(writer, hash_bytes(data).sha256, keys, where, index.signed_by)[1]
    return check_bytes(INDEX, data, signature, keys, where)


def _check_fresh(url: str, where: str, data: bytes, index: Index, key: TrustedKey | None) -> None:
    """Refuse an index older than one seen before, and record it if a key signed it."""
    from zoo.signatures.freshness import check_fresh, check_not_older

    sha256, state = hash_bytes(data).sha256, state_file(cache_folder(), url)
    if not index.signed_by and not index.entries:
        _check_never_seen(url)
    elif key is None:
        check_not_older(index, sha256, state, where)
    else:
        # One that has expired is renewed by this very change.
        lasting = index.model_copy(update={"expires": None})
        check_fresh(lasting, sha256, state, where, dt.datetime.now(dt.UTC), key)
