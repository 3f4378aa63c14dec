"""Signing a registry as it is: for the first time, by another key, or because its index is about to expire."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from zoo.backends import Writer, open_writer
from zoo.entry import WEIGHTS, Entry, Index, signature_path
from zoo.errors import MissingFileError
from zoo.registry import Registry, file_of
from zoo.signatures.signer import Signer
from zoo.update import update_index


def sign(
    registry: str | os.PathLike[str],
    signer: Signer,
    *,
    adopt: bool = False,
    staging: str | os.PathLike[str] | None = None,
) -> Index:
    """Sign the weights that the key has not signed yet, and the index, whose serial and expiry move on.

    Args:
        registry: see `publish`.
        signer: the key.
        adopt: also where the index is unsigned, or signed by a key that is not trusted.
        staging: see `publish`.

    Returns:
        The index as it now is.

    Raises:
        PublishError, SignatureError, StaleIndexError: see `read_for_change`.
        HashError: a file is not what the index says; nothing is signed then.
    """
    url = os.fspath(registry)
    writer = open_writer(url, Path(staging) if staging is not None else None)
    source = Registry(url, keys=())  # whose signature is checked below, in the words of one who signs
    source.index()  # what is not there is an error before anything is made
    writer.prepare()

    def signed(index: Index) -> tuple[Entry, ...]:
        for entry in index.entries:
            _sign_weights(writer, source, entry, signer)
        return index.entries

    return update_index(writer, url, signed, signer, adopt=adopt)


def _sign_weights(writer: Writer, source: Registry, entry: Entry, signer: Signer) -> None:
    file = file_of(entry, WEIGHTS)
    try:
        with writer.open(signature_path(file.sha256, signer.public.fingerprint)):
            return
    except MissingFileError:
        pass
    with tempfile.TemporaryDirectory(prefix="pifa-sign-") as folder:
        source.copy(entry, WEIGHTS, Path(folder) / WEIGHTS)
        signer.sign_weights(writer, Path(folder) / WEIGHTS, file)
