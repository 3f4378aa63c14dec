"""A registry for reading: static files in a folder, on a web server, in a bucket or on a model hub.

Layout: ``index.json``, and ``NAME/VERSION/{weights.safetensors, config.json, card.md, …}``, which never change, and
signatures, named by what they sign.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from zoo.backends import Backend, Mirror, Writer, open_backend
from zoo.backends.folder import FolderBackend
from zoo.cache import cache_folder, remembered_folder, state_file
from zoo.entry import INDEX, MAX_INDEX_BYTES, MAX_SIGNATURE_BYTES, WEIGHTS, Entry, FileEntry, Index, signature_path
from zoo.errors import (
    MissingFileError,
    OfflineError,
    OldIndexWarning,
    RegistryError,
    SignatureError,
    UnreachableError,
    ZooError,
)
from zoo.index import EMPTY, parse_index
from zoo.storage import check, copy_hashed, hash_bytes, read_up_to, write_once
from zoo.transfer import Source, patiently

if TYPE_CHECKING:
    from zoo.signatures.signing import TrustedKey

log = logging.getLogger("pifa")

# What `Registry.read` takes into memory; weights are copied to disk instead.
MAX_READ_BYTES = 64 * 2**20

SMALL_SECONDS = 300.0
"""For an index, a signature or a card: whoever is slower holds everybody up."""

INDEX_PAUSES, LONGEST_INDEX_PAUSE = (0.5, 2.0), 10.0
"""Seconds before an index is asked for again, and at most, whatever its server says: it was often seen before."""

BUNDLED = Path(__file__).resolve().parent / "registry"


def default_registry() -> str:
    """The registry used where none is named: ``PIFA_REGISTRY``, else the one that ships with the project."""
    return os.environ.get("PIFA_REGISTRY") or str(BUNDLED)


def is_offline(url: str = "") -> bool:
    """Whether ``PIFA_OFFLINE`` forbids the use of the network, or ``HF_HUB_OFFLINE`` that of a model hub."""
    names = ("PIFA_OFFLINE", "HF_HUB_OFFLINE") if url.startswith("hf://") else ("PIFA_OFFLINE",)
    return any(os.environ.get(name, "").strip().lower() not in ("", "0", "false", "no") for name in names)


class Registry:
    """One registry, read only.

    Args:
        url: a folder, ``file://``, ``https://``, ``s3://`` or ``hf://``; None is `default_registry()`.
        cache: see `cache_folder`; indexes of registries elsewhere are remembered there.
        offline: use no network; None is `is_offline()`.
        keys: those of which one must have signed; None: what the user trusts for this registry.

    Attributes:
        url: as given.
        folder: the folder on this machine, or None where the registry is elsewhere.

    Raises:
        RegistryError: no such kind of address.
    """

    def __init__(
        self,
        url: str | os.PathLike[str] | None = None,
        *,
        cache: str | os.PathLike[str] | None = None,
        offline: bool | None = None,
        keys: Sequence[TrustedKey] | None = None,
    ) -> None:
        self.url = os.fspath(url) if url is not None else default_registry()
        self._backend = open_backend(self.url)
        self.folder = self._backend.folder
        self._cache = cache_folder(cache)
        self._offline = is_offline(self.url) if offline is None else offline
        self._keys = None if keys is None else tuple(keys)

    @property
    def keys(self) -> tuple[TrustedKey, ...]:
        """The keys of which one must have signed; empty where the user trusts none for this registry.

        The registry that ships with the program is trusted as the program is.
        """
        if self._keys is None:
            from zoo.signatures.trust import trusted_keys

            self._keys = () if self.is_bundled else trusted_keys(self.url, self._cache)
        return self._keys

    @property
    def is_bundled(self) -> bool:
        """Whether it is the one that ships with the program."""
        return self.folder is not None and self.folder.resolve() == BUNDLED

    def where(self, path: str) -> str:
        """How a file of the registry is named in messages: folder or URL, then ``path``."""
        return self._backend.where(path)

    def index(self) -> Index:
        """Read the index; a folder or a bucket without one is a registry without entries.

        Where the registry can't be reached the index that was seen last is used, with an `OldIndexWarning`.

        Raises:
            RegistryError: the registry cannot be reached, or the index is too large or no index.
            SignatureError: there are keys to trust, and none of them signed it.
            StaleIndexError: there are, and it is expired, or older than one seen before.
        """
        if self.folder is not None:
            return self._index_of(self._backend)
        old = FolderBackend(str(self._remembered))
        if self._offline:
            if not (old.folder / INDEX).is_file():
                raise OfflineError(
                    f"{self.where(INDEX)}: expected it in the cache, found none, and the network is not to be used; "
                    "run `pifa zoo list` with it once online"
                )
            return self._index_of(old)
        try:
            return patiently(lambda: self._index_of(self._backend), INDEX_PAUSES, LONGEST_INDEX_PAUSE)
        except UnreachableError as error:
            if not (old.folder / INDEX).is_file():
                raise
            index = self._index_of(old)
            warnings.warn(f"{error}; using its index of {index.updated:%Y-%m-%d}", OldIndexWarning, stacklevel=2)
            return index

    def _index_of(self, backend: Backend) -> Index:
        try:
            data = _read(backend, INDEX, MAX_INDEX_BYTES + 1)
        except MissingFileError:
            if self.keys or not self._backend.exists():
                raise
            return EMPTY
        where = backend.where(INDEX)
        index = parse_index(data, where)
        signature = self._check(data, index, where, backend)
        if backend is self._backend:
            if signature is not None:
                self._remember(*signature)
            self._remember(INDEX, data)
        return index

    @property
    def _remembered(self) -> Path:
        return remembered_folder(self._cache, self.url)

    def _remember(self, path: str, data: bytes) -> None:
        """Keep a file of a registry elsewhere, for when that can't be reached; a cache may be one that is only read."""
        if self.folder is None:
            try:
                write_once(self._remembered / path, data)
            except ZooError as error:
                log.debug("%s", error)

    def _place(self, path: str) -> Backend:
        """The registry's own place, to read a file.

        Raises:
            OfflineError: only over the network, which is not to be used.
        """
        if self.folder is None and self._offline:
            raise OfflineError(
                f"{self.where(path)}: expected not to need the network, which is not to be used, found that it does; "
                "run the same command once online"
            )
        return self._backend

    def _check(self, data: bytes, index: Index, where: str, backend: Backend) -> tuple[str, bytes] | None:
        """Path and content of the index's signature, None where no key is trusted."""
        if not self.keys:
            return None
        from zoo.signatures.freshness import check_fresh, was_signed_by
        from zoo.signatures.signing import check_bytes

        sha256, state = hash_bytes(data).sha256, state_file(self._cache, self.url)
        key, found = was_signed_by(sha256, self.keys, state), None
        if key is None:
            found = read_signature(backend, sha256, self.keys, where, index.signed_by)
            key = check_bytes(INDEX, data, found[1], self.keys, where)
        check_fresh(index, sha256, state, where, dt.datetime.now(dt.UTC), key)
        return found

    def weights_signature(self, entry: Entry) -> bytes | None:
        """The signature of an entry's weights, not checked yet; None where no key is trusted.

        Raises:
            SignatureError: there are keys to trust, and none of them signed this file.
            RegistryError: the registry cannot be read; OfflineError: and is not to be.
        """
        if not self.keys:
            return None
        sha256, where = file_of(entry, WEIGHTS).sha256, self.where(path_of(entry, WEIGHTS))
        try:
            return read_signature(FolderBackend(str(self._remembered)), sha256, self.keys, where)[1]
        except SignatureError:
            place = self._place(path_of(entry, WEIGHTS))
        found = patiently(lambda: read_signature(place, sha256, self.keys, where), INDEX_PAUSES, LONGEST_INDEX_PAUSE)
        self._remember(*found)
        return found[1]

    def check_weights(self, entry: Entry, path: Path, signature: bytes | None) -> tuple[str, ...]:
        """Check `weights_signature` of the weights at ``path``; the fingerprints of who signed.

        Raises:
            SignatureError: none of the trusted keys signed this file.
        """
        if signature is None:
            return ()
        from zoo.signatures.signing import check_file

        where = self.where(path_of(entry, WEIGHTS))
        return (check_file(path, signature, self.keys, where, WEIGHTS).fingerprint,)

    def sources(self, entry: Entry, name: str) -> list[Source]:
        """Where an entry's file can be had: here, then on its mirrors.

        Raises:
            OfflineError: only over the network, which is not to be used.
        """
        elsewhere = self.folder is None or (entry.mirrors and not (self.folder / path_of(entry, name)).exists())
        if self._offline and elsewhere:
            file = file_of(entry, name)
            raise OfflineError(
                f"{entry.label}: expected {name} ({file.size} bytes) in the cache, found it missing, and the network "
                f"is not to be used; run `pifa zoo get {entry.label}` once online"
            )
        sources = [Source(self._backend, path_of(entry, name))]
        if not self._offline:
            sources += [Source(Mirror(mirror), name) for mirror in entry.mirrors]
        return sources

    def read(self, entry: Entry, name: str) -> bytes:
        """One small file of an entry (its card, its configuration), checked against size and SHA-256.

        Raises:
            RegistryError: the entry has no such file, it is over 64 MiB, or the registry cannot be read.
            HashError: the file is not what the entry promises.
        """
        expected, where = file_of(entry, name), self.where(path_of(entry, name))
        if expected.size > MAX_READ_BYTES:
            raise RegistryError(
                f"{where}: expected at most {MAX_READ_BYTES} bytes, found {expected.size}; fetch it to disk"
            )
        data = _read(self._place(path_of(entry, name)), path_of(entry, name), expected.size + 1)
        check(hash_bytes(data), expected, where)
        return data

    def copy(self, entry: Entry, name: str, target: Path) -> None:
        """Copy one file of an entry to the new file ``target``, checked while it is copied.

        On an error ``target`` may hold a part of the file.

        Raises:
            RegistryError: the entry has no such file, or the registry cannot be read.
            HashError: the file is not what the entry promises.
        """
        expected = file_of(entry, name)
        with self.open(path_of(entry, name)) as stream:
            found = copy_hashed(stream, target, expected.size)
        check(found, expected, self.where(path_of(entry, name)))

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """Open a file of the registry by its path below the root; nothing outside the root is opened.

        Raises:
            RegistryError: no such file, or it lies (by a symbolic link) outside the registry, or any other
                fault while it is read.
        """
        with self._place(path).open(path) as opened:
            yield opened.stream


def read_signature(
    place: Backend | Writer, sha256: str, keys: Sequence[TrustedKey], where: str, likely: Sequence[str] = ()
) -> tuple[str, bytes]:
    """Path and content, not checked yet, of the signature of some content by one of the keys.

    Args:
        place: where to look.
        sha256: of the content.
        keys: those that are trusted.
        where: the content's place, for messages.
        likely: fingerprints of keys to look for first.

    Raises:
        SignatureError: there is none.
        UnreachableError: the place cannot be reached.
    """
    found = "none"
    for key in sorted(keys, key=lambda key: key.fingerprint not in likely):
        path = signature_path(sha256, key.fingerprint)
        try:
            return path, _read(place, path, MAX_SIGNATURE_BYTES + 1)
        except UnreachableError:
            raise
        except MissingFileError:
            continue
        except RegistryError as error:  # where names may not be listed, what is not there is forbidden
            found = f"none that can be read ({error})"
    names = ", ".join(key.fingerprint[:16] for key in keys)
    raise SignatureError(
        f"{where}: expected a signature by a key that you trust ({names}), found {found}; do not use this registry "
        "before its publisher explains that (`pifa zoo trust` shows and changes the keys)"
    )


def _read(place: Backend | Writer, path: str, max_bytes: int) -> bytes:
    """A small file, whole or cut off after ``max_bytes``, in bounded time.

    Raises:
        UnreachableError: it takes too long.
        RegistryError: it can't be read.
    """
    with place.open(path) as opened:
        try:
            return read_up_to(opened.stream, max_bytes, SMALL_SECONDS)
        except TimeoutError as error:
            raise UnreachableError(
                f"{path}: expected it within {SMALL_SECONDS:g} s, {error}; try again later"
            ) from error


def path_of(entry: Entry, name: str) -> str:
    """Where an entry's file lies below the registry's root."""
    return f"{entry.name}/{entry.version}/{name}"


def file_of(entry: Entry, name: str) -> FileEntry:
    """What the entry says about its file ``name``.

    Raises:
        RegistryError: the entry has no such file.
    """
    file = entry.file(name)
    if file is None:
        have = ", ".join(file.name for file in entry.files)
        raise RegistryError(f"{entry.label}: expected a file {name!r}, found {have}; ask for one of these")
    return file
