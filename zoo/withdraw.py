"""Yanking: a published version stays where it is, and is no longer chosen."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from zoo.addresses import shown_address
from zoo.backends import open_writer
from zoo.documents import explain
from zoo.entry import Entry, Index
from zoo.errors import PublishError, UnknownEntryError
from zoo.plain import plain
from zoo.registry import Registry
from zoo.signatures.signer import Signer
from zoo.update import update_index


def yank(
    registry: str | os.PathLike[str],
    name: str,
    version: str,
    reason: str,
    *,
    staging: str | os.PathLike[str] | None = None,
    signer: Signer | None = None,
) -> Entry:
    """Mark a version as withdrawn; its files stay, and an exact reference still gives it, with a warning.

    Args:
        registry: see `publish`.
        name: the entry's name.
        version: its exact version, ``X.Y.Z``.
        reason: one line for those who pinned it.
        staging: see `publish`.
        signer: see `publish`.

    Returns:
        The entry as it now is.

    Raises:
        PublishError: the registry can't be written, the version is yanked already, or the reason is empty or not
            one line.
        UnknownEntryError: the registry has no such version.
        SignatureError: the registry is signed, and not by the signer's key.
    """
    url = os.fspath(registry)
    writer = open_writer(url, Path(staging) if staging is not None else None)
    if staging is None:
        # A folder that does not exist is an error before a lock is made in it. The signature is checked below, in the
        # words of one who signs; an index that has expired is renewed.
        Registry(url, keys=()).index()
    else:
        writer.prepare()

    def withdrawn(index: Index) -> tuple[Entry, ...]:
        entry = index.get(name, version)
        if entry is None:
            raise UnknownEntryError(
                f"{name}@{version}: expected an entry of {shown_address(url)}, found none; "
                "give an exact NAME@X.Y.Z of `pifa zoo list`"
            )
        if entry.yanked is not None:
            raise PublishError(
                f"{entry.label}: expected a version in use, found it yanked ({plain(entry.yanked)}); nothing to do"
            )
        try:
            changed = Entry.model_validate({**dict(entry), "yanked": reason})
        except ValidationError as error:
            raise PublishError(f"reason: {explain(error)}; give one line of text") from error
        return tuple(changed if other is entry else other for other in index.entries)

    index = update_index(writer, url, withdrawn, signer)
    return next(entry for entry in index.entries if entry.label == f"{name}@{version}")
