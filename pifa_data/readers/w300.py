"""``300w``: iBUG's ``.pts`` files of 68 points: 300W (AFW, Helen, LFPW, iBUG, the test set), and any folder of them.

The layout is the owner's, from ibug.doc.ic.ac.uk/resources/facial-point-annotations: ``afw``, ``helen/trainset``,
``helen/testset``, ``lfpw/trainset``, ``lfpw/testset``, ``ibug``, and ``300W/01_Indoor`` and ``02_Outdoor`` (or
``300w_cropped``), in each an image and a ``.pts`` file of the same name. The root may be given, a set's folder, or any
other folder: the names of the folders above a file tell its set. Pixels are counted from 1, as MATLAB does.

``Bounding Boxes/bounding_boxes_helen_testset.mat`` and its like, beside the sets, have a detector's box of each face:
a cell of structs with ``imgName``, ``bb_detector`` and ``bb_ground_truth`` (the landmarks' own bounds), each x0, y0,
x1, y1 in the pixels of the ``.pts``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.matfile import read_mat
from pifa_data.readers import merl_rav
from pifa_data.readers.base import IMAGE_SUFFIXES, Format, Split, exists, unread
from pifa_data.readers.pts import read_points
from pifa_data.readers.w300_lp import photo_of

_ALL_VISIBLE = np.full(68, 2, np.uint8)
_BOX_FOLDERS = ("Bounding Boxes", "Bounding_Boxes", "bounding_boxes", "BoundingBoxes")

_LOOK = 2000
"""Entries of a tree that are looked at for a first ``.pts`` file."""


@dataclass(frozen=True)
class Part:
    """What is known of the faces of one folder.

    Attributes:
        split: the protocol's split.
        subsets: names of the protocol's other parts.
        boxes: what its file of boxes is named after.
        suffix: of its images.
        photo: what begins the name of a photograph in 300W-LP, for ``image_``, which two folders begin with.
        numbered: whether a face's name is a photograph's and a number, as ``134212_1`` and ``134212_2``.
    """

    split: str = ""
    subsets: tuple[str, ...] = ()
    boxes: str = ""
    suffix: str = ".jpg"
    photo: str = ""
    numbered: bool = False

    def subject(self, stem: str) -> str:
        """The photograph, as the reader of 300W-LP names it; the same whichever folder is given."""
        if self.photo:
            return self.photo + stem.removeprefix("image_")
        return photo_of(stem) if self.numbered else stem


_PARTS = {
    ("afw", ""): Part("train", ("afw",), "afw", numbered=True),
    ("helen", "trainset"): Part("train", ("helen",), "helen_trainset", numbered=True),
    ("lfpw", "trainset"): Part("train", ("lfpw",), "lfpw_trainset", ".png", "image_train_"),
    ("helen", "testset"): Part("full", ("common", "helen"), "helen_testset", numbered=True),
    ("lfpw", "testset"): Part("full", ("common", "lfpw"), "lfpw_testset", ".png", "image_test_"),
    ("ibug", ""): Part("full", ("challenging", "ibug"), "ibug", numbered=True),
    ("01_indoor", ""): Part("test", ("indoor",), "indoor", ".png"),
    ("02_outdoor", ""): Part("test", ("outdoor",), "outdoor", ".png"),
    ("", "trainset"): Part("train"),
    ("", "testset"): Part("test"),
}
"""By set and part. The test part of a set of one's own is ``test``, those of 300W's are ``full``: 300W's ``test`` are
600 other faces."""

_OWN = {kind: Part("test", (kind,)) for kind in ("indoor", "outdoor")}
"""300W's own test set, by what its images' names begin with."""


def read_pts(path: str | Path, n_points: int = 68) -> np.ndarray:
    """Read one iBUG ``.pts`` file.

    Returns:
        ``(n_points, 2)`` float64, image pixels (x, y), the centre of the top-left pixel is (0, 0).

    Raises:
        AnnotationError: no ``{...}`` block, a bad row, or a wrong number of rows.
    """
    # iBUG counts pixels from 1, as MATLAB does.
    return read_points(path, n_points) - 1.0


def read(path: Path, boxes: str | None = None) -> Iterator[Face | Skipped]:
    """Stream the faces of one folder and the folders below it, sorted by name.

    Args:
        path: a folder.
        boxes: folder of the detector's boxes, where it is not beside the sets.
    """
    if not path.is_dir():
        raise AnnotationError(f"{path}: expected a folder of images with .pts files beside them")
    if boxes is not None and not Path(boxes).is_dir():
        raise AnnotationError(f"300w: boxes={boxes}: no such folder")
    errors: list[OSError] = []
    for folder, folders, files in os.walk(path, onerror=errors.append):
        folders.sort()
        stems = sorted(name[:-4] for name in files if name.endswith(".pts"))
        if stems:
            images = [name for name in sorted(files, reverse=True) if name.lower().endswith(IMAGE_SUFFIXES)]
            yield from _read_folder(path, folder, stems, {name.rpartition(".")[0]: name for name in images}, boxes)
    yield from unread(errors, path)


def _read_folder(
    root: Path, folder: str, stems: list[str], images: dict[str, str], boxes: str | None
) -> Iterator[Face | Skipped]:
    part, above = _part_of(Path(folder), root)
    below = Path(folder).relative_to(root).as_posix()
    prefix = "" if below == "." else f"{below}/"
    box_of: dict[str, np.ndarray] = {}
    if part.boxes and (file := _box_file([Path(boxes)] if boxes else [above, root], part.boxes, bool(boxes))):
        try:
            box_of = read_boxes(file)
        except AnnotationError as error:
            yield Skipped(f"{prefix}boxes", str(error))
    for stem in stems:
        id_ = prefix + stem
        try:
            landmarks = read_points(f"{folder}/{stem}.pts") - 1.0  # counted from 1
        except AnnotationError as error:
            yield Skipped(id_, str(error))
            continue
        yield Face(
            id=id_,
            # Labels can be fitted without the image; who needs it, says that it is missing.
            file=f"{folder}/{images.get(stem) or stem + part.suffix}",
            landmarks=landmarks,
            visibility=_ALL_VISIBLE,
            scheme="ibug68",
            kind="2d",
            box=box_of.get(stem.replace(" ", "")),
            # Who it is isn't known; faces of one photograph stay on one side of a split.
            subject=part.subject(stem),
            split=part.split,
            subsets=part.subsets,
        )


def _part_of(folder: Path, root: Path) -> tuple[Part, Path]:
    """What a folder is by its name and those above it, up to the one above ``root``, and where its set lies."""
    folder, top = folder.absolute(), root.absolute().parent
    # Farther up a name says nothing of the data: ibug may be whose home it is.
    near = [place for place in (folder, *list(folder.parents)[:3]) if place == top or top in place.parents]
    found, at = find_part([place.name for place in near])
    if found is not None:
        return found, near[at].parent
    part = next((place.name for place in near if ("", place.name) in _PARTS), "")
    return _PARTS.get(("", part), Part()), folder


def find_part(names: Sequence[str]) -> tuple[Part | None, int]:
    """The part of 300W that folders mean by their names, the innermost first, and which of them is the set's own."""
    part = next((name for name in names if ("", name) in _PARTS), "")
    for at, name in enumerate(names):
        if found := _PARTS.get((name.lower(), part)) or _PARTS.get((name.lower(), "")):
            return found, at
    return None, 0


def part_of_image(folder: str, file: str) -> Part | None:
    """The part of 300W that an image is of by its path, as tables have it; None for what is not of 300W.

    Args:
        folder: as ``helen/testset``, or nothing.
        file: the name; the images of 300W's own test set are known by theirs, ``indoor_001.png``.
    """
    return _part_by_names(folder, file.partition("_")[0])


@lru_cache(128)
def _part_by_names(folder: str, kind: str) -> Part | None:
    return find_part(folder.split("/")[::-1])[0] or _OWN.get(kind)


def _box_file(folders: list[Path], name: str, given: bool) -> str | None:
    """The file of a set's boxes in the folder given, or in one of the usual name."""
    places = folders if given else [folder / usual for folder in folders for usual in _BOX_FOLDERS]
    files = [place / f"bounding_boxes_{name}.mat" for place in places]
    return next((str(file) for file in files if exists(file)), None)


def read_boxes(file: str) -> dict[str, np.ndarray]:
    """The detector's boxes, ``(4,)`` float64 x0, y0, x1, y1 pixels, by the image's name without suffix and blanks.

    Raises:
        AnnotationError: not such a file.
    """
    array = read_mat(file, ("bounding_boxes",)).get("bounding_boxes")
    if array is None or array.dtype != object:
        raise AnnotationError(f"{file}: expected a cell bounding_boxes of structs with imgName and bb_detector")
    boxes = {}
    for number, cell in enumerate(array.ravel(order="F"), start=1):
        try:
            entry = cell if isinstance(cell, dict) else cell.item()
            name, box = entry["imgName"].item(), entry["bb_detector"]
            if not isinstance(name, str) or box.size != 4 or box.dtype.kind not in "fiu":
                raise ValueError(name, box)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise AnnotationError(
                f"{file}: bounding_boxes{{{number}}}: expected a struct of a text imgName and four numbers bb_detector"
            ) from error
        with np.errstate(invalid="ignore"):
            boxes[name.rpartition(".")[0].replace(" ", "")] = box.ravel() - np.float64(1)
    return boxes


def _any_pts(path: Path) -> bool:
    """Whether a tree has ``.pts`` files, as far as a short look tells."""
    looked = 0
    try:
        for _, _, files in os.walk(path):
            if any(name.endswith(".pts") for name in files):
                return True
            looked += 1 + len(files)
            if looked > _LOOK:
                return False
    except (OSError, ValueError):
        pass
    return False


FORMAT = Format(
    name="300w",
    layout="300W's folders (afw, helen, lfpw, ibug, 300W), one of them, or any folder of images with .pts files beside",
    read=read,
    matches=lambda path: exists(path) and path.is_dir() and _any_pts(path) and not merl_rav.FORMAT.matches(path),
    schemes=("ibug68",),
    tried="originals",
    splits={
        "train": Split("afw, helen/trainset and lfpw/trainset", 3148),
        "full": Split("common and challenging: helen/testset, lfpw/testset and ibug", 689),
        "common": Split("helen/testset and lfpw/testset", 554),
        "challenging": Split("ibug", 135),
        "test": Split("the test set of the challenge, 300W", 600),
        "indoor": Split("300W/01_Indoor", 300),
        "outdoor": Split("300W/02_Outdoor", 300),
        "afw": Split("AFW's faces", 337),
        "helen": Split("Helen's faces, trainset and testset", 2330),
        "lfpw": Split("LFPW's faces, trainset and testset", 1035),
        "ibug": Split("iBUG's faces", 135),
    },
    options={"boxes": "folder of the published boxes, bounding_boxes_helen_testset.mat and its like"},
    licence="Research only, no commercial use; see the owner's page",
    citation="""@article{sagonas2016300,
  title = {300 Faces In-The-Wild Challenge: Database and results},
  author = {Sagonas, Christos and Antonakos, Epameinondas and Tzimiropoulos, Georgios and Zafeiriou, Stefanos
            and Pantic, Maja},
  journal = {Image and Vision Computing},
  volume = {47},
  pages = {3--18},
  year = {2016}
}""",
    homepage="https://ibug.doc.ic.ac.uk/resources/300-W/",
    normaliser="interocular",
)
