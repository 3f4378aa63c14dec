"""``keypoints-csv``: a folder with ``keypoints.csv`` (file name, x0, y0, x1, y1, …) and ``images/``.

A first row whose cells count the columns is a header. Coordinates are pixels with the centre of the top-left one at
(0, 0). The person is taken from file names like ``training_Some_Person_07.jpg``: a split in front, a frame number
behind, both optional; frames of one video therefore never stand on both sides of a split. Where the file's name is
a number alone, as in ``Some_Person/0007.jpg``, the person is the folder.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers.base import Format, inside
from pifa_data.readers.lines import TOO_LONG, read_lines
from pifa_data.readers.names import Names
from pifa_data.readers.numbers import parse_numbers
from pifa_data.readers.rows import KIND, SCHEME, all_visible, chosen_kind, chosen_scheme, unique
from pifa_data.schemes import SCHEMES, Scheme, scheme_of_count

_NAME = re.compile(r"^(?:(?P<split>train|training|val|validation|test)_)?(?P<subject>.+?)(?:_\d+)?$")

_NAME_OF_COLUMN = re.compile(r"^(?!(nan|inf|infinity)$)[A-Za-z_]\w*$", re.IGNORECASE)


def read(path: Path, kind: str = "2d", scheme: str = "") -> Iterator[Face | Skipped]:
    """Stream the faces of one folder (or of its ``keypoints.csv``)."""
    kind, chosen = chosen_kind(kind), chosen_scheme(scheme)
    table = path / "keypoints.csv" if path.is_dir() else path
    if not table.is_file():
        raise AnnotationError(f"{path}: expected a folder with keypoints.csv and images/")
    images = str(table.parent / "images")
    names = Names()
    for number, line in read_lines(table):
        if line is None:
            yield Skipped(unique(names, f"line {number}", number), f"keypoints.csv line {number}: {TOO_LONG}")
            continue
        if not line:
            continue
        name, numbers = split_row(line)
        if chosen is None and columns(numbers) % 2:
            # One scheme a table, its first row's: a row that was cut short may have another scheme's length.
            chosen = scheme_of_count(columns(numbers) // 2)
        if number == 1 and _is_header(numbers):
            continue
        name = name.strip() or f"line {number}"
        id_ = unique(names, name, number)
        try:
            yield _face(id_, name, numbers, chosen, images, kind)
        except AnnotationError as error:
            yield Skipped(id_, f"keypoints.csv line {number}: {error}")


def split_row(line: str) -> tuple[str, str]:
    """A row's first cell, and the others as they stand between commas."""
    # The csv module takes 10 to 18 µs to cut a row of 68 points into cells; only quotes need it.
    if '"' not in line:
        name, _, rest = line.partition(",")
        return name, rest
    try:
        cells = next(csv.reader([line]), [""])
    except csv.Error:
        return line[:80], ""
    return cells[0], ",".join(cells[1:])


def columns(numbers: str) -> int:
    """How many cells a row has, with the first, of the others as they stand between commas."""
    return 1 + numbers.count(",") + bool(numbers)


def _is_header(cells: str) -> bool:
    """Numbers of the columns, as pandas writes them, or names where coordinates would stand."""
    found = cells.split(",")
    if found == [str(i) for i in range(len(found))]:
        return True
    return bool(cells) and all(_NAME_OF_COLUMN.match(cell.strip()) for cell in found)


def _face(id_: str, name: str, numbers: str, scheme: Scheme | None, images: str, kind: str) -> Face:
    try:
        values = parse_numbers(numbers, ",")
    except ValueError:
        values = None
    if scheme is None or values is None or len(values) != 2 * len(scheme):
        raise _refusal(columns(numbers), scheme)
    subject, split = _person(name)
    return Face(
        id=id_,
        file=inside(images, name),
        landmarks=values.reshape(len(scheme), 2),
        visibility=all_visible(len(scheme)),
        scheme=scheme.name,
        kind=kind,  # 2d unless said otherwise: YouTube Faces' jaw labels follow the silhouette of turned heads
        subject=subject,
        split=split,
    )


def _refusal(count: int, scheme: Scheme | None) -> AnnotationError:
    """What is wrong with a row of so many cells."""
    known = {2 * len(s) + 1: s.name for s in ([scheme] if scheme else SCHEMES.values())}
    if count in known:
        return AnnotationError("a coordinate is not a number")
    expected = ", ".join(f"{number} ({name})" for number, name in known.items())
    return AnnotationError(f"expected {expected} columns, found {count}")


def _person(name: str) -> tuple[str, str]:
    """Who it is, and the split, of an image's name."""
    folder, _, file = name.rpartition("/")
    stem = file.rpartition(".")[0] or file
    if folder and stem.isdigit():
        stem = folder.rpartition("/")[2]
    match = _NAME.match(stem)
    return (match["subject"], match["split"] or "") if match else (name, "")


FORMAT = Format(
    name="keypoints-csv",
    layout="a folder with keypoints.csv (file name, x0, y0, x1, y1, … of one scheme's points) and images/",
    read=read,
    schemes=tuple(SCHEMES),
    tried="originals",
    matches=lambda path: path.is_dir() and (path / "keypoints.csv").is_file(),
    options={**KIND, **SCHEME},
)
