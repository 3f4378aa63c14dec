"""``aflw-19``: AFLW with 19 points in all faces, and with the training and test sets that papers use.

Zhu et al. (CVPR 2016) labelled the points of AFLW that were hidden, left out both ears, and published the whole as
``AFLWinfo_release.mat``. What its arrays mean is told alike by the public code that reads it, as ``aflw_from_mat.py``
of github.com/facebookresearch/supervision-by-registration:

    nameList  (24386, 1) cells   image below ``flickr``, as ``0/image00002.jpg``
    data      (24386, 38)        x of the 19 points, then y; pixels
    mask_new  (24386, 19)        1 the point is seen, 0 it is hidden (its place is given all the same)
    bbox      (24386, 4)         left, right, top, bottom
    ra        (1, 24386)         an order of all faces, from 1: the first 20,000 are for training, the others for tests

The frontal test set is the test faces of which all points are seen: 1,165 of them says the paper; lists made from the
file that are in use elsewhere (HRNet's) have 1,314.

Pixels are taken as they are, as AFLW's own (``aflw.py``), which the file is made of. A hidden point at (0, 0) or
(−1, −1) counts as not labelled.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.matfile import numbers, read_mat
from pifa_data.readers.aflw import FORMAT as AFLW
from pifa_data.readers.aflw import subject_of
from pifa_data.readers.base import Format, Split, flag, inside

FILE = "AFLWinfo_release.mat"

TRAINING = 20_000
"""Faces at the head of ``ra``."""

_POINTS = 19
_SHAPES = {"data": 2 * _POINTS, "mask_new": _POINTS, "bbox": 4}


def read(path: Path, images: str | None = None) -> Iterator[Face | Skipped]:
    """Stream the faces in the file's order, named by image and row, as ``image00002_17``.

    Args:
        path: the ``.mat`` file, or the folder that has it.
        images: the folder with 0, 2 and 3 in it; by default ``flickr``, ``data/flickr`` or ``images`` beside the file.
    """
    file = path / FILE if path.is_dir() else path
    arrays = _arrays(file)
    names, data, mask, bbox = (arrays[name] for name in ("nameList", "data", "mask_new", "bbox"))
    landmarks = np.ascontiguousarray(data.reshape(-1, 2, _POINTS).transpose(0, 2, 1))
    seen = mask == 1
    nowhere = (landmarks == 0).all(2) | (landmarks == -1).all(2)
    visibility = np.where(seen, 2, np.where(nowhere, 0, 1)).astype(np.uint8)
    boxes = np.ascontiguousarray(bbox[:, [0, 2, 1, 3]])
    frontal = seen.all(1)
    test = np.ones(len(names), bool)
    test[arrays["ra"][:TRAINING]] = False
    # Three constants for all faces; the test set is what papers call full.
    parts = {(False, False): (), (False, True): (), (True, False): ("full",), (True, True): ("full", "frontal")}
    root = images or _images_folder(file)
    for row, (name, is_test, is_frontal) in enumerate(zip(names, test.tolist(), frontal.tolist(), strict=True)):
        try:
            image = inside(root, _text(name))
        except AnnotationError as error:
            yield Skipped(f"row {row + 1}", f"{file}: nameList, row {row + 1}: {error}")
            continue
        subject = subject_of(image)
        yield Face(
            id=f"{subject}_{row + 1}",
            file=image,
            landmarks=landmarks[row],
            visibility=visibility[row],
            scheme="aflw19",
            kind="2d",
            box=boxes[row],
            subject=subject,
            split="test" if is_test else "train",
            subsets=parts[is_test, is_frontal],
        )


def _arrays(file: Path) -> dict[str, np.ndarray]:
    """The five arrays, of shapes that fit: numbers as float64, ``ra`` ``(n,)`` from 0, ``nameList`` ``(n,)`` cells."""
    arrays = read_mat(file, ("nameList", "ra", *_SHAPES))
    missing = [name for name in ("nameList", "ra", *_SHAPES) if name not in arrays]
    if missing:
        raise AnnotationError(f"{file}: expected AFLW-19's arrays, found none named {', '.join(missing)}")
    names = arrays["nameList"]
    if names.dtype != object or names.size != max(names.shape, default=0):
        raise AnnotationError(f"{file}: nameList: expected a column of cells, found {names.dtype} {names.shape}")
    found: dict[str, np.ndarray] = {"nameList": names.ravel()}
    for name, width in _SHAPES.items():
        found[name] = numbers(arrays[name], f"{file}: {name}", (names.size, width))
    order = arrays["ra"].ravel()
    if order.dtype.kind not in "fiu" or not np.array_equal(np.sort(order), np.arange(1, names.size + 1)):
        raise AnnotationError(f"{file}: ra: expected an order of the {names.size} faces, found something else")
    found["ra"] = order.astype(np.int64) - 1
    return found


def _text(cell: object) -> str:
    """The one string of a cell.

    Raises:
        AnnotationError: something else.
    """
    if isinstance(cell, np.ndarray) and cell.dtype == object and cell.size == 1:
        cell = cell.ravel()[0]  # a cell within a cell
    if not (isinstance(cell, np.ndarray) and cell.dtype.kind == "U" and cell.size == 1):
        raise AnnotationError(f"expected the image's name, found {flag(cell)}")
    return str(cell.ravel()[0])


def _images_folder(file: Path) -> str:
    folders = [file.parent / place for place in ("flickr", "data/flickr", "images")]
    return str(next((folder for folder in folders if folder.is_dir()), folders[0]))


FORMAT = Format(
    name="aflw-19",
    layout=f"the file {FILE}, or a folder that has it, with AFLW's images in flickr/{{0,2,3}} beside it",
    read=read,
    schemes=("aflw19",),
    tried="layout",
    matches=lambda path: (path.name == FILE and path.is_file()) or (path / FILE).is_file(),
    splits={
        "train": Split("for training", 20_000),
        "test": Split("for tests", 4_386),
        "full": Split("the test set, as papers call it", 4_386),
        "frontal": Split("test faces of which all points are seen; 1,314 in lists in use elsewhere", 1_165),
    },
    options={"images": "the folder with 0, 2 and 3 in it; by default flickr, data/flickr or images beside the file"},
    licence=AFLW.licence,
    citation="""@inproceedings{zhu2016unconstrained,
  title={Unconstrained Face Alignment via Cascaded Compositional Learning},
  author={Zhu, Shizhan and Li, Cheng and Loy, Chen Change and Tang, Xiaoou},
  booktitle={IEEE Conference on Computer Vision and Pattern Recognition},
  pages={3409--3417},
  year={2016}
}""",
    homepage="http://mmlab.ie.cuhk.edu.hk/projects/compositional.html",
    normaliser="box",
)
