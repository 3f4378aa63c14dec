"""The parts of dlib's boxes, taken out of the XML before it is parsed.

Nearly all of a file is ``<part name='00' x='55' y='141'/>``, 68 times a face, and nearly all of an XML parser's time
goes into calling back for each. A box's parts that stand as dlib writes them are therefore cut at the quotes, and one
``<part run='7'/>`` is left in their place; all other XML stays as it is. What is no XML here (a comment, say) is none
with the mark in it either, and the mark is then never met.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.readers.base import flag
from pifa_data.readers.numbers import parse_numbers

MOST_PARTS = 1000
"""Parts of one box."""

_BEGIN, _END = b"<part name=", b"</box>"
_BETWEEN, _BEHIND = re.compile(rb"/>\s*<part name="), re.compile(rb"/>\s*")


Attributes = list[str]
"""Of one element, as expat gives them: name, value, name, value …"""


class Numbers(NamedTuple):
    """What parts are named by.

    Attributes:
        numbers: ``(n,)`` int64, in the order of the file.
        highest: the largest of them.
        whole: whether they are 0, 1, 2 … in this order.
    """

    numbers: np.ndarray
    highest: int
    whole: bool


class Run(NamedTuple):
    """The parts of one box: their numbers, and x and y ``(n, 2)`` float64."""

    names: Numbers
    points: np.ndarray

    def as_attributes(self) -> list[Attributes]:
        """Each part as the parser would have given it."""
        rows = zip(self.names.numbers.tolist(), self.points.tolist(), strict=True)
        return [["name", str(number), "x", repr(x), "y", repr(y)] for number, (x, y) in rows]


def take_out(text: bytes, runs: dict[str, Run]) -> bytes:
    """The text with a mark for each box's parts, which are put among the runs by the mark's number.

    Args:
        text: XML that begins and ends outside of tags, or wherever it may: then nothing is taken out there.
        runs: what is taken out; empty.
    """
    kept, done = [], 0
    while (at := text.find(_BEGIN, done)) >= 0:
        end = text.find(_END, at)
        if end < 0:
            break
        body = text[at:end]
        run = _run(body)
        if run is None:
            kept.append(text[done:end])
        else:
            mark = str(len(runs))
            runs[mark] = run
            # As many lines as before, so that what is said of a line is right.
            kept += [text[done:at], b"<part run='%s'/>" % mark.encode(), b"\n" * body.count(b"\n")]
        done = end
    kept.append(text[done:])
    return b"".join(kept)


def _run(body: bytes) -> Run | None:
    """The parts, if there is nothing else, and nothing that only an XML parser understands."""
    pieces = body.split(b"'")
    count = len(pieces) // 6
    between = pieces[6:-1:6]
    if (
        len(pieces) != 6 * count + 1
        or not 0 < count <= MOST_PARTS
        or pieces[0] != _BEGIN
        or pieces[2::6].count(b" x=") != count
        or pieces[4::6].count(b" y=") != count
        or (between and (not _BETWEEN.fullmatch(between[0]) or between.count(between[0]) != count - 1))
        or not _BEHIND.fullmatch(pieces[-1])
    ):
        return None
    try:
        names = part_numbers(b"'".join(pieces[1::6]).decode("ascii"))
        points = part_points(b",".join(pieces[3::6] + pieces[5::6]).decode("ascii"), count)
    except (AnnotationError, UnicodeDecodeError):
        return None  # told when it has been parsed
    return Run(names, points)


def part_points(text: str, count: int) -> np.ndarray:
    """``(count, 2)`` float64 of the x of all parts, then the y, with commas between.

    Raises:
        AnnotationError: no numbers, or not as many.
    """
    try:
        values = parse_numbers(text, ",")
    except ValueError as error:
        raise AnnotationError(f"part: {error}") from None
    if len(values) != 2 * count:
        raise AnnotationError(f"part: expected one number each for x and y, found {len(values)} of {count} parts")
    return values.reshape(2, count).T.copy()


@lru_cache(256)
def part_numbers(names: str) -> Numbers:
    """The numbers of parts whose names have quotes between.

    Raises:
        AnnotationError: a name that is no number, or one that stands there twice.
    """
    numbers: list[int] = []
    for name in names.split("'"):
        if not (name.isascii() and name.isdigit() and len(name) < 5):
            raise AnnotationError(f"part: expected a number for a name, found {flag(name)}")
        numbers.append(int(name))
    if len(set(numbers)) < len(numbers):
        again = next(n for n in numbers if numbers.count(n) > 1)
        raise AnnotationError(f"part {again} stands there twice")
    return Numbers(np.array(numbers, np.int64), max(numbers), numbers == list(range(len(numbers))))
