"""Files of parts beside the whole, ``A_common.csv`` beside ``A.csv``: each face comes once, with its parts' names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from pifa_data.readers import wflw
from pifa_data.readers.names import Names

_PARTS = {
    **{name: name for name in (*wflw.SUBSETS, "frontal", "common", "challenging")},
    "challenge": "challenging",
}

Subsets = tuple[str, ...]


def parts_named(words: Sequence[str]) -> Subsets:
    """The papers' names of parts, of the words in a file's name."""
    return tuple(dict.fromkeys(_PARTS[word] for word in words if word in _PARTS))


class PartOrWhole(Protocol):
    """A file of faces, and the parts that its name means."""

    @property
    def file(self) -> Path: ...
    @property
    def subsets(self) -> Subsets: ...


T = TypeVar("T", bound=PartOrWhole)


class Once:
    """The faces of a whole and its parts that have come, by a key that is the same in each."""

    def __init__(self, members: list[tuple[Subsets, Names]]) -> None:
        self._members = members
        self._seen = Names()

    def subsets(self, key: str, own: Subsets) -> Subsets | None:
        """The parts that a face is in, its file's own first; None if it has come before."""
        if not self._seen.add(key):
            return None
        return tuple(dict.fromkeys((*own, *(name for part, keys in self._members if key in keys for name in part))))


def wholes_first(files: Sequence[T], keys: Callable[[T], Names]) -> Iterator[tuple[T, Once | None]]:
    """Each file, those of parts behind their whole; and what tells their faces apart, None where there are no parts."""
    for whole in files:
        if any(_is_part(whole, other) for other in files):
            continue
        parts = [file for file in files if _is_part(file, whole)]
        once = Once([(part.subsets, keys(part)) for part in parts]) if parts else None
        for file in (whole, *parts):
            yield file, once


def _is_part(file: PartOrWhole, other: PartOrWhole) -> bool:
    return file.file.stem.startswith(f"{other.file.stem}_")
