"""A publisher's keys at work: signatures are put where `signature_path` says, before what they sign is named."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
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
    """One private key's file or several, each of which signs, and for how many days an index that they sign holds.

    Several: while one key follows another, users may trust either.
    """

    key: Path | Sequence[Path]
    days: int = EXPIRY_DAYS

    @cached_property
    def _pairs(self) -> tuple[tuple[TrustedKey, Path], ...]:
        files = [self.key] if isinstance(self.key, Path) else self.key
        pairs = [(public_key_of(file), file) for file in files]
        return tuple({public.fingerprint: (public, file) for public, file in pairs}.values())

    @property
    def public(self) -> tuple[TrustedKey, ...]:
        """Their public halves.

        Raises:
            ZooError: a file is no private key, or the packages of ``pifa[sign]`` are not installed.
        """
        return tuple(public for public, _ in self._pairs)

    @property
    def expires(self) -> dt.datetime:
        """When an index signed now is no longer trusted."""
        return dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=self.days)

    def sign_index(self, writer: Writer, data: bytes) -> None:
        """Put the signatures of an index that is about to be written."""
        from zoo.signatures.signing import sign_bytes

        sha256 = hash_bytes(data).sha256
        for public, key in self._pairs:
            writer.put_file(signature_path(sha256, public.fingerprint), sign_bytes(INDEX, data, key))

    def sign_weights(self, writer: Writer, path: Path, file: FileEntry, done: Collection[TrustedKey] = ()) -> None:
        """Put the signatures of the weights at ``path``, but for those by the keys that have ``done`` it."""
        from zoo.signatures.signing import sign_file

        for public, key in self._pairs:
            if public not in done:
                writer.put_file(signature_path(file.sha256, public.fingerprint), sign_file(path, key))
