"""``aflw-lpfa``: the 3,901 training and 1,299 test faces of AFLW with 34 points (AFLW-LFPA, PIFA's faces).

Jourabloo and Liu (ICCV 2015) chose 5,200 faces of AFLW with yaws spread evenly, and labelled 13 points more than its
21. Their files were never described in public. Of the owner's form this is known from public code that reads it (the
face detection code with ``transform_AFLW_pifa_to_pts``, found on GitHub):

    Landmark.mat       phisTr (3901, 102), phisT (1299, 102): 34 x, 34 y, 34 times a mark of visibility
    BoundingBox.mat    bboxesTr (3901, 4), bboxesT (1299, 4): x, y, width, height
    TrainImages/N.jpg  the image of row N of phisTr, from 1; TestImages/N.jpg that of phisT

Three things are assumed here, and for whoever has the file to check on pictures: that the points come in the order of
the scheme ``pifa34`` (``schemes/aflw.py``), that a mark of 1 says visible (the option ``visible=0`` turns it round:
COFW's arrays of the same names mark what is occluded), and that pixels are counted as AFLW counts them, from 0. The
second shows itself: hidden points have no place in AFLW, and a face with a visible point at (0, 0) is refused.

The plain form is a table ``lpfa.csv`` of this project's own, in its conventions, with this header and a face a line:

    image,split,x,y,w,h,x0,y0,v0,x1,y1,v1,…,x33,y33,v33

``image`` is told from the table's folder; ``split`` is ``train`` or ``test``; x, y, w, h is the face's box, four times
``nan`` if it has none; v is 0 not labelled, 1 occluded, 2 visible. docs/formats/aflw-lpfa.md has the lines that make it
from the owner's files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.matfile import numbers, read_mat
from pifa_data.readers.aflw import FORMAT as AFLW
from pifa_data.readers.base import Format, Split, exists, flag, inside
from pifa_data.readers.lines import TOO_LONG, read_lines
from pifa_data.readers.names import Names
from pifa_data.readers.numbers import parse_numbers
from pifa_data.readers.rows import all_visible, unique

TABLE = "lpfa.csv"
POINTS = 34
HEADER = ",".join(["image,split,x,y,w,h", *(f"x{i},y{i},v{i}" for i in range(POINTS))])

_PARTS = {"train": ("phisTr", "bboxesTr", "TrainImages"), "test": ("phisT", "bboxesT", "TestImages")}
_MARKS = {"0": 0.0, "1": 1.0}
_ALL_SEEN = [2.0] * POINTS


def read(path: Path, visible: str = "1") -> Iterator[Face | Skipped]:
    """Stream the faces, named ``train/17`` by the owner's number, or by their image where they are in a table.

    Args:
        path: the owner's folder, a folder with ``lpfa.csv``, or such a table.
        visible: the mark of a visible point in ``Landmark.mat``, 0 or 1.
    """
    if visible not in _MARKS:
        raise AnnotationError(f"visible={flag(visible)}: expected 0 or 1")
    if path.is_file():
        return _read_table(path)
    if (path / "Landmark.mat").is_file():
        return _read_mat(path, _MARKS[visible])
    if (path / TABLE).is_file():
        return _read_table(path / TABLE)
    raise AnnotationError(f"{path}: expected Landmark.mat and BoundingBox.mat, or {TABLE}, in this folder")


def _read_mat(folder: Path, visible: float) -> Iterator[Face | Skipped]:
    file = folder / "Landmark.mat"
    labels = read_mat(file, [names[0] for names in _PARTS.values()])
    if not labels:
        raise AnnotationError(f"{file}: expected arrays phisTr and phisT, found neither")
    boxes = {}
    if exists(folder / "BoundingBox.mat"):
        boxes = read_mat(folder / "BoundingBox.mat", [names[1] for names in _PARTS.values()])
    for split, (phis, bboxes, images) in _PARTS.items():
        if phis in labels:
            points = numbers(labels[phis], f"{file}: {phis}", (None, 3 * POINTS))
            rects = np.full((len(points), 4), np.nan)
            if bboxes in boxes:
                rects = numbers(boxes[bboxes], f"{folder}/BoundingBox.mat: {bboxes}", (None, 4))
            if len(rects) != len(points):
                raise AnnotationError(f"{folder}: {phis} has {len(points)} faces, {bboxes} has {len(rects)}")
            yield from _read_part(points, rects, f"{folder}/{images}", split, visible, f"{file}: {phis}")


def _read_part(
    rows: np.ndarray, rects: np.ndarray, images: str, split: str, visible: float, what: str
) -> Iterator[Face | Skipped]:
    """Faces of ``(n, 102)`` labels and ``(n, 4)`` boxes, NaN where there are none."""
    landmarks = np.ascontiguousarray(rows[:, : 2 * POINTS].reshape(-1, 2, POINTS).transpose(0, 2, 1))
    marks = rows[:, 2 * POINTS :]
    strange = ((marks != 0) & (marks != 1)).any(1)
    nowhere = ~np.isfinite(landmarks).all(2) | (landmarks <= 0).all(2)
    visibility = np.where(marks == visible, 2, np.where(nowhere, 0, 1)).astype(np.uint8)
    placeless = ((visibility == 2) & nowhere).any(1)
    landmarks[visibility == 0] = 0
    boxes = rects.copy()
    boxes[:, 2:] += boxes[:, :2]
    boxed = ~np.isnan(rects).all(1)
    for row in range(len(rows)):
        id_ = f"{split}/{row + 1}"
        if strange[row] or placeless[row]:
            why = (
                "a mark of visibility is neither 0 nor 1"
                if strange[row]
                else "a visible point has no place; if the file marks hidden points by 1, give visible=0"
            )
            yield Skipped(id_, f"{what}, row {row + 1}: {why}")
            continue
        yield Face(
            id=id_,
            file=f"{images}/{row + 1}.jpg",
            landmarks=landmarks[row],
            visibility=visibility[row],
            scheme="pifa34",
            kind="2d",
            box=boxes[row] if boxed[row] else None,
            subject=id_,  # neither who it is nor which of AFLW's images is known
            split=split,
        )


def _read_table(file: Path) -> Iterator[Face | Skipped]:
    lines = read_lines(file)
    header = next(lines, (1, ""))[1]
    if header is None or header.strip() != HEADER:
        raise AnnotationError(f"{file}: line 1: expected the header {HEADER[:36]}…, found {flag(header)}")
    names = Names()
    root = str(file.parent)
    for number, text in lines:
        if text is not None and not text.strip():
            continue
        name = "" if text is None else text.partition(",")[0]
        try:
            if text is None:
                raise ValueError(TOO_LONG)
            yield _face(text, root, names, number)
        except (ValueError, AnnotationError) as error:
            yield Skipped(f"{name[:100]}:{number}", f"{file}: line {number}: {error}")


def _face(text: str, root: str, names: Names, number: int) -> Face:
    image, _, rest = text.partition(",")
    split, _, rest = rest.partition(",")
    if split not in _PARTS:
        raise ValueError(f"expected the split train or test, found {flag(split)}")
    values = parse_numbers(rest, ",")
    if len(values) != 4 + 3 * POINTS:
        raise ValueError(f"expected {4 + 3 * POINTS} numbers after image and split, found {len(values)}")
    points = values[4:].reshape(POINTS, 3)
    marks = points[:, 2].tolist()
    if marks == _ALL_SEEN:
        visibility = all_visible(POINTS)
    elif set(marks) <= {0.0, 1.0, 2.0}:
        visibility = np.array(marks, np.uint8)
    else:
        raise ValueError("expected 0, 1 or 2 as visibility")
    file = inside(root, image)
    x, y, w, h = values[:4].tolist()
    stem = image.rpartition(".")[0] or image
    return Face(
        id=unique(names, stem, number),
        file=file,
        landmarks=points[:, :2].copy(),
        visibility=visibility,
        scheme="pifa34",
        kind="2d",
        box=None if x != x and y != y and w != w and h != h else np.array([x, y, x + w, y + h]),
        subject=stem,
        split=split,
    )


def _matches(path: Path) -> bool:
    if path.is_dir():
        return (path / "Landmark.mat").is_file() or (path / TABLE).is_file()
    try:
        if path.suffix.lower() != ".csv" or not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(HEADER)) == HEADER.encode()
    except (OSError, ValueError):
        return False


FORMAT = Format(
    name="aflw-lpfa",
    layout=f"a folder with Landmark.mat, BoundingBox.mat, TrainImages and TestImages, or a table {TABLE}",
    read=read,
    schemes=("pifa34",),
    tried="layout",
    matches=_matches,
    splits={
        "train": Split("the papers' training faces", 3_901),
        "test": Split("the papers' test faces", 1_299),
    },
    options={"visible": "the mark of a visible point in Landmark.mat, 1 (the default) or 0"},
    licence=AFLW.licence,
    citation="""@inproceedings{jourabloo2015pose,
  title={Pose-Invariant 3D Face Alignment},
  author={Jourabloo, Amin and Liu, Xiaoming},
  booktitle={IEEE International Conference on Computer Vision},
  pages={3694--3702},
  year={2015}
}""",
    homepage="http://cvlab.cse.msu.edu/project-pifa.html",
    normaliser="box",
)
