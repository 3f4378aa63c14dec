"""AFLW's images, boxes and poses for labels that others made of its faces, without its images (MERL-RAV).

They come from AFLW's database, from a table ``faces.csv`` of its values (``image,x,y,w,h,yaw,pitch,roll``, pixels and
radians, other columns ignored; github.com/D-X-Y/landmark-detection has a script that makes one), or, for the images
alone, from the folders ``flickr/{0,2,3}``.
"""

from __future__ import annotations

import itertools
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Skipped
from pifa_data.readers.aflw import (
    TABLES,
    boxes_of,
    database_file,
    face_rows,
    images_folder,
    numbers_of,
    poses_of,
    subject_of,
)
from pifa_data.readers.base import IMAGE_SUFFIXES, inside
from pifa_data.readers.lines import TOO_LONG, read_lines
from pifa_data.readers.numbers import parse_numbers
from pifa_data.readers.sqlite import Database

COLUMNS = ("image", "x", "y", "w", "h", "yaw", "pitch", "roll")
TABLE = "faces.csv"

MOST = 200_000
"""Faces; they are all held."""

MOST_IN_IMAGE = 200
"""Faces of one image; more are no photograph, and every one is compared with every other."""

LEAST = 0.25
"""Overlap of a face's box with the box around its labels, as intersection over union. For 1,792 of MERL-RAV's 15,449
training faces no box of the image overlaps by 0.05 (the table has not all faces), for 154 one by 0.05 to 0.3, and for
half of the others by more than 0.6."""

CLEAR = 0.8
"""Share of the best overlap that the second best may have, of other boxes and of other faces for the same box."""

Box = tuple[float, float, float, float]


@dataclass
class AflwFaces:
    """AFLW's faces by their image.

    Attributes:
        images: folder of the images.
        names: path of each face's image in it, as ``0/image00002.jpg``.
        boxes: ``(n, 4)`` float64, x0, y0, x1, y1 pixels, NaN where not known.
        poses: ``(n, 3)`` float64, the project's yaw, pitch and roll, NaN where not known.
        rows: numbers of the faces of each image, by its name without folder and suffix. (Ranges, as lists by the ten
            thousand keep the garbage collector busy.)
        problems: what could not be read, for the reader that joins them.
    """

    images: str
    names: list[str]
    boxes: np.ndarray
    poses: np.ndarray
    rows: dict[str, range]
    problems: list[Skipped] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._boxes: list[Box] = [(x0, y0, x1, y1) for x0, y0, x1, y1 in self.boxes.tolist()]

    def boxes_in(self, rows: range) -> list[tuple[int, Box]]:
        """Number and box of each of some faces that has a box."""
        boxes = self._boxes
        return [(row, boxes[row]) for row in rows if boxes[row][0] == boxes[row][0]]  # not NaN

    def pose(self, row: int) -> np.ndarray | None:
        """The pose of one face, if it is known."""
        pose: np.ndarray = self.poses[row]
        return pose if pose[0] == pose[0] else None


def find_faces(option: str | None, labels: Path) -> AflwFaces | None:
    """AFLW's faces from where a user says, or from beside the labels.

    Args:
        option: AFLW's folder, its database, or a table; None to look for them; ``none`` for labels alone.
        labels: folder of the labels. Beside it MERL-RAV's owner puts AFLW's folder, as ``aflw``.

    Raises:
        AnnotationError: what the option names is none of these, or can't be read.
    """
    if option == "none":
        return None
    if option is not None:
        found = _load(Path(option))
        if found is None:
            raise AnnotationError(
                f"{option}: expected AFLW's folder (with aflw.sqlite or flickr in it), its aflw.sqlite, or a {TABLE}"
            )
        return found
    around = labels.absolute().parent
    problems: list[Skipped] = []
    for place in (around / "aflw", around / TABLE, labels / TABLE):
        try:
            found = _load(place)
        except AnnotationError as error:  # nobody asked for it: the labels alone will do
            problems.append(Skipped(place.name, f"{error}; the labels are read without it"))
            continue
        if found is not None:
            found.problems[:0] = problems
            return found
    return AflwFaces("", [], np.empty((0, 4)), np.empty((0, 3)), {}, problems) if problems else None


def _load(path: Path) -> AflwFaces | None:
    if path.is_file():
        return _read_table(path) if path.suffix.lower() == ".csv" else _read_database(path)
    file = database_file(path)
    if file is not None:
        return _read_database(file)
    if (path / TABLE).is_file():
        return _read_table(path / TABLE)
    folder = next((f for f in (path / "flickr", path / "data" / "flickr", path) if (f / "0").is_dir()), None)
    return None if folder is None else _list_images(folder)


def _read_database(file: Path) -> AflwFaces:
    names: list[str] = []
    values = array("d")
    problems: list[Skipped] = []
    with Database(
        file, {table: TABLES[table] for table in ("Faces", "FaceImages", "FaceRect", "FacePose")}
    ) as database:
        rows = face_rows(database)
        while block := list(itertools.islice(rows, 1024)):
            numbers, bad = numbers_of(block, slice(4, 11))
            for number, (row, line) in enumerate(zip(block, numbers, strict=True)):
                name = row[1].decode(errors="replace") if isinstance(row[1], bytes) else ""
                why = bad.get(number) or _add(file, name, line, names, values)
                if why:
                    problems.append(Skipped(f"{file.name}/{row[0]!r:.40}", f"{file}: face {row[0]!r:.40}: {why}"))
    return _faces(images_folder(file), names, values, problems)


def _read_table(file: Path) -> AflwFaces:
    lines = read_lines(file)
    header = next(lines, (1, ""))[1]
    columns = (header or "").strip().split(",")
    if any(columns.count(column) != 1 for column in COLUMNS):
        raise AnnotationError(f"{file}: line 1: expected the columns {','.join(COLUMNS)}, found {header!r:.200}")
    image, wanted = columns.index("image"), [columns.index(column) for column in COLUMNS[1:]]
    names: list[str] = []
    values = array("d")
    problems: list[Skipped] = []
    for number, text in lines:
        if text is not None and not text.strip():
            continue
        try:
            why = _add(file, *_row(text, len(columns), image, wanted), names, values)
        except ValueError as error:
            why = str(error)
        if why:
            problems.append(Skipped(f"{file.name}:{number}", f"{file}: line {number}: {why}"))
            if len(problems) > MOST:
                raise AnnotationError(f"{file}: more than {MOST} bad lines, the last: {why}")
    folders = [file.parent / "flickr", file.parent / "aflw" / "flickr", file.parent / "data" / "flickr"]
    return _faces(str(next((f for f in folders if f.is_dir()), folders[0])), names, values, problems)


def _row(text: str | None, width: int, image: int, wanted: list[int]) -> tuple[str, list[float]]:
    """Image and seven numbers of a line of so many columns.

    Raises:
        ValueError: something else.
    """
    if text is None:
        raise ValueError(TOO_LONG)
    parts = text.split(",")
    if len(parts) != width:
        raise ValueError(f"expected {width} columns, found {len(parts)}")
    numbers = [parts[i] for i in wanted]
    try:
        return parts[image], list(map(float, numbers))
    except ValueError:
        return parts[image], parse_numbers(",".join(numbers), ",").tolist()  # names the part that is none


def _add(file: Path, name: str, line: Sequence[float] | np.ndarray, names: list[str], values: array[float]) -> str:
    """Take up one face; why not, if not."""
    try:
        name = inside("", name)[1:]  # with slashes
    except AnnotationError as error:
        return str(error)
    if len(names) >= MOST:
        raise AnnotationError(f"{file}: more than {MOST} faces")
    names.append(name)
    values.extend(line)
    return ""


def _list_images(folder: Path) -> AflwFaces:
    names = [f"{part}/{name}" for part in ("0", "2", "3") for name in _image_names(folder / part)]
    return _faces(str(folder), names, array("d", [np.nan]) * (7 * len(names)), [])


def _image_names(folder: Path) -> Iterator[str]:
    if folder.is_dir():
        yield from sorted(entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(IMAGE_SUFFIXES))


def _faces(images: str, names: list[str], values: array[float], problems: list[Skipped]) -> AflwFaces:
    subjects = [subject_of(name) for name in names]
    order = sorted(range(len(names)), key=subjects.__getitem__)
    numbers = np.frombuffer(values, np.float64).reshape(-1, 7)[order]
    rows: dict[str, range] = {}
    first = 0
    for subject, group in itertools.groupby(order, key=subjects.__getitem__):
        last = first + sum(1 for _ in group)
        rows[subject] = range(first, last)
        first = last
    boxes = boxes_of(numbers[:, :4])
    boxes[~np.isfinite(boxes).all(1)] = np.nan
    return AflwFaces(images, [names[i] for i in order], boxes, poses_of(numbers[:, 4:]), rows, problems)


def match(tights: Sequence[Box], boxes: Sequence[tuple[int, Box]]) -> list[int | None]:
    """Which of an image's boxes belongs to which of its labelled faces; None where there is none, or it is unclear.

    A face and a box belong together if each overlaps most with the other, clearly more than with the next.

    Args:
        tights: boxes around the labels of each face.
        boxes: numbers and boxes of AFLW's faces.

    Returns:
        The number of each face's box; no number stands twice.
    """
    if len(tights) == len(boxes) == 1:  # most are so
        return [boxes[0][0] if _overlap(tights[0], boxes[0][1]) >= LEAST else None]
    if len(tights) > MOST_IN_IMAGE or len(boxes) > MOST_IN_IMAGE:
        return [None] * len(tights)
    overlaps = [[_overlap(tight, box) for _, box in boxes] for tight in tights]
    return [_clearest(face, overlaps, boxes) for face in range(len(tights))]


def _clearest(face: int, overlaps: list[list[float]], boxes: Sequence[tuple[int, Box]]) -> int | None:
    row = overlaps[face]
    if not row or max(row) < LEAST:
        return None
    best = row.index(max(row))
    others = [other for i, other in enumerate(row) if i != best]
    rivals = [other[best] for i, other in enumerate(overlaps) if i != face]
    clear = max((*others, *rivals), default=0.0) <= CLEAR * row[best]
    return boxes[best][0] if clear else None


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
