"""What must hold of a store whatever happened to it."""

from __future__ import annotations

from pathlib import Path

from pifa_data.errors import StoreError
from pifa_data.store import Store


def digest_of(store: Path) -> str:
    return str(Store(store).attributes["digest"])


def check_never_wrong(store: Path, *digests: str) -> str:
    """There is no store, or a whole one of one of the digests, or one that says that it is not finished.

    Returns:
        which of them, in words.
    """
    if not store.exists():
        return "nothing"
    opened = Store(store, unfinished=True)
    problems = list(opened.verify())
    try:
        Store(store)
    except StoreError:
        # Whatever the manifest has is right: nothing is wrong but what is not there.
        assert problems
        assert all("not built" in p.text or "not finished" in p.text for p in problems), problems
        return "no shard" if not opened.entries else "some shards" if opened.missing() else "all shards"
    assert not problems
    assert opened.attributes["digest"] in digests
    return "finished"


def check_finished(store: Path, digest: str) -> None:
    """The store is whole and nothing else is left."""
    assert check_never_wrong(store, digest) == "finished"
    left = [p.name for p in store.parent.rglob("*") if p.name.endswith((".partial", ".new", ".old"))]
    assert left == []
