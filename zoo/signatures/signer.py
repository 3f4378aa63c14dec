"""A publisher's key at work: signatures are put where `signature_path` says, before what they sign is named."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from zoo.backends import Writer
from zoo.entry import INDEX, FileEntry, signature_path
from zoo.signatures.keys import TrustedKey, public_key_of
from zoo.storage import hash_bytes

EXPIRY_DAYS = 365
"""How long a signed index is trusted, unless its publisher says otherwise."""


@dataclass(frozen=True)
class Signer:
    """A private key's file, and for how many days an index that it signs holds."""

    key: Path
    days: int = EXPIRY_DAYS

    @cached_property
    def public(self) -> TrustedKey:
        """Its public half.

        Raises:
            ZooError: the file is no private key, or the packages of ``pifa[sign]`` are not installed.
        """
        return public_key_of(self.key)

    @property
    def expires(self) -> dt.datetime:
        """When an index signed now is no longer trusted."""
        return dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=self.days)

    def sign_index(self, writer: Writer, data: bytes) -> None:
        """Put the signature of an index that is about to be written."""
        from zoo.signatures.signing import sign_bytes

        path = signature_path(hash_bytes(data).sha256, self.public.fingerprint)
        writer.put_file(path, sign_bytes(INDEX, data, self.key))

    def sign_weights(self, writer: Writer, path: Path, file: FileEntry) -> None:
        """Put the signature of the weights at ``path``."""
        from zoo.signatures.signing import sign_file

        writer.put_file(signature_path(file.sha256, self.public.fingerprint), sign_file(path, self.key))
