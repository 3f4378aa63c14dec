"""Signing a registry as it is: for the first time, by another key, or because its index is about to expire."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from zoo.backends import Writer, open_writer
from zoo.entry import WEIGHTS, Entry, FileEntry, Index
from zoo.errors import PublishError, SignatureError
from zoo.registry import Registry, file_of, path_of, read_signature
from zoo.signatures.keys import TrustedKey
from zoo.signatures.signer import Signer
from zoo.storage import temporary_folder
from zoo.update import update_index
from zoo.verify import problems_of


def sign(
    registry: str | os.PathLike[str],
    signer: Signer,
    *,
    adopt: bool = False,
    staging: str | os.PathLike[str] | None = None,
) -> Index:
    """Sign the weights that the keys have not signed yet, and the index, whose serial and expiry move on.

    All weights are read, and the signatures that are there are checked: a damaged one is replaced.

    Args:
        registry: see `publish`.
        signer: the keys.
        adopt: also where the index is unsigned, or signed by a key that is not trusted: after every file was checked.
        staging: see `publish`.

    Returns:
        The index as it now is.

    Raises:
        PublishError, SignatureError, StaleIndexError: see `read_for_change`.
        PublishError: with ``adopt``, a file is not what the index says, or not what it should be; the index is as it
            was, then and where the other errors are raised.
        HashError: weights are not what the index says.
    """
    url = os.fspath(registry)
    writer = open_writer(url, Path(staging) if staging is not None else None)
    source = _Source(url, writer)
    if staging is None:
        source.index()  # what is not there is an error before anything is made
    writer.prepare()

    def signed(index: Index) -> tuple[Entry, ...]:
        for entry in index.entries if adopt else ():
            for problem in problems_of(source, entry):
                raise PublishError(f"{problem}; nothing was signed")
        for entry in index.entries:
            _sign_weights(writer, source, entry, signer)
        return index.entries

    return update_index(writer, url, signed, signer, adopt=adopt)


class _Source(Registry):
    """A registry as its publisher sees it: with what is staged. Its signature is checked by `update_index`."""

    def __init__(self, url: str, writer: Writer) -> None:
        super().__init__(url, keys=())
        self._writer = writer

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        with self._writer.open(path) as opened:
            yield opened.stream


def _sign_weights(writer: Writer, source: Registry, entry: Entry, signer: Signer) -> None:
    file = file_of(entry, WEIGHTS)
    where = source.where(path_of(entry, WEIGHTS))
    with temporary_folder("pifa-sign-") as folder:
        path = folder / WEIGHTS
        source.copy(entry, WEIGHTS, path)
        done = [key for key in signer.public if _has_signed(writer, key, file, path, where)]
        signer.sign_weights(writer, path, file, done)


def _has_signed(writer: Writer, key: TrustedKey, file: FileEntry, path: Path, where: str) -> bool:
    from zoo.signatures.signing import check_file

    try:
        check_file(path, read_signature(writer, file.sha256, [key], where)[1], [key], where, WEIGHTS)
    except SignatureError:
        return False
    return True
