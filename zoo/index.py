"""The document ``index.json``: read, written, and put together from two."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from pydantic import ValidationError

from zoo.documents import dump_json, explain, load_json, validated
from zoo.entry import MAX_INDEX_BYTES, Entry, Index, version_key
from zoo.errors import PublishError, RegistryError

EMPTY = Index(serial=0, updated=dt.datetime(1970, 1, 1, tzinfo=dt.UTC))
"""The index of a registry in which nothing was published yet."""


def parse_index(data: bytes, where: str) -> Index:
    """Parse ``index.json``.

    Raises:
        RegistryError: over 16 MiB, not JSON, another schema version, or any field at fault.
    """
    if len(data) > MAX_INDEX_BYTES:
        raise RegistryError(
            f"{where}: expected an index of at most {MAX_INDEX_BYTES} bytes, found more; this is no registry of PIFA's"
        )
    document = load_json(data, where, RegistryError)
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != 1:
        newer = isinstance(version, int) and version > 1
        cure = "update pifa" if newer else "this is no registry of PIFA's"
        raise RegistryError(f"{where}: expected schema_version 1, found {'a later one' if newer else 'none'}; {cure}")
    return validated(Index, data, where, RegistryError)


def dump_index(index: Index) -> bytes:
    """The bytes of ``index.json``."""
    return dump_json(index.model_dump(mode="json"))


def following(before: Index, **changes: object) -> Index:
    """The index after ``before``: its fields with ``changes``, the serial raised by one, dated now.

    Raises:
        PublishError: its readers would refuse it.
    """
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    try:
        after = Index.model_validate({**dict(before), **changes, "serial": before.serial + 1, "updated": now})
    except ValidationError as error:
        raise PublishError(f"index: {explain(error)}") from error
    return after.model_copy(update={"entries": _sorted(after.entries)})


def merged(base: Index, mine: Index) -> Index:
    """``base`` with the entries that only ``mine`` has; what one of the two withdrew stays withdrawn.

    Its serial is the higher of the two: what follows is newer than both.

    Raises:
        PublishError: the two have different entries of one version.
    """
    known = {entry.label: entry for entry in base.entries}
    for entry in mine.entries:
        other = known.setdefault(entry.label, entry)
        if _in_use(other) != _in_use(entry):
            raise PublishError(
                f"{entry.label}: expected in --staging DIR the version that the registry has, found another one: "
                "somebody else published it first; empty DIR, and publish what it held again, this under a new version"
            )
        if other.yanked is None and entry.yanked is not None:
            known[entry.label] = other.model_copy(update={"yanked": entry.yanked})
    return base.model_copy(update={"serial": max(base.serial, mine.serial), "entries": _sorted(known.values())})


def _in_use(entry: Entry) -> Entry:
    return entry.model_copy(update={"yanked": None})


def _sorted(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: (entry.name, version_key(entry.version))))
