"""``cofw``: COFW's 29 points with their occlusion, and COFW-68, the 68 points that others labelled in its test images.

COFW (Burgos-Artizzu, Perona and Dollár, "Robust face landmark estimation under occlusion") is one MATLAB file of
version 7.3 a part, ``COFW_train_color.mat`` and ``COFW_test_color.mat``, or ``COFW_train.mat`` and ``COFW_test.mat`` in
grey, with the images in them. In each, one row a face:

    phisTr, phisT       (N, 87): 29 x, 29 y, 29 times 0 (visible) or 1 (occluded: visibility 1)
    bboxesTr, bboxesT   (N, 4): x, y, width and height of the face
    IsTr, IsT           a cell of N images; ``Face.file`` is ``COFW_test_color.mat/IsT/17`` (see images.py)

COFW-68 (github.com/golnazghiasi/cofw68-benchmark) has, in ``test_annotations``, ``17_points.mat`` for ``IsT{17}`` with
``Points`` (68, 2) and ``Occ`` (1, 68), and beside that folder ``cofw68_test_bboxes.mat`` with ``bboxes`` (507, 4). Its
owner draws points and boxes over MATLAB's ``imshow`` as they are: pixels are counted from 1, and so are COFW's own.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.matfile import numbers, read_mat
from pifa_data.readers.base import Format, Split, exists

PARTS = {"train": ("phisTr", "bboxesTr", "IsTr"), "test": ("phisT", "bboxesT", "IsT")}

_NAMES = {part: (f"COFW_{part}_color.mat", f"COFW_{part}.mat") for part in PARTS}
_BOXES_68 = "cofw68_test_bboxes.mat"
_POINTS_68 = re.compile(r"([1-9][0-9]{0,5})_points\.mat", re.ASCII)
_FROM_LFPW = 845
_LFPW, _OWN = ("train-lfpw",), ("train-cofw",)


def read(path: Path, labels: str | None = None, images: str | None = None) -> Iterator[Face | Skipped]:
    """Stream the faces of a file or folder, named ``train/17`` and ``test/17`` by MATLAB's number.

    Args:
        path: a ``.mat`` file of COFW, or a folder of them or of COFW-68.
        labels: ``29`` or ``68``; None for 68 where the folder has COFW-68's files.
        images: COFW's test file, for COFW-68, where it is not in the folder.
    """
    if labels not in (None, "29", "68"):
        raise AnnotationError(f"cofw: expected labels=29 or labels=68, found labels={labels}")
    folder = _folder_68(path) if labels != "29" else None
    if folder is not None:
        yield from _read_68(path, folder, images)
        return
    files = [] if labels == "68" else _files(path)
    if not files:
        what = "COFW-68's files 1_points.mat" if labels == "68" else "COFW_train_color.mat or COFW_test_color.mat"
        raise AnnotationError(f"{path}: expected {what} and their like, found none")
    for file in files:
        yield from _read_29(file)


def _files(path: Path) -> list[Path]:
    """COFW's files, those in colour first, one a part."""
    if path.suffix == ".mat":
        return [path]
    found = [next((path / name for name in names if exists(path / name)), None) for names in _NAMES.values()]
    return [file for file in found if file is not None]


def _read_29(file: Path) -> Iterator[Face | Skipped]:
    arrays = read_mat(file, [name for names in PARTS.values() for name in names[:2]])
    part = next((part for part, names in PARTS.items() if names[0] in arrays), None)
    if part is None:
        raise AnnotationError(f"{file}: expected an array phisTr or phisT, as COFW has, found neither")
    phis, bboxes, images = PARTS[part]
    rows = numbers(arrays[phis], f"{file}: {phis}", (None, 87))
    boxes = _boxes(arrays.get(bboxes), len(rows), f"{file}: {bboxes}")
    # MATLAB counts pixels from 1.
    landmarks = np.stack([rows[:, :29], rows[:, 29:58]], axis=2) - 1
    visibility = np.where(rows[:, 58:] == 0, 2, 1).astype(np.uint8)
    prefix = f"{file}/{images}/"
    each = boxes if boxes is not None else itertools.repeat(None)
    for number, (points, seen, box) in enumerate(zip(landmarks, visibility, each, strict=False), start=1):
        subsets: tuple[str, ...] = ()
        if part == "train":
            subsets = _LFPW if number <= _FROM_LFPW else _OWN
        yield Face(
            id=f"{part}/{number}",
            file=f"{prefix}{number}",
            landmarks=points,
            visibility=seen,
            scheme="cofw29",
            kind="2d",
            box=box,
            subject=f"cofw-{part}-{number}",
            split=part,
            subsets=subsets,
        )


def _boxes(array: np.ndarray | None, count: int, name: str) -> np.ndarray | None:
    """``(count, 4)`` float64 x0, y0, x1, y1 from MATLAB's x, y, width, height."""
    if array is None:
        return None
    rects = numbers(array, name, (count, 4))
    corner = rects[:, :2] - 1
    with np.errstate(invalid="ignore", over="ignore"):
        return np.concatenate([corner, corner + rects[:, 2:]], axis=1)


def _folder_68(path: Path) -> Path | None:
    """The folder of COFW-68's points at or below a path."""
    places = [path, path / "test_annotations", path / "COFW68_Data" / "test_annotations"]
    return next((place for place in places if _numbers(place)), None)


def _numbers(folder: Path) -> list[int]:
    try:
        found = [_POINTS_68.fullmatch(entry.name) for entry in os.scandir(folder)]
    except (OSError, ValueError):
        return []
    return sorted(int(match[1]) for match in found if match)


def _read_68(path: Path, folder: Path, images: str | None) -> Iterator[Face | Skipped]:
    beside = [folder, *([folder.parent] if folder.name == "test_annotations" else []), path]
    container = images or next(
        (str(place / name) for name in _NAMES["test"] for place in beside if exists(place / name)),
        f"{beside[1 % len(beside)]}/{_NAMES['test'][0]}",
    )
    file = next((place / _BOXES_68 for place in beside if exists(place / _BOXES_68)), None)
    boxes = None
    if file is not None:
        array = read_mat(file, ("bboxes",)).get("bboxes")
        boxes = _boxes(array, 0 if array is None else len(array), f"{file}: bboxes")
    for number in _numbers(folder):
        name = f"{folder}/{number}_points.mat"
        try:
            landmarks, visibility = _points_68(name)
        except AnnotationError as error:
            yield Skipped(f"test/{number}", str(error))
            continue
        yield Face(
            id=f"test/{number}",
            file=f"{container}/IsT/{number}",
            landmarks=landmarks,
            visibility=visibility,
            scheme="ibug68",
            kind="2d",
            box=None if boxes is None or number > len(boxes) else boxes[number - 1],
            subject=f"cofw-test-{number}",
            split="test",
        )


def _points_68(file: str) -> tuple[np.ndarray, np.ndarray]:
    arrays = read_mat(file, ("Points", "Occ"))
    landmarks = numbers(arrays.get("Points"), f"{file}: Points", (68, 2)) - 1
    occluded = arrays.get("Occ")
    if occluded is None or occluded.size != 68 or occluded.dtype.kind not in "fiub":
        found = "none" if occluded is None else f"{occluded.dtype} {occluded.shape}"
        raise AnnotationError(f"{file}: expected 68 numbers Occ, found {found}")
    return landmarks, np.where(occluded.ravel() == 0, 2, 1).astype(np.uint8)


def _matches(path: Path) -> bool:
    if path.suffix == ".mat":
        return path.name.lower().startswith("cofw")
    return bool(_folder_68(path) or _files(path))


FORMAT = Format(
    name="cofw",
    layout="COFW_train_color.mat, COFW_test_color.mat, their folder, or COFW-68's folder of 1_points.mat and its like",
    read=read,
    matches=_matches,
    schemes=("cofw29", "ibug68"),
    tried="layout",
    splits={
        "train": Split("COFW's training faces, those of LFPW among them", 1345),
        "test": Split("COFW's test faces; of COFW-68, all", 507),
        "train-lfpw": Split("training faces from LFPW, hardly occluded", 845),
        "train-cofw": Split("training faces of COFW's own", 500),
    },
    options={
        "labels": "29 (COFW's own) or 68 (COFW-68's; the default where its files are)",
        "images": "COFW_test_color.mat, for COFW-68's faces, where it is not in the folder",
    },
    licence="Research only: photographs from the web, and of LFPW; see the owner's page",
    citation="""@inproceedings{burgosartizzu2013robust,
  title = {Robust face landmark estimation under occlusion},
  author = {Burgos-Artizzu, Xavier P. and Perona, Pietro and Doll{\\'a}r, Piotr},
  booktitle = {IEEE International Conference on Computer Vision (ICCV)},
  pages = {1513--1520},
  year = {2013}
}
@article{ghiasi2015occlusion,
  title = {Occlusion Coherence: Detecting and Localizing Occluded Faces},
  author = {Ghiasi, Golnaz and Fowlkes, Charless C.},
  journal = {arXiv:1506.08347},
  year = {2015}
}""",
    homepage="https://data.caltech.edu/records/20099",
    normaliser="interocular",
)
