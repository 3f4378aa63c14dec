"""COCO's JSON files in a folder: which there are, what their names say, and the table of images in each."""

from __future__ import annotations

import heapq
import re
from array import array
from bisect import bisect_left
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.readers.base import LONGEST_NAME, exists, flag, inside
from pifa_data.readers.parts import parts_named

MOST_FILES = 100
"""Files looked at in a folder; mmpose's have up to eight."""

MOST_LOOKED_FOR = 20
"""Images looked for to find out which folder they lie in."""

LARGEST_SIZE = 2**31 - 1
"""Pixels along a side that the table can hold."""

_HEAD = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"(?:images|annotations|categories|info|licenses|type)"\s*:')

_SPLITS = {"train": "train", "val": "val", "valid": "val", "test": "test"}


@dataclass(frozen=True)
class Table:
    """One file, and what its name says.

    Attributes:
        file: where it is.
        split: ``train``, ``val``, ``test``, 300W's ``full``, or ``""``.
        subsets: the papers' name of the part.
    """

    file: Path
    split: str
    subsets: tuple[str, ...]

    @property
    def words(self) -> frozenset[str]:
        return frozenset(re.split(r"[_\W]", self.file.stem.lower()))

    def root_of(self, names: list[str]) -> str:
        """The folder that images lie in: where the first that can be found is, or where mmpose puts them.

        mmpose's layout is ``NAME/annotations/*.json`` beside ``NAME/images``; COCO's has ``train2017`` there, and
        LaPa's names begin with a folder beside it.
        """
        folder = self.file.parent
        places = [folder, folder / "images"]
        if folder.name == "annotations":
            above = folder.parent
            places = [above / "images", above, *(above / f"{name}2017" for name in ("train", "val")), *places]
        for name in names:
            for place in places:
                with suppress(AnnotationError):
                    if exists(Path(inside(str(place), name))):
                        return str(place)
        return str(places[0])


def tables_of(path: Path) -> list[Table]:
    """The COCO files of a path, in the order of their names: itself, or those in it and in its folder annotations."""
    if not path.is_dir():
        files = [path]
    else:
        inner = path / "annotations"
        files = [file for folder in (path, inner) for file in heapq.nsmallest(MOST_FILES, folder.glob("*.json"))]
    tables = [_table(file) for file in files if looks_like_coco(file)]
    # LaPa's …_trainval.json has the faces of …_train.json and …_val.json again.
    stems = {table.file.stem for table in tables}
    return [
        table
        for table in tables
        if not (table.file.stem.endswith("trainval") and {table.file.stem[:-3], table.file.stem[:-8] + "val"} <= stems)
    ]


def looks_like_coco(file: Path) -> bool:
    """Whether a file begins as COCO's do; false for what is no regular file."""
    try:
        if not file.is_file():
            return False
        with file.open("rb") as stream:
            return _HEAD.match(stream.read(4096)) is not None
    except (OSError, ValueError):
        return False


def _table(file: Path) -> Table:
    words = [word.removesuffix("2017") for word in re.split(r"[_\W]", file.stem.lower())]
    splits = {_SPLITS[word] for word in words if word in _SPLITS}
    if "300w" in words and "lp" not in words and splits == {"val"}:
        splits = {"full"}  # what the papers test on, as HRNet and mmpose name it
    return Table(file, splits.pop() if len(splits) == 1 else "", parts_named(words))


class Images:
    """Names and sizes of images by their ids, in 40 bytes each and the name's own."""

    def __init__(self) -> None:
        self._ids = array("q")
        self._starts = array("q")
        self._ends = array("q")
        self._sizes = array("i")
        self._names = bytearray()
        self._last = -1

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, record: dict[str, Any]) -> None:
        """Take in an element of the file's ``images``.

        Raises:
            AnnotationError: no whole number ``id``, no text ``file_name``, or sizes that are no whole numbers above 0.
        """
        id_, name, width, height = (record.get(key) for key in ("id", "file_name", "width", "height"))
        if type(id_) is not int or abs(id_) >= 2**63:
            raise AnnotationError(f"id: expected a whole number, found {flag(id_)}")
        if type(name) is not str or not 0 < len(name) <= LONGEST_NAME:
            raise AnnotationError(f"file_name: expected a text of 1 to {LONGEST_NAME} characters, found {flag(name)}")
        if width is None and height is None:
            width = height = 0
        elif type(width) is not int or type(height) is not int or not 0 < min(width, height) <= LARGEST_SIZE:
            raise AnnotationError(
                f"width and height: expected whole numbers above 0, found {flag(width)} and {flag(height)}"
            )
        elif max(width, height) > LARGEST_SIZE:
            raise AnnotationError(f"width and height: expected at most {LARGEST_SIZE}, found {width} and {height}")
        self._ids.append(id_)
        self._starts.append(len(self._names))
        self._names += name.encode()
        self._ends.append(len(self._names))
        self._sizes.extend((width, height))

    def complete(self) -> list[int]:
        """Sort them, when all have been added; gives the ids that stand there more than once."""
        ids = np.array(self._ids, np.int64)
        if (ids[1:] > ids[:-1]).all():
            return []
        order = np.argsort(ids, kind="stable")
        self._ids = array("q", ids[order].tobytes())
        self._starts = array("q", np.array(self._starts, np.int64)[order].tobytes())
        self._ends = array("q", np.array(self._ends, np.int64)[order].tobytes())
        self._sizes = array("i", np.array(self._sizes, np.int32).reshape(-1, 2)[order].tobytes())
        ids = ids[order]
        return np.unique(ids[1:][ids[1:] == ids[:-1]]).tolist()

    def find(self, id_: int) -> tuple[str, tuple[int, int] | None] | None:
        """Name and size (None if not given) of the first image of that id; None if there is none."""
        ids, at = self._ids, self._last
        if at < 0 or ids[at] != id_:
            at += 1  # most files have annotations in the order of images
            if at >= len(ids) or ids[at] != id_:
                at = bisect_left(ids, id_)
                if at == len(ids) or ids[at] != id_:
                    return None
        self._last = at
        width, height = self._sizes[2 * at], self._sizes[2 * at + 1]
        return self._names[self._starts[at] : self._ends[at]].decode(), (width, height) if width else None

    def first_names(self) -> list[str]:
        """The names of the first few images."""
        count = min(len(self), MOST_LOOKED_FOR)
        return [self._names[self._starts[i] : self._ends[i]].decode() for i in range(count)]
