"""Which keys a client trusts: those that ``PIFA_TRUST`` names, and those recorded in its cache.

A client with a trusted key for a registry takes from it only what is signed by one of its keys.
"""

import os
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, ValidationError

from zoo.addresses import shown_address
from zoo.documents import Document, dump_json, explain, read_document
from zoo.entry import Sha256, Text
from zoo.errors import ZooError
from zoo.signatures.keys import TrustedKey, parse_public_key, read_public_key
from zoo.storage import locked, sync_folder, temporary_path, write_new, writing

PUBLIC_KEYS = "PIFA_TRUST"
"""The environment variable with paths of public keys that are trusted for every registry, joined by `os.pathsep`."""

FILE = "trust.json"
LOCK = ".trust.lock"
LOCK_SECONDS = 60.0

# A thousand keys fit.
MAX_TRUST_BYTES = 2**20

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Trusted:
    """A recorded key, and the registry it is trusted for (`same_place` of its address); None: for every registry."""

    key: TrustedKey
    registry: str | None


class _Record(Document):
    fingerprint: Sha256
    registry: Text | None
    pem: str = Field(max_length=4096)


class _Records(Document):
    schema_version: Literal[1]
    keys: tuple[_Record, ...]


def trusted_keys(registry: str, cache: Path) -> tuple[TrustedKey, ...]:
    """The keys that are trusted for a registry, each once; empty: signatures are not asked for.

    Args:
        registry: its address, in any of the forms that `same_place` takes for the same.
        cache: the folder that ``PIFA_HOME`` names.

    Raises:
        ZooError: a key that ``PIFA_TRUST`` names or the record is at fault, or the packages of ``pifa[sign]`` are not
            installed. No fault means "no keys".
    """
    place = _who(same_place(registry))
    named = [path for path in os.environ.get(PUBLIC_KEYS, "").split(os.pathsep) if path]
    keys = [_named(Path(path)) for path in named]
    keys += [one.key for one in trusted(cache) if one.registry is None or _who(one.registry) == place]
    found: dict[str, TrustedKey] = {}
    for key in keys:
        found.setdefault(key.fingerprint, key)
    return tuple(found.values())


def trusted(cache: Path) -> tuple[Trusted, ...]:
    """What is recorded, in the order it came.

    Raises:
        ZooError: the record is damaged or cannot be read, or the packages of ``pifa[sign]`` are not installed.
    """
    path = cache / "zoo" / FILE
    cure = "trust the keys anew after you have moved it away"
    records = read_document(_Records, path, MAX_TRUST_BYTES, cure) or _Records(schema_version=1, keys=())
    return tuple(
        _checked(record, f"{path}, key {record.fingerprint[:16]}", cure) for record in (records.keys if records else ())
    )


def trust(key_file: Path, registry: str | None, cache: Path) -> TrustedKey:
    """Record a public key as trusted for one registry, or for every one (None); again: nothing changes.

    Raises:
        ZooError: the file is no public key, or the record is damaged or cannot be written.
    """
    key = read_public_key(key_file)
    place = None if registry is None else same_place(registry)

    def with_it(before: tuple[Trusted, ...]) -> tuple[Trusted, ...]:
        known = any((old.key.fingerprint, old.registry) == (key.fingerprint, place) for old in before)
        return before if known else (*before, Trusted(key, place))

    _change(cache, with_it)
    return key


def distrust(prefix: str, cache: Path) -> tuple[Trusted, ...]:
    """Forget a recorded key for all registries.

    Args:
        prefix: the beginning of its fingerprint, at least 8 hex digits.
        cache: the folder that ``PIFA_HOME`` names.

    Returns:
        What is forgotten.

    Raises:
        ZooError: no recorded key begins like that, or several do, or the record is damaged or cannot be written.
    """
    start = prefix.lower()
    if len(start) < 8:
        raise ZooError(f"fingerprint {prefix!r}: expected 8 or more of its digits, found {len(start)}; give more")
    gone: list[Trusted] = []

    def without_it(before: tuple[Trusted, ...]) -> tuple[Trusted, ...]:
        gone[:] = [one for one in before if one.key.fingerprint.startswith(start)]
        if (found := len({one.key.fingerprint for one in gone})) != 1:
            raise ZooError(
                f"fingerprint {prefix!r}: expected the beginning of one recorded key's, found {found or 'no'} such "
                f"keys; `pifa zoo trust` lists them (those of {PUBLIC_KEYS} are not recorded)"
            )
        return tuple(one for one in before if one not in gone)

    _change(cache, without_it)
    return tuple(gone)


def same_place(registry: str) -> str:
    """An address in one form, to compare: what differs in the way it is written alone is the same.

    That is a slash at the end, the case of a host and a dot behind it, ``%7E`` for ``~``, a port that goes without
    saying, and ``@main`` of a hub. A folder becomes its real absolute path; a user name and password are dropped.
    """
    if registry[:5].lower() == "file:":
        from urllib.request import url2pathname  # brings the whole of http and ssl

        registry = url2pathname(urlsplit(registry).path)
    if "://" not in registry:
        return os.path.realpath(registry)
    try:
        parts = urlsplit(registry)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ZooError(
            f"registry {shown_address(registry)!r}: expected an address, found none ({error}); correct it"
        ) from error
    if parts.scheme == "hf":  # an owner, not a host: https://hub/owner/repo
        owner, path = registry[len("hf://") :].partition("/")[::2]
        name, _, rest = path.strip("/").partition("/")
        return "hf://" + posixpath.normpath("/".join((owner, name.removesuffix("@main"), rest))).strip("/")
    host = host.rstrip(".")
    at = f"[{host}]" if ":" in host else host
    at += "" if port in (None, _PORTS.get(parts.scheme)) else f":{port}"
    path = posixpath.normpath("/" + re.sub(r"%[0-9A-Fa-f]{2}", _plain, parts.path).strip("/"))
    return urlunsplit((parts.scheme, at, "" if path == "/" else path, parts.query, ""))


def _plain(escape: re.Match[str]) -> str:
    """What an escape stands for, where that needs none (RFC 3986, unreserved); else the escape in one form."""
    character = chr(int(escape[0][1:], 16))
    return character if re.fullmatch(r"[A-Za-z0-9._~-]", character) else escape[0].upper()


def _who(place: str) -> str:
    """A place as keys are trusted for it: http is no other registry than https."""
    return re.sub(r"^http:", "https:", place)


def _checked(record: _Record, where: str, cure: str) -> Trusted:
    key = parse_public_key(record.pem.encode("utf-8"), where)
    if key.fingerprint != record.fingerprint:
        raise ZooError(f"{where}: expected that key, found the one of fingerprint {key.fingerprint[:16]}; {cure}")
    return Trusted(key, record.registry)


def _named(path: Path) -> TrustedKey:
    try:
        return read_public_key(path)
    except ZooError as error:
        raise ZooError(f"{PUBLIC_KEYS}: {error}") from error


def _change(cache: Path, change: Callable[[tuple[Trusted, ...]], tuple[Trusted, ...]]) -> None:
    folder = cache / "zoo"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK, LOCK_SECONDS):
        after = change(trusted(cache))
        try:
            records = [_Record(fingerprint=t.key.fingerprint, registry=t.registry, pem=t.key.pem) for t in after]
        except ValidationError as error:  # a folder's name that is no text
            raise ZooError(f"registry: {explain(error)}; correct its address") from error
        with temporary_path(folder, ".trust-") as temporary, writing(folder / FILE):
            write_new(temporary, dump_json(_Records(schema_version=1, keys=tuple(records)).model_dump(mode="json")))
            temporary.chmod(0o600)
            temporary.replace(folder / FILE)
            sync_folder(folder)
