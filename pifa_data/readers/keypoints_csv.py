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
from dataclasses import replace
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers.base import Format, inside
from pifa_data.readers.numbers import parse_numbers
from pifa_data.schemes import SCHEMES, Scheme, scheme_of_count

_NAME = re.compile(r"^(?:(?P<split>train|training|val|validation|test)_)?(?P<subject>.+?)(?:_\d+)?$")

_NAME_OF_COLUMN = re.compile(r"^(?!(nan|inf|infinity)$)[A-Za-z_]\w*$", re.IGNORECASE)


def read(path: Path) -> Iterator[Face | Skipped]:
    """Stream the faces of one folder (or of its ``keypoints.csv``)."""
    table = path / "keypoints.csv" if path.is_dir() else path
    if not table.is_file():
        raise AnnotationError(f"{path}: expected a folder with keypoints.csv and images/")
    images = table.parent / "images"
    seen: set[str] = set()
    scheme: Scheme | None = None
    # Bytes that are no UTF-8 can only spoil a file name; that face is then skipped as an image that is not there.
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.reader(file)
        try:
            for row in rows:
                if not row:
                    continue
                # One scheme a table, its first row's: a row that was cut short may have another scheme's length.
                scheme = scheme or _scheme(row)
                if rows.line_num == 1 and _is_header(row):
                    continue
                face = _face(row, rows.line_num, images, scheme)
                if face.id in seen:
                    # One image may show several faces; each needs a name of its own.
                    face = _renamed(face, f"{face.id}#{rows.line_num}")
                seen.add(face.id)
                yield face
        except csv.Error as error:
            raise AnnotationError(f"{table}: line {rows.line_num}: not a CSV text file ({error})") from error


def _is_header(row: list[str]) -> bool:
    """Numbers of the columns, as pandas writes them, or names where coordinates would stand."""
    if row[1:] == [str(i) for i in range(len(row) - 1)]:
        return True
    return len(row) > 1 and all(_NAME_OF_COLUMN.match(cell.strip()) for cell in row[1:])


def _renamed(face: Face | Skipped, name: str) -> Face | Skipped:
    return replace(face, id=name)


def _scheme(row: list[str]) -> Scheme | None:
    return scheme_of_count((len(row) - 1) // 2) if len(row) % 2 else None


def _face(row: list[str], line: int, images: Path, scheme: Scheme | None) -> Face | Skipped:
    name = row[0].strip() or f"line {line}"
    if scheme is None or len(row) != 2 * len(scheme) + 1:
        known = ", ".join(f"{2 * len(s) + 1} ({s.name})" for s in ([scheme] if scheme else SCHEMES.values()))
        return Skipped(name, f"keypoints.csv line {line}: expected {known} columns, found {len(row)}")
    try:
        landmarks = parse_numbers(",".join(row[1:]), ",").reshape(-1, 2)
    except ValueError:
        return Skipped(name, f"keypoints.csv line {line}: a coordinate is not a number")
    try:
        image = inside(str(images), name)
    except AnnotationError as error:
        return Skipped(name, f"keypoints.csv line {line}: {error}")
    path = Path(name)
    match = _NAME.match(path.parent.name if path.stem.isdigit() and path.parent.name else path.stem)
    return Face(
        id=name,
        file=image,
        landmarks=landmarks,
        visibility=np.full(len(landmarks), 2, np.uint8),
        scheme=scheme.name,
        kind="2d",  # YouTube Faces' jaw labels follow the silhouette of turned heads
        subject=match["subject"] if match else name,
        split=(match["split"] or "") if match else "",
    )


FORMAT = Format(
    name="keypoints-csv",
    layout="a folder with keypoints.csv (file name, x0, y0, x1, y1, … of one scheme's points) and images/",
    read=read,
    schemes=tuple(SCHEMES),
    tried="originals",
    matches=lambda path: path.is_dir() and (path / "keypoints.csv").is_file(),
)
