"""``hrnet-csv``: the annotation files of HRNet-Facial-Landmark-Detection, for 300W, WFLW and AFLW-19.

    face_landmarks_300w_{train,valid,valid_common,valid_challenge,test}.csv
    face_landmarks_wflw_{train,test,test_largepose,…}.csv
    face_landmarks_aflw_{train,test,test_frontal}.csv
    images/

A header names the columns, by which they are read: ``image_name,scale,center_w,center_h,original_0_x,original_0_y,…``;
AFLW's have ``box_size`` behind ``scale``. The code beside them (github.com/HRNet/HRNet-Facial-Landmark-Detection,
``lib/datasets``) takes scale·200 pixels as the side of the square around (center_w, center_h), which is the box here.
For 300W it is the square around the labels, rounded outwards, as the files themselves show.

The points are each owner's numbers unchanged: those of ``ibug/image_003_1.jpg`` are, digit by digit, those of its
``.pts`` that OpenCV's manual quotes for its face module. iBUG counts pixels from 1, so 1 is subtracted where there are
68 points, and likewise where there are 29 (COFW); WFLW's and AFLW's count from 0. HRNet's code trains on no point whose
y is 0 or less; here, a point is not labelled where x and y both are.
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers import w300, wflw
from pifa_data.readers.base import Format, Split, flag, inside
from pifa_data.readers.keypoints_csv import split_row
from pifa_data.readers.lines import TOO_LONG, read_lines
from pifa_data.readers.names import Names
from pifa_data.readers.numbers import parse_numbers
from pifa_data.readers.parts import Once, Subsets, parts_named, wholes_first
from pifa_data.readers.rows import KIND, SCHEME, all_visible, chosen_kind, chosen_scheme, unique
from pifa_data.readers.w300 import part_of_image
from pifa_data.schemes import Scheme, scheme_of_count

FROM_1 = ("ibug68", "cofw29")
"""Schemes whose owners count pixels from 1."""

MOST_FILES = 100
"""Tables looked at in a folder; HRNet's have up to eight."""

_SQUARE = ("scale", "center_w", "center_h")
_BEGINNING = "image_name,"
_POINT = re.compile(r"original_\d+_[xy]")


@dataclass(frozen=True)
class Table:
    """One file, and what its header and name say.

    Attributes:
        file: where it is.
        columns: names of its columns without the first, which is the image's name.
        first: the first column of a point.
        last: the column behind the last.
        square: the columns scale, center_w and center_h.
        split: ``train``, ``test`` or ``""``.
        subsets: the papers' name of the part.
    """

    file: Path
    columns: tuple[str, ...]
    first: int
    last: int
    square: tuple[int, ...]
    split: str
    subsets: tuple[str, ...]


@dataclass(frozen=True)
class Meaning:
    """How a table's numbers are read."""

    images: str
    scheme: Scheme
    kind: str
    origin: float


def read(
    path: Path, images: str = "", scheme: str = "", kind: str = "2d", origin: str = ""
) -> Iterator[Face | Skipped]:
    """Stream the faces of one table, or of all tables in a folder, each face once.

    Args:
        path: table or folder. Where a folder has ``A.csv`` and ``A_common.csv``, the faces of the second are those of
            the first that belong to the subset ``common``.
        images: the folder of the images, where it is not ``images`` beside the tables.
        scheme: where the number of points does not tell it.
        kind: ``2d`` or ``3d``.
        origin: what the file calls the centre of the top-left pixel, ``0`` or ``1``, where the scheme does not tell.
    """
    chosen, kind = chosen_scheme(scheme), chosen_kind(kind)
    if origin not in ("", "0", "1"):
        raise AnnotationError(f"origin={flag(origin)}: expected 0 or 1")
    tables = _tables(path)
    if not tables:
        raise AnnotationError(
            f"{path}: expected a .csv file that begins with image_name,scale,center_w,center_h,original_0_x,"
            "original_0_y, or a folder of such files"
        )
    names = Names()
    for table, once in wholes_first(tables, _keys):
        try:
            meaning = _meaning(table, images, chosen, kind, origin)
        except AnnotationError as error:
            if len(tables) == 1:
                raise
            yield Skipped(table.file.name, str(error))
        else:
            yield from _read_table(table, meaning, names, once)


def _tables(path: Path) -> list[Table]:
    """The tables of a path, in the order of their names."""
    files = heapq.nsmallest(MOST_FILES, path.glob("*.csv")) if path.is_dir() else [path]
    return [table for table in map(_header, files) if table is not None]


def _header(file: Path) -> Table | None:
    """What a file's first line and its name say; None if it is not HRNet's."""
    _, line = next(read_lines(file), (0, None))
    if not line or not line.startswith(_BEGINNING):
        return None
    columns = tuple(name.strip() for name in line.split(",")[1:])
    points = [i for i, name in enumerate(columns) if _POINT.fullmatch(name)]
    if not points or not set(columns).issuperset(_SQUARE):
        return None
    first, last = points[0], points[-1] + 1
    if [name[-2:] for name in columns[first:last]] != ["_x", "_y"] * (len(points) // 2):
        return None
    square = tuple(map(columns.index, _SQUARE))
    words = file.stem.split("_")
    splits = [split for split in ("train", "test") if split in words]
    return Table(file, columns, first, last, square, splits[0] if len(splits) == 1 else "", parts_named(words))


def _meaning(table: Table, images: str, scheme: Scheme | None, kind: str, origin: str) -> Meaning:
    count = (table.last - table.first) // 2
    found = scheme or scheme_of_count(count)
    if found is None or len(found) != count:
        expected = f"{len(found)} points ({found.name})" if found else "the number of points of one scheme"
        raise AnnotationError(f"{table.file}: expected {expected}, found {count} points; name it by scheme=")
    shift = float(origin) if origin else float(found.name in FROM_1)
    return Meaning(images or str(table.file.parent / "images"), found, kind, shift)


def _keys(table: Table) -> Names:
    keys = Names()
    for _, line in itertools.islice(read_lines(table.file), 1, None):
        keys.add(_key(line or "", table))
    return keys


def _key(line: str, table: Table) -> str:
    """What is the same in a table and its parts: the image's name and the points."""
    cells = line.split(",", table.first + 1)
    return f"{cells[0]},{cells[-1]}"


def _read_table(table: Table, meaning: Meaning, names: Names, once: Once | None) -> Iterator[Face | Skipped]:
    for number, line in itertools.islice(read_lines(table.file), 1, None):
        subsets: Subsets | None = table.subsets
        if line is not None and once is not None:
            subsets = once.subsets(_key(line, table), table.subsets)
        if subsets is None:
            continue
        try:
            if line is None:
                raise AnnotationError(TOO_LONG)
            if line:
                yield _face(line, number, table, meaning, names, subsets)
        except AnnotationError as error:
            where = f"{table.file.name} line {number}"
            yield Skipped(where, f"{where}: {error}")


def _face(line: str, number: int, table: Table, meaning: Meaning, names: Names, subsets: Subsets) -> Face:
    name, numbers = split_row(line)
    try:
        values = parse_numbers(numbers, ",")
    except ValueError as error:
        raise AnnotationError(str(error)) from None
    if len(values) != len(table.columns):
        raise AnnotationError(f"expected {len(table.columns) + 1} columns, as the header has, found {len(values) + 1}")
    rows = values[table.first : table.last].reshape(-1, 2)
    visibility = all_visible(len(rows))
    if values.min() <= 0:
        visibility = np.where((rows <= 0).all(1), 0, visibility).astype(np.uint8)
    if meaning.origin:
        rows -= meaning.origin
    folder, _, file = name.rpartition("/")
    stem, split = file.rpartition(".")[0] or file, table.split
    part = part_of_image(folder, file) if meaning.scheme.name == "ibug68" else None
    if part is not None:
        split, subsets = part.split, part.subsets
    return Face(
        id=unique(names, f"{table.split}/{name}" if table.split else name, number),
        file=inside(meaning.images, name),
        landmarks=rows,
        visibility=visibility,
        scheme=meaning.scheme.name,
        kind=meaning.kind,
        box=_box(values, table, meaning.origin),
        # Faces of one photograph stay on one side of a split; as the readers of the originals name it.
        subject=part.subject(stem) if part is not None else stem,
        split=split,
        subsets=subsets,
    )


def _box(values: np.ndarray, table: Table, origin: float) -> np.ndarray:
    """The square around the face, ``(4,)`` pixels."""
    scale, x, y = map(values.item, table.square)
    half = 100 * scale
    return np.array((x - half - origin, y - half - origin, x + half - origin, y + half - origin))


def _matches(path: Path) -> bool:
    try:
        return (path.is_dir() or path.suffix == ".csv") and bool(_tables(path))
    except (AnnotationError, OSError):
        return False


FORMAT = Format(
    name="hrnet-csv",
    layout="HRNet's face_landmarks_*.csv (image_name,scale,center_w,center_h,original_0_x,…) and images/, or one file",
    read=read,
    schemes=("ibug68", "wflw98", "aflw19", "cofw29"),
    tried="originals",
    matches=_matches,
    splits={
        "train": Split("training faces: 300W 3,148, WFLW 7,500, AFLW-19 20,000"),
        "test": Split("test faces: 300W's own 600, WFLW 2,500, AFLW-19 4,386"),
        **{
            # Helen's and LFPW's faces stand in two tables, train and valid.
            name: Split(f"300W: {part.text}", None if name in ("helen", "lfpw") else part.count)
            for name, part in w300.FORMAT.splits.items()
            if name not in ("train", "test")
        },
        "frontal": Split("AFLW-19: test faces that are frontal"),
        **{
            name: Split(f"WFLW: {part.text}", part.count)
            for name, part in wflw.FORMAT.splits.items()
            if name in wflw.SUBSETS
        },
    },
    options={
        "images": "the folder of the images, where it is not images/ beside the tables",
        "origin": "what the file calls the centre of the top-left pixel, 0 or 1, where the scheme does not tell",
        **SCHEME,
        **KIND,
    },
    licence="That of the data set: see 300w, wflw, aflw.",
    citation="""@article{SunZJCXLMWLW19,
  title = {High-Resolution Representations for Labeling Pixels and Regions},
  author = {Ke Sun and Yang Zhao and Borui Jiang and Tianheng Cheng and Bin Xiao and Dong Liu and Yadong Mu
            and Xinggang Wang and Wenyu Liu and Jingdong Wang},
  journal = {CoRR},
  volume = {abs/1904.04514},
  year = {2019}
}""",
    homepage="https://github.com/HRNet/HRNet-Facial-Landmark-Detection",
)
