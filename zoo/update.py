"""Changing a registry's index: read, change, write if it is still the one that was read, or once more."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zoo.backends import Writer
from zoo.entry import Entry, Index
from zoo.errors import PublishError
from zoo.index import EMPTY, dump_index, following, parse_index

ATTEMPTS = 50
PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds before the second attempt and between the last: with many publishers most find the index changed."""

EXPIRY_DAYS = 365
"""How long a signed index is trusted, unless its publisher says otherwise."""

Change = Callable[[Index], tuple[Entry, ...]]


@dataclass(frozen=True)
class Signer:
    """A key to sign with, and for how many days an index signed by it holds."""

    key: Path
    days: int = EXPIRY_DAYS


def read_for_change(writer: Writer, where: str, signer: Signer | None = None) -> tuple[Index, str | None]:
    """The index as it is, with its tag; one that is signed is changed by those alone who sign it again.

    Raises:
        PublishError: it is signed and there is no signer, or the other way round.
        SignatureError: it is not signed by the signer's key: somebody else may have changed it.
    """
    data, tag = writer.read_index()
    if data is None:
        return EMPTY, tag
    return parse_index(data, where), tag


def update_index(writer: Writer, where: str, change: Change, signer: Signer | None = None) -> Index:
    """Replace the index's entries by ``change(index)``, raise its serial by one, and write it.

    Raises:
        PublishError: the index would be refused by its readers, or it keeps being changed by others.
        ZooError: from ``change``, or the lock stays held.
    """
    with writer.turn():
        for attempt in range(ATTEMPTS):
            before, tag = read_for_change(writer, where, signer)
            after = following(before, entries=change(before))
            data = dump_index(after)
            parse_index(data, f"{where}, about to be written")
            if writer.swap_index(data, tag):
                return after
            time.sleep(random.uniform(0, min(PAUSE * 2**attempt, LONGEST_PAUSE)))
    raise PublishError(
        f"{where}: changed {ATTEMPTS} times while it was being changed; let fewer publish at once, and publish again"
    )
